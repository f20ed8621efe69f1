"""Exercises of the chapter practice/imperfect_data."""

import itertools

import numpy as np
import torch
import torch.nn.functional as F

from dropnorm.checks.base import (
    Wrong,
    agree,
    call,
    check_array,
    guesses,
    number,
    unpack,
)
from dropnorm.checks.practice.tensors import checker

# One missing value


@checker
def spread(predicted, *, seed=0):
    """``predicted``: how many NaN one NaN becomes."""
    right = {
        "mask": 1,
        "relu": 1,
        "max": 1,
        "linear": 3,
        "batch norm, training": 6,
        "batch norm, evaluation": 1,
        "group norm": 2,
        "mean imputed": 0,
        "gradient of the sum": 3,
        "gradient of the loss": 12,
    }
    known = {
        "mask": {"what is 0 · NaN?": 0},
        "relu": {"is NaN > 0? And what does PyTorch do with max(NaN, 0)?": 0},
        "max": {"does torch leave NaN out of a maximum?": 0},
        "linear": {
            "each output of a row is a sum over the whole row": 1,
            "are the other rows in the sums of a row?": 18,
        },
        "batch norm, training": {
            "whose mean is it: that of a row, or of a column?": 4,
            "are the columns normalized together?": 24,
            "the mean of the column is NaN, too": 1,
            "a column has six rows": 5,
        },
        "batch norm, evaluation": {
            "which mean is subtracted in evaluation?": 6,
        },
        "group norm": {
            "there are two groups of two features, for each row": 4,
            "are the rows normalized together?": 12,
            "the mean of the group is NaN, too": 1,
        },
        "mean imputed": {"is there a NaN left to be counted in a mean?": 1},
        "gradient of the sum": {
            "dW is a sum over rows of dy_o · x_c, and dy is 1 here": 12,
            "all three units read the feature that is missing": 1,
            "a factor of NaN reaches which columns of W?": 4,
            "a gradient of a sum of ones, times x": 0,
        },
        "gradient of the loss": {
            "now dy of the first row is NaN, and what does it multiply?": 3,
            "softmax mixes the outputs of a row": 4,
        },
    }
    why = dict.fromkeys(right, "write down of which numbers one output is computed")
    guesses(predicted, right, known, why)


# A rate that is another in use


@checker
def moved(solve, *, seed=0):
    """``solve(train_share, use_share, miss, alarm)``: what to add to the logit."""
    rng = np.random.default_rng(seed)
    points = [(0.5, 0.1, 1.0, 1.0), (0.05, 0.5, 1.0, 1.0), (0.3, 0.3, 10.0, 1.0)]
    points += [
        (*rng.uniform(0.05, 0.9, 2).tolist(), *rng.uniform(1, 20, 2).tolist())
        for _ in range(6)
    ]
    for a, b, miss, alarm in points:
        before, after = np.log(a / (1 - a)), np.log(b / (1 - b))
        cost = np.log(miss / alarm)
        right = after - before + cost
        known = {
            "are the two shares exchanged? The odds of training are in the logit "
            "already": before - after + cost,
            "a costly miss makes you say yes more readily": after - before - cost,
            "are the signs of both exchanged?": -right,
            "are these shares, or odds?": np.log(b / a) + cost,
            "the logit already holds the odds of training": after + cost,
            "is it the odds of training that have to go?": -before + cost,
            "do the costs count?": after - before,
            "is the ratio of the costs a number, or is its logarithm to be added?": (
                after - before + miss / alarm
            ),
            "is that the factor of the odds? A logit is its logarithm": np.exp(right),
            "is that a threshold for the logit? It is asked what is added": (
                -right * (1 + 1e-9)
            ),
        }
        when = f"at shares {a:.2f} and {b:.2f}, costs {miss:.3g} and {alarm:.3g},"
        got = number(call(solve, a, b, miss, alarm, when=when), "the result")
        agree(
            f"{when} the number to add",
            got,
            right,
            known,
            "when is miss · P(yes) larger than alarm · P(no)?",
        )


# Holes in a table

FILLING = {
    "test": "are test data in the mean or the deviation?",
    "part": "the test part is to be standardized with the training part's numbers: has "
    "it a mean and a deviation of its own?",
    "filled": "is the deviation that of the filled column? The constants in it make it "
    "smaller",
    "indicators": "are the indicators looked for after the holes were filled?",
}


def _fill(x_train, x_test, faults=()):
    source = np.concatenate([x_train, x_test]) if "test" in faults else x_train
    mean = np.nanmean(source, axis=0)
    out = []
    for part in (x_train, x_test):
        filled = np.where(np.isnan(part), mean, part)
        center, base = mean, source
        if "part" in faults:
            base = part
            center = np.nanmean(part, axis=0)
        sd = np.nanstd(base, axis=0)
        if "filled" in faults:
            again = np.where(np.isnan(base), mean, base)
            center, sd = again.mean(axis=0), again.std(axis=0)
        holes = np.isnan(filled if "indicators" in faults else part)
        out.append(np.hstack([(filled - center) / sd, holes]))
    return out


@checker
def fill(solve, *, seed=0):
    """``solve(x_train, x_test)``: both filled, standardized, with indicators."""
    rng = np.random.default_rng(seed)
    units = 10.0 ** rng.uniform(-1, 2, 3)
    x_train = units * (rng.standard_normal((20, 3)) + 2)
    x_test = units * (1.5 * rng.standard_normal((8, 3)) + 3)
    x_train[rng.random(x_train.shape) < 0.25] = np.nan
    x_test[rng.random(x_test.shape) < 0.25] = np.nan
    x_train[:2, 1], x_test[0] = np.nan, np.nan
    x_train[3:6] = units * np.array([[1.0, 2.0, 3.0], [3.0, 1.0, 2.0], [2.0, 3.0, 1.0]])
    given, names = (x_train.copy(), x_test.copy()), ["x_train", "x_test"]
    parts = unpack(call(solve, *given), names)
    for now, was in zip(given, (x_train, x_test), strict=True):
        if not np.array_equal(now, was, equal_nan=True):
            raise Wrong("your code changes the arrays that it is given")
    for part, x, name in zip(parts, (x_train, x_test), names, strict=True):
        if isinstance(part, np.ndarray) and np.isnan(part).any():
            raise Wrong(f"{name}: there are holes left")
        check_array(part, like=np.empty((len(x), 6)), when=f"{name}:")
    right = _fill(x_train, x_test)
    both = np.concatenate([p.ravel() for p in parts])
    for k in range(5):
        for faults in itertools.combinations(FILLING, k):
            wrong = _fill(x_train, x_test, faults)
            if np.allclose(both, np.concatenate([p.ravel() for p in wrong])):
                if not faults:
                    return
                # The training part alone does not tell; the message names one fault.
                raise Wrong(FILLING[faults[0]])
    for part, good, name in zip(parts, right, names, strict=True):
        if not np.allclose(part[:, 3:], good[:, 3:]):
            hint = "expected 1 where a value was missing, in the last three columns"
            if np.allclose(part[:, 3:], 1 - good[:, 3:]):
                hint = "is a 1 for the values that are there?"
            elif not part[:, 3:].any():
                hint = FILLING["indicators"]
            raise Wrong(f"{name}: the indicators are wrong: {hint}")
        holes = good[:, 3:] == 1
        if not np.allclose(part[:, :3][holes], 0):
            raise Wrong(
                f"{name}: a hole becomes {part[:, :3][holes][0]:.3g}, expected 0, the "
                "mean of what was observed in training: is 0 put in before "
                "standardizing?"
            )
        agree(
            f"{name}", part[:, :3], good[:, :3],
            {"is the deviation divided by N - 1? Here it is divided by N": _bessel(
                x_train, x_train if name == "x_train" else x_test)},
            "mean and deviation of the values observed in training",
        )  # fmt: skip


def _bessel(x_train, x):
    mean, sd = np.nanmean(x_train, axis=0), np.nanstd(x_train, axis=0, ddof=1)
    return np.nan_to_num((x - mean) / sd)


# A weighted loss


@checker
def weighted(solve, *, seed=0):
    """``solve(logits, y, y_train)``: the loss of a batch, weighted by class."""
    rng = np.random.default_rng(seed)
    y_train = torch.tensor(rng.permutation([0] * 30 + [1] * 12 + [2] * 6 + [3] * 2))
    N, K = len(y_train), 4
    counts = torch.bincount(y_train, minlength=K)
    batches = {
        "with all classes": [0, 0, 1, 0, 2, 3, 0, 1],
        "without the last class": [0, 1, 0, 2, 0],
        "of one class": [3, 3, 3],
        "of one example": [2],
    }
    for where, y in batches.items():
        y = torch.tensor(y)
        z = torch.tensor(rng.standard_normal((len(y), K)), requires_grad=True)
        when = f"in a batch {where}"
        loss = call(solve, z, y, y_train, when=when)
        if not isinstance(loss, torch.Tensor) or loss.ndim:
            raise Wrong(f"{when} expected a tensor with one number, got {loss!r}")
        if not loss.requires_grad:
            raise Wrong(f"{when} the loss has no gradient: is it made of floats?")
        each = F.cross_entropy(z, y, reduction="none").detach()
        w = N / (K * counts)
        own = torch.bincount(y, minlength=K).clamp(min=1)
        own = len(y) / (K * own)
        share = counts / N
        known = {
            "PyTorch's mean divides by the sum of the weights in the batch. There a "
            "batch of one class knows no weights": ((w[y] * each).sum() / w[y].sum()),
            "are the classes counted in the batch?": (own[y] * each).mean(),
            "are the classes counted in the batch? And the sum is divided by its "
            "weights": (own[y] * each).sum() / own[y].sum(),
            "do frequent classes get the larger weight?": (share[y] * each).mean(),
            "do frequent classes get the larger weight, and is the sum divided by the "
            "weights of the batch?": (share[y] * each).sum() / share[y].sum(),
            "is 1/K in the weights? For equal classes they are 1": (
                (K * w[y] * each).mean()
            ),
            "is that the sum over the batch?": (w[y] * each).sum(),
            "are there weights at all?": each.mean(),
            "is it divided by the number of training examples?": (
                (w[y] * each).sum() / N
            ),
        }
        right = float((w[y] * each).mean())
        known = {words: float(v) for words, v in known.items()}
        agree(
            f"{when} the loss", float(loss.detach()), right, known,
            "the mean over the batch of w_k times the loss of each example",
        )  # fmt: skip
