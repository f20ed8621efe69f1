"""What every layer shares: mode, parameters, cache, and checks of its input."""

import numpy as np

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def check_float_array(name, value):
    """Raise TypeError unless `value` is a NumPy array of float32 or float64."""
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, got {type(value).__name__}")
    if value.dtype not in FLOATS:
        raise TypeError(
            f"{name} must be an array of float32 or float64, got {value.dtype}"
        )


def check_integer(name, value, at_least=1):
    """Raise TypeError or ValueError unless `value` is an integer of at least this."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < at_least:
        raise ValueError(f"{name} must be at least {at_least}, got {value}")


def check_dtype(dtype):
    """Raise TypeError unless `dtype` is float32 or float64."""
    if np.dtype(dtype) not in FLOATS:
        raise TypeError(f"dtype must be float32 or float64, got {np.dtype(dtype)}")


class Layer:
    """One step of a network: `forward` computes it, `backward` differentiates it.

    A subclass defines ``_forward(x) -> (y, cache)`` and ``_backward(dy, cache) -> dx``
    and puts its arrays into `params` and `buffers`; ``_backward`` fills `grads`.

    Attributes
    ----------
    training : bool
        True after construction and `train`, False after `eval`.
    params, grads, buffers : dict of str to numpy.ndarray
        Trained arrays, the gradients of the last `backward`, and arrays that are
        kept but not trained. Each is an attribute too and is assigned in place:
        ``layer.weight[...] = w``.

    Notes
    -----
    `backward` belongs to the most recent `forward`: of two forwards in a row the
    first can no longer be differentiated.
    """

    def __init__(self):
        self.training = True
        self.params = {}
        self.grads = {}
        self.buffers = {}
        self._output_shape = None
        self._cache = None

    def _forward(self, x):
        raise NotImplementedError(f"{type(self).__name__} defines no _forward")

    def _backward(self, dy, cache):
        raise NotImplementedError(f"{type(self).__name__} defines no _backward")

    def _check_input(self, x):
        check_float_array("x", x)
        for array in (*self.params.values(), *self.buffers.values()):
            if array.dtype in FLOATS and x.dtype != array.dtype:
                raise TypeError(
                    f"x must have the dtype of the layer, {array.dtype}, got {x.dtype}"
                )

    def forward(self, x):
        """The layer's output for `x`, in the present mode; `x` is not changed.

        Raises TypeError if `x` is not a float array of the layer's dtype, ValueError
        if its shape does not fit.
        """
        self._check_input(x)
        y, self._cache = self._forward(x)
        self._output_shape = y.shape
        return y

    __call__ = forward

    def backward(self, dy):
        """From dL/dy the gradient dL/dx, for the most recent `forward`.

        Fills `grads` with the gradients of the parameters. `dy` has the shape of the
        output. Raises ValueError before any `forward` and on another shape,
        TypeError if `dy` is not a float array.
        """
        if self._output_shape is None:
            raise ValueError(
                f"backward of {type(self).__name__} needs a forward before it"
            )
        check_float_array("dy", dy)
        if dy.shape != self._output_shape:
            raise ValueError(
                f"dy must have the output's shape {self._output_shape}, got {dy.shape}"
            )
        return self._backward(dy, self._cache)

    def train(self):
        """Set training mode; returns the layer."""
        self.training = True
        return self

    def eval(self):
        """Set evaluation mode; returns the layer."""
        self.training = False
        return self

    def __getattr__(self, name):
        # Reached only when ordinary look-up fails: layer.weight is params["weight"].
        for arrays in (self.__dict__.get("params"), self.__dict__.get("buffers")):
            if arrays and name in arrays:
                return arrays[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __setattr__(self, name, value):
        # A new array would leave the optimizer with the old one: assign in place.
        for arrays in (self.__dict__.get("params"), self.__dict__.get("buffers")):
            if arrays and name in arrays and arrays[name] is not value:
                raise AttributeError(
                    f"assign to {name} in place: layer.{name}[...] = value"
                )
        super().__setattr__(name, value)
