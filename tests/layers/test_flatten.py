"""Flatten against PyTorch, and on bad input."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import TOLERANCE, compare_with_torch, normal

from dropnorm.layers import Flatten


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_flatten_keeps_the_examples_by_default(dtype):
    x = normal(2, 3, 4, 5, dtype=dtype)
    assert Flatten()(x).shape == (2, 60)
    compare_with_torch(Flatten(), torch.nn.Flatten(), x, TOLERANCE[dtype])


@settings(deadline=None, max_examples=80)
@given(data=st.data())
def test_flatten_equals_torch_for_any_axes(data):
    shape = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=5).map(tuple))
    rank = len(shape)
    start = data.draw(st.integers(0, rank - 1))
    end = data.draw(st.integers(start, rank - 1))
    start -= data.draw(st.sampled_from([0, rank]))
    end -= data.draw(st.sampled_from([0, rank]))
    layer, module = Flatten(start, end), torch.nn.Flatten(start, end)
    compare_with_torch(layer, module, normal(*shape), 0)


def test_flatten_of_permuted_axes_goes_by_index_and_not_by_memory():
    x = normal(2, 4, 5, 3).transpose(0, 3, 1, 2)
    layer = Flatten()
    y = layer(x)
    np.testing.assert_array_equal(y, np.ascontiguousarray(x).reshape(2, 60))
    np.testing.assert_array_equal(layer.backward(y), x)


def test_flatten_of_a_number_is_an_array_of_one():
    layer = Flatten(0)
    assert layer(np.array(2.0)).shape == (1,)
    assert layer.backward(np.ones(1)).shape == ()


X = np.ones((2, 3))
BAD = [
    (lambda: Flatten(1.0), TypeError, "start_dim must be an integer, got 1.0"),
    (lambda: Flatten(1, None), TypeError, "end_dim must be an integer, got None"),
    (lambda: Flatten(2)(X), ValueError,
     r"x must have the axis start_dim = 2, got shape \(2, 3\)"),
    (lambda: Flatten(0, -3)(X), ValueError, "x must have the axis end_dim = -3"),
    (lambda: Flatten()(X[0]), ValueError, "x must have the axis start_dim = 1"),
    (lambda: Flatten(1, 0)(X), ValueError,
     r"start_dim = 1 must not come after end_dim = 0 in an x of shape \(2, 3\)"),
    (lambda: Flatten()(X > 0), TypeError, "got bool"),
    (lambda: Flatten().backward(X), ValueError,
     "backward of Flatten needs a forward before it"),
]  # fmt: skip


@pytest.mark.parametrize("action, error, message", BAD)
def test_bad_input_is_named(action, error, message):
    with pytest.raises(error, match=message):
        action()
