"""Pooling against PyTorch, ties included, and against finite differences."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dropnorm.gradcheck import gradcheck
from dropnorm.layers import AvgPool2d, GlobalAvgPool2d, MaxPool2d, avg_pool2d_forward


def normal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def tied(*shape, dtype=np.float64):
    """Mostly 0 and 1, so that nearly every window has several maxima."""
    return np.random.default_rng(0).integers(0, 2, shape).astype(dtype)


KINDS = {
    "max": (MaxPool2d, torch.nn.MaxPool2d, {}),
    "average": (AvgPool2d, torch.nn.AvgPool2d, {}),
    "average without padding": (
        AvgPool2d,
        torch.nn.AvgPool2d,
        {"count_include_pad": False},
    ),
}
SIZES = [  # kernel, stride, padding
    (2, None, 0),
    (3, 2, 1),
    (3, 1, 0),
    ((2, 3), None, (1, 0)),
    ((3, 2), (1, 2), 1),
    (2, 3, 0),
    ((1, 4), (2, 1), (0, 2)),
    (1, None, 0),
]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("values", [normal, tied])
@pytest.mark.parametrize("kernel_size, stride, padding", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_pooling_equals_torch(
    same_as_torch, layout, kind, kernel_size, stride, padding, values, dtype
):
    ours, theirs, options = KINDS[kind]
    layer = ours(kernel_size, stride, padding, **options)
    module = theirs(kernel_size, stride, padding, **options)
    x = layout(values(2, 3, 6, 7, dtype=dtype))
    dy = layout(normal(*layer(x).shape, seed=1, dtype=dtype))
    same_as_torch(layer, module, x, dy)
    same_as_torch(layer.eval(), module, x - dtype(1e4), dy)  # all negative: no 0 wins


@settings(deadline=None, max_examples=100)
@given(data=st.data(), kind=st.sampled_from(list(KINDS)))
def test_pooling_of_any_shape_equals_torch(data, kind):
    ours, theirs, options = KINDS[kind]
    kernel = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in kernel)
    size = tuple(
        data.draw(st.integers(max(1, k - 2 * p), 9))
        for k, p in zip(kernel, padding, strict=True)
    )
    stride = data.draw(st.none() | st.tuples(st.integers(1, 5), st.integers(1, 5)))
    shape = (data.draw(st.integers(0, 3)), data.draw(st.integers(1, 3)), *size)
    layer = ours(kernel, stride, padding, **options)
    x = torch.tensor(tied(*shape) + normal(*shape).round(), requires_grad=True)
    expected = theirs(kernel, stride, padding, **options)(x)
    y = layer(x.detach().numpy())
    np.testing.assert_allclose(y, expected.detach(), 1e-12, 1e-12)
    dy = normal(*y.shape, seed=3)
    expected.backward(torch.from_numpy(dy))
    np.testing.assert_allclose(layer.backward(dy), x.grad, 1e-12, 1e-12)


def test_the_first_of_equal_maxima_gets_the_gradient():
    layer = MaxPool2d(2)
    x = np.array([[[[0.0, 5, 7, 7], [5, 5, 7, 7]]]])
    np.testing.assert_array_equal(layer(x), [[[[5, 7]]]])
    dx = layer.backward(np.array([[[[10.0, 20.0]]]]))
    np.testing.assert_array_equal(dx, [[[[0, 10, 20, 0], [0, 0, 0, 0]]]])


def test_padding_never_wins_even_against_minus_infinity(same_as_torch):
    x = np.full((1, 1, 3, 3), -np.inf)
    same_as_torch(MaxPool2d(2, 2, 1), torch.nn.MaxPool2d(2, 2, 1), x)


def test_a_nan_makes_its_windows_nan():
    x = normal(1, 2, 6, 6)
    x[0, 0, 2, 3] = x[0, 1, 0, 0] = np.nan
    layer = MaxPool2d(3, 1, 1)
    expected = torch.nn.MaxPool2d(3, 1, 1)(torch.tensor(x)).numpy()
    assert np.isnan(expected).sum() == 9 + 4
    np.testing.assert_array_equal(layer(x), expected)
    # The other windows pass their gradient on, as in PyTorch; those of a NaN do not.
    dx = layer.backward(np.ones_like(x))
    assert dx.sum() == x.size - 13 and np.isfinite(dx).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (0, 3, 2, 2), (4, 1, 1, 1)])
def test_global_average_equals_torch(same_as_torch, layout, shape, dtype):
    module = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    same_as_torch(GlobalAvgPool2d(), module, layout(normal(*shape, dtype=dtype)))


def test_global_average_returns_a_gradient_of_its_own():
    layer = GlobalAvgPool2d()
    layer(normal(2, 2, 2, 2))
    dx = layer.backward(np.ones((2, 2)))
    dx[0, 0, 0, 0] = 7  # not a view of one number
    assert dx[0, 0, 0, 1] == 0.25


def apart(*shape):
    """Values at least 1 apart: no window comes near a tie."""
    values = np.random.default_rng(0).permutation(np.prod(shape))
    return values.reshape(shape).astype(float)


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize(
    "layer",
    [
        MaxPool2d(2),
        MaxPool2d((3, 2), 1, 1),
        AvgPool2d(2, 3),
        AvgPool2d((2, 3), (2, 1), 1),
        AvgPool2d(3, 2, 1, count_include_pad=False),
        GlobalAvgPool2d(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_gradients_by_differences(layer, mode):
    report = gradcheck(getattr(layer, mode)(), apart(2, 2, 5, 4))
    assert report.passed, report


def test_backward_belongs_to_the_latest_forward():
    for layer in (MaxPool2d(2), AvgPool2d(2), GlobalAvgPool2d()):
        layer(normal(3, 2, 8, 8))
        x = apart(1, 1, 2, 2)
        dy = np.ones_like(layer(x))
        again = layer.backward(dy)
        np.testing.assert_array_equal(layer.backward(dy), again)
        assert again.shape == x.shape and again.sum() == 1


def test_the_stride_is_by_default_the_kernels_size():
    assert MaxPool2d((2, 3)).stride == (2, 3)
    assert avg_pool2d_forward(normal(1, 1, 6, 6), (2, 3))[0].shape == (1, 1, 3, 2)


X = np.ones((2, 3, 4, 5))
BAD = [
    (lambda pool: pool(0), ValueError, "kernel_size must be at least 1, got 0"),
    (lambda pool: pool("2"), TypeError,
     "kernel_size must be an integer or a pair of them, got '2'"),
    (lambda pool: pool(2, 0), ValueError, "stride must be at least 1, got 0"),
    (lambda pool: pool(2, (2,)), TypeError, r"stride must be .* got \(2,\)"),
    (lambda pool: pool(2, padding=-1), ValueError,
     "padding must be at least 0, got -1"),
    (lambda pool: pool(3, padding=2), ValueError,
     r"padding must be at most half of kernel_size \(3, 3\), got \(2, 2\)"),
    (lambda pool: pool((4, 2), padding=2), ValueError, r"half of kernel_size \(4, 2\)"),
    (lambda pool: pool(2)(X[0]), ValueError,
     r"x must have shape \(N, C, H, W\) .* got \(3, 4, 5\)"),
    (lambda pool: pool(2)(X[:, :, :0]), ValueError, r"got \(2, 3, 0, 5\)"),
    (lambda pool: pool(2)(X > 0), TypeError, "float32 or float64, got bool"),
    (lambda pool: pool(5)(X), ValueError,
     r"kernel_size \(5, 5\) must not exceed the padded input's height and width, "
     r"\(4, 5\)"),
    (lambda pool: pool(2).backward(X), ValueError,
     r"backward of \w+Pool2d needs a forward before it"),
]  # fmt: skip


@pytest.mark.parametrize("pool", [MaxPool2d, AvgPool2d])
@pytest.mark.parametrize("action, error, message", BAD)
def test_bad_input_is_named(pool, action, error, message):
    with pytest.raises(error, match=message):
        action(pool)


@pytest.mark.parametrize(
    "action, error, message",
    [
        (lambda: GlobalAvgPool2d()(X[0]), ValueError, r"shape \(N, C, H, W\)"),
        (lambda: GlobalAvgPool2d()(X[..., :0]), ValueError, r"\(2, 3, 4, 0\)"),
        (lambda: GlobalAvgPool2d()(X.astype(int)), TypeError, "got int64"),
        (lambda: GlobalAvgPool2d().backward(X), ValueError, "backward of GlobalAvg"),
    ],
)
def test_bad_input_of_the_global_average_is_named(action, error, message):
    with pytest.raises(error, match=message):
        action()
