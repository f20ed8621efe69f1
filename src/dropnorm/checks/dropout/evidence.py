"""Exercises of the chapter foundations/evidence."""

import numpy as np
from scipy.stats import binom, norm, t

from dropnorm.checks.base import (
    Wrong,
    call,
    check_array,
    checker,
    number,
    pure,
    recognize,
    unpack,
)


@checker
def interval(compare, *, seed=0):
    """``compare(treatment, control)`` returns mean, low, high and verdict."""
    rng = np.random.default_rng(seed)
    names = ["mean", "low", "high", "verdict"]
    seen = set()
    # Seeds differ more than arms do; effects in units of the noise's deviation.
    for n, effect in ((10, -2.5), (8, 0.0), (12, 2.5), (10, -0.3), (9, 0.9)):
        noise = rng.standard_normal(n)
        noise = 0.4 * (noise - noise.mean()) / noise.std(ddof=1)
        control = 5 + 3 * rng.standard_normal(n)
        treatment = control + noise + 0.4 * effect
        arms = {"treatment": treatment, "control": control}
        when = f"for {n} seeds"
        mean, low, high, verdict = unpack(pure(compare, arms, when=when), names)
        mean, low, high = (
            number(value, f"{when} {name}")
            for value, name in zip((mean, low, high), names, strict=False)
        )
        right = 0.4 * effect
        if not np.isclose(mean, right, atol=1e-9):
            hint = "what is subtracted from what?" if np.isclose(mean, -right) else ""
            hint = hint or "is it the mean of treatment - control?"
            raise Wrong(f"{when} the mean is {mean:.3f}, expected {right:.3f}: {hint}")
        _check_interval(low, high, treatment, control, when)
        half = t.ppf(0.995, n - 1) * 0.4 / np.sqrt(n)
        expected = "no clear difference"
        if abs(right) > half:
            expected = "lower" if right < 0 else "higher"
        seen.add(expected)
        if not isinstance(verdict, str):
            raise Wrong(f"the verdict is {verdict!r}, expected one of three strings")
        if verdict != expected:
            hint = "which numbers are left in the interval?"
            if verdict in ("lower", "higher") and expected.startswith("no"):
                hint = "is that decided by the mean alone? The interval contains 0"
            elif {verdict, expected} == {"lower", "higher"}:
                hint = "whose values are lower, the treatment's?"
            raise Wrong(
                f"{when} the interval is {low:.3f} to {high:.3f} and the verdict "
                f"{verdict!r}, expected {expected!r}: {hint}"
            )
    assert len(seen) == 3


def _check_interval(low, high, treatment, control, when):
    difference = treatment - control
    n, mean, sd = len(difference), difference.mean(), difference.std(ddof=1)
    half = t.ppf(0.995, n - 1) * sd / np.sqrt(n)
    if np.allclose([low, high], [mean - half, mean + half]):
        return
    if low > high:
        raise Wrong(f"{when} the interval's low end lies above its high end")
    if not np.isclose(low + high, 2 * mean):
        raise Wrong(f"{when} the middle of the interval is not the mean")
    each = [treatment, control]
    known = {
        "that is the normal distribution's 2.58: what does a standard deviation "
        "estimated from so few seeds ask for?": norm.ppf(0.995) * sd / np.sqrt(n),
        "that is a 95 % interval": t.ppf(0.975, n - 1) * sd / np.sqrt(n),
        "that leaves out 1 % on each side": t.ppf(0.99, n - 1) * sd / np.sqrt(n),
        "is the standard deviation divided by n, where n - 1 is due? (ddof)": (
            half * np.sqrt((n - 1) / n)
        ),
        "is the standard deviation divided by √n?": half * np.sqrt(n),
        "is the standard deviation divided by n, where √n is due?": half / np.sqrt(n),
        "Student's t has n - 1 degrees of freedom here": (
            t.ppf(0.995, n) * sd / np.sqrt(n)
        ),
        "that is one standard error": sd / np.sqrt(n),
        "that treats the arms as if they had no seeds in common: what does pairing "
        "take away?": t.ppf(0.995, 2 * n - 2)
        * np.sqrt(sum(arm.var(ddof=1) for arm in each) / n),
    }
    for df in (n - 1, 2 * n - 1):
        known[f"that treats the arms as unpaired (with {df} degrees)"] = t.ppf(
            0.995, df
        ) * np.sqrt(sum(arm.var(ddof=1) for arm in each) / n)
    width = (high - low) / 2
    hint = "is it t · s/√n, with s of the differences?"
    raise Wrong(
        f"{when} the interval is the mean ± {width:.3f}, expected ± {half:.3f}: "
        + recognize(width, known, hint)
    )


@checker
def misleading(formula, *, seed=0):
    """``formula(mean, sd, n)``: how often n seeds point in the wrong direction."""
    rng = np.random.default_rng(seed)
    for n in (1, 10, int(rng.integers(3, 9))):
        sd = float(rng.uniform(0.5, 2))
        effect = float(rng.uniform(0.2, 0.5)) * sd
        for mean in (effect, -effect):
            when = f"for a mean of {mean:.2f}, a deviation of {sd:.2f} and n = {n}"
            result = number(call(formula, mean, sd, n, when=when), when)
            z = abs(mean) / sd
            right = norm.sf(z * np.sqrt(n))
            if np.isclose(result, right, rtol=1e-3):
                continue
            known = {
                "is that the probability to be right?"
                if mean > 0
                else "what is the wrong sign if the effect is negative?": 1 - right,
                "does n enter? The mean of n has a smaller deviation": norm.sf(z),
                "does the deviation of a mean fall with n, or with √n?": norm.sf(z * n),
                "do more seeds make the mean less certain?": norm.sf(z / np.sqrt(n)),
                "the mean can err in one direction only": 2 * right,
                "is sd a variance?": norm.sf(abs(mean) / np.sqrt(sd) * np.sqrt(n)),
                "is the deviation squared?": norm.sf(abs(mean) / sd**2 * np.sqrt(n)),
                "that is the probability that all n seeds are wrong": norm.sf(z) ** n,
            }
            hint = "how is the mean of n differences distributed?"
            raise Wrong(
                f"{when} the result is {result:.4g}, expected {right:.4g}: "
                + recognize(result, known, hint)
            )


@checker
def leak(prepare, *, seed=0):
    """``prepare(x, y, n_train, rng)``: shuffled, split, then standardized.

    Every y is another number, so that y tells which rows a part holds.
    """
    rng = np.random.default_rng(seed)
    n, n_train = 60, 40
    y = np.arange(n) + 0.5
    x = rng.standard_normal((n, 3)) * [1, 5, 20] + [0, 3, -7] + y[:, None] / 10
    names = ["x_train", "y_train", "x_test", "y_test"]

    def run(draw):
        data = {"x": x, "y": y}
        result = unpack(
            pure(prepare, data, n_train, np.random.default_rng(draw)), names
        )
        sizes = [n_train, n_train, n - n_train, n - n_train]
        for name, value, size in zip(names, result, sizes, strict=True):
            like = np.empty((size, 3) if name[0] == "x" else size)
            check_array(value, like=like, when=f"{name}:")
        for name in ("y_train", "y_test"):
            if not np.isin(result[names.index(name)], y).all():
                raise Wrong(f"{name} holds values that are not in y: y stays as it is")
        return result

    x_train, y_train, x_test, y_test = run(seed)
    used = np.concatenate([y_train, y_test])
    if len(set(used)) < n:
        raise Wrong(
            f"{n - len(set(used))} rows are in no part, others in two places: is a row "
            "drawn more than once?"
        )
    if y_train.max() < y_test.min():
        raise Wrong(
            "the training part is the first rows and the test part the last: what if "
            "the file is sorted?"
        )
    train, test = (parts.astype(int) for parts in (y_train, y_test))  # y = row + 0.5
    for ddof in (0, 1):
        mean, sd = x[train].mean(axis=0), x[train].std(axis=0, ddof=ddof)
        if all(
            np.allclose(part, (x[rows] - mean) / sd)
            for part, rows in ((x_train, train), (x_test, test))
        ):
            break
    else:
        _diagnose_leak(x, x_train, x_test, train, test)
    if not np.array_equal(run(seed)[1], y_train):
        raise Wrong(
            "generators in the same state give different splits: is the order drawn "
            "from `rng`?"
        )
    if np.array_equal(run(seed + 1)[1], y_train):
        raise Wrong(
            "another generator gives the same split: is one made, or seeded, inside "
            "your code?"
        )


def _diagnose_leak(x, x_train, x_test, train, test):
    def scaled(rows, by, axis=0):
        return (x[rows] - x[by].mean(axis=axis)) / x[by].std(axis=axis)

    if not np.allclose(
        np.corrcoef(x_train[:, 2], x[train, 2])[0, 1], 1, atol=1e-6
    ) or not np.allclose(np.corrcoef(x_test[:, 2], x[test, 2])[0, 1], 1, atol=1e-6):
        raise Wrong(
            "the rows of x and y no longer belong together: are both shuffled by the "
            "same order?"
        )
    every = np.arange(len(x))
    if np.allclose(x_train, scaled(train, every)):
        raise Wrong(
            "mean and deviation are those of all rows, the test part included: which "
            "rows may they know?"
        )
    if np.allclose(x_train, scaled(train, train)):
        if np.allclose(x_test, scaled(test, test)):
            raise Wrong(
                "the test part is standardized by its own mean and deviation: would "
                "you have them for one new patient?"
            )
        if np.allclose(x_test, x[test]):
            raise Wrong("the test part is not standardized at all")
    if np.allclose(x_train, x[train]):
        raise Wrong("the training part is not standardized")
    if np.allclose(x_train, scaled(train, train, axis=None)):
        raise Wrong(
            "one mean and one deviation are used for all features: over which axis is "
            "each feature's?"
        )
    raise Wrong(
        "x_train is not (x - mean)/deviation with each feature's mean and deviation "
        "over the training rows"
        if not np.allclose(x_train, scaled(train, train))
        else "x_test is not standardized by the training part's mean and deviation"
    )


@checker
def optimism(simulate, *, seed=0):
    """``simulate(n_models, n_test, error, rng)``: truth minus the best test error."""
    rng = np.random.default_rng(seed)
    error = float(np.round(rng.uniform(0.05, 0.2), 2))
    for n_models, n_test in ((5, 200), (20, 20), (50, 200), (50, 2000), (1, 200)):
        when = f"simulate({n_models}, {n_test}, {error})"
        draws = np.random.default_rng(seed)
        result = call(simulate, n_models, n_test, error, draws, when=when)
        result = number(result, when)
        # P(all n_models count more than j errors), summed over j, is the mean minimum.
        more = binom.sf(np.arange(n_test), n_test, error)
        lowest = (more**n_models).sum() / n_test
        highest = (1 - (1 - more) ** n_models).sum() / n_test
        gain = error - lowest
        # The task asks for 1,000 repetitions.
        margin = 8 * np.sqrt(error * (1 - error) / n_test / 1000)
        if abs(result - gain) <= margin:
            continue
        known = {  # wrong value, unit
            "is that the lowest test error itself?": (lowest, 1),
            "what is subtracted from what, and is it the lowest error?": (-gain, 1),
            "is that the highest test error of all models?": (error - highest, 1),
            "is that how far the highest test error lies above the truth?": (
                highest - error,
                1,
            ),
            "is that the mean of all models, in place of the best?": (0, 1),
            "is that a number of errors, in place of a share?": (n_test * gain, n_test),
            "is that in per cent?": (100 * gain, 100),
        }
        hint = "is it the mean over many repetitions of truth minus lowest test error?"
        for words, (value, unit) in known.items():
            if abs(result - value) <= unit * margin:
                hint = words
                break
        raise Wrong(
            f"{when} gives {result:.4f}, expected {gain:.4f} up to {margin:.4f}: {hint}"
        )
