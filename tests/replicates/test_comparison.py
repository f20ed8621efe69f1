"""Comparisons against SciPy and by hand, and calibration."""

import warnings

import numpy as np
import pytest
import torch
from alone import (
    pixels_from_pixels,
    recipe,
    regressor,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from dropnorm import replicates
from dropnorm.replicates import compare, expected_calibration_error

# Calibration


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(2, 4))
@settings(max_examples=60, deadline=None)
def test_calibration_error_against_a_loop(seed, n, k):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(k, 0.3), n)
    p[::3] = np.eye(k)[rng.integers(k, size=len(p[::3]))]  # certain: the last bin
    p[1::5] = 1 / k  # k = 3: on the edge of a bin
    y = rng.integers(k, size=n)
    expected = 0.0
    for b in range(15):
        inside = [i for i in range(n) if b / 15 < p[i].max() <= (b + 1) / 15]
        if inside:
            accuracy = np.mean([p[i].argmax() == y[i] for i in inside])
            confidence = np.mean([p[i].max() for i in inside])
            expected += len(inside) / n * abs(accuracy - confidence)
    assert expected_calibration_error(p, y) == pytest.approx(100 * expected)


def test_calibration_error_by_hand():
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.5, 0.5]])
    y = np.array([0, 1, 1, 0])
    # bins of .9 (two: half right), .6 (right) and .5 (right): (.8 + .4 + .5) / 4
    assert expected_calibration_error(p, y) == pytest.approx(42.5)
    # 1/3 ends one bin, .35 is in the next: not one bin of both
    p = np.array([[1 / 3, 1 / 3, 1 / 3], [0.35, 0.35, 0.3]])
    by_hand = 100 * ((1 - 1 / 3) + 0.35) / 2
    assert expected_calibration_error(p, np.array([0, 2])) == pytest.approx(by_hand)


# Comparing


EIGHT = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])


@given(
    st.lists(st.floats(-100, 100), min_size=8, max_size=30),
    st.floats(-100, 100),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=200, deadline=None)
def test_comparison_against_scipy(values, shift, seed):
    a = np.array(values)
    b = a + shift + np.random.default_rng(seed).normal(size=len(a))
    c, oracle = compare(a, b), stats.ttest_rel(a, b)
    interval = oracle.confidence_interval(0.99)
    assert c.n == len(a)
    assert c.mean == pytest.approx(np.mean(a - b))
    assert c.p_value == pytest.approx(oracle.pvalue, abs=1e-12)
    assert (c.low, c.high) == pytest.approx((interval.low, interval.high))
    # the verdict is the interval's, and the test's
    assert (c.verdict == "lower") == (c.high < 0)
    assert (c.verdict == "higher") == (c.low > 0)
    if abs(c.p_value - 0.01) > 1e-9:
        assert (c.verdict == "no clear difference") == (c.p_value > 0.01)
    assert c.agreeing == sum((a - b) * c.mean > 0)
    # exchanging the arms exchanges the verdict
    back = compare(b, a)
    turned = {"lower": "higher", "higher": "lower"}
    assert back.verdict == turned.get(c.verdict, c.verdict)
    assert back.mean == -c.mean and back.low == -c.high
    assert "-0.00" not in f"{compare(a, a + 1e-9)} {compare(a + 1e-9, a)}"


def test_comparison_by_hand():
    # differences 1 to 8: mean 4.5, s² = 6, t(.995, 7) = 3.4995
    c = compare(10 + EIGHT, np.full(8, 10.0), "flips", names=("a", "b"))
    half = 3.4994833 * np.sqrt(6 / 8)
    assert (c.mean, c.low, c.high) == pytest.approx((4.5, 4.5 - half, 4.5 + half))
    assert (c.verdict, c.agreeing, c.n) == ("higher", 8, 8)
    assert str(c) == (
        "flips, a - b: higher in 8 of 8 seeds\n"
        "    4.5, 99 % interval [1.47, 7.53]: higher"
    )
    # at 95 % this would be clear: mean 1, t = 2.65
    c = compare([0, 0, 0, 2, 2, 1, 3, 0], np.zeros(8))
    assert c.verdict == "no clear difference" and c.agreeing == 4


def test_equal_arms_and_constant_differences():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = compare(EIGHT, EIGHT)
        less = compare(EIGHT - 0.5, EIGHT)
    assert (same.mean, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    assert same.verdict == "no clear difference" and same.agreeing == 8
    assert str(same).endswith(
        ": equal in 8 of 8 seeds\n    0, 99 % interval [0, 0]: no clear difference"
    )
    assert (less.low, less.high, less.p_value) == (-0.5, -0.5, 0)
    assert less.verdict == "lower" and less.agreeing == 8


def make_runs(name, values, seeds=range(8)):
    return replicates.Runs(
        name=name,
        seeds=tuple(seeds),
        history={"train_nll": EIGHT[np.newaxis]},
        looped="",
        _test={"test_error": np.array(values), "test_nll": np.array(values)},
        _states={},
        _dtype=torch.float64,
        _factory=None,
    )


def test_comparison_of_runs():
    control = make_runs("no dropout", EIGHT)
    c = compare(make_runs("dropout", EIGHT - EIGHT / 10), control, "test_error")
    assert (c.metric, c.label) == ("test_error", "test error [%]")
    assert (c.treatment, c.control) == ("dropout", "no dropout")
    assert (c.treatment_values == EIGHT - EIGHT / 10).all()
    assert (c.control_values == EIGHT).all()
    assert str(c) == repr(c)
    assert str(c) == (
        "test error [%], dropout - no dropout: lower in 8 of 8 seeds\n"
        "    -0.45, 99 % interval [-0.75, -0.15]: lower"
    )
    c = compare(make_runs("dropout", EIGHT - 1e-4 * np.sin(EIGHT)), control, "test_nll")
    assert str(c).startswith("test NLL [nats], dropout - no dropout: ")
    assert "\n    0.0000, 99 %" in str(c)
    c = compare(make_runs("d", EIGHT - 1e-4 * np.sin(EIGHT)), control, "test_error")
    assert "0.00, 99 % interval [0.00, 0.00]: " in str(c)


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ((EIGHT[:7], EIGHT[:7]), ValueError, "needs at least 8 seeds, got 7"),
        ((EIGHT, EIGHT[:7]), ValueError, r"equal shapes .* got \(8,\) and \(7,\)"),
        ((np.ones((8, 2)),) * 2, ValueError, r"got \(8, 2\) and \(8, 2\)"),
        ((1.0, 2.0), ValueError, r"got \(\) and \(\)"),
        (
            (EIGHT, make_runs("a", EIGHT)),
            TypeError,
            "two Runs or two arrays, not one of each",
        ),
        (
            (EIGHT, np.where(EIGHT == 3, np.nan, EIGHT)),
            ValueError,
            "difference of 'control' is nan for seed 2",
        ),
        (
            (make_runs("a", np.where(EIGHT == 3, np.inf, EIGHT), range(20, 28)),)
            + (make_runs("b", EIGHT, range(20, 28)), "test_error"),
            ValueError,
            "test_error of 'a' is inf for seed 22",
        ),
        (
            (make_runs("a", EIGHT), make_runs("b", EIGHT, range(1, 9)), "test_error"),
            ValueError,
            r"same seeds in the same order, got \(0, 1, .* and \(1, 2,",
        ),
        (
            (make_runs("a", EIGHT), make_runs("b", EIGHT), "accuracy"),
            ValueError,
            r"metric must be one of \['test_error', .* got 'accuracy'",
        ),
        (
            (make_runs("a", EIGHT), make_runs("b", EIGHT), "val_nll"),
            ValueError,
            "no val_nll: the validation part had no rows",
        ),
    ],
)
def test_compare_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        compare(*arguments)


def test_comparison_of_regressions():
    arms = {
        "wide": regressor,
        "narrow": lambda: regressor(3)[:1].append(nn.Linear(12, 3)),
    }
    runs = replicates.train(
        arms, pixels_from_pixels, recipe(loss="mse", epochs=1), range(8)
    )
    c = compare(runs["wide"], runs["narrow"], "test_mse")
    assert c.label == "test MSE"
    assert str(c).startswith("test MSE, wide - narrow: ")
    np.testing.assert_array_equal(c.treatment_values, runs["wide"].test_mse)
