"""Neural-network layers in NumPy, forward and backward by hand.

A layer is a pair of pure functions, ``xxx_forward(x, ...) -> (y, cache)`` and
``xxx_backward(dy, cache) -> (dx, ...)``, and a thin class that keeps parameters,
mode and cache. Names, argument order and defaults are PyTorch's.

Linear, Conv2d                             weights
MaxPool2d, AvgPool2d, GlobalAvgPool2d      pooling
ReLU, Sigmoid, Tanh                        activations
Dropout, Dropout2d                         dropout
BatchNorm1d, BatchNorm2d                   normalization by the batch
LayerNorm, GroupNorm, InstanceNorm2d       normalization by the example
CrossEntropyLoss, MSELoss                  losses
Flatten, Sequential                        shape, and layers in a row
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
from dropnorm.layers.conv import Conv2d, conv2d_backward, conv2d_forward
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
from dropnorm.layers.pooling import (
    AvgPool2d,
    GlobalAvgPool2d,
    MaxPool2d,
    avg_pool2d_backward,
    avg_pool2d_forward,
    global_avg_pool2d_backward,
    global_avg_pool2d_forward,
    max_pool2d_backward,
    max_pool2d_forward,
)
from dropnorm.layers.sequential import Sequential

__all__ = [
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Dropout2d",
    "Flatten",
    "GlobalAvgPool2d",
    "GroupNorm",
    "InstanceNorm2d",
    "Layer",
    "LayerNorm",
    "Linear",
    "MSELoss",
    "MaxPool2d",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Tanh",
    "avg_pool2d_backward",
    "avg_pool2d_forward",
    "batchnorm_backward",
    "batchnorm_eval_backward",
    "batchnorm_eval_forward",
    "batchnorm_forward",
    "conv2d_backward",
    "conv2d_forward",
    "cross_entropy_backward",
    "cross_entropy_forward",
    "dropout2d_forward",
    "dropout_backward",
    "dropout_forward",
    "flatten_backward",
    "flatten_forward",
    "global_avg_pool2d_backward",
    "global_avg_pool2d_forward",
    "groupnorm_backward",
    "groupnorm_forward",
    "layernorm_backward",
    "layernorm_forward",
    "linear_backward",
    "linear_forward",
    "max_pool2d_backward",
    "max_pool2d_forward",
    "mse_backward",
    "mse_forward",
    "relu_backward",
    "relu_forward",
    "sigmoid_backward",
    "sigmoid_forward",
    "tanh_backward",
    "tanh_forward",
]
