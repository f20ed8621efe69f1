"""Every layer against PyTorch, against finite differences, and on bad input."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dropnorm.gradcheck import gradcheck, numerical_gradient
from dropnorm.layers import (
    CrossEntropyLoss,
    Dropout,
    Layer,
    Linear,
    ReLU,
    Sequential,
)

TOLERANCE = {np.float64: 1e-12, np.float32: 2e-5}


def normal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


class Replay:
    """A stand-in for a generator: uniforms that keep exactly where `keep` says."""

    def __init__(self, keep):
        self.keep = keep

    def random(self, size, dtype):
        assert size == self.keep.shape
        return self.keep.astype(dtype)  # 1 is above every p < 1, 0 below every p > 0


def compare_with_torch(layer, module, x, rtol):
    """Outputs and all gradients of a layer and its PyTorch counterpart agree."""
    y = layer(x)
    x_torch = torch.tensor(x, requires_grad=True)
    y_torch = module(x_torch)
    np.testing.assert_allclose(y, y_torch.detach(), rtol, rtol)
    dy = normal(*y.shape, seed=1, dtype=x.dtype)
    dx = layer.backward(dy)
    y_torch.backward(torch.tensor(dy))
    np.testing.assert_allclose(dx, x_torch.grad, rtol, rtol)
    for name, parameter in module.named_parameters():
        np.testing.assert_allclose(layer.grads[name], parameter.grad, rtol, rtol)
    assert y.dtype == dx.dtype == x.dtype


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


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_relu_equals_torch(dtype):
    x = normal(4, 3, 2, dtype=dtype)
    x[0, 0, 0] = 0  # PyTorch, too, takes the derivative 0 here
    compare_with_torch(ReLU(), torch.nn.ReLU(), x, TOLERANCE[dtype])


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


def assert_binomial(successes, trials, q, alpha=1e-9):
    """Chernoff's bound: n KL(K/n ‖ q) ≤ ln(2/α), whatever the seed."""
    rate = successes / trials
    divergence = sum(
        a * np.log(a / b) for a, b in [(rate, q), (1 - rate, 1 - q)] if a > 0
    )
    assert trials * divergence <= np.log(2 / alpha), f"rate {rate:.4f}, expected {q}"


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


@pytest.mark.parametrize("training", [True, False])
def test_gradients_of_a_network(training):
    rng = np.random.default_rng(0)
    net = Sequential(
        Linear(4, 6, rng=rng), ReLU(), Dropout(0.3, rng=rng), Linear(6, 3, rng=rng)
    )
    report = gradcheck(net if training else net.eval(), normal(5, 4))
    assert report.passed, report
    assert set(report.errors) == {"x", *net.params}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_cross_entropy_equals_torch(dtype):
    logits = torch.tensor(normal(6, 4), dtype=dtype) * 5 + 1e4
    target = np.array([0, 3, 1, 1, 2, 0])
    loss = CrossEntropyLoss()
    with_grad = logits.clone().requires_grad_()
    expected = torch.nn.functional.cross_entropy(with_grad, torch.tensor(target))
    expected.backward()
    value, gradient = loss(logits.numpy(), target), loss.backward()
    tolerance = TOLERANCE[logits.numpy().dtype.type]
    assert value == pytest.approx(expected.item(), rel=tolerance)
    np.testing.assert_allclose(gradient, with_grad.grad, tolerance, tolerance)
    assert gradient.dtype == logits.numpy().dtype


def test_cross_entropy_gradient_by_differences():
    logits, target = normal(3, 4), np.array([3, 0, 2])
    loss = CrossEntropyLoss()
    loss(logits, target)
    expected = numerical_gradient(lambda: CrossEntropyLoss()(logits, target), logits)
    np.testing.assert_allclose(loss.backward(), expected, atol=1e-9)


def test_cross_entropy_of_huge_logits_is_finite():
    loss = CrossEntropyLoss()
    assert loss(np.array([[1e4, 0.0]]), np.array([1])) == 1e4
    np.testing.assert_array_equal(loss.backward(), [[1.0, -1.0]])


def test_sequential_shares_arrays_and_mode():
    net = Sequential(Linear(2, 3), Sequential(Dropout(), Linear(3, 1)))
    names = {"0.weight", "0.bias", "1.1.weight", "1.1.bias"}
    assert set(net.params) == names and net.buffers == {}
    net.params["1.1.weight"][...] = 7
    assert (net[1][1].weight == 7).all()
    net.eval()
    assert not net[1][0].training and not net.training
    net.train()
    assert net[1][0].training and net.training
    net(np.ones((4, 2)))
    net.backward(np.ones((4, 1)))
    assert set(net.grads) == names and len(net) == 2


def test_parameters_are_assigned_in_place():
    layer = Linear(2, 1)
    layer.weight[...] = [[1, 2]]
    layer.bias += 1
    np.testing.assert_array_equal(layer.params["weight"], [[1, 2]])
    with pytest.raises(AttributeError, match=r"layer\.weight\[\.\.\.\] = value"):
        layer.weight = np.zeros((1, 2))
    with pytest.raises(AttributeError, match="Linear has no attribute 'wieght'"):
        _ = layer.wieght


def test_rng_none_is_the_packages_generator():
    from dropnorm import reproducible

    def draw():
        return Linear(3, 2).weight, Dropout(0.4)(np.ones((20, 20)))

    default, threads = torch.get_default_dtype(), torch.get_num_threads()
    try:
        reproducible(5)
        first = draw()
        reproducible(5)
        again, further = draw(), draw()
    finally:
        torch.set_default_dtype(default)
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[1] != further[1]).any()


X = np.ones((2, 3))
BAD = [
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
    (lambda: ReLU()(X > 0), TypeError, "got bool"),
    (lambda: Linear(0, 2), ValueError, "in_features must be at least 1, got 0"),
    (lambda: Linear(3, 2.5), TypeError, "out_features must be an integer, got 2.5"),
    (lambda: Linear(3, 2, dtype=int), TypeError, "dtype must be float32 or float64"),
    (lambda: Linear(4, 2)(X), ValueError,
     r"x must have 4 features on its last axis, got shape \(2, 3\)"),
    (lambda: Linear(3, 2)(X.astype(np.float32)), TypeError,
     "x must have the dtype of the layer, float64, got float32"),
    (lambda: Sequential(ReLU(), torch.nn.ReLU()), TypeError,
     "layer 1 must be a Layer"),
    (lambda: Sequential(ReLU()).backward(X), ValueError,
     "backward of Sequential needs a forward"),
    (lambda: Layer()(X), NotImplementedError, "Layer defines no _forward"),
    (lambda: CrossEntropyLoss().backward(), ValueError, "needs a forward before it"),
    (lambda: CrossEntropyLoss()(X[0], np.array([0])), ValueError, r"shape \(N, K\)"),
    (lambda: CrossEntropyLoss()(X, np.array([0.0, 1.0])), TypeError, "integers"),
    (lambda: CrossEntropyLoss()(X, np.array([0])), ValueError,
     r"target must have shape \(2,\), got \(1,\)"),
    (lambda: CrossEntropyLoss()(X, np.array([0, 3])), ValueError,
     "target must lie between 0 and 2, got 0 to 3"),
]  # fmt: skip


@pytest.mark.parametrize("action, error, message", BAD)
def test_bad_input_is_named(action, error, message):
    with pytest.raises(error, match=message):
        action()


@pytest.mark.parametrize("dy", [np.ones((2, 4)), np.ones((2, 3), dtype=int)])
def test_a_bad_gradient_is_named(dy):
    layer = ReLU()
    layer(X)
    message = r"dy must have the output's shape \(2, 3\), got \(2, 4\)|dy .* int64"
    with pytest.raises((TypeError, ValueError), match=message):
        layer.backward(dy)
