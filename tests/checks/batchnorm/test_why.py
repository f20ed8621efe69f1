"""Exercises on why it helps: right answers pass, wrong ones are named."""

import numpy as np
import pytest
import torch
from answers import fails, passes
from torch import nn

from dropnorm import checks, layers

B = checks.batchnorm

# rescaled


def measured():
    """The factors of the exercise, on a random network."""
    torch.manual_seed(0)
    kind = {"dtype": torch.float64}
    x = torch.randn(16, 5, **kind).requires_grad_()
    V = torch.randn(3, 8, **kind).requires_grad_()
    W = torch.randn(8, 5, **kind)
    dy = torch.randn(16, 3, **kind)
    found = []
    for factor in (1, 10):
        w = (factor * W).requires_grad_()
        z = x @ w.T
        h = nn.functional.batch_norm(z, None, None, training=True, eps=1e-12)
        y = torch.relu(h) @ V.T
        dw, dx, dv = torch.autograd.grad(y, (w, x, V), dy)
        sizes = [y, dw, dx, dv, dw / w.norm()]
        found.append([float(a.detach().norm()) for a in sizes])
    keys = ["output", "gradient of W", "gradient of x", "gradient of V"]
    factors = np.divide(found[1], found[0])
    return dict(zip([*keys, "relative step"], factors, strict=True))


def test_rescaled_expects_what_is_measured():
    passes(B.rescaled, measured())
    assert B.rescaled(dict.fromkeys(measured())).status == "not attempted"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("output", 10, "a common factor"),
        ("gradient of W", 1, "as large a turn"),
        ("gradient of W", 10, "steeper, or flatter"),
        ("gradient of W", 0.01, "Is there another"),
        ("gradient of x", 0.1, "and then W"),
        ("gradient of x", 10, "before that the batch norm"),
        ("gradient of V", 0.1, "V reads"),
        ("gradient of V", 10, "is the output of the hidden layer"),
        ("relative step", 0.1, "a longer W"),
        ("relative step", 1, "is W longer"),
        ("relative step", 100, "in which direction"),
        ("relative step", 3, "follow the factor 10"),
        ("relative step", None, "no prediction yet"),
        ("relative step", "1%", "expected a number"),
    ],
)
def test_rescaled_names_what_is_wrong(key, value, words):
    fails(B.rescaled, measured() | {key: value}, words=words, seeds=[0])


# equilibrium


def by_iteration(lr, decay, g):
    r = 1.0
    for _ in range(20_000):
        r = np.sqrt((1 - lr * decay) ** 2 * r**2 + (lr * g / r) ** 2)
    return r


@pytest.mark.parametrize(
    "answer",
    [
        by_iteration,
        lambda n, w, g: np.sqrt(n * g) / (2 * n * w - (n * w) ** 2) ** 0.25,
    ],
)
def test_equilibrium_accepts(answer):
    passes(B.equilibrium, answer)


def exact(n, w, g):
    return (n**2 * g**2 / (1 - (1 - n * w) ** 2)) ** 0.25


WRONG_LENGTHS = {
    "square": (lambda *a: exact(*a) ** 2, "the square of the length"),
    "fourth power": (lambda *a: exact(*a) ** 4, "its fourth power"),
    "limit": (lambda n, w, g: (n * g**2 / (2 * w)) ** 0.25, "small lr · decay"),
    "constant gradient": (
        lambda n, w, g: n * g / np.sqrt(1 - (1 - n * w) ** 2),
        "depend on that of W",
    ),
    "not squared": (
        lambda n, w, g: (n * g**2 / w) ** 0.25,
        "and what is its square",
    ),
    "lengths add": (lambda n, w, g: np.sqrt(g / w), "at right angles"),
    "lr": (
        lambda n, w, g: (n * g**2 / (1 - (1 - n * w) ** 2)) ** 0.25,
        "with lr, or with lr²",
    ),
    "g": (
        lambda n, w, g: (n**2 * g / (1 - (1 - n * w) ** 2)) ** 0.25,
        "with g, or with g²",
    ),
    "other": (lambda n, w, g: 99.0, "Pythagoras"),
    "infinite": (lambda n, w, g: np.inf, "a finite number"),
    "text": (lambda n, w, g: "r", "expected a number"),
    "raises": (lambda n, w, g: 1 / 0, "ZeroDivisionError"),
}


@pytest.mark.parametrize("name", WRONG_LENGTHS)
def test_equilibrium_names_what_is_wrong(name):
    answer, words = WRONG_LENGTHS[name]
    fails(B.equilibrium, answer, words=words)


# companions


def sample(
    draws=3000,
    others=-1,
    fresh=False,
    draw=lambda rng, shape: rng.standard_normal(shape),
    result=np.std,
    ddof=0,
):
    def answer(value, m, rng):
        x = draw(rng, (draws, m + others))
        if not fresh:
            x = np.concatenate([np.full((draws, 1), value), x], axis=1)
        x_hat = (x[:, 0] - x.mean(axis=1)) / x.std(axis=1, ddof=ddof)
        return result(x_hat)

    return answer


def by_loop(value, m, rng):
    x_hats = []
    for _ in range(2000):
        batch = np.append(rng.normal(size=m - 1), value)
        x_hats.append((batch[-1] - batch.mean()) / batch.std())
    return float(np.std(x_hats, ddof=1))


@pytest.mark.parametrize(
    "answer",
    [
        sample(),
        sample(draws=2000),
        by_loop,
        sample(draw=lambda rng, s: rng.standard_normal(s[::-1]).T),
    ],
)
def test_companions_accepts(answer):
    passes(B.companions, answer, seeds=range(12))


WRONG_NOISES = {
    "variance": (sample(result=np.var), "is that the variance"),
    "fresh": (sample(fresh=True, others=0), "drawn anew in each batch"),
    "mean": (sample(result=np.mean), "the mean of x̂"),
    "formula": (lambda v, m, rng: 1 / np.sqrt(m), "of the batch's mean"),
    "same companions": (
        sample(draw=lambda rng, s: np.tile(rng.standard_normal(s[1]), (s[0], 1))),
        "are the companions new",
    ),
    "zero": (lambda v, m, rng: 0.0, "are the companions new"),
    "m others": (sample(others=0), "m others, besides the value"),
    "other": (lambda v, m, rng: 9.0, "put the value into a batch"),
    "global": (
        sample(draw=lambda rng, s: np.random.standard_normal(s)),
        "is everything drawn from `rng`",
    ),
    "all": (sample(result=lambda x: x), "expected a number"),
    "raises": (lambda v, m, rng: rng.normal(m, v, -1), "ValueError"),
}


@pytest.mark.parametrize("name", WRONG_NOISES)
def test_companions_names_what_is_wrong(name):
    answer, words = WRONG_NOISES[name]
    fails(B.companions, answer, words=words, seeds=range(3))


# growth


def network(
    norm=True,
    relu=True,
    training=True,
    power=lambda depth: 1 / depth,
    invert=False,
    squared=False,
    draw=lambda rng, shape: rng.standard_normal(shape),
):
    def answer(depth, width, batch, rng):
        blocks = []
        for _ in range(depth):
            linear = layers.Linear(width, width, bias=False)
            weight = draw(rng, (width, width)) * np.sqrt(2 / width)
            linear.weight[...] = weight
            blocks.append(linear)
            if norm:
                blocks.append(layers.BatchNorm1d(width))
            if relu:
                blocks.append(layers.ReLU())
        net = layers.Sequential(*blocks)
        if not training:
            net.eval()
        y = net(draw(rng, (batch, width)))
        dy = draw(rng, y.shape)
        ratio = np.linalg.norm(net.backward(dy)) / np.linalg.norm(dy)
        ratio = 1 / ratio if invert else ratio
        return (ratio**2 if squared else ratio) ** power(depth)

    return answer


def by_torch(depth, width, batch, rng):
    x = torch.from_numpy(rng.standard_normal((batch, width))).requires_grad_()
    h = x
    for _ in range(depth):
        weight = torch.from_numpy(rng.normal(0, (2 / width) ** 0.5, (width, width)))
        h = nn.functional.batch_norm(h @ weight.T, None, None, training=True).relu()
    dy = torch.from_numpy(rng.standard_normal(h.shape))
    (dx,) = torch.autograd.grad(h, x, dy)
    return ((dx.norm() / dy.norm()) ** (1 / depth)).item()


@pytest.mark.parametrize("answer", [network(), by_torch])
def test_growth_accepts(answer):
    passes(B.growth, answer, seeds=range(12))


WRONG_GROWTHS = {
    "whole": (network(power=lambda depth: 1), "through the whole network"),
    "inverse": (network(invert=True), "travel the other way"),
    "no norm": (network(norm=False), "batch norm in training mode, and a ReLU"),
    "no ReLU": (network(relu=False), "batch norm in training mode, and a ReLU"),
    "evaluation": (network(training=False), "batch norm in training mode, and a ReLU"),
    "squared": (network(squared=True), "of the squared length"),
    "other": (lambda *a: a[-1].normal(5), "length at the input / length"),
    "fixed": (lambda *a: 1.21, "is all drawn from `rng`"),
    "one": (
        lambda d, w, b, rng: 1 + 1e-6 * rng.random(),
        "batch norm in training mode, and a ReLU",
    ),
    "text": (lambda *a: "1.2", "expected a number"),
    "NaN": (lambda *a: np.nan, "a finite number"),
    "raises": (lambda d, w, b, rng: rng[0], "TypeError"),
}


@pytest.mark.parametrize("name", WRONG_GROWTHS)
def test_growth_names_what_is_wrong(name):
    answer, words = WRONG_GROWTHS[name]
    fails(B.growth, answer, words=words, seeds=range(3))
