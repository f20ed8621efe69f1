"""Exercises of the chapter practice/without_batchnorm."""

import numpy as np
import torch
from torch import nn

from dropnorm.checks.base import (
    Wrong,
    agree,
    call,
    check_array,
    numbers,
    recognize,
    unpack,
)
from dropnorm.checks.practice.tensors import checker
from dropnorm.checks.together.models import act

# Adaptive gradient clipping


def _clipped(w, g, limit, eps, whole=False, columns=False, up=False, floor=True):
    """A gradient by the rule, or with one of the faults."""
    axes = tuple(range(1, w.ndim))
    if columns and w.ndim > 1:
        axes = (0, *range(2, w.ndim))
    if whole or w.ndim == 1:
        axes = tuple(range(w.ndim))
    size = np.sqrt((w**2).sum(axis=axes, keepdims=True))
    slope = np.sqrt((g**2).sum(axis=axes, keepdims=True))
    most = limit * (np.maximum(size, eps) if floor else size)
    factor = most / np.where(slope > 0, slope, 1)
    return g * (factor if up else np.minimum(factor, 1))


CLIPPING = {
    "": {},
    "is one factor made for the whole tensor? Each row has its own": {"whole": True},
    "are these rows, or columns? A row belongs to one unit of the output": {
        "columns": True
    },
    "a gradient that is small enough becomes larger": {"up": True},
    "a gradient that is small enough becomes larger, and one factor serves for the "
    "whole tensor": {"up": True, "whole": True},
    "where a row of weights is 0, or nearly, its gradient vanishes: where is ε?": {
        "floor": False
    },
    "where a row of weights is 0 its gradient vanishes, and one factor serves for the "
    "whole tensor": {"floor": False, "whole": True},
    "three faults: one factor for the whole tensor, gradients that become larger, and "
    "weights of 0 that never learn": {"floor": False, "whole": True, "up": True},
    "small gradients become larger, and weights of 0 never learn": {
        "floor": False,
        "up": True,
    },
    "is anything clipped?": None,
}


@checker
def clip(solve, *, seed=0):
    """``solve(parameters, limit, eps)``: adaptive gradient clipping, in place."""
    rng = np.random.default_rng(seed)
    limit, eps = 0.1, 1e-2
    shapes = {"a matrix": (4, 3), "a kernel": (3, 2, 3, 3), "a bias": (5,)}
    for what, shape in shapes.items():
        w, g = rng.standard_normal(shape), rng.standard_normal(shape)
        g *= 10.0 ** rng.uniform(-3, 1, (shape[0], *[1] * (len(shape) - 1)))
        cases = {what: (w, g)}
        zero, small = w.copy(), 1e-3 * g
        zero[: 1 if w.ndim > 1 else None] = 0.0
        cases[f"{what} with weights of 0"] = zero, g
        cases[f"{what} with small gradients"] = w, small / abs(small).max() * 1e-3
        none = g.copy()
        none[-1] = 0.0
        cases[f"{what} with gradients of 0"] = w, none
        for where, (weights, slopes) in cases.items():
            p = nn.Parameter(torch.tensor(weights))
            p.grad = torch.tensor(slopes)
            idle = nn.Parameter(torch.ones(2))  # took no part: grad is None
            act(solve, [idle, p], limit, eps, when=f"for {where}:")
            if idle.grad is not None:
                raise Wrong("a parameter whose gradient is None got one")
            if not np.array_equal(p.detach().numpy(), weights):
                raise Wrong(f"for {where}: the weights change, not the gradients alone")
            got = p.grad.detach().numpy()
            if not np.isfinite(got).all():
                raise Wrong(
                    f"for {where}: the gradient holds {got[~np.isfinite(got)][0]}: "
                    "is a length of 0 a divisor?"
                )
            variants = {
                words: slopes if faults is None else _clipped(
                    weights, slopes, limit, eps, **faults
                )
                for words, faults in CLIPPING.items()
            }  # fmt: skip
            hint = recognize(got, variants)
            if hint == "":
                continue
            hint = (
                hint or "the length of a row's gradient is at most limit · max(‖W‖, ε)"
            )
            raise Wrong(f"for {where}: the gradient is wrong: {hint}")


# Variance along a residual network


@checker
def residual(solve, *, seed=0):
    """``solve(depth, alpha, normalized)``: variance, and share of the last branch."""
    rng = np.random.default_rng(seed)
    cases = [(1, 1.0), (10, 1.0), (10, 0.0)]
    cases += [
        (int(rng.integers(2, 30)), float(rng.uniform(0.1, 1.2))) for _ in range(5)
    ]
    for depth, alpha in cases:
        for normalized in (False, True):
            a = alpha**2
            kind = "normalized" if normalized else "plain"
            when = f"{kind} branches, depth {depth}, alpha {alpha:.3g}:"
            got = call(solve, depth, alpha, normalized, when=when)
            var, share = numbers(got, ["the variance", "the share"])
            grown, added = (1 + a) ** depth, 1 + a * depth
            right = added if normalized else grown

            def after(blocks, a=a, normalized=normalized):
                return 1 + a * blocks if normalized else (1 + a) ** blocks

            if normalized:
                exchanged = "a branch that is normalized adds the same in each block"
            else:
                exchanged = "a branch that keeps the variance adds more in each block"
            known = {
                exchanged: grown if normalized else added,
                "does alpha multiply the variance, or its root?": (
                    after(depth, a=alpha)
                ),
                "is that the standard deviation?": np.sqrt(right),
                "is the variance of the input, 1, in it?": right - 1,
                "is one block missing?": after(depth - 1),
                "is one block too many in it?": after(depth + 1),
            }
            hint = "variances of uncorrelated terms add up, block by block"
            agree(f"{when} the variance", var, right, known, hint)
            last = a / right if normalized else a / (1 + a)
            known = {
                "is it divided by the variance in front of the block, or behind?": (
                    a / (1 + a * (depth - 1)) if normalized else a
                ),
                "is that the share of the skip connection?": 1 - last,
                "is it a ratio of standard deviations?": np.sqrt(last),
                "what is the variance of the branch's output, with alpha?": 1 / right,
            }
            hint = "α² times the variance of f, over the variance of the sum"
            agree(f"{when} the share", share, last, known, hint)


# Smoothed labels


@checker
def smoothing(solve, *, seed=0):
    """``solve(k, eps)``: the lowest loss, and the gap between logits that has it."""
    rng = np.random.default_rng(seed)
    cases = [(10, 0.1), (2, 0.1)]
    cases += [
        (int(rng.integers(3, 200)), float(rng.uniform(0.02, 0.5))) for _ in range(5)
    ]
    for k, eps in cases:
        when = f"for {k} classes and ε = {eps:.3g}"
        got = numbers(call(solve, k, eps, when=when), ["the loss", "the gap"])

        def answers(right, other, k=k):
            loss = -right * np.log(right) - (k - 1) * other * np.log(other)
            return loss, np.log(right / other)

        q = 1 - eps + eps / k
        loss, gap = answers(q, eps / k)
        if k > 2:
            other_loss, other_gap = answers(1 - eps, eps / (k - 1))
        else:
            other_loss, other_gap = answers(1 - eps, eps)
        missing = "ε is shared among all k classes: is the right one among them?"
        known = {
            missing: other_loss,
            "is it the loss of the right class alone? The others have targets, too": (
                -np.log(q)
            ),
            "is it in bits? Here logarithms are natural": loss / np.log(2),
            "with smoothed targets the loss does not reach 0": 0.0,
            "loss and gap are exchanged": gap,
            "is only one of the other classes counted?": -q * np.log(q)
            - eps / k * np.log(eps / k),
            "is the sign of an entropy negative?": -loss,
        }
        hint = "the cross-entropy is lowest where the softmax equals the targets"
        agree(f"{when} the lowest loss", got[0], loss, known, hint)
        known = {
            missing: other_gap,
            "is that a ratio of probabilities? Logits are logarithms": q * k / eps,
            "is that the logit of the right class against the sum of the others?": (
                np.log(q / (1 - q))
            ),
            "is it the other way round?": -gap,
        }
        agree(
            f"{when} the gap",
            got[1],
            gap,
            known,
            "of two softmax probabilities, the ln",
        )


# Mixup


@checker
def mixup(solve, *, seed=0):
    """``solve(x, y, n_classes, lam, rng)``: mixed rows and mixed targets."""
    rng = np.random.default_rng(seed)
    n, k, lam = 12, 4, 0.7
    x, y = np.eye(n), rng.permutation(np.arange(n) % k)
    orders = []
    for draw in range(4):
        given_x, given_y = x.copy(), y.copy()
        own = np.random.default_rng([seed, draw])
        got = unpack(call(solve, given_x, given_y, k, lam, own), ["x", "targets"])
        if not np.array_equal(given_x, x) or not np.array_equal(given_y, y):
            raise Wrong(
                "your code changes x or y, which are used again in later epochs"
            )
        mixed, targets = got
        check_array(mixed, like=x, when="x:")
        if isinstance(targets, np.ndarray) and targets.shape == (n,):
            raise Wrong(
                "the targets have one number for each row: halfway between class 0 and "
                "class 2 is not class 1. Expected a row of n_classes probabilities"
            )
        check_array(targets, like=np.empty((n, k)), when="targets:")
        # Row i of x is the i-th unit vector, so the partner can be read off.
        rest = mixed - lam * x
        partner = rest.argmax(axis=1)
        if not np.allclose(rest, (1 - lam) * x[partner]):
            other = mixed - (1 - lam) * x
            hint = "row i is to be lam · x[i] + (1 - lam) · x[j]"
            if np.allclose(other, lam * x[other.argmax(axis=1)]):
                hint = "which of the two has the weight lam?"
            elif np.allclose(rest, 0):
                hint = "is the partner missing?"
            raise Wrong(f"x is not mixed as expected: {hint}")
        if (partner == np.arange(n)).all():
            raise Wrong("is each row mixed with itself? That leaves it as it is")
        if len(set(partner)) < n:
            raise Wrong("a row is the partner of several: is the order a permutation?")
        one_hot = np.eye(k)[y]
        right = lam * one_hot + (1 - lam) * one_hot[partner]
        if not np.allclose(targets, right):
            hint = "are rows and targets mixed in the same order?"
            if np.allclose(targets, (1 - lam) * one_hot + lam * one_hot[partner]):
                hint = "are the weights of the targets exchanged?"
            elif np.allclose(targets, one_hot):
                hint = "are the targets mixed as well?"
            elif not np.allclose(targets.sum(axis=1), 1):
                hint = "a row of targets does not sum to 1"
            raise Wrong(f"the targets do not belong to the rows: {hint}")
        orders.append(tuple(partner))
    if len(set(orders)) == 1:
        raise Wrong("the partners are the same in every call: does rng choose them?")
