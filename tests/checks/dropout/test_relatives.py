"""Exercises on dropout's relatives: right answers pass, wrong ones are named."""

import numpy as np
import pytest
import torch
from answers import fails, passes

from dropnorm import checks
from dropnorm.nn import DropBlock2d

# uniform


def noisy(factor, dtype=True):
    """x times factor(rng, shape, variance, p)."""

    def dropout(x, p, rng):
        y = x * factor(rng, x.shape, p / (1 - p), p)
        return y.astype(x.dtype) if dtype else y

    return dropout


def half_width(a, center=1.0):
    """Factors uniform on center ± a(variance, p)."""

    def factor(rng, shape, v, p):
        return center + a(v, p) * (2 * rng.random(shape) - 1)

    return noisy(factor)


right_uniform = half_width(lambda v, p: np.sqrt(3 * v))


def with_a_loop(x, p, rng):
    a = (3 * p / (1 - p)) ** 0.5
    y = x.copy()
    for index in np.ndindex(x.shape):
        y[index] = x[index] * rng.uniform(1 - a, 1 + a)
    return y


@pytest.mark.parametrize(
    "dropout",
    [
        right_uniform,
        with_a_loop,
        noisy(
            lambda rng, s, v, p: rng.uniform(1 - (3 * v) ** 0.5, 1 + (3 * v) ** 0.5, s)
        ),
        noisy(lambda rng, s, v, p: 1 + np.sqrt(12 * v) * (rng.random(s[::-1]).T - 0.5)),
    ],
)
def test_uniform_accepts(dropout):
    passes(checks.dropout.uniform, dropout, seeds=range(4))


def added(x, p, rng):
    a = np.sqrt(3 * p / (1 - p))
    return (x + rng.uniform(-a, a, x.shape)).astype(x.dtype)


def uniform_in_place(x, p, rng):
    x *= right_uniform(np.ones_like(x), p, rng)
    return x


def by_shape(shape_of):
    def factor(rng, shape, v, p):
        return 1 + np.sqrt(3 * v) * (2 * rng.random(shape_of(shape)) - 1)

    return noisy(factor)


WRONG_UNIFORM = {
    "a deviation": (half_width(lambda v, p: np.sqrt(v)), "where it is the half-width"),
    "half": (half_width(lambda v, p: np.sqrt(v) / 2), "one from 0 to w has w²/12"),
    "a variance": (half_width(lambda v, p: v), "is a the variance p/(1 - p) itself"),
    "no root": (half_width(lambda v, p: np.sqrt(3) * v), "is the root missing"),
    "three v": (half_width(lambda v, p: 3 * v), "three times the variance, without"),
    "exchanged": (
        half_width(lambda v, p: np.sqrt(3 / v)),
        "keeping and dropping are exchanged",
    ),
    "p(1 - p)": (
        half_width(lambda v, p: np.sqrt(3 * p * (1 - p))),
        "without the scaling",
    ),
    "p the variance": (half_width(lambda v, p: np.sqrt(3 * p)), "is p itself the var"),
    "a = p": (half_width(lambda v, p: p), "is a = p"),
    "a = 1": (
        half_width(lambda v, p: 1.0),
        "is a = 1, whatever p",
    ),
    "another": (half_width(lambda v, p: 2.7 * np.sqrt(v)), "what is the variance of a"),
    "around 0": (half_width(lambda v, p: np.sqrt(3 * v), 0.0), "without the 1"),
    "upwards": (
        noisy(lambda rng, s, v, p: 1 + np.sqrt(3 * v) * rng.random(s)),
        "where it needs both signs",
    ),
    "1 / (1 - p)": (
        half_width(lambda v, p: np.sqrt(3 * v), 1.7),
        "which mean does that need",
    ),
    "Gaussian": (
        noisy(lambda rng, s, v, p: 1 + np.sqrt(v) * rng.standard_normal(s)),
        "from which distribution are they drawn",
    ),
    "two values": (
        noisy(lambda rng, s, v, p: 1 + np.sqrt(v) * rng.choice([-1, 1], s)),
        "are not uniform",
    ),
    "dropout": (
        noisy(lambda rng, s, v, p: (rng.random(s) >= p) / (1 - p)),
        "is that the Bernoulli mask",
    ),
    "identity": (lambda x, p, rng: x * 1, "where is the noise"),
    "one for all": (by_shape(lambda s: ()), "all units share one factor"),
    "one for each feature": (by_shape(lambda s: s[1:]), "all examples share"),
    "one for each example": (
        by_shape(lambda s: (s[0],) + (1,) * (len(s) - 1)),
        "the features of an example share",
    ),
    "seeded inside": (
        lambda x, p, rng: right_uniform(x, p, np.random.default_rng(0)),
        "the same factors: is a generator made",
    ),
    "the global generator": (
        lambda x, p, rng: right_uniform(x, p, np.random),
        "drawn from `rng`",
    ),
    "added": (added, "is the noise added"),
    "in place": (uniform_in_place, "changes its input x"),
    "float64": (
        lambda x, p, rng: right_uniform(x.astype(float), p, rng),
        "an input of type float32",
    ),
    "noise at p = 0": (
        lambda x, p, rng: right_uniform(x, max(p, 0.1), rng),
        "at p = 0 the output differs",
    ),
    "two axes": (
        lambda x, p, rng: right_uniform(x.reshape(*x.shape[:1], -1), p, rng)[:, :40],
        "on an input of four axes",
    ),
    "list": (lambda x, p, rng: x.tolist(), "is a list"),
    "raises": (lambda x, p, rng: rng.unifrom(x), "AttributeError"),
}


@pytest.mark.parametrize("name", WRONG_UNIFORM)
def test_uniform_names_what_is_wrong(name):
    dropout, words = WRONG_UNIFORM[name]
    fails(checks.dropout.uniform, dropout, words=words, seeds=range(4))


# exactly_k


def dropping(keep, scale=lambda k, n: n / (n - k)):
    def drop(x, k, rng):
        n = x.shape[1]
        return (x * keep(rng, x.shape, k, x) * scale(k, n)).astype(x.dtype)

    return drop


def by_rank(rng, shape, k, x):
    return rng.random(shape).argsort(axis=1).argsort(axis=1) >= k


def by_rows(rng, shape, k, x):
    keep = np.ones(shape)
    for row in keep:
        row[rng.choice(shape[1], k, replace=False)] = 0
    return keep


def by_permuted(rng, shape, k, x):
    mask = np.tile(np.arange(shape[1]) >= k, (shape[0], 1))
    return rng.permuted(mask, axis=1)


def by_threshold(rng, shape, k, x):
    u = rng.random(shape)
    return u < np.sort(u, axis=1)[:, [-k]] if k else np.ones(shape)


@pytest.mark.parametrize("keep", [by_rank, by_rows, by_permuted, by_threshold])
def test_exactly_k_accepts(keep):
    passes(checks.dropout.exactly_k, dropping(keep), seeds=range(4))


def of_the_article(x, k, rng):
    p = 1 / k
    return x * (rng.random(x.shape) >= p) / (1 - p)


def neighbors(rng, shape, k, x):
    first = rng.integers(shape[1], size=(shape[0], 1))
    return (np.arange(shape[1]) - first) % shape[1] >= k


def with_repeats(rng, shape, k, x):
    keep = np.ones(shape)
    for row in keep:
        row[rng.integers(shape[1], size=k)] = 0
    return keep


def of_all(rng, shape, k, x):
    keep = np.ones(shape)
    keep.ravel()[rng.permutation(keep.size)[:k]] = 0
    return keep


WRONG_K = {
    "the article's": (of_the_article, "is 1/k the probability to drop a unit"),
    "coins": (
        dropping(lambda rng, s, k, x: rng.random(s) >= k / s[1]),
        "is each unit dropped by a coin of its own",
    ),
    "reversed": (
        dropping(lambda rng, s, k, x: ~by_rank(rng, s, k, x)),
        "8 units are dropped and 4 kept",
    ),
    "one too many": (
        dropping(lambda rng, s, k, x: by_rank(rng, s, k + 1, x)),
        "5 units are dropped, expected 4",
    ),
    "with repeats": (dropping(with_repeats), "can a unit be drawn twice"),
    "k of the batch": (dropping(of_all), "units of the whole batch are dropped"),
    "the last": (
        dropping(lambda rng, s, k, x: np.arange(s[1]) < s[1] - k),
        "drop the same units",
    ),
    "the smallest": (
        dropping(lambda rng, s, k, x: abs(x).argsort(1).argsort(1) >= k),
        "drop the same units",
    ),
    "the same in all rows": (
        dropping(lambda rng, s, k, x: rng.random(s[1]).argsort().argsort() >= k),
        "all examples lose the same units",
    ),
    "one argsort": (
        dropping(lambda rng, s, k, x: by_rank(rng, s, k, x), lambda k, n: 1.0),
        "is the scale missing",
    ),
    "neighbors": (dropping(neighbors), "are dropped together in"),
    "never unit 0": (
        dropping(
            lambda rng, s, k, x: np.insert(by_rank(rng, (s[0], 11), k, x), 0, 1, 1)
        ),
        "unit 0 is dropped with probability 0.00",
    ),
    "1/(1 - 1/k)": (dropping(by_rank, lambda k, n: k / (k - 1)), "that 1/(1 - 1/k)"),
    "n/k": (dropping(by_rank, lambda k, n: n / k), "is that n/k"),
    "upside down": (dropping(by_rank, lambda k, n: 1 - k / n), "its inverse is needed"),
    "twice": (dropping(by_rank, lambda k, n: (n / (n - k)) ** 2), "applied twice"),
    "another scale": (dropping(by_rank, lambda k, n: 1.1), "what keeps the mean"),
    "seeded inside": (
        lambda x, k, rng: dropping(by_rank)(x, k, np.random.default_rng(0)),
        "drop the same units",
    ),
    "the global generator": (
        lambda x, k, rng: dropping(by_rank)(x, k, np.random),
        "drawn from `rng`",
    ),
    "k = 0": (
        lambda x, k, rng: dropping(by_rank)(x, max(k, 1), rng),
        "for k = 0 the output differs",
    ),
    "float64": (
        lambda x, k, rng: dropping(by_rank)(x.astype(float), k, rng),
        "float32",
    ),
    "no return": (lambda x, k, rng: print(x), "is a `return` missing"),
    "mask alone": (lambda x, k, rng: by_rank(rng, x.shape, k, x), "True and False"),
}


@pytest.mark.parametrize("name", WRONG_K)
def test_exactly_k_names_what_is_wrong(name):
    drop, words = WRONG_K[name]
    fails(checks.dropout.exactly_k, drop, words=words, seeds=range(4))


# spans


def span(gamma=None, cover=None, form=lambda g, c: 1 - (1 - g) ** c):
    def formula(p, b, length):
        starts = length - b + 1
        g = gamma(p, b, length) if gamma else p * length / (b * starts)
        i = np.arange(length)
        c = np.array([sum(0 <= s < starts for s in range(j - b + 1, j + 1)) for j in i])
        return form(g, cover(b, length) if cover else c)

    return formula


def by_convolution(p, b, length):
    starts = length - b + 1
    log_kept = np.full(starts, np.log1p(-p * length / (b * starts)))
    return 1 - np.exp(np.convolve(log_kept, np.ones(b)))


@pytest.mark.parametrize("formula", [span(), by_convolution])
def test_spans_accepts(formula):
    passes(checks.dropout.spans, formula)


def test_the_formula_agrees_with_drop_block():
    """An image of which every row is a signal, with spans across all rows."""
    rng = np.random.default_rng(0)
    p, b, length, n = 0.2, 3, 10, 40_000
    gamma = p * length / (b * (length - b + 1))
    starts = rng.random((n, length - b + 1)) < gamma
    dropped = np.zeros((n, length), bool)
    for j in range(length - b + 1):
        dropped[:, j : j + b] |= starts[:, [j]]
    np.testing.assert_allclose(dropped.mean(axis=0), span()(p, b, length), atol=0.015)
    # In two dimensions the formula is the square of this one, without p.
    square = DropBlock2d(p, b).gamma(length, length)
    assert square == pytest.approx(gamma**2 / p)
    assert torch.is_tensor(DropBlock2d(p, b).sample(torch.ones(1, 1, 10, 10)))


WRONG_SPANS = {
    "gamma": (span(form=lambda g, c: np.full(len(c), g)), "that is gamma"),
    "p": (lambda p, b, n: np.full(n, p), "overlap, and edges"),
    "no edges": (
        span(cover=lambda b, n: np.full(n, b)),
        "near an edge",
    ),
    "added": (span(form=lambda g, c: g * c), "two spans may cover the same place"),
    "kept": (span(form=lambda g, c: (1 - g) ** c), "the probability to be kept"),
    "no correction": (span(gamma=lambda p, b, n: p / b), "at how many places can a"),
    "squares": (
        span(gamma=lambda p, b, n: p * n / (b * b * (n - b + 1))),
        "gamma has b²",
    ),
    "upside down": (
        span(gamma=lambda p, b, n: p * (n - b + 1) / (b * n)),
        "upside down",
    ),
    "long spans": (
        span(
            cover=lambda b, n: np.minimum(
                np.minimum(np.arange(n) + 1, n - np.arange(n)), b
            )
        ),
        "longer than half of the signal",
    ),
    "nonsense": (lambda p, b, n: np.linspace(0, 1, n), "no span starts at the places"),
    "number": (lambda p, b, n: p, "is a float, expected one NumPy array"),
    "starts": (lambda p, b, n: np.ones(n - b), "shape"),
    "list": (lambda p, b, n: [p] * n, "is a list"),
    "raises": (lambda p, b, n: np.ones(n)[n], "IndexError"),
}


@pytest.mark.parametrize("name", WRONG_SPANS)
def test_spans_names_what_is_wrong(name):
    formula, words = WRONG_SPANS[name]
    fails(checks.dropout.spans, formula, words=words)


# recurrent


def network(
    *,
    mask=lambda rng, n, units, p: (rng.random((n, units)) >= p) / (1 - p),
    each_step=False,
    on_input=False,
    on_state=False,
    on_output=False,
    activation=np.tanh,
    result=lambda states: np.stack(states, axis=1),
    before=lambda rng: rng,
):
    def run(x, w_x, w_h, p, rng):
        rng = before(rng)
        n, steps, features = x.shape
        h = np.zeros((n, len(w_h)))
        m = mask(rng, n, len(w_h), p)
        m_x = mask(rng, n, features, p) if on_input else 1.0
        states = []
        for t in range(steps):
            if each_step:
                m = mask(rng, n, len(w_h), p)
            read = h if on_output else m * h
            h = activation((m_x * x[:, t]) @ w_x.T + read @ w_h.T)
            if on_output:
                h = m * h
            states.append(m * h if on_state else h)
        return result(states)

    return run


def sequence_by_sequence(x, w_x, w_h, p, rng):
    states = np.empty((*x.shape[:2], len(w_h)))
    for n, sequence in enumerate(x):
        weight = w_h * (rng.binomial(1, 1 - p, len(w_h)) / (1 - p))
        h = np.zeros(len(w_h))
        for t, features in enumerate(sequence):
            h = np.tanh(w_x @ features + weight @ h)
            states[n, t] = h
    return states


@pytest.mark.parametrize("run", [network(), sequence_by_sequence])
def test_recurrent_accepts(run):
    passes(checks.dropout.recurrent, run)


def uniform_mask(shape_of, scale=lambda p: 1 / (1 - p), keep=lambda u, p: u >= p):
    def mask(rng, n, units, p):
        return keep(rng.random(shape_of(n, units)), p) * scale(p)

    return mask


def whole(n, units):
    return n, units


def of_the_listing(x, w_x, w_h, p, rng):
    n, steps, _ = x.shape
    h = np.zeros((n, len(w_h)))
    states = []
    for t in range(steps):
        rng = np.random.default_rng(0)
        h = h * (rng.random(len(w_h)) >= p) / (1 - p)
        h = np.tanh(x[:, t] @ w_x.T + h @ w_h.T)
        states.append(h)
    return np.stack(states, axis=1)


WRONG_RUNS = {
    "the listing": (of_the_listing, "in a row and all sequences have the same mask"),
    "each step": (network(each_step=True), "in the loop or before it"),
    "one for the batch": (
        network(mask=uniform_mask(lambda n, units: units)),
        "all 60 sequences of a batch share one mask",
    ),
    "seeded": (
        network(before=lambda rng: np.random.default_rng(0)),
        "passes in a row have the same mask",
    ),
    "the global generator": (
        network(before=lambda rng: np.random),
        "are the random numbers drawn from `rng`",
    ),
    "unscaled": (
        network(mask=uniform_mask(whole, scale=lambda p: 1.0)),
        "is the factor 1/(1 - p) missing",
    ),
    "scaled by 1/p": (
        network(mask=uniform_mask(whole, scale=lambda p: 1 / p if p else 1.0)),
        "is the division by p",
    ),
    "reversed": (
        network(mask=uniform_mask(whole, keep=lambda u, p: u < p)),
        "is the comparison reversed",
    ),
    "one coin": (
        network(mask=uniform_mask(lambda n, units: (n, 1))),
        "all its 20 features together",
    ),
    "nothing": (network(mask=lambda rng, n, units, p: 1.0), "nothing is dropped"),
    "input": (network(on_input=True), "is the input masked too"),
    "masked states": (network(on_state=True), "not into the state itself"),
    "masked output": (network(on_output=True), "not into the state itself"),
    "linear": (network(activation=lambda z: 3 * z), "is the tanh missing"),
    "ReLU": (
        network(activation=lambda z: np.maximum(z, 0)),
        "is the tanh missing",
    ),
    "last state": (network(result=lambda s: s[-1]), "is that the last state alone"),
    "steps first": (
        network(result=np.stack),
        "shape (6, 60, 20), expected (60, 6, 20)",
    ),
    "list": (network(result=list), "is a list"),
    "p = 0": (
        network(
            mask=lambda rng, n, units, p: (
                (rng.random((n, units)) >= max(p, 0.1)) / (1 - max(p, 0.1))
            )
        ),
        "at p = 0 something is dropped",
    ),
    "in place": (
        lambda x, w_x, w_h, p, rng: network()(
            x, w_x, np.negative(w_h, out=w_h), p, rng
        ),
        "changes its input w_h",
    ),
    "raises": (lambda x, w_x, w_h, p, rng: x @ w_h, "ValueError"),
}


@pytest.mark.parametrize("name", WRONG_RUNS)
def test_recurrent_names_what_is_wrong(name):
    run, words = WRONG_RUNS[name]
    fails(checks.dropout.recurrent, run, words=words, seeds=range(4))
