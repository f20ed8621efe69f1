"""Exercises of the chapter batchnorm/backward."""

import numpy as np
import torch

from dropnorm.checks.base import (
    Wrong,
    agree,
    call,
    check_array,
    checker,
    number,
    prediction_items,
    pure,
    unpack,
)
from dropnorm.layers import batchnorm_backward, batchnorm_forward

GRADIENTS = ["dx", "dgamma", "dbeta"]


@checker
def gradient_by_hand(predicted, *, seed=0):
    """``predicted``: dx for each of four dy, of four numbers each."""
    x_hat, gain = np.array([1.0, 1, -1, -1]), 2 / 4
    given = {
        "one": [1.0, 0, 0, 0],
        "all": [1.0, 1, 1, 1],
        "along": [1.0, 1, -1, -1],
        "pair": [1.0, -1, 0, 0],
    }
    for key, values in prediction_items(predicted, given):
        try:
            got = np.array(values, float)
        except (TypeError, ValueError):
            raise Wrong(f"{key!r}: expected four numbers") from None
        dy = np.array(given[key])
        check_array(got, like=dy, when=f"{key!r}:")
        mean, slope = dy.mean(), x_hat * (dy * x_hat).mean()
        known = {
            "are mean and variance taken for constants?": gain * dy,
            "does a gradient flow through the variance as well?": gain * (dy - mean),
            "does a gradient flow through the mean as well?": gain * (dy - slope),
            "is γ missing?": (dy - mean - slope) / 4,
            "is it divided by σ?": 2 * (dy - mean - slope),
            "is it divided by σ, and not by σ²?": 2 / 16 * (dy - mean - slope),
            "are the two sums divided by m?": gain
            * (dy - dy.sum() - x_hat * (dy * x_hat).sum()),
            "are the signs right?": -gain * (dy - mean - slope),
        }
        hint = "subtract from dy its mean, and its part along x̂"
        agree(f"{key!r}: dx", got, gain * (dy - mean - slope), known, hint)


def _batch(rng, m, features):
    """x, gamma, beta, dy, with nothing near a special value."""
    x = rng.standard_normal((m, features)) * rng.uniform(0.5, 2, features)
    gamma = rng.uniform(1.5, 3, features) * rng.choice([-1, 1], features)
    return (
        x + 1,
        gamma,
        rng.standard_normal(features),
        rng.uniform(1, 3, x.shape) * (rng.choice([-1.0, 1.0], x.shape)),
    )


@checker
def closed(backward, *, seed=0):
    """``backward(dy, x, gamma, eps)``: dx, dgamma, dbeta in training."""
    rng = np.random.default_rng(seed)
    for m, features in [(7, 4), (3, 5), (6, 6)]:
        x, gamma, beta, dy = _batch(rng, m, features)
        eps = float(rng.uniform(0.05, 0.2))
        when = f"on a batch of {m}, {features} features:"
        result = pure(backward, {"dy": dy, "x": x, "gamma": gamma}, eps, when=when)
        got = dict(zip(GRADIENTS, unpack(result, GRADIENTS), strict=True))
        _, cache = batchnorm_forward(x, gamma, beta, eps)
        right = dict(zip(GRADIENTS, batchnorm_backward(dy, cache), strict=True))
        for name, like in {"dx": x, "dgamma": gamma, "dbeta": gamma}.items():
            check_array(got[name], like=like, when=f"{when} {name}:")
        centered, var = x - x.mean(axis=0), x.var(axis=0)
        root = np.sqrt(var + eps)
        x_hat = centered / root
        known = {
            "is it the mean of dy, where the sum is due?": dy.mean(axis=0),
            "is x̂ in it? That is dγ": right["dgamma"],
            "is γ in it?": gamma * right["dbeta"],
        }
        what = f"{when} dbeta"
        agree(what, got["dbeta"], right["dbeta"], known, "β is added to every ŷ")
        known = {
            "is it x̂ that multiplies dy, or x?": (dy * x).sum(axis=0),
            "is it x̂ that multiplies dy, or x - μ?": (dy * centered).sum(axis=0),
            "is ε in x̂?": (dy * centered).sum(axis=0) / np.sqrt(var),
            "is it the mean, where the sum is due?": right["dgamma"] / m,
            "is it that of dy alone? γ multiplies x̂": right["dbeta"],
            "is γ in it?": gamma * right["dgamma"],
        }
        what = f"{when} dgamma"
        agree(what, got["dgamma"], right["dgamma"], known, "γ multiplies x̂")
        gain, mean, slope = gamma / root, dy.mean(axis=0), (dy * x_hat).mean(axis=0)
        known = {
            "are mean and variance taken for constants? They are functions of x": (
                gain * dy
            ),
            "the way through the variance is missing": gain * (dy - mean),
            "the way through the mean is missing": gain * (dy - x_hat * slope),
            "is γ missing?": (dy - mean - x_hat * slope) / root,
            "is the division by √(σ² + ε) missing?": (
                gamma * (dy - mean - x_hat * slope)
            ),
            "is it divided by the variance, in place of its root?": (
                gain / root * (dy - mean - x_hat * slope)
            ),
            "are the two sums divided by m?": gain
            * (dy - dy.sum(axis=0) - x_hat * m * slope),
            "is it divided by m once too often?": right["dx"] / m,
            "is it divided by m at all?": right["dx"] * m,
            "are the sums divided by m - 1? The variance has 1/m": gain
            * (dy - (mean + x_hat * slope) * m / (m - 1)),
            "has the term of the mean the right sign?": gain
            * (dy + mean - x_hat * slope),
            "has the term of the variance the right sign?": gain
            * (dy - mean + x_hat * slope),
            "is the last term's x̂ only centered, not divided by the root?": gain
            * (dy - mean - centered * slope),
            "is ε in all roots?": gamma
            / np.sqrt(var)
            * (dy - mean - centered / var * (dy * centered).mean(axis=0)),
            "does the last term lack its x̂?": gain * (dy - mean - slope),
        }
        hint = "three ways lead from x_i to the loss: by x̂_i, by μ and by σ²"
        agree(f"{when} dx", got["dx"], right["dx"], known, hint)


@checker
def evaluation(backward, *, seed=0):
    """``backward(dy, x, mean, var, gamma, eps)``: dx, dgamma, dbeta in evaluation."""
    rng = np.random.default_rng(seed)
    for m, features in [(6, 4), (1, 3)]:
        x, gamma, beta, dy = _batch(rng, m, features)
        mean, var = rng.standard_normal(features), rng.uniform(0.5, 3, features)
        eps = float(rng.uniform(0.05, 0.2))
        when = f"on a batch of {m}:"
        arrays = {"dy": dy, "x": x, "mean": mean, "var": var, "gamma": gamma}
        result = pure(backward, arrays, eps, when=when)
        got = dict(zip(GRADIENTS, unpack(result, GRADIENTS), strict=True))
        for name, like in {"dx": x, "dgamma": gamma, "dbeta": gamma}.items():
            check_array(got[name], like=like, when=f"{when} {name}:")
        x_hat = (x - mean) / np.sqrt(var + eps)
        batch_hat = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + eps)
        gain = gamma / np.sqrt(var + eps)
        known = {
            "is it the mean, where the sum is due?": dy.mean(axis=0),
            "is there a γ too many?": gamma * dy.sum(axis=0),
        }
        agree(f"{when} dbeta", got["dbeta"], dy.sum(axis=0), known, "β is added to ŷ")
        known = {
            "is it x̂ of the batch's statistics? Evaluation uses the running ones": (
                (dy * batch_hat).sum(axis=0)
            ),
            "is it the mean, where the sum is due?": (dy * x_hat).mean(axis=0),
            "is it x, or x̂, that γ multiplies?": (dy * x).sum(axis=0),
            "is γ a constant in evaluation? It still has a gradient": 0 * gamma,
        }
        right = (dy * x_hat).sum(axis=0)
        agree(f"{when} dgamma", got["dgamma"], right, known, "γ multiplies x̂")
        part = dy - dy.mean(axis=0)
        known = {
            "is that the formula of training? Which of its ways are left when mean and "
            "variance are constants?": gain
            * (part - x_hat * (dy * x_hat).mean(axis=0)),
            "is that the formula of training, with the batch's statistics?": gamma
            / np.sqrt(x.var(axis=0) + eps)
            * (part - batch_hat * (dy * batch_hat).mean(axis=0)),
            "does the running mean depend on x?": gain * part,
            "is it divided by the batch's deviation?": gamma
            * dy
            / np.sqrt(x.var(axis=0) + eps),
            "is γ missing?": dy / np.sqrt(var + eps),
            "is ε missing?": gamma * dy / np.sqrt(var),
            "is it divided by the variance, in place of its root?": gamma
            * dy
            / (var + eps),
        }
        hint = "with constants μ and σ² the layer is y = a x + b"
        agree(f"{when} dx", got["dx"], gain * dy, known, hint)


@checker
def along(solve, *, seed=0):
    """``solve(s, gamma, var, eps)``: Σ dx x̂, where s = Σ dy x̂."""
    rng = np.random.default_rng(seed)
    for _ in range(5):
        m = 6
        x, gamma, beta, dy = (a[:, 0] if a.ndim == 2 else a for a in _batch(rng, m, 1))
        var, eps = float(x.var()), float(rng.uniform(0.05, 1))
        x_hat = (x - x.mean()) / np.sqrt(var + eps)
        s, g = float((dy * x_hat).sum()), float(gamma[0])
        _, cache = batchnorm_forward(x[:, None], gamma, beta, eps)
        right = float((batchnorm_backward(dy[:, None], cache)[0][:, 0] * x_hat).sum())
        gain = g / np.sqrt(var + eps)
        what = f"for s = {s:.3f}, gamma = {g:.3f}, var = {var:.3f}, eps = {eps:.3f} it"
        got = number(call(solve, s, g, var, eps), what)
        known = {
            "that holds for ε = 0: what is the mean of x̂² otherwise?": 0.0,
            "are mean and variance taken for constants?": gain * s,
            "is γ missing?": right / g,
            "is the factor 1/√(σ² + ε) missing?": right * np.sqrt(var + eps),
            "is σ²/(σ² + ε) left, or the rest?": gain * s * var / (var + eps),
            "is it ε/σ² that is left, or ε/(σ² + ε)?": gain * s * eps / var,
            "is the sign right?": -right,
        }
        hint = "multiply the closed form by x̂ and sum. Σ x̂ = 0, and Σ x̂² = ?"
        agree(what, got, right, known, hint)


@checker
def graph(step, *, seed=0):
    """``step(x, weight, bias, running, momentum, eps)``, in PyTorch: y."""
    torch.manual_seed(seed)
    features, momentum, eps = 3, 0.3, 0.05
    running = {"mean": torch.zeros(features), "var": torch.ones(features)}
    mean, var = running["mean"].clone(), running["var"].clone()
    theirs = [mean, var]
    for t in range(3):
        x = torch.randn(8, features) * 2 + 1
        dy = torch.randn(8, features)
        weight, bias = torch.rand(features) + 1, torch.randn(features)
        leaves = [a.clone().requires_grad_() for a in (x, weight, bias)]
        when = f"in step {t + 1}"
        y = call(step, *leaves, running, momentum, eps, when=when)
        if not isinstance(y, torch.Tensor) or y.shape != x.shape:
            raise Wrong(f"{when} expected y, a tensor of shape (8, {features})")
        own = [a.clone().requires_grad_() for a in (x, weight, bias)]
        expected = torch.nn.functional.batch_norm(
            own[0], *theirs, own[1], own[2], True, momentum, eps
        )
        if not torch.allclose(y, expected, rtol=1e-4, atol=1e-5):
            biased = x.var(0) + eps
            words = "is the variance that normalizes divided by m - 1?"
            known = {words: weight * (x - x.mean(0)) / biased.sqrt() + bias}
            fits = torch.allclose(y, known[words], rtol=1e-4, atol=1e-5)
            hint = words if fits else "what comes out was right before: what changed?"
            raise Wrong(f"{when} y is not that of F.batch_norm: {hint}")
        try:
            grads = torch.autograd.grad((y * dy).sum(), leaves, allow_unused=True)
        except RuntimeError as error:
            raise Wrong(f"{when} autograd says: {str(error).splitlines()[0]}") from None
        right = torch.autograd.grad((expected * dy).sum(), own)
        for name, a, b in zip(("x", "weight", "bias"), grads, right, strict=True):
            if a is None:
                raise Wrong(f"{when} no gradient reaches {name}: what cuts it off?")
            if not torch.allclose(a, b, rtol=1e-4, atol=1e-5):
                raise Wrong(
                    f"{when} the gradient of {name} is wrong: {_cut(a, x, dy, weight)}"
                )
        for name, value in zip(("mean", "var"), theirs, strict=True):
            kept = running.get(name)
            if not isinstance(kept, torch.Tensor) or kept.shape != value.shape:
                raise Wrong(f"{when} running[{name!r}] is {kept!r}")
            if kept.requires_grad:
                raise Wrong(
                    f"{when} running[{name!r}] keeps the graph of every batch so far, "
                    "and memory grows with every step: which values may the update "
                    "read without their history?"
                )
            if not torch.allclose(kept, value, rtol=1e-4, atol=1e-5):
                raise Wrong(
                    f"{when} running[{name!r}] is not that of F.batch_norm: is it "
                    "still updated, with weight `momentum` and the variance of m - 1?"
                )


def _cut(dx, x, dy, weight, eps=0.05):
    """Which way back is missing."""
    gain = weight / (x.var(0, correction=0) + eps).sqrt()
    x_hat = (x - x.mean(0)) * gain / weight
    slope = x_hat * (dy * x_hat).mean(0)
    known = {
        "mean and variance are cut out of the graph": gain * dy,
        "the variance is cut out of the graph": gain * (dy - dy.mean(0)),
        "the mean is cut out of the graph": gain * (dy - slope),
    }
    with torch.no_grad():
        for words, wrong in known.items():
            if torch.allclose(dx, wrong, rtol=1e-4, atol=1e-5):
                return words
    return "which part of x's influence does autograd not see?"


# The test of a backward pass


def _centered(cache):
    return cache[0][:, :, 0]  # (N, C, 1) in the package


def _by_stages(dy, cache):
    """The same gradients, one step of the forward pass after the other."""
    centered, inv_std, gamma = _centered(cache), cache[1], cache[2]
    m = len(dy)
    dx_hat = dy * gamma
    dvar = (dx_hat * centered).sum(axis=0) * -0.5 * inv_std**3
    dcentered = dx_hat * inv_std + dvar * 2 / m * centered
    dx = dcentered - dcentered.mean(axis=0)
    return dx, (dy * centered * inv_std).sum(axis=0), dy.sum(axis=0)


def _fault(change):
    """A backward pass with a fault: change(dx, dgamma, dbeta, dy, cache)."""

    def backward(dy, cache):
        return change(*batchnorm_backward(dy, cache), dy, cache)

    return backward


def _gain(cache):
    return cache[2] * cache[1]


def _x_hat(cache):
    return _centered(cache) * cache[1]


FAULTS = {
    "always returns dx = 0": _fault(lambda dx, dg, db, dy, c: (0 * dx, dg, db)),
    "takes mean and variance for constants": _fault(
        lambda dx, dg, db, dy, c: (_gain(c) * dy, dg, db)
    ),
    "forgets the way through the variance": _fault(
        lambda dx, dg, db, dy, c: (_gain(c) * (dy - dy.mean(axis=0)), dg, db)
    ),
    "forgets the way through the mean": _fault(
        lambda dx, dg, db, dy, c: (
            _gain(c) * (dy - _x_hat(c) * (dy * _x_hat(c)).mean(axis=0)),
            dg,
            db,
        )
    ),
    "forgets γ in dx": _fault(lambda dx, dg, db, dy, c: (dx / c[2], dg, db)),
    "divides dx by m once more": _fault(
        lambda dx, dg, db, dy, c: (dx / len(dx), dg, db)
    ),
    "returns dbeta for dgamma": _fault(lambda dx, dg, db, dy, c: (dx, db, db)),
    "averages dbeta": _fault(lambda dx, dg, db, dy, c: (dx, dg, db / len(dx))),
    "multiplies dgamma by γ": _fault(lambda dx, dg, db, dy, c: (dx, dg * c[2], db)),
    "is right for the first feature alone": _fault(
        lambda dx, dg, db, dy, c: (
            np.where(np.arange(dx.shape[1]) == 0, dx, _gain(c) * dy),
            dg,
            db,
        )
    ),
}


@checker
def gradient_test(is_right, *, seed=0):
    """``is_right(forward, backward, rng)``: whether these two fit each other."""

    def verdict(backward, run, what):
        rng = np.random.default_rng([seed, run])
        answer = call(is_right, batchnorm_forward, backward, rng, when=what)
        if not isinstance(answer, (bool, np.bool_)):
            raise Wrong(f"your test returned {answer!r}, expected True or False")
        return bool(answer)

    accepted = [
        verdict(backward, run, "on a right backward pass")
        for run in range(6)
        for backward in (batchnorm_backward, _by_stages)
    ]
    if not all(accepted):
        hint = "which step do the central differences take, and which error is allowed?"
        raise Wrong(
            f"your test rejects a right backward pass in {accepted.count(False)} of "
            f"{len(accepted)} runs: {hint}"
        )
    for fault, backward in FAULTS.items():
        passed = sum(verdict(backward, run, f"one that {fault}:") for run in range(3))
        if passed:
            raise Wrong(
                f"your test accepts a backward pass that {fault} (in {passed} of 3 "
                f"runs): {_question(fault)}"
            )


def _question(fault):
    known = {
        "dx": "for which dy is the right dx 0 as well?",
        "constants": "for which dy do the other terms vanish?",
        "mean": "is the mean of your dy 0?",
        "variance": "does your dy have a part along x̂?",
        "γ": "which γ makes that invisible?",
        "dbeta": "are dgamma and dbeta compared at all?",
        "feature": "are all columns compared?",
    }
    return next(words for part, words in known.items() if part in fault)
