"""Checkers of the chapter practice/imperfect_data."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from answers import fails, passes
from torch import nn

from dropnorm.checks import practice as P

# spread


def in_torch():
    """How many NaN PyTorch makes of one."""
    x = torch.randn(6, 4).clamp(max=2)
    x[0, 1] = torch.nan
    linear = nn.Linear(4, 3)
    y, weight = linear(x), linear.weight
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    (of_sum,) = torch.autograd.grad(y.sum(), weight, retain_graph=True)
    (of_loss,) = torch.autograd.grad(F.cross_entropy(y, labels), weight)
    results = {
        "mask": x * (x > 9),
        "relu": F.relu(x),
        "max": x.amax(1),
        "linear": y,
        "batch norm, training": nn.BatchNorm1d(4)(x),
        "batch norm, evaluation": nn.BatchNorm1d(4).eval()(x),
        "group norm": nn.GroupNorm(2, 4)(x),
        "mean imputed": torch.where(x.isnan(), x.nanmean(0), x),
        "gradient of the sum": of_sum,
        "gradient of the loss": of_loss,
    }
    return {name: int(value.isnan().sum()) for name, value in results.items()}


RIGHT = in_torch()


def test_spread_accepts():
    passes(P.spread, RIGHT)
    passes(P.spread, {key: float(value) for key, value in RIGHT.items()})


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("mask", 0, "what is 0 · NaN"),
        ("relu", 0, "max(NaN, 0)"),
        ("batch norm, training", 24, "normalized together"),
        ("batch norm, evaluation", 6, "which mean is subtracted"),
        ("group norm", 4, "two groups of two"),
        ("gradient of the sum", 12, "dy is 1 here"),
        ("gradient of the loss", 3, "what does it multiply"),
        ("linear", 18, "are the other rows"),
        ("max", 5, "of which numbers one output"),
        ("mean imputed", "none", "expected a number"),
        ("mask", None, "no prediction yet"),
    ],
)
def test_spread_names_what_is_wrong(key, value, words):
    fails(P.spread, RIGHT | {key: value}, words=words)


# moved


def odds(share):
    return share / (1 - share)


def moved(a, b, miss, alarm):
    return np.log(odds(b)) - np.log(odds(a)) + np.log(miss / alarm)


def in_one(a, b, miss, alarm):
    return np.log(b * (1 - a) * miss / (a * (1 - b) * alarm))


def by_search(a, b, miss, alarm):
    """Where the expected costs of both answers are equal, z is minus the result."""
    low, high = -30.0, 30.0
    for _ in range(100):
        z = (low + high) / 2
        ratio = np.exp(z) / odds(a)  # of the likelihoods
        yes = b * ratio
        low, high = (low, z) if miss * yes > alarm * (1 - b) else (z, high)
    return -z


@pytest.mark.parametrize("answer", [moved, in_one, by_search])
def test_moved_accepts(answer):
    passes(P.moved, answer)


WRONG_MOVES = {
    "shares exchanged": (lambda a, b, m, c: moved(b, a, m, c), "are the two shares"),
    "costs exchanged": (lambda a, b, m, c: moved(a, b, c, m), "more readily"),
    "sign": (lambda a, b, m, c: -moved(a, b, m, c), "signs|shares exchanged|readily"),
    "shares": (lambda a, b, m, c: np.log(b / a * m / c), "are these shares, or odds"),
    "no prior of training": (
        lambda a, b, m, c: np.log(odds(b) * m / c),
        "already holds the odds",
    ),
    "prior of training alone": (
        lambda a, b, m, c: -np.log(odds(a)) + np.log(m / c),
        "that have to go",
    ),
    "no costs": (lambda a, b, m, c: moved(a, b, 1, 1), "do the costs count"),
    "ratio": (lambda a, b, m, c: moved(a, b, 1, 1) + m / c, "is its logarithm"),
    "factor": (lambda *args: np.exp(moved(*args)), "A logit is its logarithm"),
    "other": (lambda *args: 0.3, "when is miss · P(yes) larger"),
    "text": (lambda *args: "ln", "expected a number"),
    "raises": (lambda a, b, m, c: a[0], "TypeError"),
}


@pytest.mark.parametrize("name", WRONG_MOVES)
def test_moved_names_what_is_wrong(name):
    answer, words = WRONG_MOVES[name]
    fails(P.moved, answer, words=words)


# fill


def filling(
    source=lambda a, b: a, own=False, deviation="observed", after=False, ddof=0
):
    def answer(x_train, x_test):
        base, parts = source(x_train, x_test), []
        for x in (x_train, x_test):
            mean = np.nanmean(base, axis=0)
            holes = np.isnan(x)
            full = np.where(holes, mean, x)
            from_ = x if own else base
            center, sd = np.nanmean(from_, axis=0), np.nanstd(from_, axis=0, ddof=ddof)
            if deviation == "filled":
                again = np.where(np.isnan(from_), mean, from_)
                center, sd = again.mean(axis=0), again.std(axis=0)
            if after:
                holes = np.isnan(full)
            parts.append(np.hstack([(full - center) / sd, holes]))
        return parts

    return answer


def zero_last(x_train, x_test):
    seen = np.ma.masked_invalid(x_train)
    mean, sd = seen.mean(axis=0).data, seen.std(axis=0).data
    return tuple(
        np.concatenate([np.nan_to_num((x - mean) / sd), np.isnan(x) * 1.0], axis=1)
        for x in (x_train, x_test)
    )


@pytest.mark.parametrize("answer", [filling(), zero_last])
def test_fill_accepts(answer):
    passes(P.fill, answer)


def both(a, b):
    return np.concatenate([a, b])


def zeros_first(x_train, x_test):
    mean, sd = np.nanmean(x_train, axis=0), np.nanstd(x_train, axis=0)
    return [
        np.hstack([(np.nan_to_num(x) - mean) / sd, np.isnan(x)])
        for x in (x_train, x_test)
    ]


def spoiled(x_train, x_test):
    x_train[np.isnan(x_train)] = 0
    return filling()(x_train, x_test)


def turned(x_train, x_test):
    parts = filling()(x_train, x_test)
    return [np.hstack([p[:, :3], 1 - p[:, 3:]]) for p in parts]


WRONG_FILLS = {
    "the listing": (
        filling(both, own=True, deviation="filled", after=True),
        "are test data in the mean",
    ),
    "test": (filling(both), "are test data in the mean"),
    "own": (filling(own=True), "has it a mean and a deviation of its own"),
    "filled": (filling(deviation="filled"), "The constants in it make it smaller"),
    "indicators": (filling(after=True), "after the holes were filled"),
    "zeros first": (zeros_first, "is 0 put in before standardizing"),
    "N - 1": (filling(ddof=1), "divided by N - 1"),
    "turned": (turned, "for the values that are there"),
    "holes left": (
        lambda a, b: [np.hstack([x, np.isnan(x)]) for x in (a, b)],
        "there are holes left",
    ),
    "no indicators": (
        lambda a, b: [p[:, :3] for p in filling()(a, b)],
        "has shape",
    ),
    "in place": (spoiled, "changes the arrays"),
    "one": (lambda a, b: filling()(a, b)[0], "expected 2 things"),
    "raises": (lambda a, b: a @ b, "ValueError"),
}


@pytest.mark.parametrize("name", WRONG_FILLS)
def test_fill_names_what_is_wrong(name):
    answer, words = WRONG_FILLS[name]
    fails(P.fill, answer, words=words)


# weighted


def by_class(z, y, y_train):
    w = len(y_train) / (z.shape[1] * torch.bincount(y_train, minlength=z.shape[1]))
    return (w[y] * F.cross_entropy(z, y, reduction="none")).mean()


def by_sum(z, y, y_train):
    counts = torch.bincount(y_train).double()
    w = counts.sum() / (len(counts) * counts)
    return F.cross_entropy(z, y, weight=w, reduction="sum") / len(y)


def by_loop(z, y, y_train):
    total, K = 0, z.shape[1]
    for row, label in zip(z, y, strict=True):
        n = (y_train == label).sum()
        total = total - len(y_train) / (K * n) * row.log_softmax(0)[label]
    return total / len(y)


@pytest.mark.parametrize("answer", [by_class, by_sum, by_loop])
def test_weighted_accepts(answer):
    passes(P.weighted, answer)


def weights(y, K):
    return len(y) / (K * torch.bincount(y, minlength=K).clamp(min=1))


WRONG_LOSSES = {
    "the listing": (
        lambda z, y, t: F.cross_entropy(z, y, weight=torch.bincount(y) / len(y)),
        "the loss is|raised RuntimeError",
    ),
    "torch's mean": (
        lambda z, y, t: F.cross_entropy(z, y, weight=weights(t, 4)),
        "divides by the sum of the weights",
    ),
    "batch": (lambda z, y, t: by_class(z, y, y), "counted in the batch|raised"),
    "batch, filled": (
        lambda z, y, t: (
            weights(y, 4)[y] * F.cross_entropy(z, y, reduction="none")
        ).mean(),
        "counted in the batch",
    ),
    "reversed": (
        lambda z, y, t: (
            (torch.bincount(t) / len(t))[y] * F.cross_entropy(z, y, reduction="none")
        ).mean(),
        "do frequent classes",
    ),
    "reversed, torch's mean": (
        lambda z, y, t: F.cross_entropy(z, y, weight=torch.bincount(t) / len(t)),
        "weights of the batch",
    ),
    "no 1/K": (lambda z, y, t: 4 * by_class(z, y, t), "is 1/K in the weights"),
    "sum": (lambda z, y, t: len(y) * by_class(z, y, t), "the sum over the batch"),
    "none": (lambda z, y, t: F.cross_entropy(z, y), "are there weights at all"),
    "float": (lambda z, y, t: by_class(z, y, t).item(), "a tensor with one number"),
    "detached": (lambda z, y, t: by_class(z, y, t).detach(), "has no gradient"),
    "vector": (lambda z, y, t: z.sum(1), "a tensor with one number"),
    "raises": (lambda z, y, t: z[99], "IndexError"),
}


@pytest.mark.parametrize("name", WRONG_LOSSES)
def test_weighted_names_what_is_wrong(name):
    answer, words = WRONG_LOSSES[name]
    fails(P.weighted, answer, words=words)
