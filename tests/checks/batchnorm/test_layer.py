"""Exercises on the layer: right answers pass, wrong ones are named."""

import numpy as np
import pytest
import torch
from answers import fails, passes
from torch import nn

from dropnorm import checks

B = checks.batchnorm

# by_hand

X = np.array([[11.0, 70], [17, 30], [9, 30], [3, 70]])
GAMMA, BETA = np.array([5.0, -2]), np.array([1.0, 0])
Y = [[2, -2], [8, 2], [0, 2], [-6, -2]]


def hand(axis=0, ddof=0, power=0.5, g=GAMMA, b=BETA):
    mean, var = X.mean(axis, keepdims=True), X.var(axis, ddof=ddof, keepdims=True)
    return g * (X - mean) / var**power + b


@pytest.mark.parametrize("y", [Y, np.array(Y), tuple(map(tuple, Y)), hand()])
def test_by_hand_accepts(y):
    passes(B.by_hand, y)


WRONG_HANDS = {
    "x_hat": (hand(g=1, b=0), "that is x̂"),
    "no beta": (hand(b=0), "β is missing"),
    "no gamma": (hand(g=1), "γ is missing"),
    "exchanged": (hand(g=BETA, b=GAMMA), "are γ and β exchanged"),
    "Bessel": (hand(ddof=1), "divided by m - 1"),
    "variance": (hand(power=1), "in place of its root"),
    "centered": (hand(power=0), "only the mean subtracted"),
    "rows": (hand(axis=1), "two numbers of an example share a mean"),
    "one mean": (hand(axis=None), "all eight numbers"),
    "identity": (X, "the layer would change nothing"),
    "sign": (-hand(), "signs are reversed"),
    "positive": (hand(g=abs(GAMMA)), "γ is negative"),
    "a slip": (hand() + np.eye(4, 2), "write down mean and variance"),
    "shape": (hand().T, "shape (2, 4)"),
    "text": ("unknown", "four rows of two numbers"),
    "number": (3, "shape ()"),
    "one blank": ([[2, None], *Y[1:]], "nan"),
    "NaN": (hand() * np.nan, "holds nan"),
}


@pytest.mark.parametrize("name", WRONG_HANDS)
def test_by_hand_names_what_is_wrong(name):
    y, words = WRONG_HANDS[name]
    fails(B.by_hand, y, words=words, seeds=[0])


@pytest.mark.parametrize("y", [None, [[None, None]] * 4, [...], [None] * 8])
def test_by_hand_not_attempted(y):
    assert B.by_hand(y).status == "not attempted"


# forward


def two_pass(x, gamma, beta, channel_axis, eps):
    axes = tuple(i for i in range(x.ndim) if i != channel_axis)
    column = [1] * x.ndim
    column[channel_axis] = -1
    mean = x.mean(axis=axes, keepdims=True)
    var = x.var(axis=axes, keepdims=True)
    return gamma.reshape(column) * (x - mean) / np.sqrt(var + eps) + beta.reshape(
        column
    )


def by_einsum(x, gamma, beta, channel_axis, eps):
    rows = np.moveaxis(x, channel_axis, -1)
    shape = rows.shape
    rows = rows.reshape(-1, len(gamma))
    centered = rows - rows.mean(axis=0)
    var = np.einsum("nc,nc->c", centered, centered) / x.dtype.type(len(rows))
    y = np.einsum("nc,c->nc", centered, gamma / np.sqrt(var + x.dtype.type(eps)))
    return np.moveaxis((y + beta).reshape(shape), -1, channel_axis)


def by_loop(x, gamma, beta, channel_axis, eps):
    y = np.empty_like(x)
    for c in range(x.shape[channel_axis]):
        index = (slice(None),) * channel_axis + (c,)
        v = x[index]
        y[index] = gamma[c] * (v - v.mean()) * (v.var() + eps) ** -0.5 + beta[c]
    return y


def by_torch(x, gamma, beta, channel_axis, eps):
    x, gamma, beta = (torch.from_numpy(a.copy()) for a in (x, gamma, beta))
    x = x.movedim(channel_axis, 1) if channel_axis else x.T
    y = nn.functional.batch_norm(x, None, None, gamma, beta, True, eps=eps)
    return (y.movedim(1, channel_axis) if channel_axis else y.T).numpy()


def in_double(x, *args):
    return two_pass(x.astype(float), *args).astype(x.dtype)


@pytest.mark.parametrize("answer", [two_pass, by_einsum, by_loop, by_torch, in_double])
def test_forward_accepts(answer):
    passes(B.forward, answer)


def recipe(
    statistics=None,
    scale=lambda g, b, mean, var: g,
    shift=lambda g, b, mean, var: b,
    divide=lambda c, var, m, eps: c / np.sqrt(var + eps),
    place=None,
    center=True,
):
    def answer(x, gamma, beta, channel_axis, eps):
        axes = tuple(i for i in range(x.ndim) if i != channel_axis)
        if statistics is not None and x.ndim > 2:
            axes = statistics(x.ndim, channel_axis)
        column = [1] * x.ndim
        where = channel_axis if place is None else place % x.ndim
        column[where] = -1
        gamma, beta = gamma.reshape(column), beta.reshape(column)
        mean = x.mean(axis=axes, keepdims=True)
        var = x.var(axis=axes, keepdims=True)
        m = x.size // var.size
        hat = divide(x - mean if center else x, var, m, eps)
        y = scale(gamma, beta, mean, var) * hat + shift(gamma, beta, mean, var)
        return y.astype(x.dtype)

    return answer


def one_pass(x, gamma, beta, channel_axis, eps):
    axes = tuple(i for i in range(x.ndim) if i != channel_axis)
    column = [1] * x.ndim
    column[channel_axis] = -1
    mean = x.mean(axis=axes, keepdims=True)
    var = (x**2).mean(axis=axes, keepdims=True) - mean**2
    y = (x - mean) / np.sqrt(var + eps)
    return gamma.reshape(column) * y + beta.reshape(column)


def clipped(x, gamma, beta, channel_axis, eps):
    axes = tuple(i for i in range(x.ndim) if i != channel_axis)
    column = [1] * x.ndim
    column[channel_axis] = -1
    mean = x.mean(axis=axes, keepdims=True)
    var = np.maximum((x**2).mean(axis=axes, keepdims=True) - mean**2, 0)
    y = (x - mean) / np.sqrt(var + eps)
    return gamma.reshape(column) * y + beta.reshape(column)


def in_place(x, gamma, beta, channel_axis, eps):
    y = two_pass(x, gamma, beta, channel_axis, eps)
    x -= x.mean()
    return y


def listing(x, gamma, beta, channel_axis, eps):
    mu = x.mean(axis=(0, 1, 2), keepdims=True)
    sigma = x.var(axis=(0, 1, 2), keepdims=True, ddof=1)
    return sigma * (x - mu) / (np.sqrt(sigma) + eps) + mu


def listing_with_axes(x, gamma, beta, channel_axis, eps):
    axes = tuple(i for i in range(x.ndim) if i != channel_axis)
    mu = x.mean(axis=axes, keepdims=True)
    sigma = x.var(axis=axes, keepdims=True, ddof=1)
    return sigma * (x - mu) / (np.sqrt(sigma) + eps) + mu


WRONG_FORWARDS = {
    "no gamma": (recipe(scale=lambda g, b, m, v: 1), "is γ missing"),
    "no beta": (recipe(shift=lambda g, b, m, v: 0), "is β missing"),
    "exchanged": (
        recipe(scale=lambda g, b, m, v: b, shift=lambda g, b, m, v: g),
        "are γ and β exchanged",
    ),
    "beta as scale": (recipe(scale=lambda g, b, m, v: b), "are γ and β exchanged"),
    "mean as shift": (recipe(shift=lambda g, b, m, v: m), "has just been subtracted"),
    "not centered": (recipe(center=False), "never subtracted"),
    "sd as scale": (
        recipe(scale=lambda g, b, m, v: np.sqrt(v)),
        "scaled by the batch's σ",
    ),
    "root as scale": (
        recipe(divide=lambda c, v, m, e: c, scale=lambda g, b, m, v: 1),
        "scaled by √(σ² + ε)",
    ),
    "variance as scale": (
        recipe(scale=lambda g, b, m, v: v),
        "scaled by the batch's variance",
    ),
    "Bessel": (
        recipe(divide=lambda c, v, m, e: c / np.sqrt(v * m / (m - 1) + e)),
        "is the variance divided by m - 1",
    ),
    "variance": (
        recipe(divide=lambda c, v, m, e: c / (v + e)),
        "by the variance, in place of its root",
    ),
    "eps outside": (
        recipe(divide=lambda c, v, m, e: c / (np.sqrt(v) + e)),
        "is ε added to the root",
    ),
    "no eps": (recipe(divide=lambda c, v, m, e: c / np.sqrt(v)), "is ε missing"),
    "minus eps": (
        recipe(divide=lambda c, v, m, e: c / np.sqrt(abs(v - e))),
        "is ε subtracted",
    ),
    "not divided": (recipe(divide=lambda c, v, m, e: c), "is nothing divided"),
    "twice the gain": (
        recipe(scale=lambda g, b, m, v: 2 * g),
        "which variance, which root",
    ),
    "beta plus one": (
        recipe(shift=lambda g, b, m, v: b + 1),
        "what is added to γ x̂",
    ),
    "batch alone": (recipe(lambda n, c: (0,)), "go over the examples alone"),
    "all": (recipe(lambda n, c: tuple(range(n))), "one for all channels"),
    "instance": (
        recipe(lambda n, c: tuple(i for i in range(1, n) if i != c)),
        "each example and channel",
    ),
    "layer": (recipe(lambda n, c: tuple(range(1, n))), "one for each example"),
    "last axis": (
        recipe(lambda n, c: (0, 2) if n == 3 else tuple(range(n - 1))),
        "the last axis is not the channels'",
    ),
    "last axis of all": (
        recipe(lambda n, c: (0, 2) if n == 3 else tuple(range(n - 1)), place=-1),
        "ValueError",
    ),
    "always NCHW": (
        recipe(lambda n, c: tuple(i for i in range(n) if i != 1)),
        "whose channels come second",
    ),
    "gamma along the last axis": (
        lambda x, g, b, axis, e: (
            two_pass(x, g, b, axis, e)
            if x.shape[-1] != len(g) or axis == x.ndim - 1
            else two_pass(x, np.ones_like(g), np.zeros_like(b), axis, e) * g + b
        ),
        "along which axis does γ lie",
    ),
    "one pass": (one_pass, "E[x²] - E[x]²"),
    "clipped": (clipped, "E[x²] - E[x]²"),
    "in place": (in_place, "changes its input x"),
    "the listing": (listing, "raised AxisError"),
    "the listing with axes": (listing_with_axes, "has just been subtracted"),
    "double": (lambda *a: two_pass(a[0].astype(float), *a[1:]), "float64"),
    "raises": (lambda x, *a: x[:, :, 0], "raised IndexError"),
    "nothing": (lambda x, *a: print(x), "return` missing"),
    "tensor": (lambda x, *a: torch.from_numpy(x), "is a Tensor"),
    "NaN": (lambda x, *a: x * np.nan, "holds nan"),
    "shape": (lambda x, *a: x[0], "expected (6, 4)"),
}


@pytest.mark.parametrize("name", WRONG_FORWARDS)
def test_forward_names_what_is_wrong(name):
    answer, words = WRONG_FORWARDS[name]
    fails(B.forward, answer, words=words)


def test_each_fault_of_the_listing_is_named_when_the_others_are_repaired():
    def partly(scale, shift, ddof, outside):
        def answer(x, gamma, beta, channel_axis, eps):
            axes = tuple(i for i in range(x.ndim) if i != channel_axis)
            column = [1] * x.ndim
            column[channel_axis] = -1
            mu = x.mean(axis=axes, keepdims=True)
            sigma = x.var(axis=axes, keepdims=True, ddof=ddof)
            root = np.sqrt(sigma) + eps if outside else np.sqrt(sigma + eps)
            g, b = gamma.reshape(column), beta.reshape(column)
            return (sigma if scale else g) * (x - mu) / root + (mu if shift else b)

        return answer

    fails(B.forward, partly(1, 0, 1, 0), words="the batch's variance, and divided by")
    fails(B.forward, partly(1, 0, 0, 0), words="scaled by the batch's variance, where")
    fails(B.forward, partly(0, 0, 1, 1), words="added to the root, in place of the var")
    fails(B.forward, partly(0, 0, 1, 0), words="is the variance divided by m - 1")
    passes(B.forward, partly(0, 0, 0, 0))


# layouts

LAYOUTS = {
    "vectors": (20, 32),
    "signals": (20, 1600),
    "images": (3, 1536),
    "axes (0, 1, 2)": (12, 384),
    "last axis": (50, 640),
}


def test_layouts_accepts():
    passes(B.layouts, LAYOUTS)
    passes(B.layouts, {key: list(pair) for key, pair in LAYOUTS.items()})
    blank = dict.fromkeys(LAYOUTS)
    assert B.layouts(blank).status == "not attempted"


@pytest.mark.parametrize(
    ("key", "pair", "words"),
    [
        ("vectors", (32, 20), "are the rows the features"),
        ("signals", (1000, 32), "do all places of a channel share"),
        ("signals", (20, 32), "how many values has a channel in the whole batch"),
        ("signals", (640, 50), "a mean for each example"),
        ("signals", (1600, 20), "the other way around"),
        ("images", (576, 8), "do all places"),
        ("images", (3, 8), "in the whole batch"),
        ("images", (3, 192), "in all images together"),
        ("axes (0, 1, 2)", (3, 1536), "those that are summed over"),
        ("axes (0, 1, 2)", (384, 12), "axis 3 alone"),
        ("last axis", (20, 1600), "whose channels come second"),
        ("last axis", (50, 32), "in the whole batch"),
        ("last axis", (7, 7), "must multiply"),
        ("last axis", None, "no prediction yet"),
        ("last axis", 50, "expected"),
        ("last axis", ("a", "b"), "expected a number"),
    ],
)
def test_layouts_names_what_is_wrong(key, pair, words):
    fails(B.layouts, LAYOUTS | {key: pair}, words=words, seeds=[0])


@pytest.mark.parametrize("answer", [3, [1, 2], "all"])
def test_layouts_wants_a_dictionary(answer):
    fails(B.layouts, answer, words="expected a dict with", seeds=[0])
    fails(B.peeks, answer, words="expected a dict with", seeds=[0])


# peeks


def batch(mean):
    return torch.tensor([[mean - 1.0], [mean + 1.0]])


def run_the_programs():
    ten, twenty, means = batch(10), batch(20), {}
    bn = nn.BatchNorm1d(1)
    with torch.no_grad():
        bn(ten)
    means["no_grad"] = bn.running_mean
    bn = nn.BatchNorm1d(1).eval()
    bn(ten)
    means["eval"] = bn.running_mean
    bn = nn.BatchNorm1d(1)
    for p in bn.parameters():
        p.requires_grad_(False)
    bn(ten), bn(ten)
    means["frozen"] = bn.running_mean
    bn = nn.BatchNorm1d(1, momentum=None)
    bn(ten), bn(twenty)
    means["none"] = bn.running_mean
    bn = nn.BatchNorm1d(1, momentum=0.99)
    bn(ten), bn(twenty)
    means["keras"] = bn.running_mean
    return {key: value.item() for key, value in means.items()}


def test_peeks_expects_what_the_programs_print():
    passes(B.peeks, run_the_programs())
    assert B.peeks(dict.fromkeys(run_the_programs())).status == "not attempted"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("no_grad", 0, "what autograd records"),
        ("no_grad", 10, "how much does one batch weigh"),
        ("no_grad", 9, "the new value, or the old"),
        ("eval", 1, "only read"),
        ("frozen", 0, "Are the buffers parameters"),
        ("frozen", 1, "both passes count"),
        ("frozen", 2, "what was there 0.9"),
        ("none", 0, "what does PyTorch use"),
        ("none", 20, "all batches weigh the same"),
        ("none", 2.9, "that is momentum 0.1"),
        ("keras", 0.299, "that is Keras"),
        ("keras", 20, "leaves something"),
        ("keras", 5, "which passes are in training mode"),
        ("keras", None, "no prediction yet"),
        ("keras", "x", "expected a number"),
        ("keras", np.nan, "finite"),
    ],
)
def test_peeks_names_what_is_wrong(key, value, words):
    answer = run_the_programs() | {key: value}
    fails(B.peeks, answer, words=words, seeds=[0])


# variance


def shifted_sums(x):
    d = x - x[0]
    m = x.dtype.type(len(x))
    return (d * d).sum() / m - (d.sum() / m) ** 2


def welford(x):
    kind = x.dtype.type
    mean = squares = kind(0)
    for n, value in enumerate(x, 1):
        delta = value - mean
        mean += delta / kind(n)
        squares += delta * (value - mean)
    return squares / kind(len(x))


@pytest.mark.parametrize(
    "answer",
    [
        lambda x: x.var(),
        lambda x: ((x - x.mean()) ** 2).mean(),
        shifted_sums,
        welford,
        lambda x: np.array(x.var()),
    ],
)
def test_variance_accepts(answer):
    passes(B.variance, answer)


def raw(x):
    m = len(x)
    return (x * x).sum() / m - (x.sum() / m) ** 2


WRONG_VARIANCES = {
    "one pass": (raw, "difference of two large numbers"),
    "clipped": (lambda x: max(raw(x), x.dtype.type(0)), "variance"),
    "clipped at all": (
        lambda x: x.var() if abs(x.mean()) < 1e3 else x.dtype.type(0),
        "Clipping at 0",
    ),
    "absolute": (lambda x: abs(raw(x)), "difference of two large numbers"),
    "Bessel": (lambda x: x.var(ddof=1), "divided by m - 1"),
    "sum": (lambda x: x.var() * x.dtype.type(len(x)), "not divided by m"),
    "deviation": (lambda x: x.std(), "is that the standard deviation"),
    "zero": (lambda x: x.dtype.type(1), "squared distances from the mean"),
    "in double": (lambda x: x.astype(float).var(), "a wider type only"),
    "float": (lambda x: float(x.var()), "a wider type only"),
    "longdouble": (lambda x: x.astype(np.longdouble).var(), "a wider type only"),
    "vector": (lambda x: (x - x.mean()) ** 2, "expected one number"),
    "text": (str, "expected one number"),
    "NaN": (lambda x: x.dtype.type(np.nan), "variance is nan"),
    "in place": (lambda x: x.sort() or x.var(), "changes its input x"),
    "raises": (lambda x: x[len(x)], "IndexError"),
}


@pytest.mark.parametrize("name", WRONG_VARIANCES)
def test_variance_names_what_is_wrong(name):
    answer, words = WRONG_VARIANCES[name]
    fails(B.variance, answer, words=words)


# on_value


def simulated(k, m, d, eps):
    x = np.zeros(m)
    x[:k] = d
    return ((x - x.mean()) / np.sqrt(x.var() + eps))[0]


@pytest.mark.parametrize(
    "answer",
    [
        simulated,
        lambda k, m, d, eps: (m - k) * d / np.sqrt(k * (m - k) * d**2 + m**2 * eps),
    ],
)
def test_on_value_accepts(answer):
    passes(B.on_value, answer)


WRONG_VALUES = {
    "limit": (lambda k, m, d, e: np.sqrt((m - k) / k), "the limit of small ε"),
    "bound": (lambda k, m, d, e: np.sqrt(m - 1), "the bound √(m - 1)"),
    "off": (
        lambda k, m, d, e: -k / m * d / np.sqrt(k / m * (1 - k / m) * d**2 + e),
        "of the values that are 0",
    ),
    "Bessel": (
        lambda k, m, d, e: (
            (1 - k / m) * d / np.sqrt(k * (m - k) / m / (m - 1) * d**2 + e)
        ),
        "divided by m - 1",
    ),
    "not centered": (
        lambda k, m, d, e: d / np.sqrt(k / m * (1 - k / m) * d**2 + e),
        "the mean not subtracted",
    ),
    "second moment": (
        lambda k, m, d, e: (1 - k / m) * d / np.sqrt(k / m * d**2 + e),
        "d² k/m",
    ),
    "eps outside": (
        lambda k, m, d, e: (1 - k / m) * d / (np.sqrt(k / m * (1 - k / m)) * d + e),
        "added to the root",
    ),
    "variance": (
        lambda k, m, d, e: (1 - k / m) * d / (k / m * (1 - k / m) * d**2 + e),
        "divided by the variance",
    ),
    "d": (
        lambda k, m, d, e: (1 - k / m) * d / np.sqrt(k / m * (1 - k / m) * d + e),
        "d stand squared",
    ),
    "one": (
        lambda k, m, d, e: (1 - k / m) / np.sqrt(k / m * (1 - k / m) + e),
        "for d = 1",
    ),
    "zero": (lambda k, m, d, e: 0.0, "a yes or no"),
    "array": (lambda k, m, d, e: np.zeros(m), "expected a number"),
    "raises": (lambda k, m, d, e: 1 / (k - k), "ZeroDivisionError"),
}


@pytest.mark.parametrize("name", WRONG_VALUES)
def test_on_value_names_what_is_wrong(name):
    answer, words = WRONG_VALUES[name]
    fails(B.on_value, answer, words=words)


# steps


def by_loop_of_steps(share, momentum, library):
    keep = {"torch": 1 - momentum, "keras": momentum}[library]
    t = 1
    while keep**t >= share:
        t += 1
    return t


def by_logarithm(share, momentum, library):
    keep = momentum if library == "keras" else 1 - momentum
    if keep == 0:
        return 1
    return int(np.floor(np.log(share) / np.log(keep) + 1e-12)) + 1


@pytest.mark.parametrize(
    "answer",
    [
        by_loop_of_steps,
        by_logarithm,
        lambda *a: np.float64(by_loop_of_steps(*a)),
        lambda *a: np.int64(by_logarithm(*a)),
    ],
)
def test_steps_accepts(answer):
    passes(B.steps, answer)


def ceiling(share, momentum, library):
    keep = momentum if library == "keras" else 1 - momentum
    return int(np.ceil(np.log(share) / np.log(keep))) if keep else 1


WRONG_STEPS = {
    "reversed": (
        lambda s, m, lib: by_logarithm(s, m, "keras" if lib == "torch" else "torch"),
        "the new value in this library",
    ),
    "always torch": (lambda s, m, lib: by_logarithm(s, m, "torch"), "the old one"),
    "down": (lambda *a: by_logarithm(*a) - 1, "rounded down"),
    "up": (lambda *a: by_logarithm(*a) + 1, "one fewer is enough"),
    "equal": (ceiling, "not just as much"),
    "not whole": (
        lambda s, m, lib: np.log(s) / np.log(m if lib == "keras" else 1 - m),
        "a whole number",
    ),
    "inverse": (lambda s, m, lib: 1, "(1 - α)^t"),
    "text": (lambda s, m, lib: "44", "expected a number"),
    "logarithm of 0": (
        lambda s, m, lib: by_logarithm(s, m, lib) + 0 * np.log(np.float64(1 - m)),
        "RuntimeWarning",
    ),
}


@pytest.mark.parametrize("name", WRONG_STEPS)
def test_steps_names_what_is_wrong(name):
    answer, words = WRONG_STEPS[name]
    fails(B.steps, answer, words=words)


# module


class Base(nn.Module):
    """A right batch norm, with places where the faults go."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.keep("running_mean", torch.zeros(num_features))
        self.keep("running_var", torch.ones(num_features))

    def keep(self, name, value):
        self.register_buffer(name, value)

    def mode(self):
        return self.training

    def statistics(self, x):
        return x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)

    def stored(self, var, m):
        return var * m / (m - 1)

    def update(self, mean, var):
        a = self.momentum
        with torch.no_grad():
            self.running_mean = (1 - a) * self.running_mean + a * mean
            self.running_var = (1 - a) * self.running_var + a * var

    def forward(self, x):
        mean, var = self.running_mean, self.running_var
        if self.mode():
            mean, var = self.statistics(x)
            self.update(mean, self.stored(var, x.numel() // x.shape[1]))
        return self.affine(x, mean, var)

    def affine(self, x, mean, var):
        mean, var, weight, bias = (
            v[:, None, None] for v in (mean, var, self.weight, self.bias)
        )
        return weight * (x - mean) / torch.sqrt(var + self.eps) + bias


class Functional(Base):
    def forward(self, x):
        return nn.functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias,
            self.training, self.momentum, self.eps,
        )  # fmt: skip


class InPlace(Base):
    def update(self, mean, var):
        self.running_mean.lerp_(mean.detach(), self.momentum)
        self.running_var.lerp_(var.detach(), self.momentum)


@pytest.mark.parametrize("answer", [Base, Functional, InPlace, nn.BatchNorm2d])
def test_module_accepts(answer):
    passes(B.module, answer)


class Columns(Base):
    def statistics(self, x):
        return x.mean((0, 1, 2)), x.var((0, 1, 2), unbiased=False)

    def affine(self, x, mean, var):
        return self.weight * (x - mean) / torch.sqrt(var + self.eps) + self.bias


class ColumnsBessel(Columns):
    def statistics(self, x):
        return x.mean((0, 1, 2)), x.var((0, 1, 2))


class Bessel(Base):
    def statistics(self, x):
        return x.mean((0, 2, 3)), x.var((0, 2, 3))


class AlwaysRunning(Base):
    def affine(self, x, mean, var):
        return super().affine(x, torch.zeros(3), torch.ones(3))


class Doubled(Base):
    def affine(self, x, mean, var):
        return 2 * super().affine(x, mean, var)


class ByGrad(Base):
    def mode(self):
        return torch.is_grad_enabled()


class NeverEvaluates(Base):
    def forward(self, x):
        mean, var = self.statistics(x)
        if self.training:
            self.update(mean, self.stored(var, x.numel() // x.shape[1]))
        return self.affine(x, mean, var)


class AlwaysUpdates(Base):
    def forward(self, x):
        y = super().forward(x)
        if not self.training:
            self.update(x.mean((0, 2, 3)), x.var((0, 2, 3)))
        return y


class StoresDeviation(Base):
    def stored(self, var, m):
        return torch.sqrt(var * m / (m - 1))


class EvaluatesOtherwise(Base):
    def forward(self, x):
        return super().forward(x) + (0 if self.training else 1)


class StateOfItsOwn(Base):
    def forward(self, x):
        y = super().forward(x)
        if not self.training and not hasattr(self, "seen"):
            return 0 * y
        self.seen = True
        return y


class Plain(Base):
    def keep(self, name, value):
        setattr(self, name, value)


class NotPersistent(Base):
    def keep(self, name, value):
        self.register_buffer(name, value, persistent=False)


class Learned(Base):
    def keep(self, name, value):
        setattr(self, name, nn.Parameter(value, requires_grad=False))

    def update(self, mean, var):
        a = self.momentum
        with torch.no_grad():
            self.running_mean.lerp_(mean, a)
            self.running_var.lerp_(var, a)


class Reversed(Base):
    def update(self, mean, var):
        a = 1 - self.momentum
        with torch.no_grad():
            self.running_mean = (1 - a) * self.running_mean + a * mean
            self.running_var = (1 - a) * self.running_var + a * var


class VarReversed(Base):
    def update(self, mean, var):
        a = self.momentum
        with torch.no_grad():
            self.running_mean = (1 - a) * self.running_mean + a * mean
            self.running_var = a * self.running_var + (1 - a) * var


class Replaces(Base):
    def update(self, mean, var):
        self.running_mean, self.running_var = mean.detach(), var.detach()


class Forgets(Base):
    def update(self, mean, var):
        pass


class FixedMomentum(Base):
    def update(self, mean, var):
        with torch.no_grad():
            self.running_mean = 0.9 * self.running_mean + 0.1 * mean
            self.running_var = 0.9 * self.running_var + 0.1 * var


class Adds(Base):
    def update(self, mean, var):
        with torch.no_grad():
            self.running_mean = self.running_mean + 2 * mean
            self.running_var = self.running_var + 2 * var


class VarAdds(Base):
    def update(self, mean, var):
        a = self.momentum
        with torch.no_grad():
            self.running_mean = (1 - a) * self.running_mean + a * mean
            self.running_var = self.running_var + 2 * var


class Biased(Base):
    def stored(self, var, m):
        return var


class KeepsGraph(Base):
    def update(self, mean, var):
        a = self.momentum
        self.running_mean = (1 - a) * self.running_mean + a * mean
        self.running_var = (1 - a) * self.running_var + a * var


class Detached(Base):
    def statistics(self, x):
        with torch.no_grad():
            return super().statistics(x)


class NoParameters(Base):
    def __init__(self, *args):
        super().__init__(*args)
        del self.weight, self.bias
        self.weight, self.bias = torch.ones(3), torch.zeros(3)


class WrongStart(Base):
    def keep(self, name, value):
        super().keep(name, torch.zeros_like(value))


class NoBuffers(nn.BatchNorm2d):
    def __init__(self, *args):
        super().__init__(*args, track_running_stats=False)


class ListOutput(Base):
    def forward(self, x):
        return [super().forward(x)]


class Flattens(Base):
    def forward(self, x):
        return super().forward(x).flatten(1)


class RefusesOne(Base):
    def forward(self, x):
        if x.shape[0] == 1:
            raise ValueError("a batch of one")
        return super().forward(x)


class CutsOff(Base):
    def forward(self, x):
        return super().forward(x.detach()).detach()


class Shadow(Base):
    """The state is that of other tensors than the module reads."""

    def state_dict(self, *args, **kwargs):
        state = super().state_dict(*args, **kwargs)
        return {k: v * 0 if k.startswith("running") else v for k, v in state.items()}


class ExtraState(Base):
    def load_state_dict(self, state, **kwargs):
        raise RuntimeError("missing key")


WRONG_MODULES = {
    "axes 0, 1, 2": (Columns, "each column of pixels"),
    "axes and Bessel": (ColumnsBessel, "each column of pixels"),
    "Bessel": (Bessel, "the variance that normalizes divided by m - 1"),
    "running in training": (AlwaysRunning, "normalized by the running statistics"),
    "doubled": (Doubled, "expected x̂"),
    "by grad": (ByGrad, "torch.is_grad_enabled()"),
    "never evaluates": (NeverEvaluates, "normalized by the batch"),
    "always updates": (AlwaysUpdates, "in evaluation a pass changes"),
    "deviation": (StoresDeviation, "is that the standard deviation"),
    "evaluates otherwise": (EvaluatesOtherwise, "expected (x - running_mean)"),
    "state of its own": (StateOfItsOwn, "is all it needs in the state"),
    "plain": (Plain, "running_mean is not in state_dict()"),
    "not persistent": (NotPersistent, "not in state_dict()"),
    "learned": (Learned, "is a parameter"),
    "reversed": (Reversed, "the new value, or the old one"),
    "variance reversed": (VarReversed, "the new value, or the old one"),
    "replaces": (Replaces, "the old value thrown away"),
    "forgets": (Forgets, "is it never updated"),
    "fixed": (FixedMomentum, "is the argument `momentum` used"),
    "adds": (Adds, "(1 - momentum) · old"),
    "variance adds": (VarAdds, "(1 - momentum) · 1"),
    "biased": (Biased, "by m, or by m - 1"),
    "graph": (KeepsGraph, "keep the graph"),
    "detached": (Detached, "cut out of the graph"),
    "no parameters": (NoParameters, "has 0 parameters"),
    "wrong start": (WrongStart, "running_var starts at 0"),
    "no buffers": (NoBuffers, "expected running_mean"),
    "list": (ListOutput, "the output is a list"),
    "flat": (Flattens, "the output has shape"),
    "refuses one": (RefusesOne, "on a single pixel"),
    "cuts off": (CutsOff, "no gradient reaches x"),
    "shadow": (Shadow, "holds another running_mean"),
    "cannot load": (ExtraState, "cannot be loaded"),
    "no module": (lambda *a: print, "derived from torch.nn.Module"),
    "raises": (nn.Conv2d, "raised"),
    "no class": (3, "expected a function or a class"),
}


@pytest.mark.parametrize("name", WRONG_MODULES)
def test_module_names_what_is_wrong(name):
    answer, words = WRONG_MODULES[name]
    fails(B.module, answer, words=words, seeds=range(3))
