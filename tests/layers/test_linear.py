"""Linear against PyTorch, and on bad input."""

import numpy as np
import pytest
import torch
from oracles import TOLERANCE, compare_with_torch, normal

from dropnorm.layers import Linear


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", [(5, 3), (1, 3), (2, 4, 3), (3,)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_equals_torch(shape, bias, dtype):
    layer = Linear(3, 4, bias, rng=np.random.default_rng(0), dtype=dtype)
    module = torch.nn.Linear(3, 4, bias, dtype=torch.from_numpy(layer.weight).dtype)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(torch.from_numpy(layer.params[name]))
    assert set(layer.params) == dict(module.named_parameters()).keys()
    compare_with_torch(layer, module, normal(*shape, dtype=dtype), TOLERANCE[dtype])


def test_linear_starts_in_the_range_of_torch():
    layer = Linear(16, 1000, rng=np.random.default_rng(0))
    for values in (layer.weight, layer.bias):
        assert abs(values).max() <= 0.25  # 1 / sqrt(16)
        # Uniform on ±0.25: mean 0 and standard deviation 0.25 / sqrt(3).
        assert abs(values.mean()) < 6 * 0.25 / np.sqrt(3 * values.size)
        assert values.std() == pytest.approx(0.25 / np.sqrt(3), rel=0.1)


X = np.ones((2, 3))
BAD = [
    (lambda: Linear(0, 2), ValueError, "in_features must be at least 1, got 0"),
    (lambda: Linear(3, 2.5), TypeError, "out_features must be an integer, got 2.5"),
    (lambda: Linear(3, 2, dtype=int), TypeError, "dtype must be float32 or float64"),
    (lambda: Linear(4, 2)(X), ValueError,
     r"x must have 4 features on its last axis, got shape \(2, 3\)"),
    (lambda: Linear(3, 2)(X.astype(np.float32)), TypeError,
     "x must have the dtype of the layer, float64, got float32"),
]  # fmt: skip


@pytest.mark.parametrize("action, error, message", BAD)
def test_bad_input_is_named(action, error, message):
    with pytest.raises(error, match=message):
        action()
