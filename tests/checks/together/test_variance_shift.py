"""Exercises on the variance shift: right answers pass, wrong ones are named."""

import copy

import numpy as np
import pytest
import torch
from answers import fails, passes
from scipy import stats
from scipy.integrate import quad
from torch import nn

from dropnorm import checks

T = checks.together

# by_hand

BY_HAND = {
    "mean": 2,
    "variance": 2.25,
    "delta": 4 / 9,
    "output": 4,
    "centered": 0.8,
    "doubled": 4 / 9,
}


def by_listing(values, p, shift=0.0, scale=1.0):
    """Mean and variance in training, and the ratio, from all outcomes."""
    x = (np.array(values) - shift) * scale
    outcomes = np.concatenate([x / (1 - p), 0 * x])
    weights = np.repeat([1 - p, p], len(x)) / len(x)
    mean = outcomes @ weights
    var = (outcomes - mean) ** 2 @ weights
    return mean, var, x.var() / var


def test_by_hand_is_what_all_outcomes_say():
    x, p = [1, 1, 3, 3], 0.2
    mean, var, delta = by_listing(x, p)
    found = {
        "mean": mean,
        "variance": var,
        "delta": delta,
        "output": 9 * delta,
        "centered": by_listing(x, p, shift=2)[2],
        "doubled": by_listing(x, p, scale=2)[2],
    }
    passes(T.by_hand, found, seeds=[0])
    passes(T.by_hand, {k: str(v) and float(v) for k, v in BY_HAND.items()}, seeds=[0])


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("mean", 1.6, "are kept values scaled"),
        ("mean", 2.5, "without being dropped"),
        ("mean", 7, "write down c, v and E[x²]"),
        ("variance", 1, "without dropout"),
        ("variance", 6.25, "then c² is subtracted"),
        ("variance", 1.44, "are kept values scaled"),
        ("variance", 1.25, "on top of v"),
        ("variance", 21, "the probability to keep"),
        ("variance", 1.5, "the standard deviation"),
        ("delta", 2.25, "in the denominator"),
        ("delta", 2 / 3, "of the standard deviations"),
        ("delta", 0.8, "largest possible value"),
        ("delta", 1 / 21, "the probability to keep"),
        ("output", 4 / 9, "what does γ do"),
        ("output", 4 / 3, "by γ, or by γ²"),
        ("output", 9, "what training has"),
        ("output", 2, "that is the standard deviation"),
        ("output", 5, "β moves the mean"),
        ("centered", 4 / 9, "what does (2) hang on"),
        ("centered", 1, "also values of ±1"),
        ("centered", 0.2, "the probability to keep"),
        ("doubled", 16 / 9, "four times as large"),
        ("doubled", 8 / 9, "doubled"),
        ("doubled", 2 / 9, "before and after"),
        ("doubled", "0.4", "expected a number"),
        ("doubled", None, "no prediction yet for doubled"),
    ],
)
def test_by_hand_names_what_is_wrong(key, value, words):
    fails(T.by_hand, BY_HAND | {key: value}, words=words, seeds=[0])


def test_by_hand_not_attempted():
    assert T.by_hand(dict.fromkeys(BY_HAND)).status == "not attempted"


# units


def ratio(x, p):
    noise = p / (1 - p) * (x**2).mean(axis=0)
    var = x.var(axis=0)
    return np.divide(var, var + noise, out=np.ones_like(var), where=var + noise > 0)


def by_loop(x, p):
    result = []
    for column in x.T:
        train = (column @ column / len(x)) / (1 - p) - column.mean() ** 2
        result.append(column.var() / train if train else 1.0)
    return np.array(result)


@pytest.mark.parametrize("answer", [ratio, by_loop])
def test_units_accepts(answer):
    passes(T.units, answer)


def units_by(formula):
    def answer(x, p):
        c, v = x.mean(axis=0), x.var(axis=0)
        with np.errstate(all="ignore"):
            return np.nan_to_num(formula(c, v, p, x), nan=1.0)

    return answer


WRONG_UNITS = {
    "inverse": (
        lambda x, p: 1 / ratio(x, p),
        "in the denominator",
    ),
    "root": (lambda x, p: np.sqrt(ratio(x, p)), "of standard deviations"),
    "no mean": (units_by(lambda c, v, p, x: v / (v + p / (1 - p) * v)), "mean left"),
    "mean alone": (
        units_by(lambda c, v, p, x: v / (v + p / (1 - p) * c**2)),
        "not times c²",
    ),
    "p": (units_by(lambda c, v, p, x: v / (v + p * (v + c**2))), "by how much"),
    "not scaled": (
        units_by(lambda c, v, p, x: v / ((1 - p) * (v + c**2) - (1 - p) ** 2 * c**2)),
        "not scaled? Then",
    ),
    "exchanged": (
        units_by(lambda c, v, p, x: v / (v + (1 - p) / max(p, 0.01) * (v + c**2))),
        "exchanged",
    ),
    "ddof": (
        units_by(
            lambda c, v, p, x: (
                x.var(axis=0, ddof=1)
                / (x.var(axis=0, ddof=1) + p / (1 - p) * (c**2 + x.var(axis=0, ddof=1)))
            )
        ),
        "divided by N - 1",
    ),
    "1 - p": (lambda x, p: np.full(x.shape[1], 1 - p), "mean left out"),
    "other": (lambda x, p: np.full(x.shape[1], 0.01), "the noise of a unit"),
    "dead unit": (
        lambda x, p: x.var(0) / (x.var(0) + p / (1 - p) * (x**2).mean(0)),
        "with a unit that is always 0",
    ),
    "dead unit is 0": (
        lambda x, p: np.where((x == 0).all(axis=0), 0.0, ratio(x, p)),
        "nothing is falsified there",
    ),
    "NaN": (lambda x, p: x[0] * np.nan, "holds nan"),
    "scalar": (lambda x, p: float(ratio(x, p).mean()), "expected one NumPy array"),
    "rows": (lambda x, p: ratio(x.T, p), "shape (40,)"),
    "in place": (lambda x, p: ratio(x.__isub__(1), p), "changes its input x"),
    "raises": (lambda x, p: x[99], "IndexError"),
}


@pytest.mark.parametrize("name", WRONG_UNITS)
def test_units_names_what_is_wrong(name):
    answer, words = WRONG_UNITS[name]
    fails(T.units, answer, words=words)


# relu


def relu(mu, s, p, mean=None, square=None):
    a = mu / s
    c = mu * stats.norm.cdf(a) + s * stats.norm.pdf(a) if mean is None else mean
    if square is None:
        square = (mu**2 + s**2) * stats.norm.cdf(a) + mu * s * stats.norm.pdf(a)
    v = square - c**2
    return v / (v + p / (1 - p) * square)


def relu_by_quadrature(mu, s, p):
    moments = [
        quad(lambda z, k=k: z**k * stats.norm.pdf(z, mu, s), 0, max(mu, 0) + 12 * s)[0]
        for k in (1, 2)
    ]
    return relu(mu, s, p, *moments)


def relu_by_truncnorm(mu, s, p):
    on = stats.norm.sf(-mu / s)
    positive = stats.truncnorm(-mu / s, np.inf, mu, s)
    c, square = on * positive.mean(), on * (positive.var() + positive.mean() ** 2)
    return (1 - p) / (1 + p * c**2 / (square - c**2))


@pytest.mark.parametrize("answer", [relu, relu_by_quadrature, relu_by_truncnorm])
def test_relu_accepts(answer):
    passes(T.relu, answer)


def at(mu, s, p):
    a = mu / s
    return (
        mu * stats.norm.cdf(a) + s * stats.norm.pdf(a),
        (mu**2 + s**2) * stats.norm.cdf(a) + mu * s * stats.norm.pdf(a),
    )


def with_noise(formula):
    def answer(mu, s, p):
        c, square = at(mu, s, p)
        return formula(c, square, p)

    return answer


WRONG_RELUS = {
    "inverse": (lambda *a: 1 / relu(*a), "in the denominator"),
    "1 - p": (lambda mu, s, p: 1 - p, "the mean behind a ReLU zero"),
    "exchanged": (lambda mu, s, p: relu(mu, s, 1 - p), "exchanged|1 - p"),
    "mu = 0": (lambda mu, s, p: relu(0.0, s, p), "for mu = 0"),
    "variance": (lambda mu, s, p: relu(mu, s**0.5, p), "s the variance"),
    "half": (
        lambda mu, s, p: relu(mu, s, p, square=(mu**2 + s**2) / 2),
        "half of E[z²]",
    ),
    "term missing": (
        lambda mu, s, p: relu(mu, s, p, square=(mu**2 + s**2) * stats.norm.cdf(mu / s)),
        "the term μ s φ",
    ),
    "without the one": (
        with_noise(lambda c, m2, p: (m2 - c**2) / (p / (1 - p) * m2)),
        "without the 1 in front",
    ),
    "squared mean": (
        with_noise(lambda c, m2, p: (m2 - c**2) / (m2 - c**2 + p / (1 - p) * c**2)),
        "not times c²",
    ),
    "before": (
        lambda mu, s, p: s**2 / (s**2 + p / (1 - p) * (mu**2 + s**2)),
        "in front of the ReLU|1 - p: is",  # equal at mu = 0
    ),
    "other": (lambda *a: 0.123, "put them into (2)"),
    "none": (lambda mu, s, p: print(mu), "return` missing"),
    "text": (lambda *a: "0.4", "expected a number"),
    "raises": (lambda mu, s, p: s / mu, "ZeroDivisionError"),
}


@pytest.mark.parametrize("name", WRONG_RELUS)
def test_relu_names_what_is_wrong(name):
    answer, words = WRONG_RELUS[name]
    fails(T.relu, answer, words=words)


# meter


def metering(
    kinds=nn.BatchNorm1d,
    flat=False,
    where="input",
    invert=False,
    on="train",
    restore=True,
    unhook=True,
    stat=lambda z: z.var(0),
    copied=True,
):
    def answer(model, x, passes):
        net = copy.deepcopy(model) if copied else model
        norms = [m for m in (net if flat else net.modules()) if isinstance(m, kinds)]
        received = {m: [] for m in norms}

        def look(module, args, y=None):
            received[module].append(y if where == "output" else args[0])

        hooks = [
            m.register_forward_hook(look)
            if where == "output"
            else m.register_forward_pre_hook(look)
            for m in norms
        ]
        modes = [m.training for m in net.modules()]
        state = copy.deepcopy(net.state_dict())
        with torch.no_grad():
            net.eval()
            net(x)
            off = [stat(received[m].pop()) for m in norms]
            if on == "train":
                net.train()
            elif on == "dropout":
                for m in net.modules():
                    m.training = isinstance(m, nn.Dropout)
            for _ in range(passes):
                net(x)
        noisy = [stat(torch.cat(received[m])) for m in norms]
        if restore:
            net.load_state_dict(state)
            for m, mode in zip(net.modules(), modes, strict=True):
                m.training = mode
        if unhook:
            for hook in hooks:
                hook.remove()
        pairs = zip(off, noisy, strict=True)
        return [b / a if invert else a / b for a, b in pairs]

    return answer


def by_pass(model, x, passes):
    """The mean of the variances of single passes, as arrays."""
    results = [metering()(model, x, 1) for _ in range(passes)]
    return tuple(
        1 / np.mean([1 / ratios[i].numpy() for ratios in results], axis=0)
        for i in range(len(results[0]))
    )


@pytest.mark.parametrize(
    "answer",
    [
        metering(),
        metering(copied=False),
        metering(on="dropout"),
        metering(where="output"),
        metering(stat=lambda z: z.var(0, correction=0)),
        by_pass,
    ],
)
def test_meter_accepts(answer):
    passes(T.meter, answer, seeds=range(3))


WRONG_METERS = {
    "inverse": (metering(invert=True), "in the denominator"),
    "roots": (metering(stat=lambda z: z.std(0)), "of standard deviations"),
    "eval twice": (metering(on="eval"), "in one mode both times"),
    "flat": (metering(flat=True), "one entry for each batch norm at any depth"),
    "statistics": (
        metering(copied=False, restore=False),
        "your passes in training mode have changed the running statistics",
    ),
    "hooks": (metering(copied=False, unhook=False), "a hook of yours"),
    "clean": (metering(stat=lambda z: z[: 1 if len(z) == 300 else None].sum(0)), "up"),
    "all units": (metering(stat=lambda z: z.var()), "has shape ()"),
    "floats": (lambda *a: [0.5, 0.5], "expected a tensor"),
    "objects": (lambda *a: [np.array([None])] * 2, "expected a tensor"),
    "NaN": (
        lambda *a: [r * float("nan") for r in metering()(*a)],
        "is nan, expected",
    ),
    "untracked": (
        lambda m, x, k: setattr(m[3], "running_mean", None) or metering()(m, x, k),
        "have changed the running statistics|RuntimeError",
    ),
    "one": (lambda m, x, k: metering()(m, x, k)[0], "expected a list of 2"),
    "none": (lambda m, x, k: m.eval() and None, "return` missing"),
    "raises": (lambda m, x, k: m(x.T), "RuntimeError"),
}


@pytest.mark.parametrize("name", WRONG_METERS)
def test_meter_names_what_is_wrong(name):
    answer, words = WRONG_METERS[name]
    fails(T.meter, answer, words=words, seeds=range(3))


def test_meter_names_a_mode_that_is_left():
    def answer(model, x, passes):
        result = metering()(model, x, passes)
        model.eval()
        return result

    fails(T.meter, answer, words="the mode of a module is another", seeds=[0])


# groups


def by_groups(x, w, groups, p, stat=lambda part: (part**2).mean(), odds=None):
    odds = p / (1 - p) if odds is None else odds
    signal = (x @ w).var()
    noise = sum(stat(x[:, groups == g] @ w[groups == g]) for g in set(groups.tolist()))
    return signal / (signal + odds * noise)


def by_matrix(x, w, groups, p):
    second = x.T @ x / len(x)
    same = groups[:, None] == groups
    signal = w @ np.cov(x.T, bias=True) @ w
    return signal / (signal + p / (1 - p) * w @ (second * same) @ w)


def by_onehot(x, w, groups, p):
    parts = (x * w) @ (groups[:, None] == np.unique(groups)).astype(float)
    z = parts.sum(axis=1)
    noise = p / (1 - p) * (parts**2).sum(axis=1).mean()
    return np.float64(z.var() / (z.var() + noise))


@pytest.mark.parametrize("answer", [by_groups, by_matrix, by_onehot])
def test_groups_accepts(answer):
    passes(T.groups, answer)


def grouped(**changes):
    return lambda x, w, groups, p: by_groups(x, w, groups, p, **changes)


def signal_of(signal):
    def answer(x, w, groups, p):
        s = signal(x, w, groups)
        right = by_matrix(x, w, groups, p)
        noise = (x @ w).var() * (1 / right - 1)
        return s / (s + noise)

    return answer


def group_sums(x, w, groups):
    return sum((x[:, groups == g] @ w[groups == g]).var() for g in np.unique(groups))


WRONG_GROUPS = {
    "own masks": (
        lambda x, w, g, p: by_groups(x, w, np.arange(6), p),
        "a mask for each unit",
    ),
    "one mask": (
        lambda x, w, g, p: by_groups(x, w, 0 * g, p),
        "one mask for all units",
    ),
    "variance": (
        grouped(stat=lambda part: part.var()),
        "left out of its second moment",
    ),
    "mean": (grouped(stat=lambda part: part.mean() ** 2), "not the square of its mean"),
    "no correlations": (
        signal_of(lambda x, w, g: (w**2 * x.var(axis=0)).sum()),
        "the correlations of all units",
    ),
    "group signals": (signal_of(group_sums), "is the signal a sum over groups"),
    "second moment": (
        signal_of(lambda x, w, g: ((x @ w) ** 2).mean()),
        "mean of z subtracted",
    ),
    "inverse": (lambda *a: 1 / by_matrix(*a), "in the denominator"),
    "p": (lambda x, w, g, p: by_groups(x, w, g, p, odds=p), "not p"),
    "exchanged": (lambda x, w, g, p: by_matrix(x, w, g, 1 - p), "exchanged"),
    "other": (lambda *a: 0.0, "each with one mask"),
    "array": (lambda x, w, g, p: x[0], "expected a number"),
    "in place": (
        lambda x, w, g, p: by_matrix(x.__isub__(1.0), w, g, p),
        "changes its input x",
    ),
    "labels as indices": (lambda x, w, g, p: w[g] @ w, "IndexError|expected"),
}


@pytest.mark.parametrize("name", WRONG_GROUPS)
def test_groups_names_what_is_wrong(name):
    answer, words = WRONG_GROUPS[name]
    fails(T.groups, answer, words=words)
