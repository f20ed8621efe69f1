"""The fully connected layer."""

import numpy as np

from dropnorm.layers.base import Layer, check_dtype, check_integer
from dropnorm.randomness import default_generator


def linear_forward(x, weight, bias=None):
    """y = x Wᵀ + b over the last axis.

    Parameters
    ----------
    x : (..., in_features)
    weight : (out_features, in_features)
    bias : (out_features,), optional

    Returns
    -------
    y : (..., out_features)
    cache : what `linear_backward` needs
    """
    y = x @ weight.T
    if bias is not None:
        y += bias
    return y, (x, weight)


def linear_backward(dy, cache):
    """Gradients of `linear_forward`.

    Returns
    -------
    dx : (..., in_features)
    dweight : (out_features, in_features)
    dbias : (out_features,)
    """
    x, weight = cache
    rows_x = x.reshape(-1, x.shape[-1])
    rows_dy = dy.reshape(-1, dy.shape[-1])
    # y_no = Σ_i x_ni W_oi + b_o
    dx = dy @ weight  # dx_ni = Σ_o dy_no W_oi
    dweight = rows_dy.T @ rows_x  # dW_oi = Σ_n dy_no x_ni
    dbias = rows_dy.sum(axis=0)  # db_o  = Σ_n dy_no
    return dx, dweight, dbias


class Linear(Layer):
    """y = x Wᵀ + b, as ``torch.nn.Linear``.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
    rng : numpy.random.Generator, optional
        For the initial values; by default the package's generator.
    dtype : numpy.float64 or numpy.float32

    Attributes
    ----------
    weight : (out_features, in_features)
    bias : (out_features,)
        Both start uniform on ±1/√in_features, PyTorch's default.

    Shapes
    ------
    Input (..., in_features), output (..., out_features).

    Raises
    ------
    TypeError, ValueError
        If a size is not an integer of at least 1, `dtype` is not a float type, or
        the input's last axis is not `in_features` long.
    """

    def __init__(
        self, in_features, out_features, bias=True, *, rng=None, dtype=np.float64
    ):
        super().__init__()
        check_integer("in_features", in_features)
        check_integer("out_features", out_features)
        check_dtype(dtype)
        rng = default_generator() if rng is None else rng
        self.in_features, self.out_features = in_features, out_features
        bound = 1 / np.sqrt(in_features)
        weight = rng.uniform(-bound, bound, (out_features, in_features))
        self.params["weight"] = weight.astype(dtype)
        if bias:
            self.params["bias"] = rng.uniform(-bound, bound, out_features).astype(dtype)

    def _check_input(self, x):
        super()._check_input(x)
        if x.ndim == 0 or x.shape[-1] != self.in_features:
            raise ValueError(
                f"x must have {self.in_features} features on its last axis, "
                f"got shape {x.shape}"
            )

    def _forward(self, x):
        return linear_forward(x, self.weight, self.params.get("bias"))

    def _backward(self, dy, cache):
        dx, self.grads["weight"], dbias = linear_backward(dy, cache)
        if "bias" in self.params:
            self.grads["bias"] = dbias
        return dx
