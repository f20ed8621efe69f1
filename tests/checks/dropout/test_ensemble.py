"""Exercises on dropout as an ensemble: right answers pass, wrong ones are named."""

import copy
import itertools

import numpy as np
import pytest
import torch
from answers import fails, passes
from scipy.special import entr, expit
from torch import nn

from dropnorm import checks
from dropnorm.nn import monte_carlo_dropout

# mask_counts

RIGHT = {"layer": 200, "per batch": 10, "once": 1, "seeded": 20}


def test_mask_counts_accepts():
    passes(checks.dropout.mask_counts, RIGHT)
    passes(checks.dropout.mask_counts, {k: np.float64(v) for k, v in RIGHT.items()})


def test_the_programs_use_so_many_masks():
    batches, seen = torch.ones(10, 20, 100), {name: [] for name in RIGHT}
    torch.manual_seed(0)
    once = torch.rand(100) >= 0.5
    for h in batches:
        seen["layer"].append(nn.Dropout(0.5)(h))
        seen["per batch"].append(h * (torch.rand(100) >= 0.5) / 0.5)
        seen["once"].append(h * once / 0.5)
    for h in batches:
        torch.manual_seed(0)
        seen["seeded"].append(nn.Dropout(0.5)(h))
    counts = {k: len(torch.cat(v).ne(0).unique(dim=0)) for k, v in seen.items()}
    assert counts == RIGHT


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("layer", 10, "do the examples of a batch share a mask"),
        ("layer", 1, "when does nn.Dropout draw"),
        ("layer", 20_000, "that counts coins"),
        ("layer", 7, "count the calls that draw"),
        ("per batch", 200, "which shape does the mask have"),
        ("per batch", 1, "is the line inside the loop"),
        ("once", 10, "is the line inside the loop"),
        ("once", 200, "is the line inside the loop"),
        ("once", 20, "which shape does the mask have"),
        ("seeded", 200, "what does manual_seed do"),
        ("seeded", 1, "are the rows of the mask, too"),
        ("seeded", 10, "which batches have the same masks"),
        ("seeded", "20", "expected a number"),
        ("seeded", None, "no prediction yet for seeded"),
        ("seeded", [20], "expected a number"),
    ],
)
def test_mask_counts_names_what_is_wrong(name, value, words):
    fails(checks.dropout.mask_counts, RIGHT | {name: value}, words=words)


def test_mask_counts_of_other_things():
    fails(checks.dropout.mask_counts, [200, 10, 1, 20], words="expected a dict")
    blank = dict.fromkeys(RIGHT)
    assert checks.dropout.mask_counts(blank).status == "not attempted"


# two_means


def means(
    *,
    keep=lambda p: 1 - p,
    scale=lambda p: 1 / (1 - p),
    weigh=True,
    geometric=None,
    swap=False,
):
    def answer(w, b, x, p):
        r = np.array(list(itertools.product([0, 1], repeat=len(x))))
        P = expit(b + (r * scale(p) * x) @ w)
        pi = (keep(p) ** r * (1 - keep(p)) ** (1 - r)).prod(axis=1)
        pi = pi if weigh else np.full(len(r), 1 / len(r))
        one, zero = np.prod(P**pi), np.prod((1 - P) ** pi)
        second = geometric(P, pi, one, zero) if geometric else one / (one + zero)
        result = pi @ P, second
        return result[::-1] if swap else result

    return answer


def in_one_pass(w, b, x, p):
    total = sum(
        np.prod(np.where(r, 1 - p, p)) * expit(b + w @ (np.array(r) * x) / (1 - p))
        for r in itertools.product([False, True], repeat=len(x))
    )
    return [total, expit(w @ x + b)]


@pytest.mark.parametrize("answer", [means(), in_one_pass])
def test_two_means_accepts(answer):
    passes(checks.dropout.two_means, answer)


WRONG_MEANS = {
    "equal weights": (means(weigh=False), "are all masks counted alike"),
    "unscaled": (means(scale=lambda p: 1), "are kept inputs divided by 1 - p"),
    "exchanged": (
        means(keep=lambda p: p, scale=lambda p: 1 / p),
        "keeping and dropping are exchanged",
    ),
    "weights exchanged": (
        means(keep=lambda p: p),
        "are the probabilities of keeping and dropping exchanged",
    ),
    "swapped": (means(swap=True), "that is the geometric mean"),
    "one pass twice": (
        lambda w, b, x, p: (expit(w @ x + b),) * 2,
        "that is the geometric mean",
    ),
    "arithmetic twice": (
        means(geometric=lambda P, pi, one, zero: pi @ P),
        "that is the arithmetic mean",
    ),
    "not normalized": (
        means(geometric=lambda P, pi, one, zero: one),
        "is it divided by the sum of both classes'",
    ),
    "half normalized": (
        means(geometric=lambda P, pi, one, zero: one / (one + pi @ (1 - P))),
        "in place of multiplied",
    ),
    "nonsense": (lambda w, b, x, p: (0.123, 0.1), "over all 2ⁿ masks"),
    "one number": (lambda w, b, x, p: 0.5, "arithmetic, geometric, got one"),
    "arrays": (lambda w, b, x, p: (w, x), "expected a number"),
    "in place": (lambda w, b, x, p: (x.fill(0), 1), "changes its input x"),
    "raises": (lambda w, b, x, p: w @ x @ b, "raised"),
}


@pytest.mark.parametrize("name", WRONG_MEANS)
def test_two_means_names_what_is_wrong(name):
    answer, words = WRONG_MEANS[name]
    fails(checks.dropout.two_means, answer, words=words)


# mc_predict


def predict(
    *,
    switch=lambda model: None,
    restore=True,
    grad=False,
    combine=lambda logits: logits.softmax(dim=2).mean(dim=0),
):
    """Right unless something is chosen."""

    def answer(model, x, n_passes):
        before = [(module, module.training) for module in model.modules()]
        model.eval()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.train()
        switch(model)
        with torch.set_grad_enabled(grad):
            logits = torch.stack([model(x) for _ in range(n_passes)])
        if callable(restore):
            restore(model)
        elif restore:
            for module, training in before:
                module.training = training
        return combine(logits)

    return answer


def with_the_package(model, x, n_passes):
    with monte_carlo_dropout(model), torch.no_grad():
        return sum(model(x).softmax(1) for _ in range(n_passes)) / n_passes


def in_one_batch(model, x, n_passes):
    modes = {name: m.training for name, m in model.named_modules()}
    for m in model.modules():
        m.training = isinstance(m, nn.Dropout)
    with torch.inference_mode():
        P = model(x.repeat(n_passes, 1)).softmax(dim=-1)
    for name, m in model.named_modules():
        m.training = modes[name]
    return P.view(n_passes, len(x), -1).mean(dim=0)


def on_a_copy(model, x, n_passes):
    """What happens to a copy leaves the model's modes as they are."""
    model = copy.deepcopy(model).eval()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.train()
    with torch.no_grad():
        return sum(model(x).softmax(dim=1) for _ in range(n_passes)) / n_passes


@pytest.mark.parametrize(
    "answer", [predict(), with_the_package, in_one_batch, on_a_copy]
)
def test_mc_predict_accepts(answer):
    passes(checks.dropout.mc_predict, answer)


def all_in_training(model, x, n_passes):
    model.train()
    with torch.no_grad():
        P = torch.stack([model(x).softmax(dim=1) for _ in range(n_passes)])
    model.eval()
    return P.mean(dim=0)


def batch_statistics(model, x, n_passes):
    """All in training mode, and put back afterwards, batch norm's buffers too."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    model.train()
    with torch.no_grad():
        P = torch.stack([model(x).softmax(dim=1) for _ in range(n_passes)])
        for buffer, saved in buffers:
            buffer.copy_(saved)
    for module, training in modes:
        module.training = training
    return P.mean(dim=0)


def outer_dropout_only(model):
    model.eval()
    for module in model.children():
        if isinstance(module, nn.Dropout):
            module.train()


def off_for_good(model, x, n_passes):
    torch.set_grad_enabled(False)
    return predict()(model, x, n_passes)


def in_place(model, x, n_passes):
    x *= 2
    return predict()(model, x / 2, n_passes)


WRONG_PREDICT = {
    "model.train()": (all_in_training, "which modules does model.train() reach"),
    "eval in the end": (
        predict(restore=lambda model: model.eval()),
        "in other modes afterwards",
    ),
    "train in the end": (
        predict(restore=lambda model: model.train()),
        "in other modes afterwards",
    ),
    "not restored": (predict(restore=False), "in other modes afterwards"),
    "eval": (predict(switch=lambda model: model.eval()), "nothing is dropped"),
    "outer dropout only": (
        predict(switch=outer_dropout_only),
        "are those inside other modules found",
    ),
    "batch statistics": (batch_statistics, "mixes the examples"),
    "mean of logits": (
        predict(combine=lambda z: z.mean(dim=0).softmax(dim=1)),
        "the logits are averaged, and then the softmax",
    ),
    "logits": (predict(combine=lambda z: z.mean(dim=0)), "is the softmax missing"),
    "sum": (predict(combine=lambda z: z.softmax(2).sum(0)), "a sum in place of a mean"),
    "softmax over passes": (
        predict(combine=lambda z: z.softmax(0).mean(0)),
        "is the softmax missing",
    ),
    "all passes": (predict(combine=lambda z: z.softmax(2)), "shape (400, 12, 3)"),
    "classes": (predict(combine=lambda z: z.mean(0).argmax(1)), "shape (12,)"),
    "array": (predict(combine=lambda z: z.softmax(2).mean(0).numpy()), "a ndarray"),
    "NaN": (predict(combine=lambda z: z.softmax(2).mean(0) * np.nan), "not finite"),
    "with gradients": (predict(grad=True), "autograd records"),
    "gradients off for good": (off_for_good, "gradients are switched off"),
    "the last pass": (
        predict(combine=lambda z: z[-1].softmax(dim=1)),
        "is it the mean over all passes",
    ),
    "one pass": (
        lambda model, x, n: predict()(model, x, 1),
        "the model sees 12 examples, expected 400 passes",
    ),
    "in place": (in_place, "changes its input x"),
    "raises": (lambda model, x, n: model(x.T), "RuntimeError"),
}


@pytest.mark.parametrize("name", WRONG_PREDICT)
def test_mc_predict_names_what_is_wrong(name):
    answer, words = WRONG_PREDICT[name]
    fails(checks.dropout.mc_predict, answer, words=words, seeds=range(4))
    assert torch.is_grad_enabled()


# uncertainty


def entropies(P):
    return entr(P.mean(axis=0)).sum(axis=1), entr(P).sum(axis=2).mean(axis=0)


def by_entr(P):
    total, each = entropies(P)
    return total, total - each


def by_masking(P):
    def entropy(P):
        log = np.log(np.where(P > 0, P, 1))
        return -(P * log).sum(axis=-1)

    H = entropy(P.mean(axis=0))
    return [H, H - np.mean([entropy(member) for member in P], axis=0)]


def by_small_number(P):
    """1e-300 under the logarithm is exact for all that is above it."""
    log = np.log(np.maximum(P, 1e-300))
    mean = P.mean(axis=0)
    H = -(mean * np.log(np.maximum(mean, 1e-300))).sum(axis=1)
    return H, (P * log).sum(axis=2).mean(axis=0) + H


def stacked(P):
    return np.stack(by_entr(P))


@pytest.mark.parametrize("answer", [by_entr, by_masking, by_small_number, stacked])
def test_uncertainty_accepts(answer):
    passes(checks.dropout.uncertainty, answer)


def plainly(P):
    mean = P.mean(axis=0)
    H = -(mean * np.log(mean)).sum(axis=1)
    return H, H + (P * np.log(P)).sum(axis=2).mean(axis=0)


def quietly(P):
    with np.errstate(all="ignore"):
        return plainly(P)


WRONG_UNCERTAINTY = {
    "0 log 0": (plainly, "what is 0 · log 0"),
    "0 log 0, quietly": (quietly, "What is 0 · log 0"),
    "mean of entropies": (
        lambda P: (entropies(P)[1], by_entr(P)[1]),
        "which is taken first, the mean or the entropy",
    ),
    "sign": (lambda P: (-by_entr(P)[0], by_entr(P)[1]), "its sign is reversed"),
    "bits": (lambda P: [v / np.log(2) for v in by_entr(P)], "that is in bits"),
    "normalized": (lambda P: [v / np.log(4) for v in by_entr(P)], "divided by log K"),
    "swapped": (lambda P: by_entr(P)[::-1], "entropy is wrong: that is the disagree"),
    "negative": (
        lambda P: (entropies(P)[0], -by_entr(P)[1]),
        "which of the two entropies is larger",
    ),
    "the second entropy": (entropies, "what is left of the whole"),
    "entropy twice": (lambda P: (entropies(P)[0],) * 2, "of the mean once more"),
    "variance": (
        lambda P: (entropies(P)[0], P.var(axis=0).sum(axis=1)),
        "that is the variance over members",
    ),
    "another": (lambda P: (P[0, :, 0], P[0, :, 0]), "is it -Σ P log P"),
    "another disagreement": (
        lambda P: (entropies(P)[0], P[0, :, 0]),
        "is it H(mean) - mean of H",
    ),
    "over examples": (lambda P: [v.mean() for v in by_entr(P)], "expected one NumPy"),
    "over members": (
        lambda P: (entr(P).sum(axis=2), entr(P).sum(axis=2)),
        "shape (6, 4), expected (4,)",
    ),
    "one": (lambda P: entropies(P)[0], "disagreement, got one"),
    "in place": (lambda P: by_entr(np.clip(P, 0.1, 1, out=P)), "changes its input P"),
}


@pytest.mark.parametrize("name", WRONG_UNCERTAINTY)
def test_uncertainty_names_what_is_wrong(name):
    answer, words = WRONG_UNCERTAINTY[name]
    fails(checks.dropout.uncertainty, answer, words=words)
