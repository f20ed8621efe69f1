"""Exercises on evidence: right answers pass, wrong ones are named."""

import numpy as np
import pytest
from answers import fails, passes
from scipy import stats
from sklearn.preprocessing import StandardScaler

from dropnorm import checks, replicates

# interval


def word(low, high):
    return "lower" if high < 0 else "higher" if low > 0 else "no clear difference"


def interval(half_width, mean=np.mean, word=word):
    """A comparison from half_width(treatment, control)."""

    def compare(treatment, control):
        middle, half = mean(treatment - control), half_width(treatment, control)
        return middle, middle - half, middle + half, word(middle - half, middle + half)

    return compare


def student(a, b, level=0.995, ddof=1, df=-1, root=0.5):
    d = a - b
    n = len(d)
    return stats.t.ppf(level, n + df) * d.std(ddof=ddof) / n**root


def by_scipy(treatment, control):
    found = stats.ttest_rel(treatment, control).confidence_interval(0.99)
    mean = np.mean(treatment) - np.mean(control)
    return [mean, found.low, found.high, word(found.low, found.high)]


def by_p_value(treatment, control):
    mean, low, high, _ = interval(student)(treatment, control)
    if stats.ttest_rel(treatment, control).pvalue > 0.01:
        return mean, low, high, "no clear difference"
    return mean, low, high, "lower" if mean < 0 else "higher"


def of_the_package(treatment, control):
    result = replicates.compare(treatment, control)
    return result.mean, result.low, result.high, result.verdict


@pytest.mark.parametrize(
    "compare", [interval(student), by_scipy, by_p_value, of_the_package]
)
def test_interval_accepts(compare):
    passes(checks.dropout.interval, compare)


def welch(a, b):
    found = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.99)
    return (found.high - found.low) / 2


def pooled(a, b, df=-2):
    n = len(a)
    variance = (a.var(ddof=1) + b.var(ddof=1)) / n
    return stats.t.ppf(0.995, 2 * n + df) * np.sqrt(variance)


WRONG_INTERVALS = {
    "normal": (
        interval(
            lambda a, b: student(a, b) / stats.t.ppf(0.995, len(a) - 1) * 2.575829
        ),
        "the normal distribution's 2.58",
    ),
    "95 %": (interval(lambda a, b: student(a, b, 0.975)), "that is a 95 % interval"),
    "one-sided": (interval(lambda a, b: student(a, b, 0.99)), "1 % on each side"),
    "ddof": (interval(lambda a, b: student(a, b, ddof=0)), "where n - 1 is due"),
    "degrees": (interval(lambda a, b: student(a, b, df=0)), "n - 1 degrees"),
    "no root": (interval(lambda a, b: student(a, b, root=0)), "divided by √n?"),
    "n for √n": (interval(lambda a, b: student(a, b, root=1)), "where √n is due"),
    "standard error": (
        interval(lambda a, b: (a - b).std(ddof=1) / len(a) ** 0.5),
        "one standard error",
    ),
    "unpaired": (interval(pooled), "no seeds in common"),
    "unpaired, n - 1": (
        interval(lambda a, b: pooled(a, b, df=-len(a) - 1)),
        "unpaired",
    ),
    "Welch": (interval(welch), "is it t · s/√n"),
    "two deviations": (
        interval(lambda a, b: 2 * (a - b).std()),
        "is it t · s/√n, with s of the differences",
    ),
    "reversed": (
        lambda a, b: interval(student)(b, a),
        "what is subtracted from what",
    ),
    "median": (interval(student, mean=np.median), "the mean of treatment - control"),
    "ends reversed": (
        lambda a, b: [interval(student)(a, b)[i] for i in (0, 2, 1, 3)],
        "low end lies above",
    ),
    "around zero": (
        lambda a, b: (np.mean(a - b), -student(a, b), student(a, b), "higher"),
        "the middle of the interval is not the mean",
    ),
    "by the mean": (
        interval(student, word=lambda lo, hi: "lower" if lo + hi < 0 else "higher"),
        "decided by the mean alone",
    ),
    "words exchanged": (
        interval(student, word=lambda lo, hi: word(-hi, -lo)),
        "whose values are lower",
    ),
    "never clear": (
        interval(student, word=lambda lo, hi: "no clear difference"),
        "which numbers are left in the interval",
    ),
    "other words": (
        interval(student, word=lambda lo, hi: "significant"),
        "the verdict 'significant', expected",
    ),
    "an array": (
        interval(student, word=lambda lo, hi: np.array([lo, hi])),
        "expected one of three strings",
    ),
    "three": (lambda a, b: interval(student)(a, b)[:3], "verdict, got 3"),
    "differences": (lambda a, b: (a - b, 0, 1, "higher"), "expected a number"),
    "in place": (
        lambda a, b: (np.subtract(a, b, out=a), by_scipy(a + b, b))[1],
        "changes its input treatment",
    ),
    "nan": (lambda a, b: (np.nan, 0, 0, "lower"), "expected a finite number"),
}


@pytest.mark.parametrize("name", WRONG_INTERVALS)
def test_interval_names_what_is_wrong(name):
    compare, words = WRONG_INTERVALS[name]
    fails(checks.dropout.interval, compare, words=words)


# misleading


def by_sf(mean, sd, n):
    return stats.norm.sf(abs(mean) / (sd / n**0.5))


def by_distribution(mean, sd, n):
    below = stats.norm(mean, sd / np.sqrt(n)).cdf(0)
    return below if mean > 0 else 1 - below


def by_simulation(mean, sd, n, size=8_000_000):
    rng = np.random.default_rng(0)
    z = rng.standard_normal(size) * sd / np.sqrt(n) + mean
    return float((np.sign(z) != np.sign(mean)).mean())


@pytest.mark.parametrize("formula", [by_sf, by_distribution])
def test_misleading_accepts(formula):
    passes(checks.dropout.misleading, formula)


def test_the_formula_agrees_with_a_simulation():
    assert by_simulation(0.3, 1.0, 5, 400_000) == pytest.approx(
        by_sf(0.3, 1.0, 5), abs=0.005
    )


sf = stats.norm.sf
WRONG_FORMULAS = {
    "right": (lambda m, s, n: 1 - by_sf(m, s, n), "the probability to be right"),
    "positive only": (
        lambda m, s, n: sf(m * np.sqrt(n) / s),
        "what is the wrong sign if the effect is negative",
    ),
    "n unused": (lambda m, s, n: sf(abs(m) / s), "does n enter"),
    "n for √n": (lambda m, s, n: sf(abs(m) * n / s), "with n, or with √n"),
    "√n reversed": (lambda m, s, n: sf(abs(m) / s / n**0.5), "does n enter|less cert"),
    "two-sided": (lambda m, s, n: 2 * by_sf(m, s, n), "in one direction only"),
    "a variance": (lambda m, s, n: by_sf(m, s**0.5, n), "is sd a variance"),
    "squared": (lambda m, s, n: by_sf(m, s**2, n), "is the deviation squared"),
    "all wrong": (lambda m, s, n: sf(abs(m) / s) ** n, "all n seeds are wrong"),
    "half": (lambda m, s, n: 0.5, "how is the mean of n differences distributed"),
    "array": (lambda m, s, n: np.full(3, 0.5), "expected a number"),
    "text": (lambda m, s, n: "0.3", "expected a number"),
    "raises": (lambda m, s: 0.3, "TypeError"),
}


@pytest.mark.parametrize("name", WRONG_FORMULAS)
def test_misleading_names_what_is_wrong(name):
    formula, words = WRONG_FORMULAS[name]
    fails(checks.dropout.misleading, formula, words=words)


# leak


def prepare_with(
    *,
    order=lambda n, rng: rng.permutation(n),
    y_order=None,
    statistics=lambda x, train, test: (x[train].mean(0), x[train].std(0)),
    on_test=None,
):
    def prepare(x, y, n_train, rng):
        rows = order(len(x), rng)
        train, test = rows[:n_train], rows[n_train:]
        mean, sd = statistics(x, train, test)
        mean_test, sd_test = on_test(x[test]) if on_test else (mean, sd)
        others = rows if y_order is None else y_order(rows, rng)
        return (
            (x[train] - mean) / sd,
            y[others[:n_train]],
            (x[test] - mean_test) / sd_test,
            y[others[n_train:]],
        )

    return prepare


def prepare_copies(x, y, n_train, rng):
    table = np.column_stack([x, y])
    rng.shuffle(table)
    x, y = table[:, :-1], table[:, -1]
    scaler = StandardScaler().fit(x[:n_train])
    x = scaler.transform(x)
    return x[:n_train], y[:n_train], x[n_train:], y[n_train:]


@pytest.mark.parametrize(
    "prepare",
    [
        prepare_with(),
        prepare_with(
            order=lambda n, rng: rng.random(n).argsort(),
            statistics=lambda x, a, b: (x[a].mean(0), x[a].std(0, ddof=1)),
        ),
        prepare_copies,
    ],
)
def test_leak_accepts(prepare):
    passes(checks.dropout.leak, prepare)


def of_the_listing(x, y, n_train, rng):
    x = (x - x.mean()) / x.std()
    order = rng.permutation(len(x))
    x = x[order]
    return x[:n_train], y[:n_train], x[n_train:], y[n_train:]


def shuffles_in_place(x, y, n_train, rng):
    rng.shuffle(x)
    return of_the_listing(x, y, n_train, rng)


WRONG_PREPARE = {
    "the listing": (of_the_listing, "the training part is the first rows"),
    "in place": (shuffles_in_place, "changes its input x"),
    "unshuffled": (
        prepare_with(order=lambda n, rng: np.arange(n)),
        "what if the file is sorted",
    ),
    "drawn with replacement": (
        prepare_with(order=lambda n, rng: rng.integers(n, size=n)),
        "is a row drawn more than once",
    ),
    "torn apart": (
        prepare_with(y_order=lambda rows, rng: rng.permutation(rows)),
        "no longer belong together",
    ),
    "all rows": (
        prepare_with(statistics=lambda x, a, b: (x.mean(0), x.std(0))),
        "the test part included",
    ),
    "its own": (
        prepare_with(on_test=lambda x: (x.mean(0), x.std(0))),
        "by its own mean and deviation",
    ),
    "test part raw": (prepare_with(on_test=lambda x: (0, 1)), "is not standardized at"),
    "test part centered": (
        prepare_with(on_test=lambda x: (x.mean(0), 1)),
        "x_test is not standardized by the training part's",
    ),
    "raw": (
        prepare_with(statistics=lambda x, a, b: (0, 1)),
        "the training part is not standardized",
    ),
    "one number": (
        prepare_with(statistics=lambda x, a, b: (x[a].mean(), x[a].std())),
        "for all features: over which axis",
    ),
    "variance": (
        prepare_with(statistics=lambda x, a, b: (x[a].mean(0), x[a].var(0))),
        "x_train is not (x - mean)/deviation",
    ),
    "same split": (
        prepare_with(order=lambda n, rng: np.random.default_rng(0).permutation(n)),
        "another generator gives the same split",
    ),
    "the global generator": (
        prepare_with(order=lambda n, rng: np.random.permutation(n)),
        "is the order drawn from `rng`",
    ),
    "sizes": (
        lambda x, y, n, rng: prepare_with()(x, y, n + 1, rng),
        "x_train: the result has shape (41, 3), expected (40, 3)",
    ),
    "other order": (
        lambda x, y, n, rng: [prepare_with()(x, y, n, rng)[i] for i in (0, 2, 1, 3)],
        "y_train: the result has shape (20, 3)",
    ),
    "y too": (
        lambda x, y, n, rng: prepare_with()(x, (y - y.mean()) / y.std(), n, rng),
        "y stays as it is",
    ),
    "x alone": (lambda x, y, n, rng: x, "y_test, got one"),
    "lists": (
        lambda x, y, n, rng: [p.tolist() for p in prepare_with()(x, y, n, rng)],
        "is a list",
    ),
    "raises": (lambda x, y, n, rng: x[y], "IndexError"),
}


@pytest.mark.parametrize("name", WRONG_PREPARE)
def test_leak_names_what_is_wrong(name):
    prepare, words = WRONG_PREPARE[name]
    fails(checks.dropout.leak, prepare, words=words)


# optimism


def gain(pick=np.min, repeats=4000, form=lambda best, error: error - best):
    def simulate(n_models, n_test, error, rng):
        wrong = rng.binomial(n_test, error, size=(repeats, n_models)) / n_test
        return form(pick(wrong, axis=1), error).mean()

    return simulate


def image_by_image(n_models, n_test, error, rng):
    best = [
        (rng.random((n_models, n_test)) < error).mean(axis=1).min()
        for _ in range(1000 if n_test < 1000 else 400)
    ]
    return error - np.mean(best)


def with_fresh_test_set(n_models, n_test, error, rng):
    """Truth as measured on other images."""
    wrong = rng.binomial(n_test, error, size=(20_000, n_models)) / n_test
    again = rng.binomial(n_test, error, size=20_000) / n_test
    return again.mean() - wrong.min(axis=1).mean()


def exactly(n_models, n_test, error, rng):
    at_least = stats.binom.sf(np.arange(n_test), n_test, error) ** n_models
    return error - at_least.sum() / n_test


@pytest.mark.parametrize("simulate", [gain(), with_fresh_test_set, exactly])
def test_optimism_accepts(simulate):
    passes(checks.dropout.optimism, simulate)


def test_optimism_accepts_slow_simulations():
    passes(checks.dropout.optimism, image_by_image, seeds=[0])


WRONG_GAINS = {
    "sign": (gain(form=lambda b, e: b - e), "what is subtracted from what"),
    "lowest": (gain(form=lambda b, e: b), "the lowest test error itself"),
    "highest": (gain(pick=np.max), "and is it the lowest error"),
    "highest, reversed": (
        gain(pick=np.max, form=lambda b, e: b - e),
        "how far the highest test error lies above",
    ),
    "mean": (gain(pick=np.mean), "the mean of all models"),
    "count": (
        lambda k, n, e, rng: n * gain()(k, n, e, rng),
        "a number of errors, in place of a share",
    ),
    "per cent": (gain(form=lambda b, e: 100 * (e - b)), "in per cent"),
    "zero": (lambda k, n, e, rng: 0.0, "the mean of all models"),
    "array": (lambda k, n, e, rng: rng.random(3), "expected a number"),
    "nonsense": (lambda k, n, e, rng: 0.77, "the mean over many repetitions"),
    "no return": (lambda k, n, e, rng: print(k), "is a `return` missing"),
    "raises": (lambda k, n, e, rng: rng.binomal(n, e), "AttributeError"),
}


@pytest.mark.parametrize("name", WRONG_GAINS)
def test_optimism_names_what_is_wrong(name):
    simulate, words = WRONG_GAINS[name]
    fails(checks.dropout.optimism, simulate, words=words)
