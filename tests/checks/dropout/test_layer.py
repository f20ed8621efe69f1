"""Exercises on the dropout layer: right answers pass, wrong ones are named."""

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from answers import fails, passes, train
from scipy.stats import binom
from torch import nn

from dropnorm import checks, data, layers
from dropnorm.checks.base import plausible
from dropnorm.randomness import default_generator


def scale(p):
    return 1 / (1 - p) if p < 1 else 0.0


# forward


def with_greater_equal(x, p, rng):
    return x * (rng.random(x.shape) >= p) * scale(p)


def with_greater(x, p, rng):
    keep = rng.random(x.shape) > p
    return x * keep.astype(x.dtype) * scale(p)


def with_less(x, p, rng):
    return np.where(rng.random(x.shape) < 1 - p, x * scale(p), 0)


def with_float_mask(x, p, rng):
    mask = (rng.random(x.shape) >= p).astype(float) * scale(p)
    return (x * mask).astype(x.dtype)


def with_binomial(x, p, rng):
    return (x * rng.binomial(1, 1 - p, size=x.shape) * scale(p)).astype(x.dtype)


def with_uniform(x, p, rng):
    if p == 1:
        return np.zeros_like(x)
    return x / (1 - p) * (rng.uniform(size=x.shape) >= p)


def with_choice(x, p, rng):
    return (x * rng.choice([0, scale(p)], size=x.shape, p=[p, 1 - p])).astype(x.dtype)


def in_other_order(x, p, rng):
    rng.random(17)
    u = rng.random(x.size)[::-1].reshape(x.shape)
    return x * (u >= p) * scale(p)


def by_columns(x, p, rng):
    u = rng.random(x.shape[::-1]).T
    return x * (u >= p) * scale(p)


def in_a_copy(x, p, rng):
    y = x.copy()
    y[rng.random(x.shape) < p] = 0
    y *= scale(p)
    return y


def with_loop(x, p, rng):
    y = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        if rng.random() >= p:
            y[index] = x[index] / (1 - p)
    return y


def with_prints(x, p, rng):
    print("shape", x.shape)
    return with_greater_equal(x, p, rng)


def of_the_package(x, p, rng):
    return layers.dropout_forward(x, p, rng)[0]


@pytest.mark.parametrize(
    "dropout",
    [
        with_greater_equal,
        with_greater,
        with_less,
        with_float_mask,
        with_binomial,
        with_uniform,
        with_choice,
        in_other_order,
        by_columns,
        in_a_copy,
        with_loop,
        with_prints,
        of_the_package,
    ],
    ids=lambda f: f.__name__,
)
def test_forward_accepts(dropout, capfd):
    passes(checks.dropout.forward, dropout)
    assert capfd.readouterr() == ("", "")


def in_place(x, p, rng):
    x *= (rng.random(x.shape) >= p) * scale(p)
    return x


def exactly_k(x, p, rng):
    mask = np.ones(x.size)
    mask[rng.permutation(x.size)[: round(p * x.size)]] = 0
    return x * mask.reshape(x.shape) * scale(p)


def exactly_k_per_row(x, p, rng):
    order = rng.random(x.shape).argsort(axis=-1)
    return x * (order >= round(p * x.shape[-1])) * scale(p)


def by_kept_fraction(x, p, rng):
    keep = rng.random(x.shape) >= p
    return x * keep / keep.mean()


def two_axes(x, p, rng):
    return x * (rng.random((x.shape[0], x.shape[1])) >= p) * scale(p)


def whole_maps(x, p, rng):
    shape = x.shape[:2] + (1,) * (x.ndim - 2)
    return x * (rng.random(shape) >= p) * scale(p)


def in_pairs(x, p, rng):
    half = rng.random((*x.shape[:-1], (x.shape[-1] + 1) // 2))
    return x * (np.repeat(half, 2, axis=-1)[..., : x.shape[-1]] >= p) * scale(p)


def half_batch(x, p, rng):
    half = rng.random(((len(x) + 1) // 2, *x.shape[1:]))
    return x * (np.repeat(half, 2, axis=0)[: len(x)] >= p) * scale(p)


def raises(x, p, rng):
    raise KeyError("mask")


def exits(x, p, rng):
    raise SystemExit(1)


def no_return(x, p, rng):
    x * (rng.random(x.shape) >= p) * scale(p)


WRONG_FORWARD = {
    "S1's listing": (lambda x, p, rng: x * (rng.random(x.shape) < p), "reversed"),
    "reversed, scaled": (
        lambda x, p, rng: x * (rng.random(x.shape) < p) * scale(p),
        "reversed",
    ),
    "S2's listing": (lambda x, p, rng: x * rng.random(x.shape) > p, "True and False"),
    "S2's, made a mask": (
        lambda x, p, rng: x * (x * rng.random(x.shape) > p) * scale(p),
        "of the negative inputs none",
    ),
    "no scale": (
        lambda x, p, rng: x * (rng.random(x.shape) >= p),
        "is the factor 1/(1 - p) missing?",
    ),
    "scaled by 1/p": (
        lambda x, p, rng: x * (rng.random(x.shape) >= p) / p,
        "is the division by p",
    ),
    "scaled by 1 - p": (
        lambda x, p, rng: x * (rng.random(x.shape) >= p) * (1 - p),
        "where it should be divided",
    ),
    "scaled by p": (
        lambda x, p, rng: x * (rng.random(x.shape) >= p) * p,
        "multiplied by p?",
    ),
    "scaled twice": (
        lambda x, p, rng: x * (rng.random(x.shape) >= p) * scale(p) ** 2,
        "applied twice",
    ),
    "scaled by another number": (
        lambda x, p, rng: x * (rng.random(x.shape) >= p) * 3.3,
        "which factor makes up",
    ),
    "scaled by the fraction kept": (by_kept_fraction, "kept in this one pass"),
    "noise added": (
        lambda x, p, rng: (x + rng.random(x.shape)) * (rng.random(x.shape) >= p),
        "what else enters",
    ),
    "rows of norm 1": (
        lambda x, p, rng: (
            (y := x * (rng.random(x.shape) >= p))
            / np.linalg.norm(y, axis=-1, keepdims=True)
        ),
        "what else enters",
    ),
    "one mask for the batch": (
        lambda x, p, rng: x * (rng.random(x.shape[-1]) >= p) * scale(p),
        "one mask drawn for the whole batch",
    ),
    "whole rows": (
        lambda x, p, rng: x * (rng.random((len(x), 1)) >= p) * scale(p),
        "one number drawn for each example",
    ),
    "one number for all": (
        lambda x, p, rng: x * rng.integers(2) * scale(p),
        "is one random number drawn",
    ),
    "mask of two axes": (two_axes, "on an input of shape (500,)"),
    "whole maps": (
        lambda x, p, rng: whole_maps(x, p, rng) if x.ndim > 1 else with_less(x, p, rng),
        "axes [2, 3]: does the mask have the shape of x",
    ),
    "S1's mask, square": (
        lambda x, p, rng: (
            two_axes(x, p, rng)
            if x.ndim == 4 and x.shape[0] == x.shape[2]
            else with_less(x, p, rng)
        ),
        "axes [0, 1]: does the mask have the shape of x",
    ),
    "seeded inside": (
        lambda x, p, rng: with_less(x, p, np.random.default_rng(0)),
        "drop the same units: is a generator made, or seeded, inside",
    ),
    "the global generator seeded inside": (
        lambda x, p, rng: (np.random.seed(1), with_less(x, p, np.random))[1],
        "drop the same units",
    ),
    "NumPy's global generator": (
        lambda x, p, rng: x * (np.random.rand(*x.shape) >= p) * scale(p),
        "NumPy's global generator",
    ),
    "a generator made inside": (
        lambda x, p, rng: with_less(x, p, np.random.default_rng()),
        "generators in the same state give different masks",
    ),
    "exactly k": (exactly_k, "of 4000 units in each pass survive"),
    "exactly k in each row": (exactly_k_per_row, "exactly"),
    "in pairs": (in_pairs, "neighboring features share their fate"),
    "in pairs of examples": (half_batch, "neighboring examples share their fate"),
    "p unused": (
        lambda x, p, rng: x * (rng.random(x.shape) >= 0.5) * 2,
        "is p used at all",
    ),
    "normal numbers": (
        lambda x, p, rng: x * (rng.standard_normal(x.shape) >= p) * scale(p),
        "are the random numbers normal",
    ),
    "p squared": (
        lambda x, p, rng: x * (rng.random(x.shape) >= p**0.5) * scale(p),
        "what is the random number compared with",
    ),
    "identity": (lambda x, p, rng: x, "nothing is dropped"),
    "zero": (lambda x, p, rng: x * 0, "everything is dropped"),
    "in place": (in_place, "changes its input x"),
    "boolean": (lambda x, p, rng: rng.random(x.shape) >= p, "True and False"),
    "integers": (
        lambda x, p, rng: np.trunc(with_less(x, p, rng)).astype(int),
        "a result of type int64",
    ),
    "float64 mask": (
        lambda x, p, rng: x * ((rng.random(x.shape) >= p).astype(float) * scale(p)),
        "an input of type float32 gives a result of type float64",
    ),
    "division by zero": (
        lambda x, p, rng: x * (rng.random(x.shape) >= p) / (1 - p),
        "at p = 1",
    ),
    "ZeroDivisionError": (
        lambda x, p, rng: x * (rng.random(x.shape) >= p) * (1 / (1 - p)),
        "ZeroDivisionError",
    ),
    "silent NaN": (
        lambda x, p, rng: with_less(x, p, rng) if p < 1 else np.full_like(x, np.nan),
        "at p = 1 the result holds nan",
    ),
    "p = 0 drops": (
        lambda x, p, rng: with_less(x, max(p, 0.1), rng),
        "at p = 0 the output differs",
    ),
    "p = 1 keeps": (
        lambda x, p, rng: with_less(x, min(p, 0.9), rng),
        "at p = 1 something survives",
    ),
    "tuple": (lambda x, p, rng: (with_less(x, p, rng), 1), "is a tuple"),
    "list": (lambda x, p, rng: with_less(x, p, rng).tolist(), "is a list"),
    "tensor": (lambda x, p, rng: F.dropout(torch.from_numpy(x), p), "is a Tensor"),
    "transposed": (lambda x, p, rng: with_less(x, p, rng).T, "shape (40, 100)"),
    "flat": (lambda x, p, rng: with_less(x, p, rng).ravel(), "shape (4000,)"),
    "raises": (raises, "raises raised KeyError: 'mask'"),
    "exits": (exits, "SystemExit"),
    "forgotten return": (no_return, "is a `return` missing"),
    "two arguments": (lambda x, p: x, "TypeError"),
    "not a function": (3, "expected a function"),
}


@pytest.mark.parametrize("name", WRONG_FORWARD)
def test_forward_names_what_is_wrong(name):
    dropout, words = WRONG_FORWARD[name]
    fails(checks.dropout.forward, dropout, words=words)


def blank_dots(x, p, rng): ...


def blank_docstring(x, p, rng):
    """Inverted dropout."""


def blank_error(x, p, rng):
    raise NotImplementedError


@pytest.mark.parametrize(
    "blank", [None, ..., blank_dots, blank_docstring, blank_error, lambda *a: ...]
)
def test_an_untouched_stub_is_not_attempted(blank):
    result = checks.dropout.forward(blank)
    assert result.status == "not attempted"
    assert repr(result) == "Not attempted."
    with pytest.raises(AssertionError, match="^not attempted$"):
        result.require()


def test_a_keyboard_interrupt_is_not_swallowed():
    def interrupted(x, p, rng):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checks.dropout.forward(interrupted)


def test_result_in_words():
    passed = checks.dropout.forward(with_less)
    assert repr(passed) == "Passed."
    passed.require()
    failed = checks.dropout.forward(lambda x, p, rng: x)
    assert repr(failed) == "Not yet: nothing is dropped: every unit survives"
    with pytest.raises(AssertionError, match="^nothing is dropped: every unit"):
        failed.require()


def test_checkers_neither_use_nor_disturb_other_generators():
    def greedy(x, p, rng):
        random.random()
        np.random.rand()
        torch.rand(1)
        default_generator().random()
        return with_less(x, p, rng)

    def states():
        return (
            random.getstate(),
            np.random.get_state()[1].tolist(),
            torch.get_rng_state().tolist(),
            default_generator().bit_generator.state,
        )

    before = states()
    assert checks.dropout.forward(greedy).status == "passed"
    assert checks.dropout.forward(exits).status == "failed"
    assert states() == before

    def on_global(x, p, rng):
        return x * (np.random.rand(*x.shape) >= p) * 3.21

    first = checks.dropout.forward(on_global)
    np.random.rand(5)
    assert checks.dropout.forward(on_global) == first


@pytest.mark.parametrize("n", [4000, 32000])
@pytest.mark.parametrize("q", [0.2, 0.38, 0.7])
def test_false_alarms_are_as_rare_as_promised(n, q):
    counts = np.arange(n + 1)
    rejected = np.array([not plausible(k, n, q) for k in counts])
    assert binom.pmf(counts[rejected], n, q).sum() <= 1e-10


# backward


def forward_mask(x, p, rng):
    mask = (rng.random(x.shape) >= p) * x.dtype.type(scale(p))
    return x * mask, mask


def backward_mask(dy, mask):
    return dy * mask


def forward_bool(x, p, rng):
    keep = rng.random(x.shape) >= p
    return x * keep * scale(p), (keep, p)


def backward_bool(dy, cache):
    keep, p = cache
    return np.where(keep, dy * scale(p), 0).astype(dy.dtype)


def forward_replayed(x, p, rng):
    state = rng.bit_generator.state
    return with_less(x, p, rng), (state, p)


def backward_replayed(dy, cache):
    state, p = cache
    rng = np.random.default_rng()
    rng.bit_generator.state = state
    return with_less(dy, p, rng)


def forward_dict(x, p, rng):
    y, mask = forward_mask(x, p, rng)
    return [y, {"mask": mask}]


@pytest.mark.parametrize(
    ("forward", "backward"),
    [
        (layers.dropout_forward, layers.dropout_backward),
        (forward_mask, backward_mask),
        (forward_bool, backward_bool),
        (forward_replayed, backward_replayed),
        (forward_dict, lambda dy, cache: dy * cache["mask"]),
    ],
)
def test_backward_accepts(forward, backward):
    passes(checks.dropout.backward, forward, backward)


def with_x(forward):
    """The forward function, its cache (x, y, p, rng, mask)."""

    def wider(x, p, rng):
        y, mask = forward(x, p, rng)
        return y, (x, y, p, rng, mask)

    return wider


REMEMBERED = {}


def forward_remembered(x, p, rng):
    y, REMEMBERED["mask"] = forward_mask(x, p, rng)
    return y, ()


def used_up(dy, cache):
    mask = cache[4].copy()
    cache[4][...] = 0
    return dy * mask


def backward_in_place(dy, cache):
    dy *= cache[4]
    return dy


WRONG_BACKWARD = {
    "unchanged": (lambda dy, c: dy, "as if nothing had been dropped"),
    "no scale": (lambda dy, c: dy * (c[4] > 0), "is the factor 1/(1 - p) missing"),
    "divided": (
        lambda dy, c: np.where(c[4] > 0, dy * (1 - c[2]), 0).astype(dy.dtype),
        "divided where it should be",
    ),
    "scaled twice": (lambda dy, c: dy * c[4] ** 2, "twice"),
    "times y": (lambda dy, c: dy * c[1], "dx equals dy · y"),
    "times x": (lambda dy, c: dy * c[0], "dx equals dy · x"),
    "the mask alone": (lambda dy, c: c[4], "where does dy come in"),
    "reversed": (
        lambda dy, c: (dy * (c[4] == 0) * scale(c[2])).astype(dy.dtype),
        "is the mask reversed",
    ),
    "fresh mask": (
        lambda dy, c: with_less(dy, c[2], c[3]),
        "is a new mask drawn",
    ),
    "fresh mask, global": (
        lambda dy, c: (dy * (np.random.rand(*dy.shape) >= c[2]) * scale(c[2])).astype(
            dy.dtype
        ),
        "is a new mask drawn",
    ),
    "another factor": (lambda dy, c: dy * c[4] * 0.9, "elsewhere it is not dy/(1 - p)"),
    "used up": (used_up, "the second call of backward"),
    "in place": (backward_in_place, "changes dy"),
    "tuple": (lambda dy, c: (dy * c[4],), "is a tuple"),
    "float64": (lambda dy, c: dy * c[4].astype(float), "type float32"),
    "raises": (lambda dy, c: dy * c["mask"], "TypeError"),
    "sum": (lambda dy, c: (dy * c[4]).sum(axis=0), "shape (40,)"),
}


@pytest.mark.parametrize("name", WRONG_BACKWARD)
def test_backward_names_what_is_wrong(name):
    backward, words = WRONG_BACKWARD[name]
    fails(checks.dropout.backward, with_x(forward_mask), backward, words=words)


WRONG_PAIRS = {
    "mask in a global": (
        forward_remembered,
        lambda dy, c: dy * REMEMBERED["mask"],
        "that of another pass",
    ),
    "y alone": (with_less, backward_mask, "two things, y and cache"),
    "forward without scale": (
        lambda x, p, rng: (x * (m := rng.random(x.shape) >= p), m),
        backward_mask,
        "is the factor 1/(1 - p) missing",
    ),
    "forward reversed": (
        lambda x, p, rng: (x * (m := (rng.random(x.shape) < p) * scale(p)), m),
        backward_mask,
        "is the comparison reversed",
    ),
    "forward ends": (
        lambda x, p, rng: (x * (m := (rng.random(x.shape) >= p) / (1 - p)), m),
        lambda dy, m: (dy * m).astype(dy.dtype),
        "type float32",
    ),
}


@pytest.mark.parametrize("name", WRONG_PAIRS)
def test_backward_sees_what_is_wrong_in_the_pair(name):
    forward, backward, words = WRONG_PAIRS[name]
    fails(checks.dropout.backward, forward, backward, words=words)


def test_a_pair_is_not_attempted_until_both_halves_are():
    def blank_backward(dy, cache):
        raise NotImplementedError

    check = checks.dropout.backward
    assert check(blank_error, blank_backward).status == "not attempted"
    assert check(forward_mask, blank_backward).status == "not attempted"
    assert check(forward_mask, None).status == "not attempted"


# original


def original_weights(x, weight, bias, q, rng, training):
    if training:
        return (x * (rng.random(x.shape) < q)) @ weight.T + bias
    return x @ (q * weight).T + bias


def original_input(x, weight, bias, q, rng, training):
    r = rng.binomial(1, q, x.shape) if training else q
    return (r * x) @ weight.T + bias


def original_loop(x, weight, bias, q, rng, training):
    z = np.empty((len(x), len(weight)))
    for n, row in enumerate(x):
        kept = row * (rng.random(row.shape) >= 1 - q) if training else q * row
        for i, w in enumerate(weight):
            z[n, i] = (w * kept).sum() + bias[i]
    return z


@pytest.mark.parametrize("layer", [original_weights, original_input, original_loop])
def test_original_accepts(layer):
    passes(checks.dropout.original, layer, seeds=range(3))


def original_with(train=None, test=None):
    def layer(x, w, b, q, rng, training):
        default = original_weights(x, w, b, q, rng, training)
        chosen = train if training else test
        return default if chosen is None else chosen(x, w, b, q, rng)

    return layer


def scales_weight_in_place(x, w, b, q, rng):
    w *= q
    return x @ w.T + b


WRONG_ORIGINAL = {
    "q as the probability to drop": (
        lambda x, w, b, q, rng: (x * (rng.random(x.shape) >= q)) @ w.T + b,
        None,
        "is the comparison reversed",
    ),
    "inverted": (
        lambda x, w, b, q, rng: (x * (rng.random(x.shape) < q) / q) @ w.T + b,
        None,
        "is this the inverted form",
    ),
    "output dropped": (
        lambda x, w, b, q, rng: (z := x @ w.T + b) * (rng.random(z.shape) < q),
        None,
        "units of the output are dropped",
    ),
    "product dropped": (
        lambda x, w, b, q, rng: (z := x @ w.T) * (rng.random(z.shape) < q) + b,
        None,
        "units of the output are dropped",
    ),
    "weights dropped": (
        lambda x, w, b, q, rng: x @ (w * (rng.random(w.shape) < q)).T + b,
        None,
        "no unit of the input x is 0",
    ),
    "one mask for the batch": (
        lambda x, w, b, q, rng: (x * (rng.random(x.shape[1]) < q)) @ w.T + b,
        None,
        "one mask drawn for the whole batch",
    ),
    "modes exchanged": (
        lambda x, w, b, q, rng: x @ (q * w).T + b,
        lambda x, w, b, q, rng: (x * (rng.random(x.shape) < q)) @ w.T + b,
        "are the modes exchanged",
    ),
    "nothing in training": (
        lambda x, w, b, q, rng: x @ w.T + b,
        None,
        "nothing is dropped",
    ),
    "no bias in training": (
        lambda x, w, b, q, rng: (x * (rng.random(x.shape) < q)) @ w.T,
        None,
        "with training=True b is missing",
    ),
    "weights not scaled": (
        None,
        lambda x, w, b, q, rng: x @ w.T + b,
        "where are the weights scaled",
    ),
    "bias scaled": (
        None,
        lambda x, w, b, q, rng: q * (x @ w.T + b),
        "b is scaled too",
    ),
    "divided": (None, lambda x, w, b, q, rng: x @ w.T / q + b, "divided by q"),
    "scaled by 1 - q": (
        None,
        lambda x, w, b, q, rng: (1 - q) * (x @ w.T) + b,
        "is q the probability to drop",
    ),
    "no bias": (None, lambda x, w, b, q, rng: q * (x @ w.T), "b is missing"),
    "twice": (None, lambda x, w, b, q, rng: q * q * (x @ w.T) + b, "appears twice"),
    "random at test": (
        None,
        lambda x, w, b, q, rng: (x * (rng.random(x.shape) < q)) @ w.T + b,
        "two passes differ",
    ),
    "weights changed": (None, scales_weight_in_place, "changes weight itself"),
    "something else": (
        None,
        lambda x, w, b, q, rng: np.sqrt(q) * (x @ w.T) + b,
        "z is not the mean of the z of training",
    ),
    "not transposed": (lambda x, w, b, q, rng: x @ w + b, None, "ValueError"),
}


@pytest.mark.parametrize("name", WRONG_ORIGINAL)
def test_original_names_what_is_wrong(name):
    train, test, words = WRONG_ORIGINAL[name]
    fails(checks.dropout.original, original_with(train, test), words=words)


# covariance


def covariance_vector(u, v, x, p):
    return p / (1 - p) * (u * v * x**2).sum()


def covariance_loop(u, v, x, p):
    total = 0
    for i in range(len(x)):
        total += u[i] * v[i] * (x[i] ** 2 / (1 - p) - x[i] ** 2)
    return total


def covariance_enumerated(u, v, x, p):
    """All 2^n masks with their probabilities."""
    masks = np.array(np.meshgrid(*[[0, 1]] * len(x))).reshape(len(x), -1)
    chance = np.prod(np.where(masks, 1 - p, p), axis=0)
    s, t = (u * x) @ masks / (1 - p), (v * x) @ masks / (1 - p)
    return np.float64((chance * (s - u @ x) * (t - v @ x)).sum())


@pytest.mark.parametrize(
    "formula", [covariance_vector, covariance_loop, covariance_enumerated]
)
def test_covariance_accepts(formula):
    passes(checks.dropout.covariance, formula)


WRONG_COVARIANCES = {
    "zero": (lambda u, v, x, p: 0, "masks of their own"),
    "product of sums": (
        lambda u, v, x, p: p / (1 - p) * (u @ x) * (v @ x),
        "do different units share",
    ),
    "unscaled": (
        lambda u, v, x, p: p * (1 - p) * (u * v * x**2).sum(),
        "without the scaling",
    ),
    "E[s t]": (
        lambda u, v, x, p: covariance_vector(u, v, x, p) + (u @ x) * (v @ x),
        "that is E[s t]",
    ),
    "second moments": (
        lambda u, v, x, p: (u * v * x**2).sum() / (1 - p),
        "that is Σ u v E[x̃²]",
    ),
    "E[s] E[t]": (lambda u, v, x, p: (u @ x) * (v @ x), "that is E[s] E[t]"),
    "correlation": (
        lambda u, v, x, p: (
            (u * v * x**2).sum() / np.linalg.norm(u * x) / np.linalg.norm(v * x)
        ),
        "that is the correlation",
    ),
    "x": (lambda u, v, x, p: p / (1 - p) * (u * v * x).sum(), "x is not squared"),
    "no x": (lambda u, v, x, p: p / (1 - p) * (u @ v), "x is missing"),
    "p reversed": (
        lambda u, v, x, p: (1 - p) / p * (u * v * x**2).sum(),
        "keeping and dropping are exchanged",
    ),
    "p/(1-p)²": (
        lambda u, v, x, p: p / (1 - p) ** 2 * (u * v * x**2).sum(),
        "takes p for the variance of r",
    ),
    "average": (
        lambda u, v, x, p: p / (1 - p) * (u * v * x**2).mean(),
        "an average",
    ),
    "nearly": (
        lambda u, v, x, p: 1.01 * covariance_vector(u, v, x, p),
        "which pairs of units covary",
    ),
    "array": (lambda u, v, x, p: u * v * x**2, "expected a number"),
    "text": (lambda u, v, x, p: "0", "expected a number"),
    "NaN": (lambda u, v, x, p: np.nan, "expected a finite number"),
    "raises": (lambda u, v, x, p: (u * v * y).sum(), "NameError"),  # noqa: F821
}


@pytest.mark.parametrize("name", WRONG_COVARIANCES)
def test_covariance_names_what_is_wrong(name):
    formula, words = WRONG_COVARIANCES[name]
    fails(checks.dropout.covariance, formula, words=words)


# predictions

TRUE_PREDICTIONS = {"chain": 0.65, "relu": 0.65, "eval": 0.3, "no_grad": 0.3}


def test_predictions_are_what_the_programs_print():
    torch.manual_seed(0)
    n = 400_000

    class Net(nn.Module):
        def forward(self, x):
            return F.dropout(x, 0.3)

    outputs = {
        "chain": nn.Sequential(nn.Dropout(0.3), nn.Dropout(0.5))(torch.ones(n)),
        "relu": nn.Sequential(nn.ReLU(), nn.Dropout(0.3))(torch.randn(n)),
        "eval": Net().eval()(torch.ones(n)),
    }
    with torch.no_grad():
        outputs["no_grad"] = nn.Dropout(0.3)(torch.ones(n))
    for name, y in outputs.items():
        assert plausible(int((y == 0).sum()), n, TRUE_PREDICTIONS[name])


def test_predictions_accepts():
    passes(checks.dropout.predictions, TRUE_PREDICTIONS)
    rounded = {k: np.float32(v) for k, v in TRUE_PREDICTIONS.items()}
    passes(checks.dropout.predictions, rounded)
    passes(checks.dropout.predictions, {**TRUE_PREDICTIONS, "chain": 1 - 0.7 * 0.5})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("chain", 0.8, "can a unit be dropped twice"),
        ("chain", 0.3 * 0.5, "must both layers"),
        ("chain", 0.35, "fraction that survives"),
        ("chain", 0.3, "second layer do nothing"),
        ("chain", 0.5, "first layer do nothing"),
        ("chain", 0.1, "what did you not expect"),
        ("relu", 0.3, "before the dropout"),
        ("relu", 0.5, "leave all positive"),
        ("relu", 0.15, "zeros that ReLU makes"),
        ("relu", 0.8, "dropped once more"),
        ("relu", 0.35, "survives"),
        ("eval", 0, "argument `training`"),
        ("eval", 0.7, "to keep, or to drop"),
        ("no_grad", 0, "what autograd records"),
        ("no_grad", 0.7, "to keep, or to drop"),
        ("no_grad", 30, "not a fraction"),
        ("no_grad", "0.3", "expected a number"),
        ("no_grad", None, "no prediction yet for no_grad"),
    ],
)
def test_predictions_names_what_is_wrong(name, value, words):
    predicted = {**TRUE_PREDICTIONS, name: value}
    fails(checks.dropout.predictions, predicted, words=words, seeds=[0])


def test_predictions_in_other_forms():
    check = checks.dropout.predictions
    fails(check, [0.65, 0.65, 0.3, 0.3], words="expected a dict")
    fails(check, {"chain": 0.65}, words="expected a dict")
    assert check(dict.fromkeys(TRUE_PREDICTIONS)).status == "not attempted"


# convert

KEEPS = {"torch": False, "keras": False, "tf1": True, "srivastava": True}


def convert_if(value, source, target):
    return value if KEEPS[source] == KEEPS[target] else 1 - value


def convert_via_drop(value, source, target):
    drop = 1 - value if source in ("tf1", "srivastava") else value
    return 1 - drop if target in ("tf1", "srivastava") else drop


def believing(name):
    """A conversion which takes this library for its opposite."""
    keeps = {**KEEPS, name: not KEEPS[name]}
    return lambda v, s, t: v if keeps[s] == keeps[t] else 1 - v


@pytest.mark.parametrize("convert", [convert_if, convert_via_drop])
def test_convert_accepts(convert):
    passes(checks.dropout.convert, convert)


@pytest.mark.parametrize("name", KEEPS)
def test_convert_names_the_library_that_is_reversed(name):
    words = f"from or to {name} is reversed"
    fails(checks.dropout.convert, believing(name), words=words)


@pytest.mark.parametrize(
    ("convert", "words"),
    [
        (lambda v, s, t: v, "(8 of 16 pairs are wrong)"),
        (lambda v, s, t: 1 - v, "(8 of 16 pairs are wrong)"),
        (lambda v, s, t: v if s == t else 1 - v, "(4 of 16 pairs are wrong)"),
        (lambda v, s, t: 0.5, "(16 of 16 pairs are wrong)"),
        (lambda v, s, t: {"torch": v}[s], "KeyError: 'keras'"),
        (lambda v, s, t: str(v), "expected a number"),
        (lambda v, s, t: print(v), "is a `return` missing"),
    ],
)
def test_convert_names_what_is_wrong(convert, words):
    fails(checks.dropout.convert, convert, words=words)


# module


class ModuleRight(nn.Module):
    """Training is `train`, evaluation `test`, both functions of (x, p)."""

    def __init__(self, p):
        super().__init__()
        self.p = p

    @staticmethod
    def scale(p):
        return scale(p)

    def train_pass(self, x):
        return x * (torch.rand_like(x) >= self.p) * self.scale(self.p)

    def test_pass(self, x):
        return x

    def forward(self, x):
        return self.train_pass(x) if self.training else self.test_pass(x)


class WithBernoulli(ModuleRight):
    def train_pass(self, x):
        return torch.bernoulli(torch.full_like(x, 1 - self.p)) * x * scale(self.p)


class WithDevice(ModuleRight):
    def train_pass(self, x):
        keep = torch.rand(x.size(), device=x.device) > self.p
        return torch.where(keep, x * scale(self.p), torch.zeros_like(x))


class WithMask(ModuleRight):
    def forward(self, x):
        mask = torch.ones_like(x)
        if self.training:
            mask = (torch.rand_like(x) > self.p).to(x.dtype)
            mask = mask / (1 - self.p) if self.p < 1 else mask
        return x * mask


class WithFunction(ModuleRight):
    def forward(self, x):
        return F.dropout(x, self.p, self.training)


@pytest.mark.parametrize(
    "cls",
    [ModuleRight, WithBernoulli, WithDevice, WithMask, WithFunction, nn.Dropout],
)
def test_module_accepts(cls):
    passes(checks.dropout.module, cls)


def module_with(train=None, test=None):
    class Module(ModuleRight):
        def train_pass(self, x):
            return train(x, self.p) if train else super().train_pass(x)

        def test_pass(self, x):
            return test(x, self.p) if test else super().test_pass(x)

    return Module


class Listing(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x):
        return x * torch.rand(x.size()) > self.p


class ModeByGrad(ModuleRight):
    def forward(self, x):
        return self.train_pass(x) if torch.is_grad_enabled() else x


class ModeByGradToo(ModuleRight):
    def forward(self, x):
        dropping = self.training and torch.is_grad_enabled()
        return self.train_pass(x) if dropping else x


class ModeByRequiresGrad(ModuleRight):
    def forward(self, x):
        return self.train_pass(x) if x.requires_grad else x


class ModeNever(ModuleRight):
    forward = ModuleRight.train_pass


class ModeReversed(ModuleRight):
    def forward(self, x):
        return x if self.training else self.train_pass(x)


class ModeOnce(ModuleRight):
    """eval() overwrites p, train() cannot restore it."""

    def eval(self):
        self.p = 0.0
        return self

    forward = ModuleRight.train_pass


class ModeShared(ModuleRight):
    def __init__(self, p):
        super().__init__(p)
        ModeShared.on = True

    def train(self, mode=True):
        ModeShared.on = mode
        return super().train(mode)

    def forward(self, x):
        return self.train_pass(x) if ModeShared.on else x


class NoModule:
    def __init__(self, p):
        self.p = p


class NoForward(nn.Module):
    def __init__(self, p):
        super().__init__()


class DrawnOnce(ModuleRight):
    mask = None

    def train_pass(self, x):
        if self.mask is None or self.mask.shape != x.shape:
            self.mask = torch.rand_like(x) >= self.p
        return x * self.mask * scale(self.p)


WRONG_MODULES = {
    "S2's listing": (Listing, "True and False"),
    "parentheses alone": (
        module_with(lambda x, p: x * (torch.rand_like(x) > p)),
        "is the factor 1/(1 - p) missing",
    ),
    "reversed": (
        module_with(lambda x, p: x * (torch.rand_like(x) < p) * scale(p)),
        "is the comparison reversed",
    ),
    "scaled by 1/p": (
        module_with(lambda x, p: x * (torch.rand_like(x) >= p) / p),
        "is the division by p",
    ),
    "precedence kept": (
        module_with(lambda x, p: x * (x * torch.rand_like(x) > p) * scale(p)),
        "of the negative inputs none",
    ),
    "normal numbers": (
        module_with(lambda x, p: x * (torch.randn_like(x) >= p) * scale(p)),
        "are the random numbers normal",
    ),
    "one mask for the batch": (
        module_with(lambda x, p: x * (torch.rand(x.shape[-1]) >= p) * scale(p)),
        "one mask drawn for the whole batch",
    ),
    "drawn once": (DrawnOnce, "passes in a row drop the same units"),
    "seeded inside": (
        module_with(
            lambda x, p: (
                x * (torch.rand(x.shape, generator=torch.Generator()) >= p) * scale(p)
            )
        ),
        "passes in a row drop the same units",
    ),
    "on the CPU": (
        module_with(lambda x, p: x * (torch.rand(x.size()) >= p) * scale(p)),
        "on the device of x",
    ),
    "on a GPU always": (
        module_with(lambda x, p: x * (torch.rand(x.size()).cuda() >= p) * scale(p)),
        "raised",
    ),
    "in place": (
        module_with(lambda x, p: x.mul_((torch.rand_like(x) >= p) * scale(p))),
        "changes its input",
    ),
    "through NumPy": (
        module_with(
            lambda x, p: torch.from_numpy(with_less(x.detach().numpy(), p, np.random))
        ),
        "no gradient flows back",
    ),
    "detached": (
        module_with(lambda x, p: x.data * (torch.rand_like(x) >= p) * scale(p)),
        "no gradient flows back",
    ),
    "float64": (
        module_with(lambda x, p: x * ((torch.rand_like(x) >= p) * scale(p)).double()),
        "an input of type float32",
    ),
    "NaN at p = 1": (
        module_with(lambda x, p: x * (torch.rand_like(x) >= p) / (1 - p)),
        "at p = 1",
    ),
    "scaled at test": (module_with(test=lambda x, p: x * (1 - p)), "times x, expected"),
    "divided at test": (module_with(test=lambda x, p: x / (1 - p)), "times x, expect"),
    "dropped at test": (ModeNever, "does your code look at `self.training`"),
    "mode reversed": (ModeReversed, "nothing is dropped"),
    "mode by gradients": (ModeByGrad, "in evaluation mode two passes differ"),
    "mode by gradients, too": (ModeByGradToo, "under torch.no_grad() nothing is"),
    "mode by the input": (ModeByRequiresGrad, "nothing is dropped"),
    "p overwritten": (ModeOnce, "after eval() and train() again nothing is dropped"),
    "mode shared": (ModeShared, "eval() of one layer switches off another"),
    "no module": (NoModule, "not a nn.Module"),
    "no forward": (NoForward, "raised"),
    "an instance": (ModuleRight(0.3), "raised"),
    "array": (module_with(lambda x, p: x.numpy()), "expected a tensor"),
}


@pytest.mark.parametrize("name", WRONG_MODULES)
def test_module_names_what_is_wrong(name):
    cls, words = WRONG_MODULES[name]
    fails(checks.dropout.module, cls, words=words, seeds=range(3))


class BlankModule(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x):
        raise NotImplementedError


def test_a_blank_module_is_not_attempted():
    assert checks.dropout.module(BlankModule).status == "not attempted"


# detector


def careful(dropout):
    x, p = np.ones((200, 50)), 0.3
    rng = np.random.default_rng(0)
    y, again = dropout(x, p, rng), dropout(x, p, rng)
    keep = y != 0
    return bool(
        np.allclose(y[keep], 1 / (1 - p))
        and abs(keep.mean() - (1 - p)) < 0.03
        and (keep != keep[:1]).any()
        and (keep != keep[:, :1]).any()
        and (y != again).any()
    )


def by_moments(dropout):
    """Means over rows, columns and calls, none of which may stray."""
    p, n = 0.2, 400
    rng = np.random.default_rng()
    y = np.stack([dropout(np.ones((n, n)), p, rng) for _ in range(2)])
    sd = np.sqrt(p / (1 - p))
    rows, columns = y[0].mean(axis=1), y[0].mean(axis=0)
    correlation = ((y[0] - 1) * (y[1] - 1)).mean() / sd**2
    return (
        abs(y.mean() - 1) < 6 * sd / n
        and abs(y.std() - sd) < 0.02
        and rows.std() < 2 * sd / np.sqrt(n)
        and columns.std() < 2 * sd / np.sqrt(n)
        and abs(correlation) < 0.1
    )


def strict_about_types(dropout):
    x = np.ones((50, 40), dtype=np.float32)
    y = dropout(x, 0.7, np.random.default_rng(1))
    same = dropout(x, 0.7, np.random.default_rng(1))
    ends = [dropout(x, p, np.random.default_rng(2)) for p in (0, 1)]
    return (
        careful(dropout)
        and y.dtype == x.dtype
        and (y == same).all()
        and (x == 1).all()
        and (ends[0] == x).all()
        and not ends[1].any()
    )


@pytest.mark.parametrize("test", [careful, by_moments, strict_about_types])
def test_detector_accepts(test):
    passes(checks.dropout.detector, test, seeds=range(3))


def without(*, p=0.3, tolerance=0.03, **skipped):
    """The careful test with a weakness."""

    def test(dropout):
        x = np.ones((300, 300))
        rng = np.random.default_rng(0)
        y, again = dropout(x, p, rng), dropout(x, p, rng)
        keep = y != 0
        parts = {
            "scale": np.allclose(y[keep], 1 / (1 - p)),
            "rate": abs(keep.mean() - (1 - p)) < tolerance,
            "rows": (keep != keep[:1]).any(),
            "columns": (keep != keep[:, :1]).any(),
            "calls": (y != again).any(),
        }
        return all(ok for name, ok in parts.items() if not skipped.get(name))

    return test


@pytest.mark.parametrize(
    ("test", "words"),
    [
        (lambda dropout: True, "that does nothing"),
        (lambda dropout: False, "rejects every right dropout"),
        (without(p=0.5), "accepts a dropout that keeps with probability p"),
        (without(scale=True), "accepts a dropout that does not scale"),
        (without(rate=True), "accepts a dropout that keeps with probability p"),
        (without(rows=True, tolerance=0.1), "one mask for all rows"),
        (without(columns=True, tolerance=0.1), "drops whole rows"),
        (without(calls=True), "the same mask in every call"),
        (without(tolerance=0.003), "how far may a fraction stray by chance"),
        (lambda dropout: print(dropout), "is a `return` missing"),
        (lambda dropout: 1, "expected True or False"),
        (lambda dropout: dropout(np.ones(3)), "TypeError"),
        (
            lambda dropout: np.allclose(
                dropout(np.ones((9, 9)), 0.3, np.random.default_rng(0)),
                with_less(np.ones((9, 9)), 0.3, np.random.default_rng(0)),
            ),
            "rejects every right dropout",
        ),
    ],
)
def test_detector_names_what_the_test_misses(test, words):
    fails(checks.dropout.detector, test, words=words, seeds=range(3))


# left_on


def accuracy(net, x, y):
    return (net(x).argmax(axis=1) == y).mean()


def measure_right(seed, p, width, part="test", order=("eval", "train"), swap=False):
    net, split = train(seed, p, width)
    x, y = getattr(split, f"x_{part}"), getattr(split, f"y_{part}")
    results = []
    for mode in order:
        getattr(net, mode)()
        passes = 20 if mode == "train" else 1
        results.append(np.mean([accuracy(net, x, y) for _ in range(passes)]))
    return tuple(results[::-1] if swap else results)


def measure_counts(seed, p, width):
    net, split = train(seed, p, width)
    hits = 0
    for _ in range(20):
        hits += (net(split.x_test).argmax(axis=1) == split.y_test).sum()
    net.eval()
    off = accuracy(net, split.x_test, split.y_test)
    return np.array([off, hits / 20 / len(split.y_test)])


def other_network(seed, p, width):
    return measure_right(seed + 1, p, width)


def untrained(seed, p, width):
    net = train(seed, p, width)[0]
    for weight in net.params.values():
        weight *= 0
    split = data.digits(seed)
    return accuracy(net, split.x_test, split.y_test), 0.1


@pytest.mark.parametrize("measure", [measure_right, measure_counts])
def test_left_on_accepts(measure):
    passes(checks.dropout.left_on, measure, train, seeds=range(2))


WRONG_MEASURES = {
    "same mode": (
        lambda *a: measure_right(*a, order=("eval", "eval")),
        "is the mode the same both times",
    ),
    "never switched": (
        lambda *a: measure_right(*a, order=("train", "train")),
        "without dropout",
    ),
    "exchanged": (
        lambda *a: measure_right(*a, order=("train", "eval")),
        "are the two exchanged",
    ),
    "training part": (
        lambda *a: measure_right(*a, part="train"),
        "is that the training part",
    ),
    "validation part": (
        lambda *a: measure_right(*a, part="val"),
        "is that the validation part",
    ),
    "other network": (other_network, "is it that network"),
    "other width": (lambda s, p, w: measure_right(s, p, 32), "is it that network"),
    "untrained": (untrained, "is it that network"),
    "typed": (lambda *a: (0.95, 0.85), "is it that network"),
    "half typed": (lambda *a: (measure_right(*a)[0], 0.5), "20 passes"),
    "difference": (
        lambda *a: (measure_right(*a)[0], 0.08 if a[1] else 0.0),
        "20 passes",
    ),
    "percent": (lambda *a: [100 * a for a in measure_right(*a)], "is it that"),
    "one number": (lambda *a: measure_right(*a)[0], "expected"),
    "array without axes": (lambda *a: np.array(None), "expected"),
    "raises": (lambda *a: train(*a)[1].x_tset, "AttributeError"),
}


@pytest.mark.parametrize("name", WRONG_MEASURES)
def test_left_on_names_what_is_wrong(name):
    measure, words = WRONG_MEASURES[name]
    fails(checks.dropout.left_on, measure, train, words=words, seeds=range(2))


# network


class NetworkRight(nn.Module):
    """Parts that the wrong ones replace."""

    def __init__(self, n_in, n_hidden, n_out, keep_prob):
        super().__init__()
        self.hidden = nn.Linear(n_in, n_hidden)
        self.output = nn.Linear(n_hidden, n_out)
        self.p = 1 - keep_prob

    def drop(self, h):
        return F.dropout(h, self.p, self.training)

    def forward(self, x):
        return self.output(self.drop(F.relu(self.hidden(x))))


class NetworkOfModules(NetworkRight):
    def __init__(self, n_in, n_hidden, n_out, keep_prob):
        super().__init__(n_in, n_hidden, n_out, keep_prob)
        self.layers = nn.Sequential(
            self.hidden, nn.Dropout(self.p), nn.ReLU(), self.output
        )

    def forward(self, x):
        return self.layers(x)


class NetworkByHand(NetworkRight):
    def drop(self, h):
        if not self.training:
            return h
        return h * (torch.rand_like(h) < 1 - self.p) / (1 - self.p)


@pytest.mark.parametrize("cls", [NetworkRight, NetworkOfModules, NetworkByHand])
def test_network_accepts(cls):
    passes(checks.dropout.network, cls)


def network_with(drop=None, after=None, before=None, activation=F.relu):
    class Net(NetworkRight):
        def drop(self, h):
            return drop(self, h) if drop else super().drop(h)

        def forward(self, x):
            x = before(self, x) if before else x
            z = self.output(self.drop(activation(self.hidden(x))))
            return after(self, z) if after else z

    return Net


class OtherNames(nn.Module):
    def __init__(self, n_in, n_hidden, n_out, keep_prob):
        super().__init__()
        self.first = nn.Linear(n_in, n_hidden)


def unit_length(h):
    return h / h.norm(dim=1, keepdim=True)


WRONG_NETWORKS = {
    "left on": (
        network_with(drop=lambda self, h: F.dropout(h, self.p)),
        "in evaluation mode two passes differ",
    ),
    "the article's": (
        network_with(
            drop=lambda self, h: unit_length(F.dropout(h, 1 - self.p)),
            after=lambda self, z: F.dropout(z, 1 - self.p),
        ),
        "in evaluation mode two passes differ",
    ),
    "keep for drop": (
        network_with(drop=lambda self, h: F.dropout(h, 1 - self.p, self.training)),
        "is the comparison reversed",
    ),
    "unit length": (
        network_with(drop=lambda self, h: unit_length(NetworkRight.drop(self, h))),
        "in evaluation mode hidden outputs that are twice as long",
    ),
    "unit length in training": (
        network_with(
            drop=lambda self, h: (
                unit_length(NetworkRight.drop(self, h)) if self.training else h
            )
        ),
        "in training mode what the output layer reads has the length 1.00",
    ),
    "logits": (
        network_with(after=lambda self, z: F.dropout(z, self.p, self.training)),
        "some logits are 0",
    ),
    "logits alone": (
        network_with(
            drop=lambda self, h: h,
            after=lambda self, z: F.dropout(z, self.p, self.training),
        ),
        "some logits are 0",
    ),
    "input": (
        network_with(
            drop=lambda self, h: h,
            before=lambda self, x: F.dropout(x, self.p, self.training),
        ),
        "no hidden output is dropped: is it the input",
    ),
    "never": (network_with(drop=lambda self, h: h), "nothing is dropped"),
    "unscaled": (
        network_with(
            drop=lambda self, h: (
                h * (torch.rand_like(h) >= self.p if self.training else 1)
            )
        ),
        "is the factor 1/(1 - p) missing",
    ),
    "scaled at test": (
        network_with(
            drop=lambda self, h: (
                NetworkRight.drop(self, h) if self.training else h * (1 - self.p)
            )
        ),
        "times the hidden outputs, expected 1.00",
    ),
    "mode by gradients": (
        network_with(drop=lambda self, h: F.dropout(h, self.p, h.requires_grad)),
        "two passes differ",
    ),
    "no ReLU": (network_with(activation=lambda h: h), "is the ReLU missing"),
    "sigmoid": (
        network_with(activation=torch.sigmoid),
        "are not W relu(hidden(x)) + b",
    ),
    "softmax": (
        network_with(after=lambda self, z: z.softmax(dim=1)),
        "are not W relu(hidden(x)) + b",
    ),
    "one mask": (
        network_with(
            drop=lambda self, h: (
                h * (torch.rand(h.shape[1]) >= self.p) / (1 - self.p)
                if self.training
                else h
            )
        ),
        "one mask drawn for the whole batch",
    ),
    "other names": (OtherNames, "called self.hidden"),
    "no module": (lambda *sizes: print, "not a nn.Module"),
    "array": (network_with(after=lambda self, z: z.tolist()), "not a tensor"),
    "transposed": (network_with(after=lambda self, z: z.T), "shape (60, 100)"),
    "raises": (network_with(after=lambda self, z: z @ z), "RuntimeError"),
}


@pytest.mark.parametrize("name", WRONG_NETWORKS)
def test_network_names_what_is_wrong(name):
    cls, words = WRONG_NETWORKS[name]
    fails(checks.dropout.network, cls, words=words, seeds=range(3))
