"""Activations against PyTorch, against finite differences, and on bad input."""

import numpy as np
import pytest
import torch
from oracles import TOLERANCE, compare_with_torch, normal

from dropnorm.gradcheck import gradcheck
from dropnorm.layers import ReLU, Sigmoid, Tanh


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_relu_equals_torch(dtype):
    x = normal(4, 3, 2, dtype=dtype)
    x[0, 0, 0] = 0  # PyTorch, too, takes the derivative 0 here
    compare_with_torch(ReLU(), torch.nn.ReLU(), x, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", [(7,), (4, 3, 2), (0, 3)])
@pytest.mark.parametrize("name", ["Sigmoid", "Tanh"])
def test_smooth_activations_equal_torch(name, shape, dtype):
    layer, module = {"Sigmoid": Sigmoid, "Tanh": Tanh}[name](), getattr(torch.nn, name)
    x = 3 * normal(*shape, dtype=dtype)
    compare_with_torch(layer, module(), x, TOLERANCE[dtype])


@pytest.mark.parametrize("layer", [Sigmoid(), Tanh()], ids=["Sigmoid", "Tanh"])
def test_smooth_activations_by_differences(layer):
    report = gradcheck(layer, normal(4, 3))
    assert report.passed, report


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_sigmoid_is_exact_far_out_and_never_overflows(dtype):
    x = np.array([-1000, -40, -5, -0.0, 5, 40, 1000], dtype)
    y = Sigmoid()(x)  # a warning would fail
    expected = torch.sigmoid(torch.tensor(x, dtype=torch.float64))
    np.testing.assert_allclose(y, expected, rtol=4 * np.finfo(dtype).eps)
    assert y[1] > 0 and y[-1] == 1 and y[0] == 0


X = np.ones((2, 3))
BAD = [
    (lambda: Sigmoid()(np.arange(3)), TypeError, "float32 or float64, got int64"),
    (lambda: Tanh()([0.5]), TypeError, "x must be a NumPy array, got list"),
    (lambda: Tanh().backward(X), ValueError,
     "backward of Tanh needs a forward before it"),
    (lambda: ReLU()(X > 0), TypeError, "got bool"),
]  # fmt: skip


@pytest.mark.parametrize("action, error, message", BAD)
def test_bad_input_is_named(action, error, message):
    with pytest.raises(error, match=message):
        action()
