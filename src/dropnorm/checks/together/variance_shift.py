"""Exercises of the chapter together/variance_shift."""

import copy

import numpy as np
import torch
from scipy.stats import norm
from torch import nn

from dropnorm.checks.base import (
    Wrong,
    agree,
    call,
    check_array,
    checker,
    guesses,
    number,
    pure,
)
from dropnorm.checks.together.models import changed, leftover_hook, settings, watched


@checker
def by_hand(predicted, *, seed=0):
    """``predicted``: what p = 0.2 does to a unit with the values 1, 1, 3 and 3."""
    right = {
        "mean": 2.0,
        "variance": 2.25,
        "delta": 4 / 9,
        "output": 4.0,
        "centered": 0.8,
        "doubled": 4 / 9,
    }
    known = {
        "mean": {
            "are kept values scaled?": 1.6,
            "is it scaled without being dropped?": 2.5,
        },
        "variance": {
            "is that the variance without dropout?": 1.0,
            "c² + v is divided by 1 - p; and then c² is subtracted": 6.25,
            "are kept values scaled?": 5 * 0.8 - 1.6**2,
            "does the noise come on top of v = 1?": 1.25,
            "is that the noise alone? The signal has a variance, too": 1.25 * 1.0001,
            "is 0.2 the probability to keep?": 21.0,
            "is that the standard deviation?": 1.5,
        },
        "delta": {
            "which of the two variances is in the denominator?": 2.25,
            "that is the ratio of the standard deviations": 2 / 3,
            "that is 1 - p, its largest possible value: where is the mean zero?": 0.8,
            "is 0.2 the probability to keep?": 1 / 21,
        },
        "output": {
            "what does γ do to it?": 4 / 9,
            "is a variance multiplied by γ, or by γ²?": 4 / 3,
            "that is what training has": 9.0,
            "that is the standard deviation": 2.0,
            "β moves the mean alone": 5.0,
        },
        "centered": {
            "c changes, and what does (2) hang on?": 4 / 9,
            "the masks multiply zeros, but also values of ±1": 1.0,
            "is 0.2 the probability to keep?": 0.2,
        },
        "doubled": {
            "both variances are four times as large": 16 / 9,
            "are both variances doubled?": 8 / 9,
            "what is c²/v, before and after?": 2 / 9,
            "c and the standard deviation are both doubled": 0.25 / (0.25 + 1.25),
        },
    }
    why = dict.fromkeys(right, "write down c, v and E[x²] first, and then (2)")
    guesses(predicted, right, known, why)


def _delta(signal, noise):
    return signal / (signal + noise)


def _mistakes(c, v, p):
    """The ratios that people find for units of mean c and variance v."""
    square, odds = c**2 + v, p / (1 - p)
    right, more = _delta(v, odds * square), v * 40 / 39
    return {
        "which variance is in the denominator?": 1 / right,
        "is that a ratio of standard deviations?": np.sqrt(right),
        "is the mean left out? Dropout multiplies, it does not add": (
            _delta(v, odds * v)
        ),
        "the noise is p/(1 - p) times E[x²], not times c²": _delta(v, odds * c**2),
        "are kept values scaled, and by how much?": _delta(v, p * square),
        "is that the form in which kept values are not scaled? Then evaluation is "
        "scaled": v / ((1 - p) * square - (1 - p) ** 2 * c**2),
        "keeping and dropping are exchanged": _delta(v, square / odds),
        "is the variance divided by N - 1? Here it is divided by N": _delta(
            more, odds * (c**2 + more)
        ),
    }


@checker
def units(solve, *, seed=0):
    """``solve(x, p)``: the ratio for each column of x, dropout directly before."""
    rng = np.random.default_rng(seed)
    spread = rng.uniform(0.5, 3, 5)
    x = rng.standard_normal((40, 5)) * spread + rng.uniform(0.5, 3, 5)
    x = np.maximum(x, 0) + 0.01
    dead, fixed = x.copy(), x.copy()
    dead[:, 2], fixed[:, 1] = 0.0, 1.5
    cases = [
        ("", x, (0.2, 0.7, 0.0)),
        ("with a unit that is 1.5 for every example,", fixed, (0.2, 0.7)),
        ("with a unit that is always 0,", dead, (0.2, 0.0)),
    ]
    for where, values, rates in cases:
        for p in rates:
            when = f"{where} at p = {p}".strip()
            got = pure(solve, {"x": values}, p, when=when)
            check_array(got, like=np.empty(5), when=when)
            c, v = values.mean(axis=0), values.var(axis=0)
            square, odds = c**2 + v, p / (1 - p)
            silent = square == 0
            v[silent] = 1.0  # and no noise
            right = _delta(v, odds * square)
            with np.errstate(divide="ignore", invalid="ignore"):
                known = _mistakes(c, v, p)
            hint = "v/(v + noise), and what is the noise of a unit?"
            if silent.any():
                agree(
                    f"{when}: its ratio", got[2], 1.0, {}, "nothing is falsified there"
                )
            agree(f"{when}: the ratio", got, right, known, hint)


@checker
def relu(solve, *, seed=0):
    """``solve(mu, s, p)``: the ratio of a ReLU of a normal number."""
    rng = np.random.default_rng(seed)
    points = [(0.0, 1.0, 0.4)]
    for _ in range(5):
        sign = rng.choice([-1, 1])
        points.append(
            (
                float(sign * rng.uniform(0.3, 1.5)),
                float(rng.uniform(0.5, 2)),
                float(rng.choice([0.1, 0.3, 0.6])),
            )
        )

    def moments(mu, s):
        a = mu / s
        mean = mu * norm.cdf(a) + s * norm.pdf(a)
        return mean, (mu**2 + s**2) * norm.cdf(a) + mu * s * norm.pdf(a)

    def ratio(c, square, p):
        return _delta(square - c**2, p / (1 - p) * square)

    for mu, s, p in points:
        what = f"for mu = {mu:.2f}, s = {s:.2f}, p = {p} the ratio"
        got = number(call(solve, mu, s, p), what)
        c, square = moments(mu, s)
        right = ratio(c, square, p)
        known = {
            "which variance is in the denominator?": 1 / right,
            "is E[ReLU(z)²] half of E[z²] for every mu?": ratio(
                c, (mu**2 + s**2) / 2, p
            ),
            "that is 1 - p: is the mean behind a ReLU zero?": 1 - p,
            "keeping and dropping are exchanged": ratio(c, square, 1 - p),
            "is that the unit in front of the ReLU?": ratio(mu, mu**2 + s**2, p),
            "is that for mu = 0, whatever mu is?": ratio(*moments(0.0, s), p),
            "is s the variance in your formula?": ratio(*moments(mu, np.sqrt(s)), p),
            "is that for mu and s exchanged?": ratio(*moments(s, abs(mu) or 1), p),
            "in E[ReLU(z)²] the term μ s φ(μ/s) is missing": ratio(
                c, (mu**2 + s**2) * norm.cdf(mu / s), p
            ),
            "is that the noise over the signal, without the 1 in front?": (
                (square - c**2) / (p / (1 - p) * square)
            ),
            "the noise is p/(1 - p) times E[ReLU(z)²], not times c²": _delta(
                square - c**2, p / (1 - p) * c**2
            ),
        }
        hint = "find E[ReLU(z)] and E[ReLU(z)²], and put them into (2)"
        agree(what, got, right, known, hint, rtol=1e-4)


# A meter


def _stack(rng):
    """A network whose batch norms hold what training shows them."""
    net = nn.Sequential(
        nn.Linear(6, 8),
        nn.ReLU(),
        nn.Dropout(0.4),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.Sequential(nn.Dropout(0.2), nn.Linear(8, 5), nn.BatchNorm1d(5), nn.ReLU()),
        nn.Linear(5, 3),
    ).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.from_numpy(rng.uniform(0.2, 1, parameter.shape)))
        signs = torch.from_numpy(rng.choice([-1.0, 1.0], (8, 6)))
        net[0].weight.mul_(signs)
        net[5][1].weight.mul_(torch.from_numpy(rng.choice([-1.0, 1.0], (5, 8))))
    return net


def _received(net, norms, x):
    """What each batch norm receives."""
    found = {}

    def look(module, args):
        found[module] = args[0]

    with watched(net, look), torch.no_grad():
        net(x)
    return [found[module] for module in norms]


@checker
def meter(solve, *, seed=0):
    """``solve(model, x, passes)``: the ratio of every unit of every batch norm."""
    rng = np.random.default_rng(seed)
    passes, ours, n = 30, 80, 300
    net = _stack(rng)
    norms = [net[3], net[5][2]]
    x = torch.from_numpy(rng.standard_normal((n, 6)))
    momenta = [module.momentum for module in norms]
    for module in norms:
        module.momentum = None
    samples = [_received(net, norms, x) for _ in range(ours)]
    for module, value in zip(norms, momenta, strict=True):
        module.momentum = value
    net.eval()
    off = _received(net, norms, x)
    for start in (True, False):
        net.train(start)
        when = f"with the model in {'training' if start else 'evaluation'} mode"
        before, state = settings(net), copy.deepcopy(net.state_dict())
        got = call(solve, net, x.clone(), passes, when=when)
        _check_left_alone(net, before, state, when)
        if not isinstance(got, (list, tuple)) or len(got) != len(norms):
            raise Wrong(
                f"{when} expected a list of {len(norms)}, one entry for each batch "
                "norm at any depth, got "
                + (f"{len(got)}" if isinstance(got, (list, tuple)) else repr(got))
            )
        for i, ratio in enumerate(got):
            _check_ratio(ratio, i, off[i], [sample[i] for sample in samples], passes)


def _check_left_alone(net, before, state, when):
    now = net.state_dict()
    if now.keys() != state.keys() or not all(
        torch.equal(now[name], value) for name, value in state.items()
    ):
        raise Wrong(
            f"{when}: your passes in training mode have changed the running "
            "statistics, which were to be inspected. Measure a copy, or put them back"
        )
    words = changed(before, net)
    if words:
        raise Wrong(f"{when}: afterwards {words} is another than before")
    if leftover_hook(net):
        raise Wrong(f"{when}: a hook of yours is still in the model: remove it")


def _check_ratio(ratio, i, off, samples, passes):
    what = f"batch norm {i + 1}: the ratio"
    if isinstance(ratio, torch.Tensor):
        ratio = ratio.detach().numpy()
    if not isinstance(ratio, np.ndarray) or ratio.dtype.kind != "f":
        raise Wrong(f"{what} is a {type(ratio).__name__}, expected a tensor")
    width = off.shape[1]
    if ratio.shape != (width,):
        raise Wrong(f"{what} has shape {ratio.shape}, expected one for each unit")
    clean = off.var(0).numpy()
    noisy = torch.stack([values.var(0) for values in samples])
    on = noisy.mean(0).numpy()
    right = clean / on
    spread = noisy.std(0).numpy() / on
    margin = 8 * spread * np.sqrt(1 / passes + 1 / len(samples)) + 0.01
    if (abs(ratio / right - 1) <= margin).all():
        return
    known = {
        "which of the two variances is in the denominator?": 1 / right,
        "is that a ratio of standard deviations?": np.sqrt(right),
        "was dropout on and off, or in one mode both times?": np.ones(width),
        "is that the variance with dropout off, not yet divided?": clean,
        "is that the variance with dropout on?": on,
    }
    hint = "variance with dropout off over variance with dropout on"
    for words, wrong in known.items():
        if (abs(ratio / wrong - 1) <= margin).all():
            hint = words
            break
    j = int(abs(ratio / right - 1).argmax())
    raise Wrong(
        f"{what} of unit {j} is {ratio[j]:.3f}, expected {right[j]:.3f} up to "
        f"{right[j] * margin[j]:.3f}: {hint}"
    )


@checker
def groups(solve, *, seed=0):
    """``solve(x, w, groups, p)``: the ratio where units share masks."""
    rng = np.random.default_rng(seed)
    for labels in ([0, 0, 1, 1, 2, 2], [7, 3, 7, 3, 9, 7], [0, 1, 2, 3, 4, 5], [4] * 6):
        p = float(rng.choice([0.1, 0.3, 0.6]))
        common = rng.standard_normal((50, 1))
        x = common * rng.uniform(0.3, 1, 6) + rng.standard_normal((50, 6))
        x += rng.uniform(0.5, 2, 6)
        w = rng.uniform(0.5, 1.5, 6) * rng.permutation([-1, -1, 1, 1, 1, 1])
        members = np.array(labels)
        when = f"with the groups {labels} at p = {p}"
        what = f"{when} the ratio"
        given = {"x": x, "w": w, "groups": members}
        got = number(pure(solve, given, p, when=when), what)
        parts = np.stack([(x * w)[:, members == g].sum(1) for g in np.unique(members)])
        signal = (x @ w).var()
        odds, each = p / (1 - p), (w**2 * (x**2).mean(axis=0)).sum()
        noise = (parts**2).mean(axis=1).sum()
        right = _delta(signal, odds * noise)
        known = {
            "that is (4), a mask for each unit: what do units of a group share?": (
                _delta(signal, odds * each)
            ),
            "is that one mask for all units?": _delta(
                signal, odds * ((x @ w) ** 2).mean()
            ),
            "is the mean of a group's sum left out of its second moment?": _delta(
                signal, odds * parts.var(axis=1).sum()
            ),
            "the noise has E[(Σ w x)²] of a group, not the square of its mean": _delta(
                signal, odds * (parts.mean(axis=1) ** 2).sum()
            ),
            "the signal has the correlations of all units in it": _delta(
                (w**2 * x.var(axis=0)).sum(), odds * noise
            ),
            "is the signal a sum over groups? Units of different groups are "
            "correlated, too": _delta(parts.var(axis=1).sum(), odds * noise),
            "is the mean of z subtracted in the signal?": _delta(
                ((x @ w) ** 2).mean(), odds * noise
            ),
            "which variance is in the denominator?": 1 / right,
            "p/(1 - p) is the variance of a mask, not p": _delta(signal, p * noise),
            "keeping and dropping are exchanged": _delta(signal, noise / odds),
        }
        hint = "z is a sum over groups, each with one mask; then as (4)"
        agree(what, got, right, known, hint)
