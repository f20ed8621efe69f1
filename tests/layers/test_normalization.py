"""Layer, group and instance norm against PyTorch, differences, and on bad input."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import TOLERANCE, compare_with_torch, normal, share_parameters

from dropnorm.gradcheck import gradcheck
from dropnorm.layers import GroupNorm, InstanceNorm2d, LayerNorm

DTYPES = {np.float64: torch.float64, np.float32: torch.float32}


def twins(layer_class, *arguments, dtype=np.float64, **options):
    """A layer and PyTorch's of the same name, with equal parameters."""
    layer = layer_class(*arguments, **options, dtype=dtype)
    module = getattr(torch.nn, layer_class.__name__)(
        *arguments, **options, dtype=DTYPES[dtype]
    )
    share_parameters(layer, module)
    return layer, module


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"eps": 0.3, "bias": False},
        {"elementwise_affine": False},
        {"elementwise_affine": False, "bias": False},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "shape, normalized_shape",
    [((5, 4), 4), ((4,), (4,)), ((2, 5, 4), [4]), ((2, 5, 3, 4), (3, 4)),
     ((3, 4), (3, 4)), ((0, 4), 4)],
)  # fmt: skip
def test_layernorm_equals_torch(shape, normalized_shape, options, training, dtype):
    layer, module = twins(LayerNorm, normalized_shape, dtype=dtype, **options)
    layer.train() if training else layer.eval()
    module.train(training)
    x = 3 * normal(*shape, seed=2, dtype=dtype) + dtype(1)
    compare_with_torch(layer, module, x, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", [{}, {"eps": 0.3}, {"affine": False}], ids=str)
@pytest.mark.parametrize("num_groups", [1, 2, 6])
@pytest.mark.parametrize("shape", [(2, 6, 5), (3, 6, 2, 4), (2, 6, 1, 2, 3)])
def test_groupnorm_equals_torch(shape, num_groups, options, training, dtype):
    layer, module = twins(GroupNorm, num_groups, 6, dtype=dtype, **options)
    layer.train() if training else layer.eval()
    module.train(training)
    x = 3 * normal(*shape, seed=2, dtype=dtype) + dtype(1)
    compare_with_torch(layer, module, x, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("track_running_stats", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("eps, momentum", [(1e-5, 0.1), (0.3, None), (1, 0.7)])
@pytest.mark.parametrize("shape", [(4, 3, 5, 6), (1, 3, 2, 4), (3, 2, 1, 5)])
def test_instancenorm_equals_torch_step_by_step(
    shape, eps, momentum, affine, track_running_stats, dtype
):
    layer, module = twins(
        InstanceNorm2d,
        shape[1],
        dtype=dtype,
        eps=eps,
        momentum=momentum,
        affine=affine,
        track_running_stats=track_running_stats,
    )
    for step, training in enumerate([False, True, True, False, True, False]):
        layer.train() if training else layer.eval()
        module.train(training)
        x = (step + 1) * normal(*shape, seed=step, dtype=dtype) + dtype(step - 2)
        compare_with_torch(layer, module, x, TOLERANCE[dtype])


def test_defaults_are_those_of_torch():
    for ours, theirs in [
        (LayerNorm(3), torch.nn.LayerNorm(3)),
        (GroupNorm(1, 3), torch.nn.GroupNorm(1, 3)),
        (InstanceNorm2d(3), torch.nn.InstanceNorm2d(3)),
    ]:
        assert ours.eps == theirs.eps
        assert {**ours.params, **ours.buffers}.keys() == theirs.state_dict().keys()
        for name, value in theirs.state_dict().items():
            np.testing.assert_array_equal(getattr(ours, name), value)
    assert InstanceNorm2d(3).momentum == torch.nn.InstanceNorm2d(3).momentum


@settings(deadline=None, max_examples=60)
@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple),
    axes=st.integers(1, 4),
    seed=st.integers(1, 2**32 - 1),
)
def test_layernorm_equals_torch_on_any_shape(shape, axes, seed):
    layer, module = twins(LayerNorm, shape[-axes:])
    compare_with_torch(layer, module, normal(*shape, seed=seed), 1e-10)


@settings(deadline=None, max_examples=60)
@given(
    groups=st.integers(1, 4),
    channels_per_group=st.integers(2, 4),  # torch refuses one value in all
    rest=st.lists(st.integers(1, 4), max_size=3).map(tuple),
    examples=st.integers(1, 4),
    seed=st.integers(1, 2**32 - 1),
)
def test_groupnorm_equals_torch_on_any_shape(
    groups, channels_per_group, rest, examples, seed
):
    channels = groups * channels_per_group
    layer, module = twins(GroupNorm, groups, channels)
    x = normal(examples, channels, *rest, seed=seed)
    compare_with_torch(layer, module, x, 1e-10)


ON_IMAGES = {
    "layer": lambda **options: LayerNorm((4, 5, 2), **options),
    "group": lambda **options: GroupNorm(2, 4, **options),
    "instance": lambda **options: InstanceNorm2d(4, affine=True, **options),
    "instance, tracked": lambda **options: InstanceNorm2d(
        4, affine=True, track_running_stats=True, **options
    ),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ON_IMAGES)
def test_by_differences(name, training):
    layer = ON_IMAGES[name]()
    for seed, array in enumerate(layer.params.values()):
        array[...] = normal(*array.shape, seed=seed)
    layer(2 * normal(3, 4, 5, 2, seed=5) + 1)
    x = normal(3, 4, 5, 2, seed=2)
    report = gradcheck(layer if training else layer.eval(), x)
    assert report.passed, report
    assert set(report.errors) == {"x", "weight", "bias"}


@pytest.mark.parametrize("name", ON_IMAGES)
def test_the_layout_in_memory_does_not_matter(name):
    x, dy = normal(3, 5, 2, 4, seed=2), normal(3, 5, 2, 4, seed=1)
    x, dy = x.transpose(0, 3, 1, 2), dy.transpose(0, 3, 1, 2)  # channels last
    results = []
    for copy in (np.asarray, np.ascontiguousarray):
        layer = ON_IMAGES[name]()
        layer.weight[...] = normal(*layer.weight.shape, seed=3)
        y = layer(copy(x))
        results.append([y, layer.backward(copy(dy)), *layer.grads.values()])
    for strided, contiguous in zip(*results, strict=True):
        np.testing.assert_allclose(strided, contiguous, 1e-13, 1e-13)


@pytest.mark.parametrize("dtype, step", [(np.float64, 2.0**-20), (np.float32, 2.0**-9)])
@pytest.mark.parametrize("name", ON_IMAGES)
def test_a_large_mean_changes_nothing(name, dtype, step):
    # Values so coarse that adding 10,000 to them is exact
    x = (np.round(normal(9, 4, 5, 2) / step) * step).astype(dtype)
    dy = normal(*x.shape, seed=1, dtype=dtype)
    tolerance = {np.float64: 1e-13, np.float32: 5e-6}[dtype]
    near, far = ON_IMAGES[name](dtype=dtype), ON_IMAGES[name](dtype=dtype)
    np.testing.assert_allclose(far(x + dtype(10_000)), near(x), 0, tolerance)
    np.testing.assert_allclose(far.backward(dy), near.backward(dy), 0, tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer_class", [LayerNorm, GroupNorm])
def test_a_value_alone_is_its_own_mean(layer_class, dtype):
    # PyTorch's float32 leaves rounding errors, multiplied by 1/√eps, in its place.
    if layer_class is LayerNorm:
        layer, x = LayerNorm(1, dtype=dtype), normal(5, 1, dtype=dtype)
    else:
        layer, x = GroupNorm(3, 3, dtype=dtype), normal(5, 3, dtype=dtype)
    layer.bias[...] = 2
    np.testing.assert_array_equal(layer(x + dtype(100)), np.full_like(x, 2))
    np.testing.assert_array_equal(layer.backward(x), np.zeros_like(x))


@pytest.mark.parametrize("layer", [LayerNorm(4), GroupNorm(2, 4)])
def test_no_example_depends_on_another(layer):
    x = normal(5, 4)
    y = layer(x)
    np.testing.assert_array_equal(layer(x[:1]), y[:1])
    x[1] = np.nan
    np.testing.assert_array_equal(layer(x)[2:], y[2:])


def test_without_arrays_of_its_own_a_layer_keeps_the_dtype_of_its_input():
    x = normal(2, 4, 3, 3, dtype=np.float32)
    for layer in (
        LayerNorm(3, elementwise_affine=False),
        GroupNorm(2, 4, np.float64(1e-3), affine=False),
        InstanceNorm2d(4),
    ):
        assert layer(x).dtype == layer.backward(x).dtype == np.float32
        assert layer.params == layer.grads == layer.buffers == {}


def test_instancenorm_names_a_channel_that_is_not_finite_and_keeps_its_buffers():
    layer = InstanceNorm2d(3, track_running_stats=True)
    x = normal(2, 3, 2, 2)
    x[1, 2, 0, 0] = np.nan
    with pytest.raises(ValueError, match="mean .* got nan in channel 2$"):
        layer(x)
    np.testing.assert_array_equal(layer.running_mean, np.zeros(3))
    assert layer.num_batches_tracked == 0


X = np.ones((2, 4))
MAPS = np.ones((2, 4, 3, 3))
BAD = [
    (lambda: LayerNorm(3)(X), ValueError,
     r"the shape of x must end in \(3,\), got \(2, 4\)"),
    (lambda: LayerNorm((4, 2))(X), ValueError, r"must end in \(4, 2\), got \(2, 4\)"),
    (lambda: LayerNorm((3, 2, 4))(X), ValueError, r"must end in \(3, 2, 4\)"),
    (lambda: LayerNorm(4)(X.astype(np.float32)), TypeError,
     "x must have the dtype of the layer, float64, got float32"),
    (lambda: LayerNorm(4)(X.astype(int)), TypeError, "got int64"),
    (lambda: LayerNorm(()), ValueError,
     r"normalized_shape must have at least one axis, got \(\)"),
    (lambda: LayerNorm("4"), TypeError, "an integer or a sequence of them, got '4'"),
    (lambda: LayerNorm(2.0), TypeError, "an integer or a sequence of them, got 2.0"),
    (lambda: LayerNorm((4, 0)), ValueError, "normalized_shape must be at least 1"),
    (lambda: LayerNorm(4, -1), ValueError, "eps must be .* got -1"),
    (lambda: LayerNorm(4, dtype=int), TypeError, "dtype must be float32 or float64"),
    (lambda: LayerNorm(4).backward(X), ValueError, "backward of LayerNorm needs"),
    (lambda: GroupNorm(3, 4), ValueError,
     "num_groups must divide num_channels = 4, got 3"),
    (lambda: GroupNorm(0, 4), ValueError, "num_groups must be at least 1, got 0"),
    (lambda: GroupNorm(1, 4.0), TypeError, "num_channels must be an integer, got 4.0"),
    (lambda: GroupNorm(2, 4, eps="small"), TypeError, "eps must be .* got 'small'"),
    (lambda: GroupNorm(2, 4, dtype=np.float16), TypeError, "got float16"),
    (lambda: GroupNorm(2, 6)(X), ValueError,
     r"x must have 6 channels on axis 1, got shape \(2, 4\)"),
    (lambda: GroupNorm(2, 4)(X[0]), ValueError,
     r"x must have shape \(N, C, ...\), got shape \(4,\)"),
    (lambda: GroupNorm(2, 4)(X > 0), TypeError, "got bool"),
    (lambda: GroupNorm(2, 4).backward(X), ValueError, "backward of GroupNorm needs"),
    (lambda: InstanceNorm2d(4)(MAPS[0]), ValueError,
     r"x must have shape \(N, C, H, W\), got shape \(4, 3, 3\)"),
    (lambda: InstanceNorm2d(3)(MAPS), ValueError,
     r"x must have 3 channels on axis 1, got shape \(2, 4, 3, 3\)"),
    (lambda: InstanceNorm2d(4)(MAPS[..., :1, :1]), ValueError,
     r"x must have more than one value per map.* got 1 in shape \(2, 4, 1, 1\)"),
    (lambda: InstanceNorm2d(4, momentum=2), ValueError, "momentum.* got 2"),
    (lambda: InstanceNorm2d(4).backward(MAPS), ValueError,
     "backward of InstanceNorm2d needs a forward before it"),
]  # fmt: skip


@pytest.mark.parametrize("action, error, message", BAD)
def test_bad_input_is_named(action, error, message):
    with pytest.raises(error, match=message):
        action()
