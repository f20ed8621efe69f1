"""The gradient check finds what is wrong, and where."""

import numpy as np
import pytest

from dropnorm.gradcheck import gradcheck, numerical_gradient
from dropnorm.layers import BatchNorm1d, Dropout, Linear

X = np.random.default_rng(0).standard_normal((5, 4))


def test_numerical_gradient_of_a_known_function():
    x = np.array([1.0, -2.0, 0.5])
    before = x.copy()
    gradient = numerical_gradient(lambda: float((x**3).sum()), x)
    np.testing.assert_allclose(gradient, 3 * before**2, rtol=1e-8)
    np.testing.assert_array_equal(x, before)


def test_a_random_layer_is_checked_with_one_mask_and_left_alone():
    rng = np.random.default_rng(1)
    state = rng.bit_generator.state
    layer = Dropout(0.4, rng=rng)
    assert gradcheck(layer, X).passed
    assert rng.bit_generator.state == state
    with pytest.raises(ValueError, match="needs a forward"):
        layer.backward(X)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_input_of_any_seed_judges_a_batch_norm(seed):
    # With coefficients c = x the gradient would vanish, and only noise be compared.
    report = gradcheck(BatchNorm1d(3), np.random.default_rng(seed).normal(size=(6, 3)))
    assert report.passed, report


class WrongAtOnePlace(Linear):
    def _backward(self, dy, cache):
        dx = super()._backward(dy, cache)
        self.grads["weight"][2, 1] += 0.5
        return dx


class FreshMask(Dropout):
    def _backward(self, dy, cache):
        return dy * (self.rng.random(dy.shape) >= self.p) / (1 - self.p)


class NoBiasGradient(Linear):
    def _backward(self, dy, cache):
        dx = super()._backward(dy, cache)
        del self.grads["bias"]
        return dx


class NotANumber(Linear):
    def _backward(self, dy, cache):
        dx = super()._backward(dy, cache)
        dx[3, 2] = np.nan
        return dx


@pytest.mark.parametrize(
    "layer, name, index",
    [
        (WrongAtOnePlace(4, 3), "weight", (2, 1)),
        (FreshMask(0.4, rng=np.random.default_rng(0)), "x", None),
        (NoBiasGradient(4, 3), "bias", None),
        (NotANumber(4, 3), "x", (3, 2)),
    ],
)
def test_a_wrong_backward_is_found_and_located(layer, name, index):
    report = gradcheck(layer, X)
    assert not report.passed
    assert report.name == name
    if index is not None:
        assert report.index == index
    assert repr(report).startswith(f"gradcheck FAILED for {', '.join(report.errors)}")
    assert f"worst {name}[" in repr(report)


def test_a_right_backward_says_so():
    assert repr(gradcheck(Linear(4, 3), X)).startswith(
        "gradcheck passed for x, weight, bias"
    )


@pytest.mark.parametrize("bad", [X.astype(np.float32), X.tolist()])
def test_only_float64_can_be_checked(bad):
    with pytest.raises(TypeError, match="x must be a float64 array"):
        gradcheck(Dropout(), bad)
    with pytest.raises(TypeError, match="x must be float64"):
        numerical_gradient(lambda: 0.0, X.astype(np.float32))
