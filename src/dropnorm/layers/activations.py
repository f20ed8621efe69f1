"""Activation functions."""

import numpy as np

from dropnorm.layers.base import Layer


def relu_forward(x):
    """y = max(x, 0), for an array of any shape; returns (y, cache)."""
    return np.maximum(x, 0), x > 0


def relu_backward(dy, cache):
    """dx = dy where x > 0, else 0; at x = 0 the derivative is taken as 0."""
    return dy * cache


class ReLU(Layer):
    """y = max(x, 0), as ``torch.nn.ReLU``. Any shape; no parameters."""

    def _forward(self, x):
        return relu_forward(x)

    def _backward(self, dy, cache):
        return relu_backward(dy, cache)
