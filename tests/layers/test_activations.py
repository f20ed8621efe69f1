"""Activations against PyTorch, and on bad input."""

import numpy as np
import pytest
import torch
from oracles import TOLERANCE, compare_with_torch, normal

from dropnorm.layers import ReLU


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_relu_equals_torch(dtype):
    x = normal(4, 3, 2, dtype=dtype)
    x[0, 0, 0] = 0  # PyTorch, too, takes the derivative 0 here
    compare_with_torch(ReLU(), torch.nn.ReLU(), x, TOLERANCE[dtype])


X = np.ones((2, 3))
BAD = [
    (lambda: ReLU()(X > 0), TypeError, "got bool"),
]  # fmt: skip


@pytest.mark.parametrize("action, error, message", BAD)
def test_bad_input_is_named(action, error, message):
    with pytest.raises(error, match=message):
        action()
