"""Layers in a row."""

from dropnorm.layers.base import Layer


class Sequential(Layer):
    """Runs layers one after the other, as ``torch.nn.Sequential``.

    Parameters
    ----------
    *layers : Layer

    Attributes
    ----------
    params, grads, buffers : dict of str to numpy.ndarray
        Those of the layers, under ``"0.weight"``, ``"0.bias"``, ...: the arrays
        themselves, not copies.

    Raises
    ------
    TypeError
        If an argument is not a layer.
    """

    def __init__(self, *layers):
        super().__init__()
        for index, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                raise TypeError(f"layer {index} must be a Layer, got {layer!r}")
        self.layers = layers
        self.params = self._gather("params")
        self.buffers = self._gather("buffers")

    def _gather(self, kind):
        return {
            f"{index}.{name}": array
            for index, layer in enumerate(self.layers)
            for name, array in getattr(layer, kind).items()
        }

    def _check_input(self, x):
        pass  # each layer checks its own

    def _forward(self, x):
        for layer in self.layers:
            x = layer.forward(x)
        return x, None

    def _backward(self, dy, cache):
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
        self.grads = self._gather("grads")
        return dy

    def train(self):
        for layer in self.layers:
            layer.train()
        return super().train()

    def eval(self):
        for layer in self.layers:
            layer.eval()
        return super().eval()

    def __getitem__(self, index):
        return self.layers[index]

    def __len__(self):
        return len(self.layers)
