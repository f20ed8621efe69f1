"""Checkers of the chapter practice/distributed."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from answers import fails, passes

from dropnorm.checks import practice as P

# accumulate


def labeled(y):
    return (y != -100).sum()


def all_labeled(batches, y):
    return sum(labeled(y) for _, y in batches)


def accumulating(zero="before", loss="sum", divide=all_labeled):
    def answer(model, batches, optimizer):
        if zero == "before":
            optimizer.zero_grad()
        for x, y in batches:
            if zero == "inside":
                optimizer.zero_grad()
            value = F.cross_entropy(model(x), y, reduction=loss)
            (value / divide(batches, y)).backward()
            if zero == "steps":
                optimizer.step()
        optimizer.step()

    return answer


def all_at_once(model, batches, optimizer):
    x, y = (torch.cat(part) for part in zip(*batches, strict=True))
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    optimizer.step()


def weighted_means(model, batches, optimizer):
    optimizer.zero_grad()
    total = sum(int(labeled(y)) for _, y in batches)
    for x, y in batches:
        keep = y != -100
        if keep.any():
            share = keep.sum() / total
            (share * F.cross_entropy(model(x[keep]), y[keep])).backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("answer", [accumulating(), all_at_once, weighted_means])
def test_accumulate_accepts(answer):
    passes(P.accumulate, answer)


def one(batches, y):
    return 1


def by_rows(model, batches, optimizer):
    optimizer.zero_grad()
    total = sum(len(y) for _, y in batches)
    for x, y in batches:
        (len(y) / total * F.cross_entropy(model(x), y)).backward()
    optimizer.step()


WRONG_STEPS = {
    "the listing": (accumulating("inside", "mean", one), "of the last batch alone"),
    "sum of means": (accumulating("before", "mean", one), "are added up"),
    "mean of means": (
        accumulating("before", "mean", lambda batches, y: len(batches)),
        "worth more than one",
    ),
    "by rows": (by_rows, "labeled -100 are not in the loss|worth"),
    "divided by rows": (
        accumulating(divide=lambda batches, y: sum(len(y) for _, y in batches)),
        "by the number of rows, with those",
    ),
    "sum": (accumulating(divide=one), "is not divided by their number"),
    "by batches": (
        accumulating(divide=lambda batches, y: len(batches)),
        "by the number of batches|are added up",
    ),
    "old gradient": (accumulating(zero=None), "from before the call"),
    "steps": (accumulating("steps"), "steps are made, expected one"),
    "no step": (lambda m, b, o: o.zero_grad(), "0 steps are made"),
    "raises": (lambda m, b, o: o.steps(), "AttributeError"),
}


@pytest.mark.parametrize("name", WRONG_STEPS)
def test_accumulate_names_what_is_wrong(name):
    answer, words = WRONG_STEPS[name]
    fails(P.accumulate, answer, words=words)


def test_accumulate_names_a_mean_without_labels():
    """Right for all batches that have labels."""

    def answer(model, batches, optimizer):
        optimizer.zero_grad()
        total = sum(labeled(y) for _, y in batches)
        for x, y in batches:
            mask = (y != -100) / labeled(y)
            chosen = model(x).log_softmax(1)[torch.arange(len(y)), y.clamp(min=0)]
            (-labeled(y) / total * (mask * chosen).sum()).backward()
        optimizer.step()

    fails(P.accumulate, answer, words="the mean loss of a batch without labels")


# streams


def by_sequence(seed, epoch, rank, worker):
    return np.random.default_rng([seed, epoch, rank, worker])


def by_seed_sequence(seed, epoch, rank, worker):
    sequence = np.random.SeedSequence(seed, spawn_key=(epoch, rank, worker))
    return np.random.Generator(np.random.PCG64(sequence))


def by_text(seed, epoch, rank, worker):
    text = f"{seed} {epoch} {rank} {worker}".encode()
    return np.random.default_rng(int.from_bytes(text, "big"))


@pytest.mark.parametrize("answer", [by_sequence, by_seed_sequence, by_text])
def test_streams_accepts(answer):
    passes(P.streams, answer)


def added(*factors):
    def answer(*numbers):
        total = sum(f * n for f, n in zip(factors, numbers, strict=True))
        return np.random.default_rng(total)

    return answer


counter = itertools.count()

WRONG_STREAMS = {
    "the listing": (added(1, 1, 10, 1), "the same sum"),
    "wider": (added(1, 1, 100, 1), "the same sum"),
    "far apart": (added(1, 1000, 10, 1), "the same sum"),
    "no worker": (
        lambda s, e, r, w: np.random.default_rng([s, e, r]),
        "does the worker count",
    ),
    "no epoch": (
        lambda s, e, r, w: np.random.default_rng([s, r, w]),
        "does the epoch count",
    ),
    "no rank": (
        lambda s, e, r, w: np.random.default_rng([s, e, w]),
        "does the rank count",
    ),
    "product": (
        lambda s, e, r, w: np.random.default_rng([s, e, r * w]),
        "in every case|the same sum",
    ),
    "fresh": (
        lambda s, e, r, w: np.random.default_rng([s, e, r, w, next(counter)]),
        "called twice",
    ),
    "unseeded": (lambda *numbers: np.random.default_rng(), "called twice"),
    "a number": (lambda s, e, r, w: s + e, "expected a np.random.Generator"),
    "raises": (lambda s, e, r, w: s[0], "TypeError"),
}


@pytest.mark.parametrize("name", WRONG_STREAMS)
def test_streams_names_what_is_wrong(name):
    answer, words = WRONG_STREAMS[name]
    fails(P.streams, answer, words=words)


# accuracy


def by_dict(reports, n):
    right = {}
    for indices, correct in reports:
        right.update(zip(indices, correct, strict=True))
    if set(right) != set(range(n)):
        raise ValueError("examples are missing")
    return sum(map(bool, right.values())) / n


def by_unique(reports, n):
    indices, correct = (np.concatenate(part) for part in zip(*reports, strict=True))
    found, first = np.unique(indices, return_index=True)
    if len(found) < n:
        raise ValueError
    return correct[first].mean()


@pytest.mark.parametrize("answer", [by_dict, by_unique])
def test_accuracy_accepts(answer):
    passes(P.accuracy, answer)


def joined(reports):
    return np.concatenate([correct for _, correct in reports])


def unchecked(reports, n):
    right = {}
    for indices, correct in reports:
        right.update(zip(indices, correct, strict=True))
    return sum(map(bool, right.values())) / len(right)


def asserting(reports, n):
    assert len({i for indices, _ in reports for i in indices}) == n
    return unchecked(reports, n)


WRONG_ACCURACIES = {
    "the listing": (
        lambda reports, n: np.mean([correct.mean() for _, correct in reports]),
        "the mean of the processes' accuracies",
    ),
    "all": (lambda reports, n: joined(reports).mean(), "counted twice"),
    "over n": (lambda reports, n: joined(reports).sum() / n, "among the hits"),
    "per cent": (lambda reports, n: 100 * unchecked(reports, n), "in per cent"),
    "unchecked": (unchecked, "expected a ValueError"),
    "other error": (asserting, "AssertionError, expected ValueError"),
    "counts": (lambda reports, n: joined(reports), "expected a number"),
    "raises": (lambda reports, n: reports.mean(), "AttributeError"),
}


@pytest.mark.parametrize("name", WRONG_ACCURACIES)
def test_accuracy_names_what_is_wrong(name):
    answer, words = WRONG_ACCURACIES[name]
    fails(P.accuracy, answer, words=words)


# shards


def backward(n="all", sums="all", stats="all", params="own", scale=True, mean=False):
    def answer(xs, dys, gamma, eps):
        whole = np.concatenate(xs)

        def hat_of(x):
            base = whole if stats == "all" else x
            s = np.sqrt(base.var(axis=0) + eps)
            return (x - base.mean(axis=0)) / s, s

        hats = [hat_of(x) for x in xs]
        own = [
            ((dy * hat).sum(axis=0), dy.sum(axis=0))
            for dy, (hat, _) in zip(dys, hats, strict=True)
        ]
        total = tuple(sum(part) for part in zip(*own, strict=True))
        result = []
        for dy, (hat, s), mine in zip(dys, hats, own, strict=True):
            m = len(whole) if n == "all" else len(dy)
            dgamma, dbeta = total if sums == "all" else mine
            dx = (m * dy - dbeta - hat * dgamma) / (m * s)
            if sums == "none":
                dx = dy / s
            given = mine if params == "own" else total
            if mean:
                given = tuple(part / len(dy) for part in given)
            result.append((gamma * dx if scale else dx, *given))
        return result

    return answer


def by_autograd(xs, dys, gamma, eps):
    x = [torch.tensor(part, requires_grad=True) for part in xs]
    scale = [torch.tensor(gamma, requires_grad=True) for _ in xs]
    shift = [torch.zeros(len(gamma), dtype=x[0].dtype, requires_grad=True) for _ in xs]
    whole = torch.cat(x)
    s = (whole.var(0, correction=0) + eps).sqrt()
    loss = sum(
        ((a * (part - whole.mean(0)) / s + b) * torch.tensor(dy)).sum()
        for part, dy, a, b in zip(x, dys, scale, shift, strict=True)
    )
    loss.backward()
    triples = zip(x, scale, shift, strict=True)
    return [tuple(v.grad.numpy() for v in triple) for triple in triples]


@pytest.mark.parametrize("answer", [backward(), by_autograd])
def test_shards_accepts(answer):
    passes(P.shards, answer)


def in_place(xs, dys, gamma, eps):
    xs[0] -= 1
    return backward()(xs, dys, gamma, eps)


WRONG_SHARDS = {
    "own sums": (backward(n="own", sums="own"), "those of the own shard"),
    "own sums, all examples": (backward(sums="own"), "divided by all examples"),
    "constants": (backward(sums="none"), "are mean and variance constants"),
    "own n": (backward(n="own"), "and n is that of one"),
    "own statistics": (
        backward(n="own", sums="own", stats="own"),
        "by its own mean and variance",
    ),
    "no gamma": (backward(scale=False), "is γ in it"),
    "all sums": (backward(params="all"), "is that the sum of all shards"),
    "means": (backward(mean=True), "is it averaged"),
    "in place": (in_place, "changes the arrays"),
    "one": (lambda *a: backward()(*a)[0][:1], "one triple for each shard"),
    "dx alone": (
        lambda *a: [triple[0] for triple in backward()(*a)],
        "dx, dgamma and dbeta",
    ),
    "keepdims": (
        lambda *a: [(dx, g[None], b) for dx, g, b in backward()(*a)],
        "has shape",
    ),
    "raises": (lambda *a: a[9], "IndexError"),
}


@pytest.mark.parametrize("name", WRONG_SHARDS)
def test_shards_names_what_is_wrong(name):
    answer, words = WRONG_SHARDS[name]
    fails(P.shards, answer, words=words)
