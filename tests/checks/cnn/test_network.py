"""Exercises on the network: right answers pass, wrong ones are named."""

import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from answers import fails, passes
from torch import nn

from dropnorm import checks, layers

C = checks.cnn

# count

COUNTS = {
    "conv1 parameters": 896,
    "conv1 multiply-adds": 345_600,
    "conv2 parameters": 18_496,
    "conv2 multiply-adds": 1_843_200,
    "fc1 parameters": 204_928,
    "fc1 multiply-adds": 204_800,
}


@pytest.mark.parametrize("kind", [int, float, np.int64])
def test_count_accepts(kind):
    passes(C.count, {key: kind(value) for key, value in COUNTS.items()}, seeds=[0])


def test_counts_are_those_of_torch():
    net = article(20, 20)
    for name, first in (("conv1", net.conv1), ("conv2", net.conv2), ("fc1", net.fc1)):
        found = sum(p.numel() for p in first.parameters())
        assert found == COUNTS[f"{name} parameters"]


WRONG_COUNTS = {
    "conv1 parameters": {
        864: "are the biases parameters",
        320: "each input channel",
        960: "one bias for each kernel",
        896 * 400: "size of the image",
        5: "inputs of a window",
    },
    "conv1 multiply-adds": {
        864 * 324: "keeps the 20×20",
        86_400: "pooling comes after",
        864: "at how many places",
        115_200: "all input channels",
        691_200: "counted on their own",
        358_400: "added, not multiplied",
        5: "at every place of the output",
    },
    "conv2 parameters": {
        18_432: "are the biases parameters",
        640: "each input channel",
        1_792: "how many channels",
        20_480: "one bias for each kernel",
        1_849_600: "size of the image",
    },
    "conv2 multiply-adds": {
        7_372_800: "behind the first pooling",
        460_800: "pooling comes after",
        18_432 * 64: "keeps the 10×10",
        18_432: "at how many places",
        57_600: "all input channels",
        3_686_400: "counted on their own",
        1_849_600: "added, not multiplied",
    },
    "fc1 parameters": {
        204_800: "are the biases parameters",
        8_320: "all numbers of all maps",
        206_400: "one bias for each output",
    },
    "fc1 multiply-adds": {
        204_928: "added, not multiplied",
        5_120_000: "used once for an image",
        409_600: "counted on their own",
        "many": "expected a number",
    },
}


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [(k, v, w) for k, wrong in WRONG_COUNTS.items() for v, w in wrong.items()],
)
def test_count_names_what_is_wrong(key, value, words):
    fails(C.count, COUNTS | {key: value}, words=words, seeds=[0])


def test_count_not_attempted():
    assert C.count(dict.fromkeys(COUNTS)).status == "not attempted"
    fails(C.count, {"conv1 parameters": 896}, words="a dict with the keys", seeds=[0])


# rows


def rows_by_formula(n, height, width):
    units = n * (height // 4) * (width // 4)
    return 0 if units % 25 else units // 25


def rows_by_torch(n, height, width):
    maps = torch.empty(n, 64, height // 2 // 2, width // 2 // 2)
    try:
        return len(maps.view(-1, 64 * 5 * 5))
    except RuntimeError:
        return 0


@pytest.mark.parametrize("answer", [rows_by_formula, rows_by_torch])
def test_rows_accepts(answer):
    passes(C.rows, answer)


def misrows(size=lambda h, w: (h // 4) * (w // 4), error=True):
    def answer(n, height, width):
        total = n * 64 * size(height, width)
        return 0 if error and total % 1600 else total / 1600

    return answer


WRONG_ROWS = {
    "n": (lambda n, h, w: n, "does view keep the number of images"),
    "n or error": (
        lambda n, h, w: n if (h // 4) * (w // 4) == 25 else 0,
        "is an error raised",
    ),
    "rounded": (
        lambda n, h, w: n * (h // 4) * (w // 4) // 25,
        "must the numbers not fill whole rows",
    ),
    "a fraction": (misrows(error=False), "must the numbers fill whole rows"),
    "up": (misrows(lambda h, w: -(-h // 4) * -(-w // 4), False), "round down"),
    "not rounded": (misrows(lambda h, w: h * w / 16, False), "rounded down each"),
    "one pooling": (
        misrows(lambda h, w: (h // 2) * (w // 2), False),
        "behind the poolings",
    ),
    "one image": (lambda n, h, w: (h // 4) * (w // 4) / 25, "how many images there"),
    "text": (lambda n, h, w: "error", "expected a number"),
    "a number": (lambda n, h, w: 77, "in rows of 1,600"),
}


@pytest.mark.parametrize("name", WRONG_ROWS)
def test_rows_names_what_is_wrong(name):
    answer, words = WRONG_ROWS[name]
    fails(C.rows, answer, words=words, seeds=range(3))


# network


class article(nn.Module):
    """The article's network, its faults in arguments."""

    def __init__(
        self,
        height,
        width,
        reads=lambda h, w: 64 * (h // 4) * (w // 4),
        flatten=lambda x: x.flatten(1),
        activation=torch.relu,
        shrink=None,
        last=lambda x: x,
        hidden=128,
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, kernel_size=3, padding=1)
        self.pool = shrink or nn.MaxPool2d(2, 2)
        self.fc1 = nn.Linear(reads(height, width), hidden)
        self.fc2 = nn.Linear(hidden, 10)
        self.flatten, self.activation, self.last = flatten, activation, last

    def forward(self, x):
        x = self.pool(self.activation(self.conv1(x)))
        x = self.pool(self.activation(self.conv2(x)))
        x = torch.relu(self.fc1(self.flatten(x)))
        return self.last(self.fc2(x))


def in_sequence(height, width):
    block = [nn.MaxPool2d(2), nn.ReLU()]
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding="same"), *block,
        nn.Conv2d(32, 64, 3, 1, 1), *block,
        nn.Flatten(),
        nn.Linear((height // 2 // 2) * (width // 2 // 2) * 64, 128), nn.ReLU(),
        nn.Linear(128, 10),
    )  # fmt: skip


class ByTrial(article):
    def __init__(self, height, width):
        def reads(height, width):
            maps = nn.MaxPool2d(4)(torch.zeros(1, 64, height, width))
            return maps.numel()

        super().__init__(height, width, reads, lambda x: x.view(x.shape[0], -1))


@pytest.mark.parametrize("answer", [article, in_sequence, ByTrial])
def test_network_accepts(answer):
    passes(C.network, answer, seeds=range(2))


def view(x):
    return x.view(-1, x.shape[1] * 25)


class SizeOfBatch(article):
    """The rows have the length that was planned, and the batch gives way."""

    def __init__(self, height, width):
        super().__init__(height, width)
        self.flatten = lambda x: x.view(-1, self.fc1.in_features)


def resized(x, size):
    return F.interpolate(x, size).flatten(1)


class Adaptive(article):
    def __init__(self, height, width):
        size = height // 4, width // 4
        super().__init__(height, width, flatten=lambda x: resized(x, size))


def but(**fault):
    return functools.partial(article, **fault)


WRONG_NETWORKS = {
    "the article": (
        but(reads=lambda h, w: 1600, flatten=lambda x: x.view(-1, 1600)),
        "which axis may a flattening never touch",
    ),
    "hard-coded size": (but(reads=lambda h, w: 1600), "RuntimeError"),
    "view": (SizeOfBatch, "what does a -1 in `view` make"),
    "adaptive": (Adaptive, "are the maps resized or cut"),
    "adaptive to 5": (
        but(reads=lambda h, w: 1600, flatten=lambda x: resized(x, 5)),
        "the first dense layer reads 64 maps",
    ),
    "flatten(0)": (but(flatten=lambda x: x.flatten()), "RuntimeError"),
    "exchanged": (but(reads=lambda h, w: 64 * (h // 4) * (h // 4)), "RuntimeError"),
    "rounded up": (
        but(reads=lambda h, w: 64 * -(-h // 4) * -(-w // 4)),
        "RuntimeError",
    ),
    "no ReLU": (but(activation=lambda x: x), "convolution, ReLU, pooling"),
    "mean pooling": (but(shrink=nn.AvgPool2d(2)), "convolution, ReLU, pooling"),
    "softmax": (but(last=lambda x: x.softmax(1)), "is there a softmax"),
    "wider": (but(hidden=64), "the article's layers stay"),
    "probabilities of all": (but(last=lambda x: x[0]), "which axis may a"),
    "no size": (lambda: article(20, 20), "TypeError"),
    "a function": (lambda h, w: lambda x: x, "derived from torch.nn.Module"),
}


@pytest.mark.parametrize("name", WRONG_NETWORKS)
def test_network_names_what_is_wrong(name):
    answer, words = WRONG_NETWORKS[name]
    fails(C.network, answer, words=words, seeds=[0])


def test_network_not_attempted():
    class CNN(nn.Module):
        def __init__(self, height, width):
            raise NotImplementedError

    assert C.network(CNN).status == "not attempted"


# speaks

CALLS = {
    "color": ("error", (8, 3, 32, 32), 3),
    "narrow": ("wrong", (8, 3, 32, 3), 3),
    "gray": ("wrong", (8, 1, 28, 28), 1),
    "channels last": ("right", (8, 32, 32, 3), 3),
    "maps": ("error", (8, 64, 5, 5), 64),
    "square": ("wrong", (8, 16, 16, 16), 16),
    "vectors": ("error", (32, 128), 128),
    "one column": ("right", (8, 1, 28, 1), 1),
}
SPOKEN = {key: verdict for key, (verdict, *_) in CALLS.items()}


@pytest.mark.parametrize("key", CALLS)
def test_the_batch_norm_of_the_article_speaks_so(key):
    verdict, shape, channels = CALLS[key]
    torch.manual_seed(0)
    x = torch.randn(shape) * (1 + torch.arange(shape[-1])) + torch.arange(shape[-1])
    try:
        mean, var = x.mean([0, 1, 2]), x.var([0, 1, 2], unbiased=False)
        y = torch.ones(channels) * (x - mean) / torch.sqrt(var + 1e-5)
    except (IndexError, RuntimeError):
        assert verdict == "error"
        return
    maps = x.movedim(-1, 1) if key == "channels last" else x
    right = F.batch_norm(maps, None, None, training=True)
    right = right.movedim(1, -1) if key == "channels last" else right
    assert torch.allclose(y, right, atol=1e-4) == (verdict == "right")


def test_speaks_accepts():
    passes(C.speaks, SPOKEN, seeds=[0])
    passes(C.speaks, {key: value.upper() for key, value in SPOKEN.items()}, seeds=[0])


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("color", "wrong", "32 columns, 3 channels"),
        ("narrow", "error", "do the shapes fit"),
        ("narrow", "right", "whose means are they"),
        ("gray", "right", "How many means"),
        ("channels last", "wrong", "which axis is left"),
        ("maps", "wrong", "5 columns, 64 channels"),
        ("square", "right", "Whose means"),
        ("vectors", "right", "is there an axis 2"),
        ("one column", "wrong", "over which numbers"),
        ("color", "maybe", "expected 'error', 'wrong' or 'right'"),
        ("color", 3, "expected 'error', 'wrong' or 'right'"),
        ("color", None, "no prediction yet for color"),
    ],
)
def test_speaks_names_what_is_wrong(key, value, words):
    fails(C.speaks, SPOKEN | {key: value}, words=words, seeds=[0])


def test_speaks_not_attempted():
    assert C.speaks(dict.fromkeys(SPOKEN)).status == "not attempted"


# norm_backward


def norm_by_package(dy, x, gamma, eps):
    _, cache = layers.batchnorm_forward(x, gamma, 0 * gamma, eps)
    return layers.batchnorm_backward(dy, cache)


def norm_by_torch(dy, x, gamma, eps):
    x, gamma, dy = (torch.from_numpy(a.copy()) for a in (x, gamma, dy))
    beta = torch.zeros_like(gamma)
    leaves = [leaf.requires_grad_() for leaf in (x, gamma, beta)]
    y = F.batch_norm(x, None, None, gamma, beta, True, eps=eps)
    return [g.numpy() for g in torch.autograd.grad(y, leaves, dy)]


def norm_by_columns(dy, x, gamma, eps):
    def column(a):
        return np.moveaxis(a, 1, -1).reshape(-1, len(gamma))

    rows, drows = column(x), column(dy)
    root = np.sqrt(rows.var(0) + eps)
    hat = (rows - rows.mean(0)) / root
    dgamma, dbeta = (drows * hat).sum(0), drows.sum(0)
    dx = gamma / root * (drows - drows.mean(0) - hat * (drows * hat).mean(0))
    n, c, h, w = x.shape
    return np.moveaxis(dx.reshape(n, h, w, c), -1, 1), dgamma, dbeta


@pytest.mark.parametrize("answer", [norm_by_package, norm_by_torch, norm_by_columns])
def test_norm_backward_accepts(answer):
    passes(C.norm_backward, answer)


def parts(dy, x, gamma, eps):
    axes = (0, 2, 3)
    root = np.sqrt(x.var(axes, keepdims=True) + eps)
    hat = (x - x.mean(axes, keepdims=True)) / root
    return root, hat, dy.sum(axes, keepdims=True), (dy * hat).sum(axes, keepdims=True)


def misnorm(dx=None, dgamma=None, dbeta=None):
    def answer(dy, x, gamma, eps):
        right = list(norm_by_package(dy, x, gamma, eps))
        for i, change in enumerate((dx, dgamma, dbeta)):
            if change:
                right[i] = change(right[i], dy, x, gamma, eps)
        return right

    return answer


def dx_with(m=None, beta=1, gamma_term=1, scale=None):
    def change(right, dy, x, gamma, eps):
        root, hat, db, dg = parts(dy, x, gamma, eps)
        count = m(x) if m else x.size // x.shape[1]
        gain = scale(gamma, root) if scale else gamma[:, None, None] / root
        return gain * (dy - beta * db / count - gamma_term * hat * dg / count)

    return change


def given_norm(dy, x, gamma, eps, m=len, axes=(0, 1, 2), turn=lambda v: v):
    m = m(x)
    root, hat, *_ = parts(dy, x, gamma, eps)
    dbeta = dy.sum(axis=axes)
    dgamma = (dy * hat).sum(axis=axes)
    b, g, k = (turn(v) for v in (dbeta, dgamma, gamma))
    return k / root * (dy - b / m - hat * g / m), dgamma, dbeta


def squares_only(answer):
    """A wrong answer where an image has as many columns as channels."""

    def both(dy, x, gamma, eps):
        if x.shape[1] == x.shape[3]:
            return answer(dy, x, gamma, eps)
        return norm_by_package(dy, x, gamma, eps)

    return both


WRONG_NORMS = {
    "given": (given_norm, "ValueError"),
    "given, on squares": (squares_only(given_norm), "does the sum go over all but the"),
    "right axes": (
        functools.partial(given_norm, axes=(0, 2, 3)),
        "ValueError",
    ),
    "right axes, on squares": (
        squares_only(functools.partial(given_norm, axes=(0, 2, 3))),
        "along which axis do dbeta and dgamma and γ lie",
    ),
    "right axes and m, on squares": (
        squares_only(
            functools.partial(
                given_norm, axes=(0, 2, 3), m=lambda x: x.size // x.shape[1]
            )
        ),
        "along which axis do",
    ),
    "right axes and places": (
        functools.partial(given_norm, axes=(0, 2, 3), turn=lambda v: v[:, None, None]),
        "Not only the number of images",
    ),
    "pixels": (
        misnorm(dx=dx_with(m=lambda x: x[0, 0].size)),
        "how many values share a mean",
    ),
    "all": (misnorm(dx=dx_with(m=lambda x: x.size)), "those of other channels"),
    "not divided": (misnorm(dx=dx_with(m=lambda x: 1)), "divided by m at all"),
    "constants": (misnorm(dx=dx_with(beta=0, gamma_term=0)), "taken for constants"),
    "no mean": (misnorm(dx=dx_with(beta=0)), "through the mean is missing"),
    "no variance": (misnorm(dx=dx_with(gamma_term=0)), "through the variance is"),
    "no gamma": (misnorm(dx=dx_with(scale=lambda g, r: 1 / r)), "is γ missing"),
    "variance": (
        misnorm(dx=dx_with(scale=lambda g, r: g[:, None, None] / r**2)),
        "in place of its root",
    ),
    "dx wrong": (misnorm(dx=lambda v, *a: v + 1), "a column of m = N · H · W"),
    "dgamma of x": (
        misnorm(dgamma=lambda v, dy, x, *a: (dy * x).sum((0, 2, 3))),
        "is it x that multiplies dy",
    ),
    "dgamma centered": (
        misnorm(
            dgamma=lambda v, dy, x, *a: (
                dy * (x - x.mean((0, 2, 3), keepdims=True))
            ).sum((0, 2, 3))
        ),
        "is it x - μ",
    ),
    "dgamma mean": (
        misnorm(dgamma=lambda v, dy, x, *a: v * x.shape[1] / x.size),
        "is it the mean, where",
    ),
    "dgamma by images": (
        misnorm(dgamma=lambda v, dy, x, *a: v / len(x)),
        "the mean over the images",
    ),
    "dbeta by gamma": (
        misnorm(dbeta=lambda v, dy, x, g, e: v * g),
        "is it multiplied by γ",
    ),
    "exchanged": (
        lambda *a: [norm_by_package(*a)[i] for i in (0, 2, 1)],
        "dbeta",
    ),
    "shape": (
        misnorm(dbeta=lambda v, dy, x, g, e: v[:, None, None]),
        "over which axes do the sums go",
    ),
    "two": (lambda *a: norm_by_package(*a)[:2], "expected 3 things"),
}


@pytest.mark.parametrize("name", WRONG_NORMS)
def test_norm_backward_names_what_is_wrong(name):
    answer, words = WRONG_NORMS[name]
    fails(C.norm_backward, answer, words=words)


# map_dropout


def module(forward):
    """A module class with this forward(self, x)."""

    class MapDropout(nn.Module):
        def __init__(self, p=0.5):
            super().__init__()
            self.p = p

    MapDropout.forward = forward
    return MapDropout


def masked(draw=None, scale=lambda p: 1 / (1 - p), keep=lambda u, p: u >= p):
    def forward(self, x):
        if not self.training:
            return x
        u = draw(x) if draw else torch.rand(*x.shape[:2], 1, 1)
        if self.p == 1:
            return 0 * x
        return x * keep(u, self.p) * scale(self.p)

    return module(forward)


def by_bernoulli(self, x):
    if not self.training or self.p == 0:
        return x
    mask = torch.bernoulli(torch.full(x.shape[:2], 1 - self.p))[:, :, None, None]
    return x * mask / max(1 - self.p, 1e-12)


def by_einsum(self, x):
    if not self.training:
        return x.clone()
    keep = (torch.rand(x.shape[:2]) > self.p).to(x.dtype)
    if self.p < 1:
        keep = keep / (1 - self.p)
    return torch.einsum("nchw,nc->nchw", x, keep)


@pytest.mark.parametrize(
    "answer",
    [
        nn.Dropout2d,
        masked(),
        masked(keep=lambda u, p: u > p),
        masked(keep=lambda u, p: u < 1 - p),
        module(by_bernoulli),
        module(by_einsum),
        module(lambda self, x: F.dropout2d(x, self.p, self.training)),
    ],
)
def test_map_dropout_accepts(answer):
    passes(C.map_dropout, answer)


def always(self, x):
    return F.dropout2d(x, self.p)


def scaled_in_evaluation(self, x):
    mask = torch.rand(*x.shape[:2], 1, 1) >= self.p
    return x * mask if self.training else x * (1 - self.p)


def by_the_frame(self, x):
    if not self.training:
        return x / (1 - self.p)
    return F.dropout2d(x, self.p)


def detached(self, x):
    return F.dropout2d(x.detach(), self.p, self.training)


def straight_through(self, x):
    return x + (F.dropout2d(x, self.p, self.training) - x).detach()


def in_place(self, x):
    return F.dropout2d(x, self.p, self.training, inplace=True)


def no_ends(self, x):
    if not self.training:
        return x
    return x * (torch.rand(*x.shape[:2], 1, 1) >= self.p) / (1 - self.p)


WRONG_MAPS = {
    "given": (
        module(lambda self, x: x * torch.rand(x.size()[1:]) > self.p),
        "multiplies first, then compares",
    ),
    "parentheses": (
        module(lambda self, x: x * (torch.rand(x.size()[1:]) > self.p)),
        "do not share their fate",
    ),
    "pixels": (nn.Dropout, "do not share their fate: which axes of the mask"),
    "rows": (
        masked(lambda x: torch.rand(*x.shape[:3], 1)),
        "whole rows or columns do",
    ),
    "columns": (
        masked(lambda x: torch.rand(*x.shape[:2], 1, x.shape[3])),
        "whole rows or columns do",
    ),
    "a pixel of all maps": (
        masked(lambda x: torch.rand(len(x), 1, *x.shape[2:])),
        "a pixel is lost in all maps",
    ),
    "one mask": (
        masked(lambda x: torch.rand(1, x.shape[1], 1, 1)),
        "one mask drawn for the whole batch",
    ),
    "images": (
        masked(lambda x: torch.rand(len(x), 1, 1, 1)),
        "one number drawn for each example",
    ),
    "no scale": (masked(scale=lambda p: 1), "1/(1 - p) missing"),
    "by p": (masked(scale=lambda p: 1 / p if p else 1), "division by p"),
    "reversed": (masked(keep=lambda u, p: u < p), "is the comparison reversed"),
    "p unused": (masked(keep=lambda u, p: u < 0.5), "is p used at all"),
    "always": (module(always), "self.training"),
    "original form": (module(scaled_in_evaluation), "1/(1 - p) missing"),
    "scaled in evaluation": (module(by_the_frame), "is not wanted when none"),
    "never": (module(lambda self, x: x), "nothing is dropped"),
    "frozen": (
        masked(
            lambda x: torch.rand(
                *x.shape[:2], 1, 1, generator=torch.Generator().manual_seed(0)
            )
        ),
        "drop the same units",
    ),
    "detached": (module(detached), "no gradient reaches x"),
    "straight through": (module(straight_through), "not the mask that multiplied"),
    "in place": (module(in_place), "changes its input"),
    "p = 1": (module(no_ends), "at p = 1"),
    "cuda": (
        module(lambda self, x: x * torch.rand(x.size()).cuda() > self.p),
        "raised",
    ),
    "a function": (lambda p: lambda x: x, "derived from torch.nn.Module"),
    "an array": (module(lambda self, x: x.numpy()), "expected a tensor"),
    "pooled": (module(lambda self, x: x.mean((2, 3))), "the result has shape"),
}


@pytest.mark.parametrize("name", WRONG_MAPS)
def test_map_dropout_names_what_is_wrong(name):
    answer, words = WRONG_MAPS[name]
    fails(C.map_dropout, answer, words=words, seeds=range(3))


# noise


def noise_by_sums(window, weight, p):
    z = window * weight
    return p / (1 - p) * (z * z).sum(), p / (1 - p) * (z.sum((1, 2)) ** 2).sum()


def noise_by_masks(window, weight, p):
    """Over both values of every factor: exact."""
    values = np.array([0, 1 / (1 - p)])
    weights = np.array([p, 1 - p])
    var = (weights * values**2).sum() - (weights * values).sum() ** 2
    maps = np.einsum("cuv,cuv->c", window, weight)
    return np.array([var * np.vdot(window**2, weight**2), var * maps @ maps])


@pytest.mark.parametrize("answer", [noise_by_sums, noise_by_masks])
def test_noise_accepts(answer):
    passes(C.noise, answer)


def misnoise(odds=lambda p: p / (1 - p), pixels=None, maps=None, after=lambda v: v):
    def answer(window, weight, p):
        z = window * weight
        a = (pixels or (lambda z, w: (z**2).sum()))(z, weight)
        b = (maps or (lambda z, w: (z.sum((1, 2)) ** 2).sum()))(z, weight)
        return after(odds(p) * a), after(odds(p) * b)

    return answer


WRONG_NOISES = {
    "swapped": (lambda *a: noise_by_sums(*a)[::-1], "is it the other one|expected"),
    "p(1 - p)": (misnoise(lambda p: p * (1 - p)), "What is kept is scaled"),
    "exchanged": (misnoise(lambda p: (1 - p) / p), "keeping and dropping"),
    "no factor": (misnoise(lambda p: 1), "what is the variance of a factor"),
    "mean square": (misnoise(lambda p: 1 / (1 - p)), "subtract 1"),
    "sd": (misnoise(after=np.sqrt), "is that the standard deviation"),
    "weights": (
        misnoise(pixels=lambda z, w: (w**2).sum()),
        "does the input enter",
    ),
    "weights of maps": (
        misnoise(maps=lambda z, w: (w.sum((1, 2)) ** 2).sum()),
        "does the input enter",
    ),
    "one factor": (
        misnoise(maps=lambda z, w: z.sum() ** 2),
        "do all products share one factor",
    ),
    "no square": (misnoise(pixels=lambda z, w: z.sum()), "square of each product"),
    "wrong": (misnoise(pixels=lambda z, w: 77.0), "variances add up"),
    "wrong maps": (misnoise(maps=lambda z, w: 77.0), "one factor for each map"),
    "one": (lambda *a: 3.0, "expected for a window"),
}


@pytest.mark.parametrize("name", WRONG_NOISES)
def test_noise_names_what_is_wrong(name):
    answer, words = WRONG_NOISES[name]
    fails(C.noise, answer, words=words, seeds=range(3))


# behind_max


def winner_by_ranks(values, p):
    down = sorted(values, reverse=True)
    return sum(p**k * v for k, v in enumerate(down))


def winner_by_masks(values, p):
    total = 0.0
    for keep in np.ndindex(*(2,) * len(values)):
        keep = np.array(keep)
        chance = np.prod(np.where(keep, 1 - p, p))
        total += chance * (keep * values / (1 - p)).max()
    return total


@pytest.mark.parametrize("answer", [winner_by_ranks, winner_by_masks])
def test_behind_max_accepts(answer):
    passes(C.behind_max, answer)


def rank(values):
    return np.arange(len(values))


def down(values):
    return np.sort(values)[::-1]


WRONG_WINNERS = {
    "not scaled": (lambda v, p: (1 - p) * winner_by_ranks(v, p), "scaled by 1/(1 - p)"),
    "maximum": (lambda v, p: v.max(), "is it the maximum"),
    "first alone": (
        lambda v, p: (1 - p) * v.max(),
        "second largest win as well|scaled by",
    ),
    "unsorted": (lambda v, p: (p ** rank(v) * v).sum(), "are the values sorted"),
    "ascending": (
        lambda v, p: (p ** rank(v) * np.sort(v)).sum(),
        "begins with the smallest",
    ),
    "exchanged": (
        lambda v, p: ((1 - p) ** rank(v) * down(v)).sum(),
        "is p the probability to drop",
    ),
    "mean": (lambda v, p: v.mean(), "mean of the values"),
    "one rank further": (
        lambda v, p: (p ** (rank(v) + 1) * down(v)).sum(),
        "how many larger values",
    ),
    "scaled twice": (
        lambda v, p: winner_by_ranks(v, p) / (1 - p),
        "applied twice",
    ),
    "wrong": (lambda v, p: 99.0, "the k-th largest wins if"),
    "an array": (lambda v, p: v, "expected a number"),
    "in place": (
        lambda v, p: (v.sort(), winner_by_ranks(v, p))[1],
        "changes its input values",
    ),
}


@pytest.mark.parametrize("name", WRONG_WINNERS)
def test_behind_max_names_what_is_wrong(name):
    answer, words = WRONG_WINNERS[name]
    fails(C.behind_max, answer, words=words, seeds=range(4))


# build


def right_layers(height, width, p):
    return {
        "conv1": nn.Conv2d(3, 32, 3, padding=1, bias=False),
        "norm1": nn.BatchNorm2d(32),
        "relu1": nn.ReLU(),
        "pool1": nn.MaxPool2d(2),
        "conv2": nn.Conv2d(32, 64, 3, padding=1, bias=False),
        "norm2": nn.BatchNorm2d(64),
        "relu2": nn.ReLU(),
        "pool2": nn.MaxPool2d(2),
        "flatten": nn.Flatten(),
        "fc1": nn.Linear(64 * (height // 4) * (width // 4), 128),
        "relu3": nn.ReLU(),
        "drop": nn.Dropout(p),
        "fc2": nn.Linear(128, 10),
    }


def in_order(order=None, **replaced):
    def build(height, width, p):
        found = right_layers(height, width, p)
        names = order(list(found)) if order else list(found)
        for name, layer in replaced.items():
            found[name] = layer(height, width, p)
        return nn.Sequential(*(found[name] for name in names))

    return build


def move(name, behind):
    def order(names):
        names.remove(name)
        names.insert(names.index(behind) + 1, name)
        return names

    return order


@pytest.mark.parametrize(
    "answer",
    [
        in_order(),
        in_order(move("relu1", "pool1")),
        in_order(move("relu3", "drop")),
        in_order(flatten=lambda *a: nn.Flatten(start_dim=1)),
    ],
)
def test_build_accepts(answer):
    passes(C.build, answer, seeds=range(2))


def given_build(height, width, p):
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.Dropout(p),
        nn.ReLU(),
        nn.BatchNorm2d(32),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.BatchNorm2d(64),
        nn.MaxPool2d(2),
        nn.Flatten(0),
        nn.Linear(64 * 5 * 5, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
        nn.Dropout(p),
        nn.Softmax(dim=0),
    )


def without(*names):
    return lambda all_names: [name for name in all_names if name not in names]


WRONG_BUILDS = {
    "given": (given_build, "Softmax at the end"),
    "given, no softmax": (lambda *a: given_build(*a)[:-1], "RuntimeError"),
    "flatten(0)": (in_order(flatten=lambda *a: nn.Flatten(0)), "RuntimeError"),
    "hard-coded size": (in_order(fc1=lambda *a: nn.Linear(1600, 128)), "RuntimeError"),
    "log softmax": (
        in_order(lambda n: [*n, "more"], more=lambda *a: nn.LogSoftmax(1)),
        "LogSoftmax at the end",
    ),
    "dropout on logits": (in_order(move("drop", "fc2")), "stands on the logits"),
    "norm on logits": (
        in_order(lambda n: [*n, "more"], more=lambda *a: nn.BatchNorm1d(10)),
        "stands on the logits",
    ),
    "dropout before norm": (in_order(move("drop", "conv1")), "falsifies the variance"),
    "dropout behind pool": (in_order(move("drop", "pool2")), "among the maps"),
    "dropout behind flatten": (
        in_order(move("drop", "flatten")),
        "between the dense layers",
    ),
    "spatial": (in_order(drop=lambda h, w, p: nn.Dropout2d(p)), "a map of a vector"),
    "norm behind ReLU": (in_order(move("norm1", "relu1")), "before the nonlinearity"),
    "norm behind pool": (in_order(move("norm2", "pool2")), "right behind the"),
    "one norm": (in_order(without("norm2")), "one BatchNorm2d"),
    "no ReLU": (in_order(without("relu1")), "one ReLU"),
    "no dropout": (in_order(without("drop")), "one dropout between"),
    "no hidden ReLU": (in_order(without("relu3")), "expected ReLU and one"),
    "third norm": (
        in_order(
            lambda n: [*n[:10], "more", *n[10:]], more=lambda *a: nn.BatchNorm1d(128)
        ),
        "two batch norms",
    ),
    "biases": (
        in_order(conv1=lambda *a: nn.Conv2d(3, 32, 3, padding=1)),
        "leave it out",
    ),
    "no dense bias": (
        in_order(fc2=lambda *a: nn.Linear(128, 10, bias=False)),
        "a dense layer has no bias",
    ),
    "p to keep": (in_order(drop=lambda h, w, p: nn.Dropout(1 - p)), "PyTorch's p"),
    "p unused": (in_order(drop=lambda *a: nn.Dropout()), "is p used"),
    "one convolution": (
        lambda h, w, p: nn.Sequential(
            nn.Conv2d(3, 64, 3), nn.Flatten(), nn.LazyLinear(10)
        ),
        "expected two convolutions",
    ),
    "a module": (lambda h, w, p: nn.Linear(3, 3), "a torch.nn.Sequential"),
}


@pytest.mark.parametrize("name", WRONG_BUILDS)
def test_build_names_what_is_wrong(name):
    answer, words = WRONG_BUILDS[name]
    fails(C.build, answer, words=words, seeds=[0])


# separable


def separable_by_formula(c_in, c_out, kernel, height, width):
    weights = c_in * (kernel**2 + c_out)
    return weights, weights * height * width


def separable_by_torch(c_in, c_out, kernel, height, width):
    depthwise = nn.Conv2d(c_in, c_in, kernel, groups=c_in, bias=False)
    pointwise = nn.Conv2d(c_in, c_out, 1, bias=False)
    count = depthwise.weight.numel() + pointwise.weight.numel()
    return [float(count), float(count) * height * width]


@pytest.mark.parametrize("answer", [separable_by_formula, separable_by_torch])
def test_separable_accepts(answer):
    passes(C.separable, answer)


def cost(weights, adds=None):
    def answer(c, o, k, h, w):
        n = weights(c, o, k)
        return n, adds(c, o, k, h, w) if adds else n * h * w

    return answer


def right_weights(c, o, k):
    return c * k**2 + c * o


WRONG_SEPARABLES = {
    "ordinary": (cost(lambda c, o, k: c * k**2 * o), "the ordinary convolution"),
    "depthwise": (cost(lambda c, o, k: c * k**2), "where is the 1×1"),
    "pointwise": (cost(lambda c, o, k: c * o), "each map by itself"),
    "by outputs": (cost(lambda c, o, k: o * k**2 + c * o), "one for each input"),
    "K": (cost(lambda c, o, k: c * k + c * o), "K × K, or K"),
    "biases": (
        cost(lambda c, o, k: right_weights(c, o, k) + c + o),
        "are there biases",
    ),
    "product": (cost(lambda c, o, k: c * k**2 * c * o), "Their"),
    "one each": (cost(lambda c, o, k: c * k**2 + o), "each pair of channels"),
    "wrong": (cost(lambda c, o, k: 1), "first a kernel for each map"),
    "one place": (
        cost(right_weights, lambda c, o, k, h, w: right_weights(c, o, k)),
        "at how many places",
    ),
    "additions": (
        cost(right_weights, lambda c, o, k, h, w: 2 * right_weights(c, o, k) * h * w),
        "counted on their own",
    ),
    "ordinary work": (
        cost(right_weights, lambda c, o, k, h, w: c * k**2 * o * h * w),
        "the ordinary convolution",
    ),
    "wrong work": (
        cost(right_weights, lambda *a: 1),
        "used once at every place",
    ),
    "one": (lambda *a: 3, "the weights and the multiply-adds"),
}


@pytest.mark.parametrize("name", WRONG_SEPARABLES)
def test_separable_names_what_is_wrong(name):
    answer, words = WRONG_SEPARABLES[name]
    fails(C.separable, answer, words=words, seeds=range(3))
