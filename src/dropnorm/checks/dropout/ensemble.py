"""Exercises of the chapter dropout/ensemble."""

import itertools

import numpy as np
import torch
from scipy.special import expit, log_expit, xlogy
from torch import nn

from dropnorm.checks.base import (
    Wrong,
    call,
    check_array,
    checker,
    number,
    prediction_items,
    pure,
    recognize,
    unpack,
)


@checker
def mask_counts(predicted, *, seed=0):
    """``predicted`` maps the programs' names to their numbers of different masks."""
    batches, examples, units = 10, 20, 100
    every, one_batch = batches * examples, "do the examples of a batch share a mask?"
    slips = {
        "layer": (
            every,
            {
                batches: one_batch,
                1: "when does nn.Dropout draw?",
                every * units: "that counts coins: a mask has one for each unit",
            },
        ),
        "per batch": (
            batches,
            {
                every: "which shape does the mask have?",
                1: "is the line inside the loop?",
            },
        ),
        "once": (
            1,
            {
                batches: "is the line inside the loop?",
                every: "is the line inside the loop, and which shape has the mask?",
                examples: "which shape does the mask have?",
            },
        ),
        "seeded": (
            examples,
            {
                every: "what does manual_seed do to the numbers that follow?",
                1: "the seed is the same: are the rows of the mask, too?",
                batches: "which batches have the same masks?",
            },
        ),
    }
    for name, prediction in prediction_items(predicted, slips):
        truth, known = slips[name]
        value = number(prediction, name)
        if value != truth:
            question = known.get(value, "count the calls that draw, and what they draw")
            raise Wrong(f"{name}: {value:g} is not the number of masks: {question}")


@checker
def two_means(means, *, seed=0):
    """``means(w, b, x, p)``: arithmetic and normalized geometric mean, all masks."""
    rng = np.random.default_rng(seed)
    n = 5
    for p in rng.permutation([0.2, 0.3, 0.6]):
        # Of a moderate size, so that no probability is rounded to 1.
        w, x = (rng.uniform(0.5, 1, n) * rng.choice([-1, 1], n) for _ in "wx")
        b = rng.uniform(0.5, 1)
        when = f"at p = {p}"
        result = pure(means, {"w": w, "b": np.array(b), "x": x}, float(p), when=when)
        names = ["arithmetic", "geometric"]
        arithmetic, geometric = (
            number(value, f"{when} the {name} mean")
            for value, name in zip(unpack(result, names), names, strict=True)
        )
        r = np.array(list(itertools.product([0, 1], repeat=n)))

        def both(p, scale, weights=None, r=r, w=w, x=x, b=b):
            z = (r * scale * x) @ w + b
            pi = np.prod(np.where(r == 1, 1 - p, p), axis=1)
            pi = pi if weights is None else weights
            one, zero = np.exp(pi @ log_expit(z)), np.exp(pi @ log_expit(-z))
            return pi @ expit(z), one / (one + zero), one

        equal = np.full(len(r), 1 / len(r))
        right = both(p, 1 / (1 - p))
        variants = {
            "are all masks counted alike? A mask's probability depends on how many "
            "units it keeps": both(p, 1 / (1 - p), equal),
            "are kept inputs divided by 1 - p?": both(p, 1),
            "keeping and dropping are exchanged": both(1 - p, 1 / p),
            "are the probabilities of keeping and dropping exchanged?": (
                both(1 - p, 1 / (1 - p))
            ),
        }
        for i, (name, value) in enumerate(
            zip(names, (arithmetic, geometric), strict=True)
        ):
            if np.isclose(value, right[i]):
                continue
            known = {words: variant[i] for words, variant in variants.items()}
            other = names[1 - i]
            known[f"that is the {other} mean"] = right[1 - i]
            if name == "geometric":
                words = "is it divided by the sum of both classes' geometric means?"
                known[words] = right[2]
                known["is 1 - P averaged, in place of multiplied?"] = right[2] / (
                    right[2] + 1 - right[0]
                )
            hint = "is it taken over all 2ⁿ masks, each with its probability?"
            raise Wrong(
                f"{when} the {name} mean is {value:.4f}, expected {right[i]:.4f}: "
                + recognize(value, known, hint)
            )


@checker
def mc_predict(predict, *, seed=0):
    """``predict(model, x, n_passes)``: mean probabilities, dropout on, all else off."""
    rng = np.random.default_rng(seed)
    n, classes, passes = 12, 3, 400
    model = nn.Sequential(
        nn.Linear(4, 10),
        nn.BatchNorm1d(10),
        nn.ReLU(),
        nn.Dropout(0.6),
        nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Dropout(0.3)),
        nn.Linear(8, classes),
    ).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.from_numpy(rng.normal(size=parameter.shape)))
        model[1].running_mean.copy_(torch.from_numpy(rng.normal(size=10)))
        model[1].running_var.copy_(torch.from_numpy(rng.uniform(2, 4, 10)))
    modules = list(model.modules())
    x = rng.standard_normal((n, 4))

    # The oracle, once with the modes as they should be and once with all in training.
    def reference(*, everything):
        norm = [b.clone() for b in model.buffers()]
        for module in modules:
            module.training = everything or isinstance(module, nn.Dropout)
        with torch.no_grad():
            inputs = torch.from_numpy(x)
            logits = torch.stack([model(inputs) for _ in range(3 * passes)])
        for buffer, saved in zip(model.buffers(), norm, strict=True):
            buffer.copy_(saved)
        P = logits.softmax(dim=2)
        return P, logits.mean(dim=0).softmax(dim=1).numpy()

    P, of_mean_logits = reference(everything=False)
    mean, error = P.mean(dim=0).numpy(), P.std(dim=0).numpy()
    margin = 8 * error * np.sqrt(1 / passes + 1 / len(P)) + 1e-12
    model.eval()
    with torch.no_grad():
        without = model(torch.from_numpy(x)).softmax(dim=1).numpy()

    for start in ("all in training", "all in evaluation", "mixed"):
        model.train(start != "all in evaluation")
        if start == "mixed":
            model[1].eval()
            model[3].eval()
        modes = [module.training for module in modules]
        buffers = [buffer.clone() for buffer in model.buffers()]
        when = (
            f"with the model's modules {start} mode"
            if start != "mixed"
            else ("with some modules in training and some in evaluation mode")
        )
        result, rows, modes_inside = _watch(model, predict, x, passes, when)
        if any(
            not torch.equal(a, b) for a, b in zip(buffers, model.buffers(), strict=True)
        ):
            raise Wrong(
                f"{when} batch norm's running statistics have changed: which modules "
                "does model.train() reach?"
            )
        if [module.training for module in modules] != modes:
            raise Wrong(
                f"{when} the modules are in other modes afterwards: is each put back "
                "into the mode in which it was?"
            )
        if result.requires_grad:
            raise Wrong("autograd records all passes: what switches that off?")
        result = result.numpy()
        if not np.allclose(result.sum(axis=1), 1):
            raise Wrong(
                f"{when} an example's probabilities sum to {result[0].sum():.3f}: is "
                "the softmax missing, or a sum in place of a mean?"
            )
        if np.allclose(result, without):
            raise Wrong(f"{when} nothing is dropped: in which mode are the nn.Dropout?")
        for module, training in modes_inside:
            if isinstance(module, nn.Dropout) and not training:
                raise Wrong(
                    f"{when} a nn.Dropout drops nothing: are those inside other "
                    "modules found?"
                )
            if isinstance(module, nn.BatchNorm1d) and training:
                raise Wrong(
                    f"{when} batch norm is in training mode and mixes the examples"
                )
        if rows != passes * n:
            raise Wrong(
                f"{when} the model sees {rows} examples, expected {passes} passes over "
                f"{n}"
            )
        astray = abs(result - mean) > margin
        if not astray.any():
            continue
        if (abs(result - of_mean_logits) <= margin).all():
            raise Wrong(
                f"{when} the logits are averaged, and then the softmax taken: what is "
                "to be averaged?"
            )
        raise Wrong(
            f"{when} the mean probabilities are off by up to "
            f"{abs(result - mean).max():.3f}, more than chance explains: is it the "
            "mean over all passes?"
        )


def _watch(model, predict, x, passes, when):
    """The answer's tensor, how many rows it took, and modules with modes."""
    rows, modes = [], set()

    def look(module, args):
        modes.add((module, module.training))

    def count(module, args):
        rows.append(len(args[0]))

    # A copy of the model carries the hooks along.
    hooks = [module.register_forward_pre_hook(look) for module in model.modules()]
    hooks.append(model[0].register_forward_pre_hook(count))
    given = torch.from_numpy(x.copy())
    try:
        result = call(predict, model, given, passes, when=when)
        grad = torch.is_grad_enabled()
    finally:
        for hook in hooks:
            hook.remove()
        torch.set_grad_enabled(True)
    if not grad:
        raise Wrong("afterwards gradients are switched off: is that undone?")
    if not np.array_equal(given.numpy(), x):
        raise Wrong("your code changes its input x")
    if not isinstance(result, torch.Tensor):
        raise Wrong(f"the result is a {type(result).__name__}, expected a tensor")
    if tuple(result.shape) != (len(x), 3):
        raise Wrong(
            f"the result has shape {tuple(result.shape)}, expected ({len(x)}, 3): one "
            "row of probabilities for each example"
        )
    if not torch.isfinite(result).all():
        raise Wrong("the result holds values that are not finite")
    return result, sum(rows), modes


@checker
def uncertainty(split, *, seed=0):
    """``split(P)``: entropy of the mean and mutual information, P (members, N, K)."""
    rng = np.random.default_rng(seed)
    P = rng.dirichlet([0.4] * 4, size=(6, 5))
    P[:, 0] = P[0, 0]  # all members agree
    P[:, 1] = np.eye(4)[rng.permutation(6) % 4]  # each is certain, of different classes
    for when, some in (("", P[:, [0, 2, 3, 4]]), ("where a probability is 0,", P)):
        try:
            result = pure(split, {"P": some}, when=when)
        except Wrong as wrong:
            if when and "Warning" in str(wrong):
                raise Wrong(f"{wrong}: what is 0 · log 0 in an entropy?") from None
            raise
        H, disagreement = unpack(result, ["entropy", "disagreement"])
        total = -xlogy(some.mean(axis=0), some.mean(axis=0)).sum(axis=-1)
        each = -xlogy(some, some).sum(axis=-1).mean(axis=0)
        for name, value in (("entropy", H), ("disagreement", disagreement)):
            try:
                check_array(value, like=total, when=f"{when} {name}:".strip())
            except Wrong as wrong:
                if "nan" in str(wrong):
                    raise Wrong(f"{wrong} What is 0 · log 0 in an entropy?") from None
                raise
        known = {
            "that is the mean of the members' entropies: which is taken first, the "
            "mean or the entropy?": each,
            "its sign is reversed": -total,
            "that is in bits, expected the natural logarithm": total / np.log(2),
            "that is the disagreement": total - each,
            "that is divided by log K, the largest possible entropy": total / np.log(4),
        }
        if not np.allclose(H, total):
            words = recognize(H, known, "is it -Σ P log P of the members' mean?")
            raise Wrong(f"{when} the entropy is wrong: {words}".strip())
        known = {
            "its sign is reversed: which of the two entropies is larger?": each - total,
            "that is the members' mean entropy: what is left of the whole?": each,
            "that is the entropy of the mean once more": total,
            "that is the variance over members, summed over classes": (
                some.var(axis=0).sum(axis=-1)
            ),
        }
        if not np.allclose(disagreement, total - each):
            words = recognize(disagreement, known, "is it H(mean) - mean of H?")
            raise Wrong(f"{when} the disagreement is wrong: {words}".strip())
