"""Convolution against PyTorch, finite differences and a sum by hand."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dropnorm import reproducible
from dropnorm.data import digits
from dropnorm.gradcheck import gradcheck
from dropnorm.layers import (
    AvgPool2d,
    Conv2d,
    CrossEntropyLoss,
    Flatten,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
    conv2d_backward,
    conv2d_forward,
)
from dropnorm.optim import SGD


def normal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def pair_of_convs(*args, dtype=np.float64, **options):
    """Our layer and a module of the same arguments; the fixture copies the weights."""
    layer = Conv2d(*args, **options, rng=np.random.default_rng(0), dtype=dtype)
    dtype = torch.float64 if dtype == np.float64 else torch.float32
    return layer, torch.nn.Conv2d(*args, **options, dtype=dtype)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("padding", [0, 1, (2, 3)])
@pytest.mark.parametrize("stride", [1, (3, 2)])
@pytest.mark.parametrize("kernel_size", [1, 3, (4, 2)])
def test_conv_equals_torch(
    same_as_torch, layout, kernel_size, stride, padding, bias, dtype
):
    layer, module = pair_of_convs(
        3, 4, kernel_size, stride, padding, bias=bias, dtype=dtype
    )
    x = layout(normal(2, 3, 6, 7, dtype=dtype))
    dy = layout(normal(*layer(x).shape, seed=1, dtype=dtype))
    same_as_torch(layer, module, x, dy)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", [(64, 1, 8, 8), (5, 16, 9, 11), (1, 1, 3, 3)])
def test_conv_of_other_sizes_and_a_large_mean_equals_torch(same_as_torch, shape, dtype):
    layer, module = pair_of_convs(shape[1], 8, 3, padding=1, dtype=dtype)
    same_as_torch(layer.eval(), module, normal(*shape, dtype=dtype) + dtype(1e4))


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_conv_of_any_shape_equals_torch(data):
    small, one = st.integers(1, 4), st.integers(1, 3)
    n, channels, out = data.draw(st.tuples(st.integers(0, 3), one, one))
    size = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    kernel, stride = data.draw(st.tuples(small, small)), data.draw(st.tuples(one, one))
    padding = data.draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    assume(all(k <= h + 2 * p for k, h, p in zip(kernel, size, padding, strict=True)))
    x = torch.tensor(normal(n, channels, *size), requires_grad=True)
    weight = torch.tensor(normal(out, channels, *kernel, seed=1), requires_grad=True)
    bias = torch.tensor(normal(out, seed=2), requires_grad=True)
    expected = torch.nn.functional.conv2d(x, weight, bias, stride, padding)
    arrays = [tensor.detach().numpy() for tensor in (x, weight, bias)]
    y, cache = conv2d_forward(*arrays, stride, padding)
    np.testing.assert_allclose(y, expected.detach(), 1e-12, 1e-12)
    dy = normal(*y.shape, seed=3)
    expected.backward(torch.from_numpy(dy))
    for got, tensor in zip(conv2d_backward(dy, cache), (x, weight, bias), strict=True):
        np.testing.assert_allclose(got, tensor.grad, 1e-12, 1e-12)


def test_the_kernel_is_not_flipped_and_leftovers_are_unused():
    x = np.arange(20.0).reshape(1, 1, 4, 5)
    weight = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    y, cache = conv2d_forward(x, weight, np.array([100.0]), stride=2)
    # Top left: 1·0 + 2·1 + 3·5 + 4·6 = 41; two columns on, every term is 2 more.
    np.testing.assert_array_equal(y, [[[[141, 161], [241, 261]]]])
    dx, _, _ = conv2d_backward(np.ones_like(y), cache)
    np.testing.assert_array_equal(dx[0, 0, :, 4], 0)  # no window reaches column 4
    np.testing.assert_array_equal(dx[0, 0, :2, :4], [[1, 2, 1, 2], [3, 4, 3, 4]])


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": (2, 3), "stride": (2, 1), "padding": (0, 2)},
        {"kernel_size": 2, "stride": 3, "bias": False},
    ],
)
def test_gradients_by_differences(options, mode):
    layer = Conv2d(2, 3, **options, rng=np.random.default_rng(0))
    report = gradcheck(getattr(layer, mode)(), normal(2, 2, 5, 4))
    assert report.passed, report
    assert set(report.errors) == {"x", *layer.params}


def test_backward_belongs_to_the_latest_forward(same_as_torch):
    layer, module = pair_of_convs(2, 3, 3)
    layer(normal(4, 2, 8, 8, seed=5))
    same_as_torch(layer, module, normal(2, 2, 5, 5))
    dy = normal(2, 3, 3, 3)
    first, grad = layer.backward(dy), layer.grads["weight"]
    np.testing.assert_array_equal(layer.backward(dy), first)  # the cache is not used up
    np.testing.assert_array_equal(layer.grads["weight"], grad)


def assert_uniform(values, bound, alpha=1e-9):
    """Within ±bound; a half is below 0 and a half nearer to 0 than bound/2.

    By Hoeffding: |K/n − 1/2| ≤ √(ln(2/α) / 2n).
    """
    assert abs(values).max() <= bound
    slack = np.sqrt(np.log(2 / alpha) / (2 * values.size))
    assert abs((values < 0).mean() - 0.5) <= slack
    assert abs((abs(values) < bound / 2).mean() - 0.5) <= slack


@pytest.mark.parametrize("kernel_size, fan_in", [(4, 64), ((2, 8), 64), ((1, 4), 16)])
def test_conv_starts_in_the_range_of_torch(kernel_size, fan_in):
    layer = Conv2d(4, 2000, kernel_size)
    assert_uniform(layer.weight, 1 / np.sqrt(fan_in))
    assert_uniform(layer.bias, 1 / np.sqrt(fan_in))
    module = torch.nn.Conv2d(4, 2000, kernel_size)
    assert layer.weight.shape == module.weight.shape
    assert abs(layer.weight).max() == pytest.approx(
        module.weight.abs().max().item(), rel=0.01
    )
    assert abs(layer.bias).max() == pytest.approx(
        module.bias.abs().max().item(), rel=0.05
    )


def test_conv_draws_from_its_generator_or_the_packages():
    def first(rng):
        return Conv2d(2, 3, 3, rng=rng).weight

    seven = first(np.random.default_rng(7))
    np.testing.assert_array_equal(seven, first(np.random.default_rng(7)))
    reproducible(7)
    np.testing.assert_array_equal(first(None), seven)
    assert (first(None) != seven).any()


def test_a_cnn_and_its_torch_twin_learn_digits_alike():
    rng = np.random.default_rng(0)
    net = Sequential(
        Conv2d(1, 6, 3, padding=1, rng=rng),
        ReLU(),
        MaxPool2d(2),
        Conv2d(6, 12, (2, 3), rng=rng),
        ReLU(),
        AvgPool2d(2, 1, padding=1, count_include_pad=False),
        Flatten(),
        Linear(12 * 4 * 3, 10, rng=rng),
    )
    twin = torch.nn.Sequential(
        torch.nn.Conv2d(1, 6, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(6, 12, (2, 3)),
        torch.nn.ReLU(),
        torch.nn.AvgPool2d(2, 1, padding=1, count_include_pad=False),
        torch.nn.Flatten(),
        torch.nn.Linear(12 * 4 * 3, 10),
    ).double()
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            parameter.copy_(torch.from_numpy(net.params[name]))
    split, loss = digits(0, n_train=320), CrossEntropyLoss()
    ours = SGD(net, lr=0.1, momentum=0.9)
    theirs = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for step in range(30):
        rows = np.arange(64) + 64 * (step % 5)
        # Pixels take 17 values, so that windows of max pooling have many ties.
        x, y = split.x_train[rows].reshape(-1, 1, 8, 8), split.y_train[rows]
        losses.append(loss(net(x), y))
        net.backward(loss.backward())
        ours.step()

        theirs.zero_grad()
        reference = torch.nn.functional.cross_entropy(
            twin(torch.from_numpy(x)), torch.from_numpy(y)
        )
        reference.backward()
        theirs.step()
        assert losses[-1] == pytest.approx(reference.item(), abs=1e-9)
    assert losses[-1] < losses[0] / 4


X = np.ones((2, 3, 4, 5))
BAD = [
    (lambda: Conv2d(0, 2, 3), ValueError, "in_channels must be at least 1, got 0"),
    (lambda: Conv2d(2, 1.5, 3), TypeError, "out_channels must be an integer, got 1.5"),
    (lambda: Conv2d(2, 2, 0), ValueError, "kernel_size must be at least 1, got 0"),
    (lambda: Conv2d(2, 2, (3, -1)), ValueError, r"kernel_size .* got \(3, -1\)"),
    (lambda: Conv2d(2, 2, (3, 3, 3)), TypeError,
     r"kernel_size must be an integer or a pair of them, got \(3, 3, 3\)"),
    (lambda: Conv2d(2, 2, 2.0), TypeError, "kernel_size must be .* got 2.0"),
    (lambda: Conv2d(2, 2, 3, True), TypeError, "stride must be .* got True"),
    (lambda: Conv2d(2, 2, 3, 0), ValueError, "stride must be at least 1, got 0"),
    (lambda: Conv2d(2, 2, 3, (1, 0)), ValueError, r"stride .* got \(1, 0\)"),
    (lambda: Conv2d(2, 2, 3, padding=-1), ValueError,
     "padding must be at least 0, got -1"),
    (lambda: Conv2d(2, 2, 3, padding="same"), TypeError,
     "padding must be an integer or a pair of them, got 'same'"),
    (lambda: Conv2d(2, 2, 3, dtype=int), TypeError, "float32 or float64, got int64"),
    (lambda: Conv2d(2, 2, 3)(X), ValueError,
     r"x must have 2 channels on its second axis, got shape \(2, 3, 4, 5\)"),
    (lambda: Conv2d(3, 2, 3)(X[0]), ValueError,
     r"x must have shape \(N, C, H, W\) .* got \(3, 4, 5\)"),
    (lambda: Conv2d(3, 2, 1)(X[:, :, :, :0]), ValueError,
     r"H and W of at least 1, got \(2, 3, 4, 0\)"),
    (lambda: Conv2d(3, 2, 3)(X.astype(int)), TypeError,
     "x must be an array of float32 or float64, got int64"),
    (lambda: Conv2d(3, 2, 3)(X.astype(np.float32)), TypeError,
     "x must have the dtype of the layer, float64, got float32"),
    (lambda: Conv2d(3, 2, (5, 2))(X), ValueError,
     r"kernel_size \(5, 2\) must not exceed the padded input's height and width, "
     r"\(4, 5\)"),
    (lambda: Conv2d(3, 2, (2, 8), padding=1)(X), ValueError,
     r"kernel_size \(2, 8\) .* \(6, 7\)"),
    (lambda: conv2d_forward(X, np.ones((1, 3, 2, 2)), stride=0), ValueError,
     "stride must be at least 1, got 0"),
    (lambda: Conv2d(3, 2, 3).backward(X), ValueError,
     "backward of Conv2d needs a forward before it"),
]  # fmt: skip


@pytest.mark.parametrize("action, error, message", BAD)
def test_bad_input_is_named(action, error, message):
    with pytest.raises(error, match=message):
        action()


def test_a_kernel_as_large_as_the_padded_input_is_accepted():
    assert Conv2d(3, 2, (6, 7), padding=1)(X).shape == (2, 2, 1, 1)
