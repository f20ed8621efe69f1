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


def sigmoid_forward(x):
    """y = 1 / (1 + exp(−x)), for an array of any shape; returns (y, cache)."""
    small = np.exp(-abs(x))  # at most 1: exp(−x) would overflow at x = −1000
    # σ(x) = 1 / (1 + e^−x) = e^x / (1 + e^x)
    y = np.where(x >= 0, 1, small) / (1 + small)
    return y, y


def sigmoid_backward(dy, cache):
    """dx = dy y (1 − y)."""
    y = cache
    return dy * y * (1 - y)


class Sigmoid(Layer):
    """y = 1 / (1 + exp(−x)), as ``torch.nn.Sigmoid``. Any shape; no parameters."""

    def _forward(self, x):
        return sigmoid_forward(x)

    def _backward(self, dy, cache):
        return sigmoid_backward(dy, cache)


def tanh_forward(x):
    """y = tanh(x), for an array of any shape; returns (y, cache)."""
    y = np.tanh(x)
    return y, y


def tanh_backward(dy, cache):
    """dx = dy (1 − y²)."""
    y = cache
    return dy * (1 - y * y)


class Tanh(Layer):
    """y = tanh(x), as ``torch.nn.Tanh``. Any shape; no parameters."""

    def _forward(self, x):
        return tanh_forward(x)

    def _backward(self, dy, cache):
        return tanh_backward(dy, cache)
