"""Exercises of the chapter dropout/relatives."""

import numpy as np
from scipy.stats import kstest

from dropnorm.checks.base import (
    Wrong,
    call,
    check_array,
    checker,
    plausible,
    pure,
    recognize,
)
from dropnorm.checks.masks import CALLS, check_masks, make_input, run_layer


@checker
def uniform(dropout, *, seed=0):
    """``dropout(x, p, rng)``: factors uniform around 1, with dropout's variance."""
    rng = np.random.default_rng(seed)
    p = float(rng.choice([0.2, 0.3, 0.6]))
    draws = np.random.default_rng(seed)

    def run(x, p=p, draws=draws, when=""):
        return run_layer(dropout, x, p, draws, when=when)

    x = make_input(rng, 100, 40)
    m = np.stack([run(x) for _ in range(CALLS)]) / x
    _check_ties(m)
    once, again, longer = (
        run(c * x, draws=np.random.default_rng(seed)) for c in (1, 1, 2)
    )
    if not np.array_equal(once, again):
        raise Wrong(
            "generators in the same state give different results: are the random "
            "numbers drawn from `rng`?"
        )
    if not np.allclose(2 * once, longer):
        raise Wrong(
            "for an x twice as large, y is not twice as large: is the noise added, "
            "where it should multiply?"
        )
    _check_factors(m, p)
    run(x.astype(np.float32))
    run(make_input(rng, 4, 3, 5, 6), when="on an input of four axes")
    if not np.allclose(run(x, p=0.0, when="at p = 0"), x):
        raise Wrong("at p = 0 the output differs from x, although the variance is 0")


def _check_ties(m):
    """Factors that several units share; m of shape (calls, examples, features)."""
    if (m == m[0]).all():
        if np.allclose(m, 1):
            raise Wrong("the output is x itself: where is the noise?")
        raise Wrong(
            f"{len(m)} passes in a row have the same factors: is a generator made, or "
            "seeded, inside your code?"
        )
    if np.allclose(m, m[:, :1, :1]):
        raise Wrong("all units share one factor: which shape is drawn?")
    if np.allclose(m, m[:, :1]):
        raise Wrong("all examples share their factors: which shape is drawn?")
    if np.allclose(m, m[:, :, :1]):
        raise Wrong("the features of an example share one factor: which shape is it?")


def _check_factors(m, p):
    n, noise = m.size, p / (1 - p)
    if (m == 0).mean() > 0.01:
        raise Wrong(
            f"{(m == 0).mean():.2f} of the outputs are 0: is that the Bernoulli mask? "
            "Here nothing is set to 0"
        )
    if abs(m.mean() - 1) > 8 * m.std() / np.sqrt(n):
        hint = "evaluation leaves the layer out: which mean does that need?"
        if abs(m.mean()) < 0.05:
            hint = "is that the noise alone, without the 1?"
        elif m.min() > 0.999:
            hint = "is the noise drawn from 0 to 1, where it needs both signs?"
        raise Wrong(f"the factors have the mean {m.mean():.2f}, expected 1: {hint}")
    known = {
        "a uniform number from -a to a has the variance a²/3: is a the standard "
        "deviation, where it is the half-width?": noise / 3,
        "a uniform number from -a to a has the variance a²/3, one from 0 to w has "
        "w²/12": noise / 12,
        "is a the variance p/(1 - p) itself?": noise**2 / 3,
        "is the root missing? p/(1 - p) is a variance": noise**2,
        "is a three times the variance, without the root?": 3 * noise**2,
        "keeping and dropping are exchanged: (1 - p)/p for p/(1 - p)": 1 / noise,
        "is that the variance of r, p(1 - p), without the scaling?": p * (1 - p),
        "is p itself the variance?": p,
        "is a = p?": p**2 / 3,
        "is a = 1, whatever p?": 1 / 3,
    }
    variance = ((m - 1) ** 2).mean()
    # The error of a variance, for factors without long tails.
    error = 8 * np.sqrt(np.var((m - 1) ** 2) / n) + 1e-9
    if abs(variance - noise) > error:
        hint = min(known, key=lambda words: abs(variance - known[words]))
        if abs(variance - known[hint]) > error:
            hint = "what is the variance of a dropout factor, and of a uniform number?"
        raise Wrong(
            f"the factors have the variance {variance:.3f}, expected {noise:.3f}: "
            + hint
        )
    a = np.sqrt(3 * noise)
    if kstest(m.ravel(), "uniform", args=(1 - a, 2 * a)).pvalue < 1e-9:
        raise Wrong(
            "mean and variance of the factors are right, but they lie between "
            f"{m.min():.2f} and {m.max():.2f} and are not uniform: from which "
            "distribution are they drawn?"
        )


@checker
def exactly_k(drop, *, seed=0):
    """``drop(x, k, rng)`` drops exactly k of the n units of each example."""
    rng = np.random.default_rng(seed)
    rows, n = 200, 12
    x = make_input(rng, rows, n)
    draws = np.random.default_rng(seed)

    def run(k, x=x, draws=draws, when=""):
        return run_layer(drop, x, k, draws, when=f"for k = {k} of {n}{when}")

    for k in (4, 2, 1, n - 1):
        when = f"for k = {k} of {n} units"
        ys = np.stack([run(k) for _ in range(CALLS)])
        keep = ys != 0
        _check_counts(keep, k, n, when)
        if (keep == keep[0]).all():
            raise Wrong(
                f"{when} {CALLS} passes in a row drop the same units: does chance "
                "choose them, and is its generator `rng`?"
            )
        if (keep == keep[:, :1]).all():
            raise Wrong(f"{when} all examples lose the same units")
        for unit in range(n):
            gone = (~keep[..., unit]).sum()
            if not plausible(gone, keep[..., unit].size, k / n):
                raise Wrong(
                    f"{when} unit {unit} is dropped with probability "
                    f"{gone / keep[..., unit].size:.2f}, expected k/n = {k / n:.2f}: "
                    "are all choices of k units equally likely?"
                )
        for i, j in ((0, 1), (0, n // 2), (n - 2, n - 1)):
            both = (~keep[..., i] & ~keep[..., j]).sum()
            q = k * (k - 1) / (n * (n - 1))
            size = keep[..., i].size
            if both if q == 0 else not plausible(both, size, q):
                raise Wrong(
                    f"{when} the units {i} and {j} are dropped together in "
                    f"{both / size:.3f} of all examples, expected {q:.3f}: are all "
                    "choices of k units equally likely?"
                )
        factor = ys[keep] / np.broadcast_to(x, ys.shape)[keep]
        right = n / (n - k)
        if not np.allclose(factor, right):
            p = 1 / k
            known = {
                "is the scale missing?": 1,
                "is that 1/(1 - 1/k)? Which share of the units is kept?": (
                    1 / (1 - p) if k > 1 else -1
                ),
                "is that n/k?": n / k,
                "is that the share kept, where its inverse is needed?": 1 / right,
                "is the scale applied twice?": right**2,
            }
            if np.ptp(factor) > 1e-6:
                raise Wrong(f"{when} kept values have different factors")
            raise Wrong(
                f"{when} kept values are x times {factor[0]:.4g}, expected "
                f"{right:.4g}: "
                + recognize(factor, known, "what keeps the mean of the outputs?")
            )
    if not np.allclose(run(0), x):
        raise Wrong("for k = 0 the output differs from x, although nothing is dropped")
    once, again = (run(3, draws=np.random.default_rng(seed)) for _ in range(2))
    if not np.array_equal(once, again):
        raise Wrong(
            "generators in the same state give different masks: are the random numbers "
            "drawn from `rng`?"
        )
    run(3, x=x.astype(np.float32), when=", float32")


def _check_counts(keep, k, n, when):
    dropped = (~keep).sum(axis=-1)
    if (dropped == k).all():
        return
    if (dropped == n - k).all():
        raise Wrong(f"{when} {n - k} units are dropped and {k} kept: is it reversed?")
    if (dropped.sum(axis=-1) == k).all():
        raise Wrong(
            f"{when} {k} units of the whole batch are dropped, expected {k} of each "
            "example"
        )
    if dropped.min() == dropped.max():
        raise Wrong(f"{when} {dropped.min()} units are dropped, expected {k}")
    mean, size = dropped.mean(), keep.size
    hint = "what makes the number the same in every example?"
    if plausible(dropped.sum(), size, k / n):
        hint = "is each unit dropped by a coin of its own? Their number is then random"
    elif k > 1 and plausible(dropped.sum(), size, 1 / k):
        hint = "is 1/k the probability to drop a unit? It falls as k grows"
    elif (dropped <= k).all():
        hint = "can a unit be drawn twice?"
    raise Wrong(
        f"{when} between {dropped.min()} and {dropped.max()} units of an example are "
        f"dropped, {mean:.2f} on average, expected exactly {k}: {hint}"
    )


@checker
def spans(formula, *, seed=0):
    """``formula(p, b, length)``: how likely each place of a signal is dropped."""
    rng = np.random.default_rng(seed)
    for p, b, length in ((0.2, 1, 8), (0.2, 3, 10), (0.1, 5, 40), (0.3, 6, 8)):
        p = float(np.round(p + rng.uniform(-0.05, 0.05), 3))
        when = f"for p = {p}, b = {b} and {length} places"
        result = call(formula, p, b, length, when=when)
        check_array(result, like=np.empty(length), when=when)
        starts = length - b + 1
        i = np.arange(length)
        cover = np.minimum.reduce(
            [i + 1, length - i, np.full(length, b), np.full(length, starts)]
        )
        gamma = p * length / (b * starts)
        right = 1 - (1 - gamma) ** cover
        if np.allclose(result, right):
            continue
        without = p / b
        square = p * length / (b**2 * starts)
        known = {
            "that is gamma, the probability that a span starts": np.full(length, gamma),
            "that is p: what do spans that overlap, and edges, change?": (
                np.full(length, p)
            ),
            "how many starts cover a place near an edge?": np.full(
                length, 1 - (1 - gamma) ** b
            ),
            "probabilities are added, but two spans may cover the same place": (
                gamma * cover
            ),
            "that is the probability to be kept": 1 - right,
            "gamma lacks L/(L - b + 1): at how many places can a span start?": (
                1 - (1 - without) ** cover
            ),
            "gamma has b², the number of pixels of a square block": (
                1 - (1 - square) ** cover
            ),
            "gamma's second factor is upside down": (
                1 - (1 - p / b * starts / length) ** cover
            ),
        }
        naive = np.minimum(np.minimum(i + 1, length - i), b)
        known[
            "when a span is longer than half of the signal, how many starts cover the "
            "middle?"
        ] = 1 - (1 - gamma) ** naive
        hint = "a place is kept if no span starts at the places that cover it"
        raise Wrong(
            f"{when} the first three are {np.round(result[:3], 3)}, expected "
            f"{np.round(right[:3], 3)}: " + recognize(result, known, hint)
        )


@checker
def recurrent(run, *, seed=0):
    """``run(x, w_x, w_h, p, rng)``: all states; one mask for each sequence.

    tanh is invertible and so is w_h, so the states give back the masks.
    """
    rng = np.random.default_rng(seed)
    p = float(rng.choice([0.2, 0.3, 0.6]))
    n, steps, features, units = 60, 6, 5, 20
    w_x = rng.uniform(-0.4, 0.4, (units, features))
    w_h = 0.3 * np.linalg.qr(rng.standard_normal((units, units)))[0]
    x = rng.uniform(-1, 1, (n, steps, features))
    draws = np.random.default_rng(seed)

    def states(p=p, draws=draws):
        arrays = {"x": x, "w_x": w_x, "w_h": w_h}
        h = pure(run, arrays, p, draws, when=f"at p = {p:g}")
        if isinstance(h, np.ndarray) and h.shape == (n, units):
            raise Wrong(
                f"the result has shape {h.shape}: is that the last state alone? "
                f"Expected all of them, {(n, steps, units)}"
            )
        check_array(h, like=np.empty((n, steps, units)))
        ratio = h[:, 0] / np.tanh(x[:, 0] @ w_x.T)
        if (ratio == 0).any() and np.ptp(ratio[ratio != 0]) < 1e-6:
            raise Wrong(
                "some of the returned states are 0: the mask belongs where the "
                "recurrent weights read the state, not into the state itself"
            )
        if not (abs(h) < 1).all():
            raise Wrong("some states are not between -1 and 1: is the tanh missing?")
        return h

    def masks(h):
        """Factors of the state that was read, of shape (n, steps - 1, units)."""
        if not np.allclose(h[:, 0], np.tanh(x[:, 0] @ w_x.T)):
            raise Wrong(
                "the first state is not tanh(W_x x): the state before it is 0, so is "
                "the input masked too?"
            )
        z = np.arctanh(h[:, 1:]) - x[:, 1:] @ w_x.T
        read = z @ np.linalg.inv(w_h).T
        m = read / h[:, :-1]
        m[abs(read) < 1e-9] = 0
        return m

    passes = [masks(states()) for _ in range(CALLS)]
    m = passes[0]
    if all(np.allclose(m, 1) for m in passes):
        raise Wrong("nothing is dropped")
    if not np.allclose(m, m[:, :1], rtol=1e-4):
        hint = "where is it drawn, in the loop or before it?"
        if not np.isclose(m, 0).any():
            hint = "is it the state that the recurrent weights read which is masked?"
        raise Wrong(f"the factors change from step to step of a sequence: {hint}")
    frozen = [m[:, 0] for m in passes]
    keep = np.stack(frozen) != 0
    if (keep == keep[:, :1]).all() and not (keep == keep[0]).all():
        raise Wrong(
            f"all {n} sequences of a batch share one mask: which shape is drawn?"
        )
    if (keep == keep[0]).all():
        rows = " and all sequences" if (keep == keep[:, :1]).all() else ""
        raise Wrong(
            f"{CALLS} passes in a row{rows} have the same mask: is a generator made, "
            "or seeded, inside your code?"
        )
    ones = np.ones((n, units))
    frozen = [np.round(m, 6) for m in frozen]
    check_masks(frozen, ones, p, 1 / (1 - p))
    once, again = (states(draws=np.random.default_rng(seed)) for _ in range(2))
    if not np.array_equal(once, again):
        raise Wrong(
            "generators in the same state give different masks: are the random numbers "
            "drawn from `rng`?"
        )
    if not np.allclose(masks(states(p=0.0)), 1):
        raise Wrong("at p = 0 something is dropped or scaled")
