"""Neural-network layers in NumPy, forward and backward by hand.

A layer is a pair of pure functions, ``xxx_forward(x, ...) -> (y, cache)`` and
``xxx_backward(dy, cache) -> (dx, ...)``, and a thin class that keeps parameters,
mode and cache. Names, argument order and defaults are PyTorch's.

Linear                                fully connected
Conv2d                                convolution
MaxPool2d, AvgPool2d, GlobalAvgPool2d pooling
ReLU                                  activation
Dropout                               regularization
CrossEntropyLoss                      loss
Sequential                            layers in a row
"""

from dropnorm.layers.activations import ReLU, relu_backward, relu_forward
from dropnorm.layers.base import Layer
from dropnorm.layers.conv import Conv2d, conv2d_backward, conv2d_forward
from dropnorm.layers.dropout import Dropout, dropout_backward, dropout_forward
from dropnorm.layers.linear import Linear, linear_backward, linear_forward
from dropnorm.layers.losses import (
    CrossEntropyLoss,
    cross_entropy_backward,
    cross_entropy_forward,
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
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "GlobalAvgPool2d",
    "Layer",
    "Linear",
    "MaxPool2d",
    "ReLU",
    "Sequential",
    "avg_pool2d_backward",
    "avg_pool2d_forward",
    "conv2d_backward",
    "conv2d_forward",
    "cross_entropy_backward",
    "cross_entropy_forward",
    "dropout_backward",
    "dropout_forward",
    "global_avg_pool2d_backward",
    "global_avg_pool2d_forward",
    "linear_backward",
    "linear_forward",
    "max_pool2d_backward",
    "max_pool2d_forward",
    "relu_backward",
    "relu_forward",
]
