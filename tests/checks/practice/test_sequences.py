"""Checkers of the chapter practice/sequences."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from answers import fails, passes
from torch import nn

from dropnorm.checks import practice as P

# step_norm


def step_class(make="own", last=True, start=0.1, share="common", shown=True):
    class Steps(nn.Module):
        def __init__(self, features, steps):
            super().__init__()

            def norm():
                layer = nn.BatchNorm1d(features, affine=share == "own")
                if share == "own":
                    nn.init.constant_(layer.weight, start)
                return layer

            norms = [norm() for _ in range(steps)]
            if make == "same":
                norms = [norm()] * steps
            self.norms = nn.ModuleList(norms)
            if share == "common":
                gamma, beta = torch.full((features,), start), torch.zeros(features)
                self.gamma = nn.Parameter(gamma) if shown else gamma
                self.beta = nn.Parameter(beta) if shown else beta

        def forward(self, x, t):
            t = min(t, len(self.norms) - 1) if last else t % len(self.norms)
            y = self.norms[t](x)
            return self.gamma * y + self.beta if share == "common" else y

    return Steps


class ByHand(nn.Module):
    def __init__(self, features, steps):
        super().__init__()
        self.weight = nn.Parameter(0.1 * torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("means", torch.zeros(steps, features))
        self.register_buffer("variances", torch.ones(steps, features))

    def forward(self, x, t):
        t = min(t, len(self.means) - 1)
        buffers = self.means[t], self.variances[t]
        affine = self.weight, self.bias
        return F.batch_norm(x, *buffers, *affine, self.training)


class Listing(nn.Module):
    def __init__(self, features, steps):
        super().__init__()
        self.norms = nn.ModuleList([nn.BatchNorm1d(features)] * steps)

    def forward(self, x, t):
        return self.norms[t](x)


class Comprehension(Listing):
    def __init__(self, features, steps):
        super().__init__(features, steps)
        norms = (nn.BatchNorm1d(features) for _ in range(steps))
        self.norms = nn.ModuleList(norms)


class Crashes(step_class()):
    def forward(self, x, t):
        return self.gamma * self.norms[t](x) + self.beta


@pytest.mark.parametrize("answer", [step_class(), ByHand])
def test_step_norm_accepts(answer):
    passes(P.step_norm, answer, seeds=range(3))


WRONG_STEPS = {
    "the listing": (Listing, "γ is to start at 0.1"),
    "comprehension": (Comprehension, "They are common to all"),
    "own gammas": (step_class(share="own"), "They are common to all"),
    "same object": (step_class("same"), "all norms in the list one object"),
    "modulo": (step_class(last=False), "expected the last step's statistics"),
    "crashes": (Crashes, "IndexError"),
    "starts at 1": (step_class(start=1.0), "γ is to start at 0.1"),
    "plain tensors": (step_class(shown=False), "are they in the state_dict"),
    "no module": (lambda f, s: [f, s], "returns a module"),
}


@pytest.mark.parametrize("name", WRONG_STEPS)
def test_step_norm_names_what_is_wrong(name):
    answer, words = WRONG_STEPS[name]
    fails(P.step_norm, answer, words=words, seeds=range(2))


# summary


def mask(h, lengths, more=0):
    return (torch.arange(h.shape[1]) < lengths[:, None] + more)[..., None]


def summarizing(
    last=lambda h, n: h[torch.arange(len(h)), n - 1],
    mean=lambda h, n: h.where(mask(h, n), 0.0).sum(1) / n[:, None],
    top=lambda h, n: h.where(mask(h, n), -torch.inf).amax(1),
):
    return lambda h, n: torch.cat([last(h, n), mean(h, n), top(h, n)], dim=1)


def by_loop(h, lengths):
    rows = []
    for states, n in zip(h, lengths.tolist(), strict=True):
        own = states[:n]
        rows.append(torch.cat([own[-1], own.mean(0), own.max(0).values]))
    return torch.stack(rows)


@pytest.mark.parametrize("answer", [summarizing(), by_loop])
def test_summary_accepts(answer):
    passes(P.summary, answer)


def zeroed(h, n):
    return h * mask(h, n)


def listing(h, n):
    h = zeroed(h, n)
    return torch.cat([h[:, -1], h.mean(1), h.amax(1)], dim=1)


def in_place(h, n):
    h *= mask(h, n)
    return summarizing()(h, n)


WRONG_SUMMARIES = {
    "the listing": (listing, "is step T - 1 zero because you made it so"),
    "last of all": (summarizing(last=lambda h, n: h[:, -1]), "stands at step T - 1"),
    "one too late": (
        summarizing(
            last=lambda h, n: h[torch.arange(len(h)), n.clamp(max=h.shape[1] - 1)]
        ),
        "steps count from 0",
    ),
    "mean over T": (
        summarizing(mean=lambda h, n: zeroed(h, n).mean(1)),
        "by how many steps",
    ),
    "mean of all": (
        summarizing(mean=lambda h, n: h.mean(1)),
        "does the padding enter the sum",
    ),
    "sum of all": (
        summarizing(mean=lambda h, n: h.sum(1) / n[:, None]),
        "Only the divisor knows",
    ),
    "max with zeros": (
        summarizing(top=lambda h, n: zeroed(h, n).amax(1)),
        "does the 0 of the padding win",
    ),
    "max of all": (summarizing(top=lambda h, n: h.amax(1)), "does the padding take"),
    "in place": (in_place, "changes h"),
    "shape": (lambda h, n: h.mean(1), "expected (4, 9)"),
    "infinite": (
        summarizing(top=lambda h, n: h.where(mask(h, n, -9), -torch.inf).amax(1)),
        "it holds -inf",
    ),
    "raises": (lambda h, n: h[n, 99], "IndexError"),
}


@pytest.mark.parametrize("name", WRONG_SUMMARIES)
def test_summary_names_what_is_wrong(name):
    answer, words = WRONG_SUMMARIES[name]
    fails(P.summary, answer, words=words, seeds=range(3))


# causal


def so_far(x, eps):
    z = x - x[:, :1]
    count = np.arange(1, x.shape[1] + 1)
    mean, square = np.cumsum(z, 1) / count, np.cumsum(z * z, 1) / count
    return (z - mean) / np.sqrt(square - mean**2 + eps)


def by_steps(x, eps, ddof=0, skip=0):
    y = np.zeros_like(x)
    for t in range(skip, x.shape[1]):
        past = x[:, : t + 1 - skip]
        n = past.shape[1]
        var = past.var(axis=1, ddof=ddof if n > ddof else 0)
        y[:, t] = (x[:, t] - past.mean(axis=1)) / np.sqrt(var + eps)
    return y


def welford(x, eps):
    y, mean, squares = np.empty_like(x), 0.0, 0.0
    for t in range(x.shape[1]):
        delta = x[:, t] - mean
        mean = mean + delta / (t + 1)
        squares = squares + delta * (x[:, t] - mean)
        y[:, t] = (x[:, t] - mean) / np.sqrt(squares / (t + 1) + eps)
    return y


@pytest.mark.parametrize("answer", [so_far, by_steps, welford])
def test_causal_accepts(answer):
    passes(P.causal, answer)


def one_pass(x, eps):
    count = np.arange(1, x.shape[1] + 1)
    mean, square = np.cumsum(x, 1) / count, np.cumsum(x * x, 1) / count
    return (x - mean) / np.sqrt(np.maximum(square - mean**2, 0) + eps)


WRONG_CAUSAL = {
    "one pass": (one_pass, "the difference of two large numbers"),
    "whole sequence": (
        lambda x, eps: (
            (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + eps)
        ),
        "those of the whole sequence",
    ),
    "per step": (
        lambda x, eps: (x - x.mean(0)) / np.sqrt(x.var(0) + eps),
        "of all sequences at this step",
    ),
    "without t": (lambda x, eps: by_steps(x, eps, skip=1), "is step t itself"),
    "unbiased": (lambda x, eps: by_steps(x, eps, ddof=1), "or by one less"),
    "mean only": (
        lambda x, eps: x - np.cumsum(x, 1) / np.arange(1, x.shape[1] + 1),
        "only the mean subtracted",
    ),
    "no eps": (lambda x, eps: by_steps(x, 0.0), "division|divide|nan|invalid"),
    "eps outside": (
        lambda x, eps: by_steps(x, 1e-9),
        "the mean and variance of x",
    ),
    "shape": (lambda x, eps: x[0], "has shape"),
    "in place": (lambda x, eps: by_steps(np.subtract(x, 1, out=x), eps), "its input x"),
    "raises": (lambda x, eps: x[9], "IndexError"),
}


@pytest.mark.parametrize("name", WRONG_CAUSAL)
def test_causal_names_what_is_wrong(name):
    answer, words = WRONG_CAUSAL[name]
    fails(P.causal, answer, words=words)


# reach


def reaching(
    seeded=True, copying=copy.deepcopy, change=None, transpose=False, mode=None
):
    def answer(layer, x):
        def run(x):
            if seeded:
                torch.manual_seed(0)
            twin = copying(layer)
            if mode is not None:
                twin.train(mode)
            with torch.no_grad():
                return twin(x)[0]

        base, found = run(x), []
        for s in range(x.shape[1]):
            other = x.clone()
            other[0, s] += torch.randn(x.shape[2]) if change is None else change
            found.append(((run(other) - base).abs() > 1e-9).any(1))
        found = torch.stack(found, dim=0 if transpose else 1)
        return found.numpy()

    return answer


def by_jacobian(layer, x):
    layer, x = copy.deepcopy(layer), x.clone()
    buffers = copy.deepcopy(layer.state_dict())

    def first(row):
        torch.manual_seed(1)
        layer.load_state_dict(buffers)
        return layer(torch.cat([row[None], x[1:]]))[0]

    jacobian = torch.autograd.functional.jacobian(first, x[0])
    return jacobian.abs().amax((1, 3)) > 1e-12


@pytest.mark.parametrize("answer", [reaching(), by_jacobian])
def test_reach_accepts(answer):
    passes(P.reach, answer, seeds=range(3))


def by_gradient_of_the_sum(layer, x):
    layer, found = copy.deepcopy(layer), []
    x = x.clone().requires_grad_()
    for t in range(x.shape[1]):
        torch.manual_seed(0)
        (dx,) = torch.autograd.grad(layer(x)[0, t].sum(), x)
        found.append(dx[0].abs().amax(1) > 1e-9)
    return torch.stack(found)


WRONG_REACH = {
    "not seeded": (reaching(seeded=False), "the same masks drawn"),
    "no copy": (reaching(copying=lambda layer: layer), "moves the running statistics"),
    "transposed": (reaching(transpose=True), "are they exchanged"),
    "a constant": (reaching(change=3.0), "for a layer norm: whether output 0"),
    "gradient of the sum": (by_gradient_of_the_sum, "for a layer norm"),
    "always evaluation": (reaching(mode=False), "in the mode in which it is given"),
    "always training": (reaching(mode=True), "in the mode in which it is given"),
    "numbers": (
        lambda layer, x: reaching()(layer, x).astype(float),
        "expected True and False",
    ),
    "shape": (lambda layer, x: np.eye(3, dtype=bool), "of shape (5, 5)"),
    "in place": (lambda layer, x: reaching()(layer, x.add_(1)), "changes x"),
    "raises": (lambda layer, x: layer.weights, "AttributeError"),
}


@pytest.mark.parametrize("name", WRONG_REACH)
def test_reach_names_what_is_wrong(name):
    answer, words = WRONG_REACH[name]
    fails(P.reach, answer, words=words, seeds=range(2))
