"""Checkers of the chapter practice/without_batchnorm."""

import numpy as np
import pytest
import torch
from answers import fails, passes
from scipy.optimize import minimize
from scipy.special import log_softmax

from dropnorm.checks import practice as P

# clip


def clipping(
    whole=False,
    columns=False,
    up=False,
    floor=True,
    guard=True,
    none=True,
    weights=False,
):
    @torch.no_grad()
    def answer(parameters, limit, eps):
        for w in parameters:
            if none and w.grad is None:
                continue
            axes = list(range(1, w.ndim)) or [0]
            if columns and w.ndim > 1:
                axes = [0, *range(2, w.ndim)]
            if whole:
                axes = list(range(w.ndim))
            size = w.square().sum(axes, keepdim=True).sqrt()
            slope = w.grad.square().sum(axes, keepdim=True).sqrt()
            if guard:
                slope = slope.clamp(min=1e-12)
            factor = limit * (size.clamp(min=eps) if floor else size) / slope
            w.grad.mul_(factor if up else factor.clamp(max=1))
            if weights:
                w.mul_(factor.clamp(max=1))

    return answer


def by_rows(parameters, limit, eps):
    for w in parameters:
        if w.grad is None:
            continue
        pairs = zip(w.data, w.grad, strict=True) if w.ndim > 1 else [(w.data, w.grad)]
        for row, gradient in pairs:
            most, slope = limit * max(row.norm().item(), eps), gradient.norm().item()
            if slope > most:
                gradient *= most / slope


@pytest.mark.parametrize("answer", [clipping(), clipping(guard=False), by_rows])
def test_clip_accepts(answer):
    passes(P.clip, answer)


def clip_listing(parameters, limit, eps):
    for w in parameters:
        size, slope = w.norm(), w.grad.norm()
        if slope > limit * max(size, eps):
            w.grad.mul_(limit * size / slope)


def without_none(parameters, limit, eps):
    clip_listing([w for w in parameters if w.grad is not None], limit, eps)


@torch.no_grad()
def by_direction(parameters, limit, eps):
    for w in parameters:
        if w.grad is not None:
            axes = list(range(1, w.ndim)) or [0]
            size, slope = (
                v.square().sum(axes, keepdim=True).sqrt() for v in (w, w.grad)
            )
            most = limit * size.clamp(min=eps)
            w.grad = w.grad / slope * torch.minimum(slope, most)


def fills(parameters, limit, eps):
    for w in parameters:
        if w.grad is None:
            w.grad = torch.zeros_like(w)
    clipping()(parameters, limit, eps)


WRONG_CLIPS = {
    "the listing": (clip_listing, "has no attribute 'norm'"),
    "all but None": (without_none, "one factor|Each row has its own"),
    "whole": (clipping(whole=True), "Each row has its own"),
    "columns": (clipping(columns=True), "are these rows, or columns"),
    "up": (clipping(up=True), "small enough becomes larger"),
    "no floor": (clipping(floor=False), "where is ε"),
    "whole, no floor": (
        clipping(whole=True, floor=False),
        "Each row has its own|one factor serves",
    ),
    "whole and up": (clipping(whole=True, up=True), "one factor"),
    "no floor and up": (clipping(floor=False, up=True), "larger"),
    "0/0": (by_direction, "a length of 0 a divisor"),
    "None": (clipping(none=False), "has no attribute 'square'"),
    "weights": (clipping(weights=True), "the weights change"),
    "nothing": (lambda p, limit, eps: [w.grad for w in p], "is anything clipped"),
    "fills": (fills, "is None got one"),
    "raises": (lambda p, limit, eps: p[99], "IndexError"),
}


@pytest.mark.parametrize("name", WRONG_CLIPS)
def test_clip_names_what_is_wrong(name):
    answer, words = WRONG_CLIPS[name]
    fails(P.clip, answer, words=words, seeds=range(4))


# residual


def residual(depth, alpha, normalized):
    a = alpha**2
    variance = 1 + a * depth if normalized else (1 + a) ** depth
    return variance, a / (variance if normalized else 1 + a)


def block_by_block(depth, alpha, normalized):
    variance = 1.0
    for _ in range(depth):
        branch = alpha**2 * (1.0 if normalized else variance)
        variance += branch
    return np.array([variance, branch / variance])


@pytest.mark.parametrize("answer", [residual, block_by_block])
def test_residual_accepts(answer):
    passes(P.residual, answer)


def changed(variance=None, share=None):
    def answer(depth, alpha, normalized):
        v, s = residual(depth, alpha, normalized)
        args = depth, alpha, normalized
        return (
            variance(v, *args) if variance else v,
            share(s, v, *args) if share else s,
        )

    return answer


WRONG_RESIDUALS = {
    "exchanged": (
        lambda d, a, n: residual(d, a, not n),
        "a branch that",
    ),
    "always plain": (
        changed(lambda v, d, a, n: (1 + a**2) ** d),
        "adds the same in each block",
    ),
    "always linear": (
        changed(lambda v, d, a, n: 1 + d * a**2),
        "adds more in each block",
    ),
    "alpha": (
        changed(lambda v, d, a, n: 1 + a * d if n else (1 + a) ** d),
        "or its root",
    ),
    "deviation": (changed(lambda v, *a: np.sqrt(v)), "the standard deviation"),
    "without the input": (changed(lambda v, *a: v - 1), "in it|one block|alpha"),
    "one block too many": (
        changed(lambda v, d, a, n: residual(d + 1, a, n)[0]),
        "one block too many|in each block",
    ),
    "skip": (changed(share=lambda s, *a: 1 - s), "of the skip connection|root|alpha"),
    "in front": (
        changed(
            share=lambda s, v, d, a, n: (
                a**2 / (1 + a**2 * (d - 1)) if n else a**2
            )
        ),
        "in front of the block, or behind",
    ),
    "root": (changed(share=lambda s, *a: np.sqrt(s)), "standard deviations"),
    "one number": (lambda d, a, n: residual(d, a, n)[0], "expected the variance"),
    "raises": (lambda d, a, n: d[0], "TypeError"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_RESIDUALS)
def test_residual_names_what_is_wrong(name):
    answer, words = WRONG_RESIDUALS[name]
    fails(P.residual, answer, words=words)


# smoothing


def smoothing(k, eps):
    right, other = 1 - eps + eps / k, eps / k
    entropy = -right * np.log(right) - (k - 1) * other * np.log(other)
    return entropy, np.log(right) - np.log(other)


def by_search(k, eps):
    target = np.full(k, eps / k)
    target[0] += 1 - eps

    def loss(z):
        return -(target * log_softmax(z)).sum()

    def slope(z):
        return np.exp(log_softmax(z)) - target

    found = minimize(loss, np.zeros(k), jac=slope, method="BFGS", tol=1e-12)
    return [found.fun, round(found.x[0] - found.x[1], 9)]


def test_smoothing_accepts():
    passes(P.smoothing, smoothing)
    passes(P.smoothing, lambda k, eps: np.array(smoothing(k, eps)))


def test_smoothing_is_what_a_search_finds():
    np.testing.assert_allclose(by_search(5, 0.2), smoothing(5, 0.2), rtol=1e-4)


def without_right(k, eps):
    right, other = 1 - eps, eps / (k - 1)
    entropy = -right * np.log(right) - (k - 1) * other * np.log(other)
    return entropy, np.log(right / other)


WRONG_SMOOTHINGS = {
    "shared among the others": (without_right, "is the right one among them"),
    "right class alone": (
        lambda k, eps: (-np.log(1 - eps + eps / k), smoothing(k, eps)[1]),
        "of the right class alone",
    ),
    "bits": (
        lambda k, eps: (smoothing(k, eps)[0] / np.log(2), smoothing(k, eps)[1]),
        "in bits",
    ),
    "zero": (lambda k, eps: (0.0, smoothing(k, eps)[1]), "does not reach 0"),
    "exchanged": (lambda k, eps: smoothing(k, eps)[::-1], "are exchanged"),
    "ratio": (
        lambda k, eps: (smoothing(k, eps)[0], np.exp(smoothing(k, eps)[1])),
        "Logits are logarithms",
    ),
    "against the sum": (
        lambda k, eps: (
            smoothing(k, eps)[0],
            np.log((1 - eps + eps / k) / (eps - eps / k)),
        ),
        "against the sum of the others",
    ),
    "gap of the others": (
        lambda k, eps: (smoothing(k, eps)[0], without_right(k, eps)[1]),
        "is the right one among them",
    ),
    "turned": (
        lambda k, eps: (smoothing(k, eps)[0], -smoothing(k, eps)[1]),
        "the other way round",
    ),
    "one": (lambda k, eps: smoothing(k, eps)[0], "expected the loss and the gap"),
    "raises": (lambda k, eps: k[0], "TypeError"),
}


@pytest.mark.parametrize("name", WRONG_SMOOTHINGS)
def test_smoothing_names_what_is_wrong(name):
    answer, words = WRONG_SMOOTHINGS[name]
    fails(P.smoothing, answer, words=words)


# mixup


def mixing(
    same=True, one_hot=True, swap_x=False, swap_y=False, fixed=False, permute=True
):
    def answer(x, y, n_classes, lam, rng):
        rng = np.random.default_rng(0) if fixed else rng

        def order():
            if permute:
                return rng.permutation(len(x))
            return rng.integers(len(x), size=len(x))

        j = order()
        i = j if same else order()
        t = np.eye(n_classes)[y] if one_hot else y
        a, b = (1 - lam, lam) if swap_x else (lam, 1 - lam)
        c, d = (1 - lam, lam) if swap_y else (lam, 1 - lam)
        return a * x + b * x[j], c * t + d * t[i]

    return answer


def by_loop(x, y, n_classes, lam, rng):
    order = list(range(len(x)))
    rng.shuffle(order)
    rows, targets = np.zeros_like(x), np.zeros((len(x), n_classes))
    for i, j in enumerate(order):
        rows[i] = x[j] + lam * (x[i] - x[j])
        targets[i, y[i]] += lam
        targets[i, y[j]] += 1 - lam
    return [rows, targets]


@pytest.mark.parametrize("answer", [mixing(), by_loop])
def test_mixup_accepts(answer):
    passes(P.mixup, answer)


def listing(x, y, n_classes, lam, rng):
    x += (1 - lam) / lam * x[rng.permutation(len(x))]
    x *= lam
    y = lam * y + (1 - lam) * y[rng.permutation(len(y))]
    return x, y.round().astype(int)


def not_mixed(x, y, n_classes, lam, rng):
    return mixing()(x, y, n_classes, lam, rng)[0], np.eye(n_classes)[y]


WRONG_MIXTURES = {
    "the listing": (listing, "changes x or y"),
    "two orders": (mixing(same=False), "in the same order"),
    "class numbers": (mixing(one_hot=False), "is not class 1"),
    "weights": (mixing(swap_x=True, swap_y=True), "which of the two has the weight"),
    "weights of the targets": (mixing(swap_y=True), "weights of the targets exchanged"),
    "fixed": (mixing(fixed=True), "does rng choose them"),
    "drawn with repetition": (mixing(permute=False), "is the order a permutation"),
    "targets not mixed": (not_mixed, "are the targets mixed as well"),
    "too large": (
        lambda *a: (mixing()(*a)[0], 2 * np.eye(4)[a[1]]),
        "does not sum to 1",
    ),
    "not mixed": (lambda x, y, k, lam, rng: (x, np.eye(k)[y]), "mixed with itself"),
    "one": (lambda *a: mixing()(*a)[0], "expected 2 things"),
    "raises": (lambda *a: a[9], "IndexError"),
}


@pytest.mark.parametrize("name", WRONG_MIXTURES)
def test_mixup_names_what_is_wrong(name):
    answer, words = WRONG_MIXTURES[name]
    fails(P.mixup, answer, words=words, seeds=range(4))
