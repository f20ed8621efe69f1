"""Exercises of the chapter together/tuning."""

from types import SimpleNamespace

import numpy as np
from scipy.integrate import quad
from scipy.stats import norm
from sklearn.base import BaseEstimator
from sklearn.model_selection import KFold

from dropnorm.checks.base import (
    Wrong,
    agree,
    call,
    checker,
    number,
    numbers,
    prediction_items,
    unpack,
)
from dropnorm.checks.together.models import act, listed
from dropnorm.checks.together.order import check_gradients, task

# Choosing by validation


class _Model(BaseEstimator):
    """Learns nothing and notes which rows it is given, and how they are scaled."""

    log: list = []

    def __init__(self, value=None):
        self.value = value

    def fit(self, x, y):
        self.rows_ = np.ravel(y)
        self.log.append(("fitted on", np.array(x), self.rows_, self.rows_))
        return self

    def score(self, x, y):
        self.log.append(("judged by", np.array(x), np.ravel(y), self.rows_))
        return score(self.value, self.rows_, y)


def score(value, fitted, scored):
    """A number that looks random and depends on value and rows alone."""
    key = [int(1000 * value), *np.sort(fitted), 99_999, *np.sort(scored)]
    return float(np.random.default_rng([int(k) for k in key]).random())


def _nested(y, values, outer, inner):
    """What the right answer finds, and what it would by choosing otherwise."""
    results, names = [], ("right", "outer", "lowest", "reported")
    for train, test in KFold(outer).split(y):
        means = [
            np.mean(
                [
                    score(v, y[train][a], y[train][b])
                    for a, b in KFold(inner).split(train)
                ]
            )
            for v in values
        ]
        final = [score(v, y[train], y[test]) for v in values]
        best = int(np.argmax(means))
        results.append(
            [
                (values[best], final[best]),
                (values[int(np.argmax(final))], max(final)),
                (values[int(np.argmin(means))], final[int(np.argmin(means))]),
                (values[best], means[best]),
            ]
        )
    return dict(zip(names, zip(*results, strict=True), strict=True))


@checker
def nested(solve, *, seed=0):
    """``solve(x, y, values, build, outer, inner)``: a pair for each outer fold."""
    rng = np.random.default_rng(seed)
    for n, outer, inner in ((24, 4, 3), (30, 3, 5)):
        y = rng.permutation(n)  # the label names the row
        x = np.empty((n, 2))
        x[y] = rng.standard_normal((n, 2)) * [1, 20] + [3, -50]
        x[y] += 2.0 * y[:, None]  # sorted by something, so that folds differ
        table = dict(zip(y, x, strict=True))
        values = [0.1, 0.3, 0.5, 0.7]
        _Model.log = log = []
        when = f"with {outer} outer and {inner} inner folds"
        results = listed(
            solve, x.copy(), y.copy(), list(values), _Model, outer, inner, when=when
        )
        _check_scaling(log, x, y, table, outer, when)
        expected = _nested(y, values, outer, inner)
        try:
            got = [unpack(pair, ["value", "score"]) for pair in results]
        except TypeError:
            raise Wrong(f"{when}: expected a list of pairs, got {results!r}") from None
        if len(got) != outer:
            raise Wrong(f"{when}: {len(got)} pairs, expected one for each outer fold")
        got = [
            (number(value, "a value"), number(points, "a score"))
            for value, points in got
        ]

        def same(name, part=slice(None), got=got, expected=expected):
            pairs = zip(got, expected[name], strict=True)
            return all(np.allclose(a[part], b[part]) for a, b in pairs)

        if same("right"):
            continue
        hint = "are folds KFold's, in order, and is the highest mean score chosen?"
        if same("outer", 0):
            hint = (
                "the value is chosen by the very fold that is to judge it: choose "
                "within the training part"
            )
        elif same("lowest", 0):
            hint = "is the lowest score chosen?"
        elif same("reported"):
            hint = (
                "the reported score is the one by which the value was chosen: who "
                "judges it afterwards?"
            )
        elif same("right", 0):
            hint = "is the chosen value fitted once more, on all of the training part?"
        raise Wrong(f"{when}: the pairs are wrong: {hint}")


def _check_scaling(log, x, y, table, outer, when):
    parts = [set(y[train]) for train, _ in KFold(outer).split(x)]

    def scaled(rows, by, ddof=0):
        by = np.array([table[i] for i in sorted(by)])
        rows = np.array([table[i] for i in rows])
        return (rows - by.mean(axis=0)) / by.std(axis=0, ddof=ddof)

    for what, given, rows, fitted in log:
        if not set(rows) | set(fitted) <= set(y):
            raise Wrong(f"{when}: a model is given labels that are not in y")
        if given.shape != (len(rows), 2):
            raise Wrong(f"{when}: a model is given x of shape {given.shape}")
        if any(np.allclose(given, scaled(rows, fitted, ddof)) for ddof in (0, 1)):
            continue
        hint = "each feature by mean and deviation of the rows that the model is fit on"
        inside = [sorted(part) for part in parts if set(fitted) < part]
        known = [
            (
                "mean and deviation are those of all rows, the fold that judges "
                "included: scale within each fold",
                [y],
            ),
            (
                "mean and deviation are those of a whole outer training part: the "
                "inner fold that judges is in it",
                inside,
            ),
            (
                "these rows are scaled by their own mean and deviation, in place of "
                "those of the rows that were fit",
                [rows],
            ),
        ]
        for words, bases in known:
            if any(
                np.allclose(given, scaled(rows, by, d)) for by in bases for d in (0, 1)
            ):
                hint = words
                break
        if np.allclose(given, np.array([table[i] for i in rows])):
            hint = "nothing is standardized"
        raise Wrong(
            f"{when}: the rows that a model is {what} are scaled wrongly: {hint}"
        )


@checker
def tune(solve, *, seed=0):
    """``solve(train, split, rates)``: the rate chosen, and its test error."""
    rng = np.random.default_rng(seed)
    rates = [0.5, 0.1, 0.7, 0.3, 0.0]
    # train, validation, test: each part prefers another rate, and none the smallest
    *three, highest = rng.permutation(4)
    best = dict(zip(("train", "val", "test"), three, strict=True))
    errors = {}
    for part, at in best.items():
        table = rng.uniform(0.2, 0.4, len(rates))
        table[at] = 0.1 + 0.01 * rng.random()
        table[highest] = 0.45
        errors[part] = dict(zip(rates, map(float, table), strict=True))
    parts = ("train", "val", "test")
    split = SimpleNamespace(
        **{f"{axis}_{part}": object() for axis in "xy" for part in parts}
    )
    asked = []

    class Trained:
        def __init__(self, p):
            self.p = p

        def error(self, x, y):
            for part in parts:
                if x is getattr(split, f"x_{part}"):
                    if y is not getattr(split, f"y_{part}"):
                        raise Wrong(f"x_{part} and other labels: do they match?")
                    asked.append((part, self.p))
                    return errors[part][self.p]
            raise Wrong("error(x, y) takes the x and y of one part")

    def train(p, x, y):
        if x is not split.x_train or y is not split.y_train:
            raise Wrong("a network is trained on another part than the training part")
        if p not in rates:
            raise Wrong(f"a network is trained with p = {p!r}, which is not a rate")
        return Trained(p)

    p, error = numbers(call(solve, train, split, list(rates)), ["rate", "test error"])

    def lowest(part):
        return min(errors[part], key=errors[part].get)

    right = lowest("val")
    if p != right:
        known = {
            lowest("test"): "that is the lowest error on the test part: then the test "
            "error is no longer one",
            lowest("train"): "that is the lowest error on the training part",
            max(errors["val"], key=errors["val"].get): "is that the highest error?",
            min(rates): "min() of a dict is its smallest key",
        }
        hint = known.get(p, "the lowest error on the validation part decides")
        if not any(part == "val" for part, _ in asked) and p == min(rates):
            hint = "min() of a dict is its smallest key"
        raise Wrong(f"you choose {p}, expected {right}: {hint}")
    if not np.isclose(error, errors["test"][p]):
        hint = "is it the chosen network's, on the test part?"
        if np.isclose(error, errors["val"][p]):
            hint = (
                "that is the validation error by which it was chosen: it is too low, "
                "since it is the lowest of several"
            )
        elif np.isclose(error, min(errors["test"].values())):
            hint = "that is the lowest test error of all rates"
        raise Wrong(
            f"the error is {error:.3f}, expected {errors['test'][p]:.3f}: {hint}"
        )
    if sum(part == "test" for part, _ in asked) > 1:
        raise Wrong(
            "the test part is looked at more than once: whoever sees all test errors "
            "will choose by them some day"
        )


def _mean_of_largest(k):
    """E of the largest of k standard normal numbers."""
    return quad(lambda z: z * k * norm.pdf(z) * norm.cdf(z) ** (k - 1), -9, 9)[0]


@checker
def optimism(solve, *, seed=0):
    """``solve(k, n, error, rho)``: how much better the best of k arms looks."""
    rng = np.random.default_rng(seed)
    for k in (2, 1, 5, 20):
        n, error = int(rng.integers(100, 1000)), float(rng.uniform(0.03, 0.3))
        rho = float(rng.uniform(0.3, 0.8))
        deviation = np.sqrt(error * (1 - error) / n)
        what = f"for k = {k}, n = {n}, error = {error:.3f}, rho = {rho:.2f} the result"
        got = number(call(solve, k, n, error, rho), what)
        largest = _mean_of_largest(k)
        right = deviation * np.sqrt(1 - rho) * largest
        if abs(got - right) <= 0.02 * abs(right) + 1e-9:
            continue
        share = np.sqrt(1 - rho)
        known = {
            "the arms see the same images: what they have in common lowers all alike": (
                deviation * largest
            ),
            "a part of 1 - ρ of the variance is an arm's own: is the root taken?": (
                deviation * (1 - rho) * largest
            ),
            "which part of the variance is an arm's own, ρ or 1 - ρ?": (
                deviation * np.sqrt(rho) * largest
            ),
            "√(2 ln k) is the limit for large k: what is E of the largest of k?": (
                deviation * share * np.sqrt(2 * np.log(k))
            ),
            "that is Blom's approximation: integrate, or simulate": (
                deviation * share * norm.ppf((k - 0.375) / (k + 0.25))
            ),
            "that quantile is not the mean of the largest": (
                deviation * share * norm.ppf(k / (k + 1))
            ),
            "is it by how much the best looks better, as a positive number?": -right,
            "is that the best arm's error itself?": error - right,
            "error (1 - error)/n is a variance: is the root taken?": (
                deviation**2 * share * largest
            ),
            "is the deviation of a share divided by √n?": (
                deviation * np.sqrt(n) * share * largest
            ),
            "is that one deviation, whatever k?": deviation * share,
            "is that in per cent?": 100 * right,
        }
        hint = "deviation of an arm's own part, times E of the largest of k"
        near = {w: v for w, v in known.items() if np.isclose(got, v, rtol=0.015)}
        words = min(near, key=lambda w: abs(near[w] - got)) if near else hint
        raise Wrong(f"{what} is {got:.4g}, expected {right:.4g}: {words}")


# Numbers to set


@checker
def momentum(solve, *, seed=0):
    """``solve(steps, share)``: PyTorch's momentum, and the noise that is left."""
    rng = np.random.default_rng(seed)
    for _ in range(5):
        steps, share = int(rng.integers(5, 300)), float(rng.uniform(0.005, 0.3))
        when = f"for {steps} steps and a share of {share:.3f}"
        names = [f"{when} the momentum", f"{when} the variance"]
        alpha, noise = numbers(call(solve, steps, share, when=when), names)
        right = 1 - share ** (1 / steps)
        known = {
            "that is Keras's, the weight of the old value": 1 - right,
            "is that the share lost in each step, for small momenta only?": (
                -np.log(share) / steps
            ),
            "does the share fall by the same amount in each step, or by the same "
            "factor?": (1 - share) / steps,
            "is 1 - share what is left?": 1 - (1 - share) ** (1 / steps),
            "is the power steps, or 1/steps?": 1 - share**steps,
        }
        hint = "after t steps (1 - momentum)^t of the initial value is left"
        agree(names[0], alpha, right, known, hint)
        variance = right / (2 - right)
        known = {
            "is the weight of a batch squared in the variance?": 1.0,
            "the weights are squared before they are added: α² Σ (1 - α)^(2k)": right,
            "is that the newest batch's part alone?": right**2,
            "is that for small momenta only?": right / 2,
            "is that how many batches count, in place of one over it?": 1 / variance,
            "is that the standard deviation?": np.sqrt(variance),
            "Σ (1 - α)^(2k) is 1/(1 - (1 - α)²), and α² stands in front": (
                1 / (right * (2 - right))
            ),
        }
        hint = "the buffer is Σ α (1 - α)^k times the mean of the k-th last batch"
        agree(names[1], noise, variance, known, hint)


@checker
def schedule(solve, *, seed=0):
    """``solve(model, batches, optimizer, epochs)``: the rate falls with each epoch."""
    for epochs in (4, 6):
        net, batches, optimizer = task(seed)
        n = len(batches)
        act(solve, net, batches, optimizer, epochs)
        rates = np.array(optimizer.rates)
        if len(rates) != n * epochs:
            raise Wrong(
                f"the optimizer makes {len(rates)} steps, expected {n * epochs}"
            )
        epoch, every = np.arange(n * epochs) // n, np.arange(n * epochs)

        def cosine(t, total):
            return 0.05 * (1 + np.cos(np.pi * t / total))

        right = cosine(epoch, epochs)
        known = {
            "is the schedule ever stepped?": np.full(n * epochs, 0.1),
            "the schedule is stepped after each batch and made for epochs: the rate "
            "falls to 0 and rises again": cosine(every, epochs),
            "the schedule is stepped before each batch's step, and made for epochs": (
                cosine(every + 1, epochs)
            ),
            "the rate falls with each batch: expected the same rate for all of an "
            "epoch": cosine(every, n * epochs),
            "the first epoch has the second one's rate: is the schedule stepped before "
            "the epoch, in place of after it?": cosine(epoch + 1, epochs),
            "the last epoch has rate 0 and learns nothing: is T_max epochs - 1?": (
                cosine(epoch, epochs - 1)
            ),
            "is T_max the number of batches, where the schedule counts epochs?": (
                cosine(epoch, n * epochs)
            ),
            "that falls along a line": 0.1 * (1 - epoch / epochs),
        }
        what = f"with {epochs} epochs of {n} batches: the rate of step"
        hint = "expected ½ η (1 + cos(π t / T)) in epoch t of T, counted from 0"
        agree(what, rates, right, known, hint)
        check_gradients(seed, optimizer, batches, epochs)


@checker
def large_batch(solve, *, seed=0):
    """``solve(lr, batch, new_batch, n_train, epochs, warmup)``: all steps' rates."""
    rng = np.random.default_rng(seed)
    for factor in (8, 5):
        lr, batch = float(rng.uniform(0.01, 0.2)), int(rng.choice([20, 32, 50]))
        new, n_train = factor * batch, int(rng.integers(10, 15)) * factor * batch + 7
        epochs, warmup = 6, 2
        arguments = lr, batch, new, n_train, epochs, warmup
        when = "for large_batch({:.3f}, {}, {}, {}, {}, {})".format(*arguments)
        got = listed(solve, *arguments, when=when)
        try:
            got = np.array(list(got), float)
        except (TypeError, ValueError):
            raise Wrong(f"{when} expected a list of rates, got {got!r}") from None
        steps, floor = -(-n_train // new), n_train // new
        old = -(-n_train // batch)
        if got.shape != (epochs * steps,):
            smaller = "those are the steps of the old batch size"
            known = {
                epochs * old: smaller,
                epochs * (n_train // batch): smaller,
                epochs * floor: "the last, smaller batch of an epoch is a step, too",
                epochs * steps + 1: "is there one too many?",
                epochs: "expected a rate for each step, not for each epoch",
                (epochs + warmup) * steps: "is the warm-up a part of the epochs?",
                epochs * steps + warmup: "is the warm-up a part of the epochs?",
            }
            hint = known.get(got.size, f"an epoch has {steps} batches")
            raise Wrong(
                f"{when} there are {got.size} rates, expected {epochs * steps}: {hint}"
            )
        t = np.arange(epochs * steps)

        def rates(target, length, start=lr, t=t, shift=0):
            return start + (target - start) * np.minimum((t + shift) / length, 1)

        length, target = warmup * steps, lr * factor
        right = rates(target, length)
        known = {
            "is the rate scaled the wrong way? Larger batches have less noise": rates(
                lr / factor, length
            ),
            "is the rate scaled by the root?": rates(lr * np.sqrt(factor), length),
            "is the rate scaled at all?": np.full(t.shape, lr),
            "is there a warm-up?": np.full(t.shape, target),
            "`warmup` counts epochs, not steps": rates(target, warmup),
            "is it the warm-up from 0? It starts at lr": rates(target, length, 0.0),
            "does it start at 0, and is `warmup` counted in steps?": rates(
                target, warmup, 0.0
            ),
            "step 0 has the rate lr, and the target is reached at step W": rates(
                target, length, shift=1
            ),
            "the target is reached one step too early: a line from step 0 to step W": (
                rates(target, length - 1)
            ),
            "does the rate rise in all epochs?": rates(target, len(t)),
            "does the rate rise in steps of an epoch?": (
                lr + (target - lr) * np.minimum(t // steps / warmup, 1)
            ),
        }
        hint = "from lr at step 0 to the scaled rate at step W, then constant"
        agree(f"{when} rate", got, right, known, hint)


@checker
def grow(solve, *, seed=0):
    """``solve(rates, batch, limit)``: (rate, batch size) for each epoch."""
    rng = np.random.default_rng(seed)
    lr, batch = float(rng.choice([0.1, 0.2, 0.4])), int(rng.choice([16, 32, 64]))
    for falls, limit in (([1, 1, 2, 4, 8], 100), ([1, 2, 2, 5, 20, 40], 8)):
        given, limit = [lr / fall for fall in falls], limit * batch
        when = f"for {len(given)} rates that fall by up to {max(falls)}"
        result = listed(solve, list(given), batch, limit, when=when)
        try:
            got = [unpack(pair, ["rate", "batch size"]) for pair in result]
        except TypeError:
            raise Wrong(f"{when} expected a list of pairs, got {result!r}") from None
        if len(got) != len(given):
            raise Wrong(f"{when} there are {len(got)} pairs, expected {len(given)}")
        for epoch, ((rate, size), fall) in enumerate(zip(got, falls, strict=True)):
            what = f"{when}, limit {limit}, in epoch {epoch}"
            rate, size = number(rate, f"{what} the rate"), number(size, "the size")
            right_size = min(fall * batch, limit)
            right = lr * right_size / (fall * batch)
            if np.isclose(rate, right) and size == right_size:
                continue
            hint = "rate / size is to be what the schedule has"
            if size > limit:
                hint = "that is above the limit"
            elif size != round(size):
                hint = "a batch has a whole number of examples"
            elif np.isclose(size, batch / fall):
                hint = "smaller batches make more noise: does the size grow or fall?"
            elif size == right_size and np.isclose(rate, lr):
                hint = "the batch cannot grow any more: what has to fall then?"
            elif size == right_size and np.isclose(rate, lr / fall):
                hint = "is the rate decayed although the batch has grown?"
            elif size == batch and np.isclose(rate, lr / fall):
                hint = "is that the schedule as it was?"
            elif np.isclose(rate * size, lr / fall * batch):
                hint = "the noise goes with rate / size, not with their product"
            elif np.isclose(rate * size, lr * batch):
                hint = "is rate · size kept, in place of rate / size?"
            raise Wrong(
                f"{what} you have a rate of {rate:.4g} and batches of {size:g}, "
                f"expected {right:.4g} and {right_size}: {hint}"
            )


@checker
def zeros(predicted, *, seed=0):
    """``predicted``: names of the parameters whose first gradient is not zero."""
    every = {"W", "gamma", "beta", "V", "c"}
    right = {
        "usual": every,
        "W = 0": {"c"},
        "V = 0": {"V", "c"},
        "gamma = 0": {"c"},
        "rows of W equal": every,
        "W = 0, beta = 1": {"W", "beta", "V", "c"},
    }
    hints = {
        "W": "follow dz = dL/dz: what does the batch norm give back, and is ReLU on?",
        "gamma": "its gradient is the sum of dy · x̂: what is x̂ there?",
        "beta": "its gradient is the sum of dy: does ReLU let dy through?",
        "V": "its gradient is dlogits · hᵀ: what is h?",
        "c": "its gradient is the sum of dlogits, whatever the layers below give",
    }
    for key, value in prediction_items(predicted, right):
        try:
            got = {value} if isinstance(value, str) else set(value)
            unknown = sorted(got - every)
        except TypeError:
            raise Wrong(f"{key!r}: expected a set of names, got {value!r}") from None
        if unknown:
            raise Wrong(f"{key!r}: there is no parameter {unknown[0]!r}")
        for name in ("c", "V", "beta", "gamma", "W"):
            if (name in got) == (name in right[key]):
                continue
            said = "learns" if name in got else "does not learn"
            hint = hints[name]
            if key == "rows of W equal":
                hint = "all units are one unit, but does that make its gradient zero?"
            elif key == "W = 0, beta = 1" and name == "W":
                hint = "z is constant, but dz differs between the examples"
            elif key in ("W = 0", "gamma = 0") and name != "V":
                hint = "ReLU receives exactly 0, and its derivative there is 0"
            raise Wrong(f"{key!r}: you predict that {name} {said}: {hint}")
