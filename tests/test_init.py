"""Initial values: the distributions that torch.nn.init documents."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from dropnorm import init, reproducible

ALPHA = 1e-9  # chance of a false alarm, by proved bounds: fresh seeds are fine
SHAPES = {  # fan_in, fan_out
    (300, 200): (200, 300),
    (40, 30, 5, 7): (1050, 1400),
    (2000, 3, 2): (6, 4000),
}


def std_of(name, fan_in, fan_out):
    return math.sqrt(2 / fan_in if "kaiming" in name else 2 / (fan_in + fan_out))


def assert_distributed(values, distribution):
    """Kolmogorov's distance is below its Dvoretzky–Kiefer–Wolfowitz–Massart bound."""
    values = np.sort(values.ravel().astype(float))
    ranks = np.arange(values.size + 1) / values.size
    cdf = distribution.cdf(values)
    distance = max((ranks[1:] - cdf).max(), (cdf - ranks[:-1]).max())
    assert distance <= math.sqrt(math.log(2 / ALPHA) / (2 * values.size)), distance


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "name", ["xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_"]
)
def test_scaled_initializers_have_the_distribution_of_torch(name, shape, dtype):
    weight = np.full(shape, np.nan, dtype)
    assert getattr(init, name)(weight) is weight and weight.dtype == dtype
    std = std_of(name, *SHAPES[shape])
    theirs = getattr(torch.nn.init, name)(torch.empty(shape))
    assert weight.std() == pytest.approx(std, rel=0.05)  # 8 σ of the smallest weight
    assert theirs.std().item() == pytest.approx(std, rel=0.05)
    if "uniform" in name:
        bound = math.sqrt(3) * std
        assert bound * 0.998 < abs(weight).max() <= bound * (1 + 1e-7)
        assert_distributed(weight, stats.uniform(-bound, 2 * bound))
    else:
        assert_distributed(weight, stats.norm(0, std))
    # Neighbors along either axis differ in sign half of the time.
    for axis in (0, 1):
        half = weight.shape[axis] // 2 * 2
        pairs = np.moveaxis(weight, axis, 0)[:half].reshape(half // 2, 2, -1)
        unlike = (pairs[:, 0] > 0) != (pairs[:, 1] > 0)
        slack = math.sqrt(math.log(2 / ALPHA) / (2 * unlike.size))
        assert abs(unlike.mean() - 0.5) <= slack


@pytest.mark.parametrize("name", ["xavier_uniform_", "xavier_normal_"])
def test_gain_scales(name):
    def draw(*gain):
        rng = np.random.default_rng(3)
        return getattr(init, name)(np.empty((5, 4)), *gain, rng=rng)

    np.testing.assert_allclose(draw(5 / 3), draw() * 5 / 3, rtol=1e-15)


def test_normal_and_zeros():
    weight = np.full((100, 70), np.nan)
    assert init.normal_(weight, std=0.01) is weight
    assert_distributed(weight, stats.norm(0, 0.01))
    assert_distributed(init.normal_(weight), stats.norm(0, 1))
    assert_distributed(init.normal_(weight, 5.0, 2.0), stats.norm(5, 2))
    bias = np.ones(3, np.float32)
    assert init.zeros_(bias) is bias
    np.testing.assert_array_equal(bias, [0, 0, 0])
    np.testing.assert_array_equal(init.normal_(bias, 2.0, 0.0), [2, 2, 2])


@pytest.mark.parametrize(
    "name",
    [
        "normal_",
        "xavier_uniform_",
        "xavier_normal_",
        "kaiming_uniform_",
        "kaiming_normal_",
    ],
)
def test_draws_come_from_the_generator_given_or_the_packages(name):
    def draw(rng=None):
        return getattr(init, name)(np.empty((3, 4)), rng=rng)

    seven = draw(np.random.default_rng(7))
    np.testing.assert_array_equal(seven, draw(np.random.default_rng(7)))
    reproducible(7)
    np.testing.assert_array_equal(draw(), seven)
    assert (draw() != seven).all()


FANS = r"weight must have shape \(out, in\) or \(out, in, K_h, K_w\), got \(3,\)"
BAD = [
    (lambda: init.xavier_uniform_(np.ones(3)), ValueError, FANS),
    (lambda: init.xavier_normal_(np.ones(3)), ValueError, FANS),
    (lambda: init.kaiming_uniform_(np.ones(3)), ValueError, FANS),
    (lambda: init.kaiming_normal_(np.ones(3)), ValueError, FANS),
    (lambda: init.kaiming_normal_(np.ones((3, 0))), ValueError, r"got \(3, 0\)"),
    (lambda: init.kaiming_normal_([[1.0]]), TypeError, "weight must be a NumPy array"),
    (lambda: init.zeros_(np.ones((2, 2), int)), TypeError, "got int64"),
    (lambda: init.normal_(np.ones((2, 2), bool)), TypeError, "got bool"),
    (lambda: init.normal_(np.ones(2), std=-1.0), ValueError,
     "std must be at least 0, got -1.0"),
]  # fmt: skip


@pytest.mark.parametrize("action, error, message", BAD)
def test_bad_input_is_named(action, error, message):
    with pytest.raises(error, match=message):
        action()
