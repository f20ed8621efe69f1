"""Batch norm against PyTorch, exact shifts, finite differences, and on bad input."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import TOLERANCE, compare_with_torch, normal, share_parameters

from dropnorm.gradcheck import gradcheck
from dropnorm.layers import BatchNorm1d, BatchNorm2d, batchnorm_forward

SHAPES = [(5, 3), (4, 3, 6), (1, 3, 7), (4, 3, 1), (4, 3, 5, 6), (1, 2, 3, 4)]


def twins(shape, dtype=np.float64, **options):
    """A batch norm for inputs of `shape`, and PyTorch's, with equal parameters."""
    ours, theirs = (
        (BatchNorm2d, torch.nn.BatchNorm2d)
        if len(shape) == 4
        else (BatchNorm1d, torch.nn.BatchNorm1d)
    )
    layer = ours(shape[1], **options, dtype=dtype)
    torch_dtype = torch.from_numpy(np.empty(0, dtype)).dtype
    module = theirs(shape[1], **options, dtype=torch_dtype)
    share_parameters(layer, module)
    return layer, module


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("track_running_stats", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("eps, momentum", [(1e-5, 0.1), (0.3, None), (1, 1)])
@pytest.mark.parametrize("shape", SHAPES)
def test_batchnorm_equals_torch_step_by_step(
    shape, eps, momentum, affine, track_running_stats, dtype
):
    layer, module = twins(
        shape,
        dtype,
        eps=eps,
        momentum=momentum,
        affine=affine,
        track_running_stats=track_running_stats,
    )
    for step, training in enumerate([False, True, True, False, True, True, False]):
        layer.train() if training else layer.eval()
        module.train(training)
        x = (step + 1) * normal(*shape, seed=step, dtype=dtype) + dtype(step - 2)
        compare_with_torch(layer, module, x, TOLERANCE[dtype])
    if track_running_stats:
        assert layer.num_batches_tracked == 4  # evaluation does not count


def test_defaults_are_those_of_torch():
    for ours, theirs in [
        (BatchNorm1d(3), torch.nn.BatchNorm1d(3)),
        (BatchNorm2d(3), torch.nn.BatchNorm2d(3)),
    ]:
        for name in ("eps", "momentum", "affine", "track_running_stats"):
            assert getattr(ours, name) == getattr(theirs, name)
        for name, value in theirs.state_dict().items():
            np.testing.assert_array_equal(getattr(ours, name), value)


@settings(deadline=None, max_examples=80)
@given(
    shape=st.lists(st.integers(1, 6), min_size=2, max_size=4)
    .map(tuple)
    .filter(lambda shape: np.prod(shape) // shape[1] > 1),
    momentum=st.none() | st.floats(0, 1),
    eps=st.floats(1e-6, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_batchnorm_equals_torch_on_any_shape(shape, momentum, eps, seed):
    layer, module = twins(shape, eps=eps, momentum=momentum)
    # Few values may lie close together and so be multiplied by up to 1/√eps.
    for training in (True, False):
        layer.train() if training else layer.eval()
        module.train(training)
        compare_with_torch(layer, module, normal(*shape, seed=seed), 1e-10)


LAYOUTS = {
    "channels last": lambda x: np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(
        0, 3, 1, 2
    ),
    "Fortran order": np.asfortranarray,
    "every second": lambda x: np.repeat(x, 2, axis=3)[..., ::2],
    "reversed": lambda x: x[::-1, :, ::-1].copy()[::-1, :, ::-1],
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_in_memory_does_not_matter(layout, training):
    x, dy = normal(3, 4, 5, 2), normal(3, 4, 5, 2, seed=1)
    x_other, dy_other = LAYOUTS[layout](x), LAYOUTS[layout](dy)
    np.testing.assert_array_equal(x_other, x)
    assert not x_other.flags.c_contiguous
    layer, module = twins(x.shape)
    layer.running_mean[...] = module.running_mean[...] = torch.arange(4.0)
    layer.train() if training else layer.eval()
    module.train(training)
    compare_with_torch(layer, module, x_other, 1e-12, dy_other)


# Values on a grid so coarse that adding 10,000 to them is exact
GRID = {np.float64: 2.0**-20, np.float32: 2.0**-9}


@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-13), (np.float32, 3e-6)])
@pytest.mark.parametrize("shape", [(256, 8), (64, 4, 16, 16)])
def test_a_large_mean_changes_only_the_running_mean(shape, dtype, tolerance):
    x = (np.round(normal(*shape) / GRID[dtype]) * GRID[dtype]).astype(dtype)
    far = x + dtype(10_000)
    np.testing.assert_array_equal(far - dtype(10_000), x)
    dy = normal(*shape, seed=1, dtype=dtype)

    def run(x):
        layer, _ = twins(shape, dtype)
        y = layer(x)
        return y, layer.backward(dy), layer

    (y, dx, near_layer), (y_far, dx_far, far_layer) = run(x), run(far)
    np.testing.assert_allclose(y_far, y, 0, tolerance)
    np.testing.assert_allclose(dx_far, dx, 0, tolerance)
    for name, gradient in near_layer.grads.items():  # sums of thousands of values
        np.testing.assert_allclose(far_layer.grads[name], gradient, 0, 100 * tolerance)
    np.testing.assert_allclose(
        far_layer.running_var, near_layer.running_var, 0, tolerance
    )
    np.testing.assert_allclose(
        far_layer.running_mean, near_layer.running_mean + dtype(1000), 2e-7
    )


@pytest.mark.parametrize("shape", [(256, 8), (64, 4, 16, 16)])
def test_float32_is_float64_rounded_once_or_twice(shape):
    x, dy = normal(*shape, dtype=np.float32), normal(*shape, seed=1, dtype=np.float32)
    results = []
    for dtype in (np.float32, np.float64):
        layer, _ = twins(shape, dtype)
        layer.weight[...] = 1
        y = layer((x + np.float32(100)).astype(dtype))
        results.append((y, layer.backward(dy.astype(dtype)), layer.running_var))
    for single, double in zip(*results, strict=True):
        np.testing.assert_allclose(single, double, 0, 2e-6)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("track_running_stats", [True, False])
@pytest.mark.parametrize("shape", [(6, 3), (4, 2, 3), (3, 2, 2, 3)])
def test_batchnorm_by_differences(shape, affine, track_running_stats, training):
    layer, _ = twins(shape, affine=affine, track_running_stats=track_running_stats)
    layer(2 * normal(*shape, seed=5) + 1)
    report = gradcheck(layer if training else layer.eval(), normal(*shape, seed=2))
    assert report.passed, report
    assert set(report.errors) == {"x", *layer.params}


def test_the_gradient_is_that_of_the_mode_of_the_forward():
    x, dy = normal(6, 3), normal(6, 3, seed=1)
    for training in (True, False):
        layer, _ = twins(x.shape)
        layer.train() if training else layer.eval()
        layer(x)
        expected = layer.backward(dy)
        layer.eval() if training else layer.train()
        np.testing.assert_array_equal(layer.backward(dy), expected)


def test_of_two_forwards_the_most_recent_is_differentiated():
    x, dy = normal(6, 3), normal(6, 3, seed=1)
    layer, _ = twins(x.shape)
    layer(x)
    expected = layer.backward(dy)
    layer(normal(9, 3, seed=2))
    layer(x)
    np.testing.assert_array_equal(layer.backward(dy), expected)
    assert layer.num_batches_tracked == 3


def test_backward_leaves_its_gradient_and_its_cache():
    x, dy = normal(6, 3), normal(6, 3, seed=1)
    layer, _ = twins(x.shape)
    layer(x)
    before = dy.copy()
    first, gradients = layer.backward(dy), dict(layer.grads)
    np.testing.assert_array_equal(dy, before)
    np.testing.assert_array_equal(layer.backward(dy), first)
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(layer.grads[name], gradient)


def test_evaluation_judges_each_example_by_itself_and_changes_nothing():
    layer, _ = twins((8, 3))
    layer(normal(8, 3, seed=3))
    buffers = copy.deepcopy(layer.buffers)
    x = normal(8, 3)
    y = layer.eval()(x)
    np.testing.assert_array_equal(layer(x[:1]), y[:1])  # a batch of one is fine
    assert layer(x[:0]).shape == (0, 3)
    x[1] = np.nan
    np.testing.assert_array_equal(layer(x)[2:], y[2:])
    for name, buffer in buffers.items():
        np.testing.assert_array_equal(layer.buffers[name], buffer)


def test_running_statistics_are_assigned_in_place():
    layer = BatchNorm2d(2, eps=0, affine=False).eval()
    layer.running_mean[...] = [1, 2]
    layer.running_var[...] = [4, 9]
    x = np.full((1, 2, 1, 1), 5.0)
    np.testing.assert_allclose(layer(x).ravel(), [2, 1], rtol=1e-15)
    with pytest.raises(AttributeError, match=r"layer\.running_mean\[\.\.\.\] = value"):
        layer.running_mean = np.zeros(2)


def test_the_cache_ends_with_the_statistics_of_the_batch():
    x = normal(4, 3, 5) + 2
    _, (*_, mean, var) = batchnorm_forward(x, np.ones(3), np.zeros(3))
    np.testing.assert_allclose(mean, x.mean(axis=(0, 2)), rtol=1e-13)
    np.testing.assert_allclose(var, x.var(axis=(0, 2)), rtol=1e-13)


def test_numpy_numbers_as_options_keep_float32():
    layer = BatchNorm1d(3, np.float64(1e-3), np.float64(0.5), dtype=np.dtype("float32"))
    x = normal(4, 3, dtype=np.float32)
    assert layer(x).dtype == layer.backward(x).dtype == np.float32
    assert layer.eval()(x).dtype == layer.running_var.dtype == np.float32


def test_without_arrays_of_its_own_a_layer_keeps_the_dtype_of_its_input():
    layer = BatchNorm1d(3, affine=False, track_running_stats=False)
    for dtype in (np.float32, np.float64):
        x = normal(4, 3, dtype=dtype)
        assert layer(x).dtype == layer.backward(x).dtype == dtype
    assert layer.params == layer.grads == layer.buffers == {}


@pytest.mark.parametrize(
    "value, statistic, result",
    [
        (np.nan, "mean", "nan"),
        (np.inf, "mean", "nan"),
        (-np.inf, "mean", "nan"),
        (1e200, "variance", "inf"),
    ],
)
@pytest.mark.parametrize("shape", [(6, 3), (3, 3, 2), (2, 3, 2, 2)])
def test_a_channel_that_is_not_finite_is_named_and_spoils_nothing(
    shape, value, statistic, result
):
    layer, _ = twins(shape)
    layer(normal(*shape, seed=4))
    buffers = copy.deepcopy(layer.buffers)
    x = normal(*shape)
    x[1, 1] = value
    message = f"the {statistic} of x must be finite in every channel, got {result} "
    with pytest.raises(ValueError, match=message + "in channel 1$"):
        layer(x)
    for name, buffer in buffers.items():
        np.testing.assert_array_equal(layer.buffers[name], buffer)


def test_float32_overflow_of_the_variance_is_named():
    layer = BatchNorm1d(2, dtype=np.float32)
    x = normal(4, 2, dtype=np.float32)
    x[:, 0] *= 1e25
    with pytest.raises(ValueError, match="variance .* got inf in channel 0$"):
        layer(x)


def test_overflow_of_a_distance_from_the_mean_is_an_error_and_no_warning():
    x = np.array([[1.7e308], [-1.7e308], [-1.7e308]])  # the mean is finite
    with pytest.raises(ValueError, match="in channel 0$"):
        BatchNorm1d(1)(x)


def test_all_channels_that_are_not_finite_are_named():
    layer = BatchNorm1d(9)
    x = normal(4, 9)
    x[0, [2, 5]] = np.nan
    with pytest.raises(ValueError, match="got nan in channel 2, 5$"):
        layer(x)
    x[0] = np.nan
    with pytest.raises(ValueError, match=r"got nan in channel 0, 1, 2, 3, 4, \.\.\.$"):
        layer(x)
    layer.eval()
    layer.running_var[3] = np.inf
    with pytest.raises(ValueError, match="running_var must .* got inf in channel 3$"):
        layer(normal(4, 9))
    layer.running_mean[7] = np.nan
    with pytest.raises(ValueError, match="running_mean must .* got nan in channel 7$"):
        layer(normal(4, 9))


X = np.ones((4, 3))
ONE = "x must have more than one value per channel in training"
BAD = [
    (lambda: BatchNorm1d(3)(X[:1]), ValueError, ONE + r".* got 1 in shape \(1, 3\)"),
    (lambda: BatchNorm1d(3)(X[:0]), ValueError, ONE + r".* got 0 in shape \(0, 3\)"),
    (lambda: BatchNorm1d(3)(np.ones((1, 3, 1))), ValueError, ONE),
    (lambda: BatchNorm2d(3)(np.ones((1, 3, 1, 1))), ValueError, ONE),
    (lambda: BatchNorm1d(3, track_running_stats=False).eval()(X[:1]), ValueError, ONE),
    (lambda: BatchNorm1d(4)(X), ValueError,
     r"x must have 4 channels on axis 1, got shape \(4, 3\)"),
    (lambda: BatchNorm2d(4).eval()(np.ones((2, 3, 4, 4))), ValueError,
     r"x must have 4 channels on axis 1, got shape \(2, 3, 4, 4\)"),
    (lambda: BatchNorm1d(3)(X[0]), ValueError,
     r"x must have shape \(N, C\) or \(N, C, L\), got shape \(3,\)"),
    (lambda: BatchNorm1d(3)(np.ones((2, 3, 4, 4))), ValueError,
     r"x must have shape \(N, C\) or \(N, C, L\), got shape \(2, 3, 4, 4\)"),
    (lambda: BatchNorm2d(3)(X), ValueError,
     r"x must have shape \(N, C, H, W\), got shape \(4, 3\)"),
    (lambda: BatchNorm1d(3)(X.astype(int)), TypeError, "got int64"),
    (lambda: BatchNorm1d(3)(X.astype(np.float32)), TypeError,
     "x must have the dtype of the layer, float64, got float32"),
    (lambda: BatchNorm1d(3, affine=False)(X.astype(np.float32)), TypeError,
     "x must have the dtype of the layer, float64, got float32"),
    (lambda: BatchNorm1d(3, dtype=np.float32)(X), TypeError,
     "x must have the dtype of the layer, float32, got float64"),
    (lambda: BatchNorm1d(3).backward(X), ValueError,
     "backward of BatchNorm1d needs a forward before it"),
    (lambda: BatchNorm2d(0), ValueError, "num_features must be at least 1, got 0"),
    (lambda: BatchNorm2d(2.0), TypeError, "num_features must be an integer, got 2.0"),
    (lambda: BatchNorm1d(3, -1e-5), ValueError,
     "eps must be a finite number of at least 0, got -1e-05"),
    (lambda: BatchNorm1d(3, float("nan")), ValueError, "eps must .* got nan"),
    (lambda: BatchNorm1d(3, None), TypeError, "eps must be a number .* got None"),
    (lambda: BatchNorm1d(3, momentum=1.1), ValueError,
     "momentum, the weight of the new value, must lie between 0 and 1, got 1.1"),
    (lambda: BatchNorm1d(3, momentum=-0.1), ValueError, "momentum.* got -0.1"),
    (lambda: BatchNorm1d(3, momentum="ema"), TypeError,
     "momentum must be None or a number, got 'ema'"),
    (lambda: BatchNorm1d(3, momentum=True), TypeError, "momentum .* got True"),
    (lambda: BatchNorm1d(3, dtype=np.float16), TypeError,
     "dtype must be float32 or float64, got float16"),
]  # fmt: skip


@pytest.mark.parametrize("action, error, message", BAD)
def test_bad_input_is_named(action, error, message):
    with pytest.raises(error, match=message):
        action()
