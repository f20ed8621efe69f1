"""Neural-network layers in NumPy, forward and backward by hand.

A layer is a pair of pure functions, ``xxx_forward(x, ...) -> (y, cache)`` and
``xxx_backward(dy, cache) -> (dx, ...)``, and a thin class that keeps parameters,
mode and cache. Names, argument order and defaults are PyTorch's.
"""

from dropnorm.layers.activations import (
    ReLU,
    Sigmoid,
    Tanh,
    relu_backward,
    relu_forward,
    sigmoid_backward,
    sigmoid_forward,
    tanh_backward,
    tanh_forward,
)
from dropnorm.layers.base import Layer
from dropnorm.layers.batchnorm import (
    BatchNorm1d,
    BatchNorm2d,
    batchnorm_backward,
    batchnorm_eval_backward,
    batchnorm_eval_forward,
    batchnorm_forward,
)
from dropnorm.layers.dropout import (
    Dropout,
    Dropout2d,
    dropout2d_forward,
    dropout_backward,
    dropout_forward,
)
from dropnorm.layers.flatten import Flatten, flatten_backward, flatten_forward
from dropnorm.layers.linear import Linear, linear_backward, linear_forward
from dropnorm.layers.losses import (
    CrossEntropyLoss,
    MSELoss,
    cross_entropy_backward,
    cross_entropy_forward,
    mse_backward,
    mse_forward,
)
from dropnorm.layers.normalization import (
    GroupNorm,
    InstanceNorm2d,
    LayerNorm,
    groupnorm_backward,
    groupnorm_forward,
    layernorm_backward,
    layernorm_forward,
)
from dropnorm.layers.sequential import Sequential

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "CrossEntropyLoss",
    "Dropout",
    "Dropout2d",
    "Flatten",
    "GroupNorm",
    "InstanceNorm2d",
    "Layer",
    "LayerNorm",
    "Linear",
    "MSELoss",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Tanh",
    "batchnorm_backward",
    "batchnorm_eval_backward",
    "batchnorm_eval_forward",
    "batchnorm_forward",
    "cross_entropy_backward",
    "cross_entropy_forward",
    "dropout2d_forward",
    "dropout_backward",
    "dropout_forward",
    "flatten_backward",
    "flatten_forward",
    "groupnorm_backward",
    "groupnorm_forward",
    "layernorm_backward",
    "layernorm_forward",
    "linear_backward",
    "linear_forward",
    "mse_backward",
    "mse_forward",
    "relu_backward",
    "relu_forward",
    "sigmoid_backward",
    "sigmoid_forward",
    "tanh_backward",
    "tanh_forward",
]
