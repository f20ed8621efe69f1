"""Neural-network layers in NumPy, forward and backward by hand.

A layer is a pair of pure functions, ``xxx_forward(x, ...) -> (y, cache)`` and
``xxx_backward(dy, cache) -> (dx, ...)``, and a thin class that keeps parameters,
mode and cache. Names, argument order and defaults are PyTorch's.
"""

from dropnorm.layers.activations import ReLU, relu_backward, relu_forward
from dropnorm.layers.base import Layer
from dropnorm.layers.dropout import Dropout, dropout_backward, dropout_forward
from dropnorm.layers.linear import Linear, linear_backward, linear_forward
from dropnorm.layers.losses import (
    CrossEntropyLoss,
    cross_entropy_backward,
    cross_entropy_forward,
)
from dropnorm.layers.sequential import Sequential

__all__ = [
    "CrossEntropyLoss",
    "Dropout",
    "Layer",
    "Linear",
    "ReLU",
    "Sequential",
    "cross_entropy_backward",
    "cross_entropy_forward",
    "dropout_backward",
    "dropout_forward",
    "linear_backward",
    "linear_forward",
    "relu_backward",
    "relu_forward",
]
