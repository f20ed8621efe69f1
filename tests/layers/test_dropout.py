"""Dropout: its values, the statistics of its masks, and bad input."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import (
    TOLERANCE,
    Replay,
    assert_binomial,
    compare_with_torch,
    normal,
)

from dropnorm.gradcheck import gradcheck
from dropnorm.layers import Dropout, Dropout2d


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("p", [0.0, 0.1, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(7,), (6, 5), (4, 3, 2, 2)])
def test_dropout_equals_torch_given_its_mask(shape, p, dtype):
    x = torch.tensor(normal(*shape), dtype=dtype)
    torch.manual_seed(3)
    module = torch.nn.Dropout(p)
    keep = (module(torch.ones_like(x)) != 0).numpy()
    layer = Dropout(p, rng=Replay(keep))
    torch.manual_seed(3)
    compare_with_torch(layer, module, x.numpy(), TOLERANCE[x.numpy().dtype.type])


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_dropout_at_its_ends(p):
    x = normal(50, 3)
    layer = Dropout(p, rng=np.random.default_rng(0))
    expected = torch.nn.Dropout(p)(torch.tensor(x)).numpy()
    np.testing.assert_array_equal(layer(x), expected)
    np.testing.assert_array_equal(layer.backward(x), expected)


def test_dropout_keeps_exact_values_and_leaves_its_input():
    x = normal(200, 30)
    before = x.copy()
    y = Dropout(0.2, rng=np.random.default_rng(0))(x)
    np.testing.assert_array_equal(x, before)
    kept = y != 0
    np.testing.assert_allclose(y[kept], x[kept] / 0.8, rtol=1e-15)


@pytest.mark.parametrize("p", [0.1, 0.2, 0.7])
def test_dropout_masks_are_independent_with_the_right_rate(p):
    layer = Dropout(p)  # the package's generator: fresh in each process
    ones = np.ones((400, 100))
    first, second = layer(ones) != 0, layer(ones) != 0
    q = 1 - p
    assert_binomial(first.sum(), first.size, q)
    # Two events are independent if they coincide with the product of their rates.
    pairs = {
        "neighboring units": (first[:, :-1:2], first[:, 1::2]),
        "neighboring examples": (first[:-1:2], first[1::2]),
        "successive calls": (first, second),
        "two layers": (first, Dropout(p)(ones) != 0),
    }
    for a, b in pairs.values():
        assert_binomial((a & b).sum(), a.size, q * q)
        assert_binomial((~a & ~b).sum(), a.size, p * p)


def test_dropout_backward_uses_the_mask_of_its_forward():
    layer = Dropout(0.3, rng=np.random.default_rng(0))
    ones = np.ones((50, 20))
    y = layer(ones)
    np.testing.assert_array_equal(layer.backward(ones), y)
    y = layer(ones)  # of two forwards, the most recent counts
    np.testing.assert_array_equal(layer.backward(ones), y)


def test_dropout_in_evaluation_is_the_identity_and_draws_nothing():
    rng = np.random.default_rng(0)
    layer = Dropout(0.5, rng=rng).eval()
    state = copy.deepcopy(rng.bit_generator.state)
    x = normal(4, 3)
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(layer.backward(x), x)
    assert rng.bit_generator.state == state
    assert layer.train()(np.ones((99, 9))).min() == 0


@settings(deadline=None, max_examples=40)
@given(
    shape=st.lists(st.integers(0, 5), min_size=0, max_size=4).map(tuple),
    p=st.floats(0, 1),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_dropout_of_any_shape_keeps_or_scales(shape, p, dtype):
    x = np.full(shape, 3.0, dtype)
    y = Dropout(p, rng=np.random.default_rng(0))(x)
    assert y.shape == shape and y.dtype == dtype
    scaled = dtype(3) * dtype(1 / (1 - p)) if p < 1 else 0
    assert ((y == 0) | (y == scaled)).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("shape", [(6, 5, 3, 2), (1, 40, 1, 1), (0, 3, 2, 2)])
def test_dropout2d_equals_torch_given_its_mask(shape, p, dtype):
    x = torch.tensor(normal(*shape), dtype=dtype)
    torch.manual_seed(3)
    module = torch.nn.Dropout2d(p)
    keep = (module(torch.ones_like(x)) != 0).numpy()
    layer = Dropout2d(p, rng=Replay(keep[:, :, :1, :1]))  # one draw for each map
    torch.manual_seed(3)
    compare_with_torch(layer, module, x.numpy(), TOLERANCE[x.numpy().dtype.type])


@pytest.mark.parametrize("p", [0.1, 0.2, 0.7])
def test_dropout2d_drops_whole_maps_independently_with_the_right_rate(p):
    layer = Dropout2d(p)  # the package's generator: fresh in each process
    ones = np.ones((200, 100, 3, 2))

    def maps(y):
        """Which maps y keeps, of shape (N, C), after a look at every value."""
        scaled = np.where(y[:, :, :1, :1] == 0, 0, 1 / (1 - p))
        np.testing.assert_allclose(y, np.broadcast_to(scaled, y.shape), rtol=1e-15)
        return y[:, :, 0, 0] != 0

    first, second = maps(layer(ones)), maps(layer(ones))
    other = maps(Dropout2d(p)(ones))
    assert_binomial(first.sum(), first.size, 1 - p)
    pairs = {
        "neighboring channels": (first[:, :-1:2], first[:, 1::2]),
        "neighboring examples": (first[:-1:2], first[1::2]),
        "successive calls": (first, second),
        "two layers": (first, other),
    }
    for a, b in pairs.values():
        assert_binomial((a & b).sum(), a.size, (1 - p) ** 2)
        assert_binomial((~a & ~b).sum(), a.size, p * p)


def test_dropout2d_backward_uses_the_mask_of_its_forward():
    layer = Dropout2d(0.3, rng=np.random.default_rng(0))
    ones = np.ones((20, 10, 2, 2))
    layer(ones)
    y = layer(ones)  # of two forwards, the most recent counts
    np.testing.assert_array_equal(layer.backward(ones), y)
    layer.eval()  # the mode of the forward counts, not the present one
    np.testing.assert_array_equal(layer.backward(ones), y)


@pytest.mark.parametrize("training", [True, False])
def test_dropout2d_by_differences(training):
    layer = Dropout2d(0.4, rng=np.random.default_rng(0))
    report = gradcheck(layer if training else layer.eval(), normal(3, 4, 2, 2))
    assert report.passed, report


def test_dropout2d_in_evaluation_is_the_identity_and_draws_nothing():
    rng = np.random.default_rng(0)
    layer = Dropout2d(0.5, rng=rng).eval()
    state = copy.deepcopy(rng.bit_generator.state)
    x = normal(4, 3, 2, 2)
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(layer.backward(x), x)
    assert rng.bit_generator.state == state
    assert layer.train()(np.ones((99, 9, 1, 1))).min() == 0


X = np.ones((2, 3))
BAD = [
    (lambda: Dropout2d(1.2), ValueError, "p, the probability .* got 1.2"),
    (lambda: Dropout2d()(np.ones((2, 3, 4))), ValueError,
     r"x must have shape \(N, C, H, W\), got shape \(2, 3, 4\)"),
    (lambda: Dropout2d().eval()(X), ValueError, r"got shape \(2, 3\)"),
    (lambda: Dropout2d()(np.ones((2, 3, 4, 4), int)), TypeError, "got int64"),
    (lambda: Dropout2d().backward(X), ValueError,
     "backward of Dropout2d needs a forward before it"),
    (lambda: Dropout(1.2), ValueError, "p, the probability to drop a unit, must "
     "lie between 0 and 1, got 1.2"),
    (lambda: Dropout(-0.1), ValueError, "between 0 and 1, got -0.1"),
    (lambda: Dropout(float("nan")), ValueError, "between 0 and 1, got nan"),
    (lambda: Dropout("half"), TypeError, "p must be a number .* got 'half'"),
    (lambda: Dropout(True), TypeError, "p must be a number .* got True"),
    (lambda: Dropout().backward(X), ValueError,
     "backward of Dropout needs a forward before it"),
    (lambda: Dropout()(np.arange(6)), TypeError,
     "x must be an array of float32 or float64, got int64"),
    (lambda: Dropout()(X.astype(np.float16)), TypeError, "got float16"),
    (lambda: Dropout()([1.0, 2.0]), TypeError, "x must be a NumPy array, got list"),
]  # fmt: skip


@pytest.mark.parametrize("action, error, message", BAD)
def test_bad_input_is_named(action, error, message):
    with pytest.raises(error, match=message):
        action()
