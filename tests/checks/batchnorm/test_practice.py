"""Exercises on practice: right answers pass, wrong ones are named."""

import numpy as np
import pytest
import torch
from answers import fails, passes
from torch import nn

from dropnorm import checks, layers
from dropnorm.checks.batchnorm.practice import DEPEND, INDEPENDENT

B = checks.batchnorm

# fold


def fold(weight, bias, mean, var, gamma, beta, eps):
    s = gamma / np.sqrt(var + eps)
    b = 0 if bias is None else bias
    return (weight.T * s).T, s * (b - mean) + beta


def fold_by_einsum(weight, bias, mean, var, gamma, beta, eps):
    s = gamma * (var + eps) ** -0.5
    shift = beta - mean * s
    if bias is not None:
        shift = shift + bias * s
    return [np.einsum("o,o...->o...", s, weight), shift]


def fold_by_torch(weight, bias, mean, var, gamma, beta, eps):
    args = [None if a is None else torch.from_numpy(a) for a in (weight, bias)]
    rest = [torch.from_numpy(a) for a in (mean, var)]
    result = torch.nn.utils.fusion.fuse_conv_bn_weights(
        *args, *rest, eps, torch.from_numpy(gamma), torch.from_numpy(beta)
    )
    return tuple(a.detach().numpy() for a in result)


@pytest.mark.parametrize("answer", [fold, fold_by_einsum, fold_by_torch])
def test_fold_accepts(answer):
    passes(B.fold, answer)


def misfold(weight=None, bias=None):
    def answer(W, b, mean, var, gamma, beta, eps):
        w, c = fold(W, b, mean, var, gamma, beta, eps)
        s = gamma / np.sqrt(var + eps)
        old = np.zeros_like(mean) if b is None else b
        if weight:
            w = weight(W, s, var, gamma, eps)
        if bias:
            c = bias(old, s, mean, beta)
        return w, c

    return answer


def rows(W, s):
    return (W.T * s).T


WRONG_FOLDS = {
    "no gamma": (misfold(lambda W, s, v, g, e: rows(W, s / g)), "is γ missing"),
    "no eps": (
        misfold(lambda W, s, v, g, e: rows(W, g / np.sqrt(v))),
        "is ε missing",
    ),
    "variance": (
        misfold(lambda W, s, v, g, e: rows(W, g / (v + e))),
        "in place of its root",
    ),
    "unchanged": (misfold(lambda W, s, v, g, e: W.copy()), "is it unchanged"),
    "inputs": (misfold(lambda W, s, v, g, e: W * s), "or to the inputs"),
    "inputs of conv": (
        misfold(lambda W, s, v, g, e: rows(W, s) if W.ndim == 2 else W * s),
        "ValueError",
    ),
    "inputs of conv, axis 1": (
        misfold(
            lambda W, s, v, g, e: rows(W, s) if W.ndim == 2 else W * s[:, None, None]
        ),
        "or to the inputs",
    ),
    "other": (misfold(lambda W, s, v, g, e: 0 * W), "as W' x + b'"),
    "bias forgotten": (
        misfold(bias=lambda b, s, m, beta: beta - s * m),
        "own bias forgotten",
    ),
    "bias not scaled": (
        misfold(bias=lambda b, s, m, beta: b + beta - s * m),
        "own bias multiplied",
    ),
    "no mean": (
        misfold(bias=lambda b, s, m, beta: s * b + beta),
        "running mean forgotten",
    ),
    "mean not scaled": (
        misfold(bias=lambda b, s, m, beta: s * b - m + beta),
        "running mean multiplied",
    ),
    "no beta": (misfold(bias=lambda b, s, m, beta: s * (b - m)), "is β forgotten"),
    "beta scaled": (
        misfold(bias=lambda b, s, m, beta: s * (b - m + beta)),
        "is β multiplied",
    ),
    "sign": (
        misfold(bias=lambda b, s, m, beta: s * (b + m) + beta),
        "the mean the right sign",
    ),
    "beta alone": (misfold(bias=lambda b, s, m, beta: beta.copy()), "is it β alone"),
    "no None": (
        lambda W, b, *a: fold(W, b * 1.0, *a),
        "TypeError",
    ),
    "in place": (
        lambda W, b, *a: fold(W.__imul__(1.5) / 1.5, b, *a),
        "changes the weight or the bias",
    ),
    "statistics in place": (
        lambda W, b, mean, *a: fold(W, b, mean.__isub__(1) + 1, *a),
        "changes its input mean",
    ),
    "weight alone": (lambda *a: fold(*a)[0], "expected 2 things"),
    "NaN": (misfold(bias=lambda b, s, m, beta: b * np.nan), "holds nan"),
    "scalar": (misfold(bias=lambda b, s, m, beta: 0.0), "the bias: the result is"),
}


@pytest.mark.parametrize("name", WRONG_FOLDS)
def test_fold_names_what_is_wrong(name):
    answer, words = WRONG_FOLDS[name]
    fails(B.fold, answer, words=words)


# merged


def by_total_variance(counts, means, variances):
    q = (counts / counts.sum())[:, None]
    mean = (q * means).sum(axis=0)
    var = (q * variances).sum(axis=0) + (q * (means - mean) ** 2).sum(axis=0)
    return mean, var * counts.sum() / (counts.sum() - 1)


def one_by_one(counts, means, variances):
    n, mean, squares = 0, 0.0, 0.0
    for k, mu, var in zip(counts, means, variances, strict=True):
        d = mu - mean
        squares = squares + k * var + d**2 * n * k / (n + k)
        mean = mean + d * k / (n + k)
        n += k
    return mean, squares / (n - 1)


def with_einsum(counts, means, variances):
    n = counts.astype(float)
    mean = np.average(means, axis=0, weights=n)
    d = means - mean
    squares = np.einsum("k,kc->c", n, variances) + np.einsum("k,kc,kc->c", n, d, d)
    return [mean, squares / (n.sum() - 1)]


@pytest.mark.parametrize("answer", [by_total_variance, one_by_one, with_einsum])
def test_merged_accepts(answer):
    passes(B.merged, answer)


def mismerge(mean=None, var=None):
    def answer(counts, means, variances):
        n, total = counts[:, None], counts.sum()
        right = by_total_variance(counts, means, variances)
        return (
            mean(n, total, means) if mean else right[0],
            var(n, total, means, variances, right[0]) if var else right[1],
        )

    return answer


WRONG_MERGES = {
    "unweighted": (
        mismerge(mean=lambda n, t, mu: mu.mean(axis=0)),
        "do all batches weigh the same",
    ),
    "sum": (mismerge(mean=lambda n, t, mu: (n * mu).sum(axis=0)), "by its size"),
    "within": (
        mismerge(var=lambda n, t, mu, v, m: (n * v).sum(axis=0) / (t - 1)),
        "where is the variance between them",
    ),
    "within, biased": (
        mismerge(var=lambda n, t, mu, v, m: (n * v).sum(axis=0) / t),
        "and is it unbiased",
    ),
    "biased": (
        mismerge(var=lambda n, t, mu, v, m: (n * (v + (mu - m) ** 2)).sum(axis=0) / t),
        "the unbiased one",
    ),
    "sum of squares": (
        mismerge(var=lambda n, t, mu, v, m: (n * (v + (mu - m) ** 2)).sum(axis=0)),
        "not yet divided",
    ),
    "other": (mismerge(var=lambda n, t, mu, v, m: 0 * m), "is the sum of squares"),
    "cancels": (
        mismerge(
            var=lambda n, t, mu, v, m: (
                ((n * (v + mu**2)).sum(axis=0) / t - m**2) * t / (t - 1)
            )
        ),
        "E[x²] - E[x]²",
    ),
    "mean alone": (lambda n, mu, v: mu.mean(axis=0), "expected 2 things"),
    "shape": (mismerge(mean=lambda n, t, mu: mu), "the mean: the result has shape"),
    "NaN": (mismerge(var=lambda n, t, mu, v, m: m * np.nan), "holds nan"),
    "in place": (
        lambda n, mu, v: by_total_variance(n, mu.__isub__(1.0), v),
        "changes its input means",
    ),
    "raises": (lambda n, mu, v: n[99], "IndexError"),
}


@pytest.mark.parametrize("name", WRONG_MERGES)
def test_merged_names_what_is_wrong(name):
    answer, words = WRONG_MERGES[name]
    fails(B.merged, answer, words=words)


@pytest.mark.parametrize(
    ("var", "words"),
    [
        (
            lambda n, t, mu, v, m: v.mean(axis=0) + mu.var(axis=0),
            "do all batches weigh the same",
        ),
        (lambda n, t, mu, v, m: v.mean(axis=0), "where is the variance between"),
        (
            lambda n, t, mu, v, m: v.mean(axis=0) * (t / len(n)) / (t / len(n) - 1),
            "an estimate, not the variance",
        ),
        (
            lambda n, t, mu, v, m: (n * n / np.maximum(n - 1, 0.5) * v).sum(axis=0) / t,
            "once",
        ),
    ],
)
def test_merged_names_what_is_wrong_with_unequal_batches(var, words):
    """With equal batches some of these are the same."""

    def answer(counts, means, variances):
        if len(set(counts)) == 1:
            return by_total_variance(counts, means, variances)
        return mismerge(var=var)(counts, means, variances)

    fails(B.merged, answer, words=words)


# groupnorm


def by_reshape(x, groups, gamma, beta, eps):
    parts = x.reshape(len(x), groups, -1)
    hat = parts - parts.mean(axis=2, keepdims=True)
    hat = hat / np.sqrt((hat**2).mean(axis=2, keepdims=True) + eps)
    return gamma[None, :, None, None] * hat.reshape(x.shape) + beta[:, None, None]


def by_loops(x, groups, gamma, beta, eps):
    y = np.empty_like(x)
    size = x.shape[1] // groups
    for n in range(len(x)):
        for g in range(groups):
            part = x[n, g * size : (g + 1) * size]
            y[n, g * size : (g + 1) * size] = (part - part.mean()) / np.sqrt(
                part.var() + eps
            )
    return np.einsum("nchw,c->nchw", y, gamma) + beta[:, None, None]


def by_package(x, groups, gamma, beta, eps):
    layer = layers.GroupNorm(groups, x.shape[1], eps=eps)
    layer.weight[...], layer.bias[...] = gamma, beta
    return layer(x)


def groups_by_torch(x, groups, gamma, beta, eps):
    x, gamma, beta = (torch.from_numpy(a) for a in (x, gamma, beta))
    return nn.functional.group_norm(x, groups, gamma, beta, eps).numpy()


@pytest.mark.parametrize("answer", [by_reshape, by_loops, by_package, groups_by_torch])
def test_groupnorm_accepts(answer):
    passes(B.groupnorm, answer)


def hats(over, interleaved=False, affine="channel", ddof=0, power=0.5):
    def answer(x, groups, gamma, beta, eps):
        n, c, h, w = x.shape
        size = c // groups
        if interleaved:
            parts = x.reshape(n, size, groups, h, w).swapaxes(1, 2)
        else:
            parts = x.reshape(n, groups, size, h, w)
        mean = parts.mean(axis=over, keepdims=True)
        var = parts.var(axis=over, ddof=ddof, keepdims=True)
        hat = (parts - mean) / (var + eps) ** power
        hat = (hat.swapaxes(1, 2) if interleaved else hat).reshape(x.shape)
        if affine == "none":
            return hat
        if affine == "group":
            gamma = np.repeat(gamma[:groups], size)
            beta = np.repeat(beta[:groups], size)
        return gamma[:, None, None] * hat + beta[:, None, None]

    return answer


WRONG_GROUPS = {
    "batch": (hats((0, 2, 3, 4)), "the examples of a batch share"),
    "instance": (hats((3, 4)), "each channel have a mean"),
    "places": (hats((2,)), "each place have a mean"),
    "layer": (hats((1, 2, 3, 4)), "That is layer normalization"),
    "interleaved": (hats((2, 3, 4), interleaved=True), "every other one"),
    "no affine": (hats((2, 3, 4), affine="none"), "are γ and β missing"),
    "per group": (hats((2, 3, 4), affine="group"), "a γ for each group"),
    "Bessel": (hats((2, 3, 4), ddof=1), "one less than the number"),
    "variance": (hats((2, 3, 4), power=1), "in place of its root"),
    "other": (lambda x, *a: 0 * x, "which numbers of one example"),
    "reshaped": (lambda x, g, *a: x.reshape(len(x), g, -1), "the result has shape"),
    "gamma along the width": (
        lambda x, g, gamma, *a: x * gamma,
        "ValueError",
    ),
    "in place": (
        lambda x, *a: by_reshape(x.__isub__(1.0), *a),
        "changes its input x",
    ),
    "NaN": (lambda x, *a: x * np.nan, "holds nan"),
}


@pytest.mark.parametrize("name", WRONG_GROUPS)
def test_groupnorm_names_what_is_wrong(name):
    answer, words = WRONG_GROUPS[name]
    fails(B.groupnorm, answer, words=words)


# depends


def probe(
    examples=range(8),
    change=lambda rng, others: 2 * rng.standard_normal(others.shape) + 5,
    close=lambda a, b: np.allclose(a, b, atol=1e-8),
    whom=slice(None),
):
    def answer(layer, rng):
        x = rng.standard_normal((8, 6))
        y = layer(x.copy())
        for i in examples:
            others = x.copy()
            others[whom] = change(rng, others)[whom]
            others[i] = x[i]
            if not close(layer(others)[i], y[i]):
                return True
        return False

    return answer


def alone(layer, rng):
    """Each example in the batch against itself among copies of itself."""
    x = rng.standard_normal((8, 6))
    y = layer(x)
    copies = [layer(np.tile(row, (8, 1)))[i] for i, row in enumerate(x)]
    return bool(np.abs(copies - y).max() > 1e-6)


@pytest.mark.parametrize(
    "answer",
    [
        probe(),
        probe(change=lambda rng, o: 1e3 * rng.random(o.shape)),
        alone,
        lambda *a: np.bool_(probe()(*a)),
    ],
)
def test_depends_accepts(answer):
    passes(B.depends, answer)


WRONG_PROBES = {
    "never": (lambda layer, rng: False, "overlooks in 3 of 3 runs"),
    "always": (lambda layer, rng: True, "says that a layer depends"),
    "exactly": (
        lambda layer, rng: bool(
            (layer(np.ones((4, 6)) * [1, 2, 3, 4, 5, 7])[0]
             != layer(np.ones((9, 6)) * [1, 2, 3, 4, 5, 7])[0]).any()
        ),
        "compared with ==",
    ),
    "first example": (probe(examples=[0]), "bit of the first example"),
    "last example": (probe(examples=[7]), "last example to all others"),
    "one neighbor": (probe(examples=[0, 1], whom=slice(7, 8)), "pairs of neighbors"),
    "a shift": (probe(change=lambda rng, o: o), "normalizes by the batch"),
    "a number": (lambda layer, rng: 1.0, "expected True or False"),
    "other examples": (
        lambda layer, rng: not np.allclose(
            layer(rng.standard_normal((4, 6))), layer(rng.standard_normal((4, 6)))
        ),
        "the same example compared with itself",
    ),
    "raises": (lambda layer, rng: layer(3), "raised"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_PROBES)
def test_depends_names_what_is_wrong(name):
    answer, words = WRONG_PROBES[name]
    fails(B.depends, answer, words=words)


@pytest.mark.parametrize("name", DEPEND)
def test_each_dependent_layer_is_needed(name):
    layer_of = DEPEND[name]

    def overlooks(layer, rng):
        return layer is not layer_of and probe()(layer, rng)

    fails(B.depends, overlooks, words=name, seeds=[0])


def test_independent_layers_are():
    for layer in INDEPENDENT.values():
        x = np.random.default_rng(0).standard_normal((5, 6))
        np.testing.assert_allclose(layer(x)[:1], layer(x[:1]), atol=1e-9)


# evaluate


def evaluation(
    *,
    mode="eval",
    grad=False,
    restore="each",
    safe=True,
    score="count",
    last=True,
):
    def evaluate(model, x, y, batch_size):
        modes = [(module, module.training) for module in model.modules()]
        if mode:
            getattr(model, mode)()
        hits, shares = 0, []
        end = len(x) if last else len(x) - len(x) % batch_size

        def loop():
            nonlocal hits
            with torch.set_grad_enabled(grad):
                for i in range(0, end, batch_size):
                    right = (
                        model(x[i : i + batch_size]).argmax(1)
                        == (y[i : min(i + batch_size, end)])
                    )
                    hits += right.sum()
                    shares.append(right.double().mean().item())

        def back():
            if restore == "each":
                for module, training in modes:
                    module.training = training
            elif restore:
                model.train(restore == "train")

        if safe:
            try:
                loop()
            finally:
                back()
        else:
            loop()
            back()
        share = hits.item() / (len(x) if last else end)
        return {
            "count": share,
            "means": np.mean(shares),
            "percent": 100 * share,
            "error": 1 - share,
            "hits": hits.item(),
            "tensor": torch.tensor(share, dtype=torch.float64),
            "none": None,
            "list": shares,
        }[score]

    return evaluate


def in_one_batch(model, x, y, batch_size):
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        return (model(x).argmax(1) == y).double().mean()
    finally:
        for module, training in modes.items():
            module.train(training) if not list(module.children()) else None
            module.training = training


@pytest.mark.parametrize(
    "answer",
    [evaluation(), evaluation(grad=True), evaluation(score="tensor"), in_one_batch],
)
def test_evaluate_accepts(answer):
    passes(B.evaluate, answer)


WRONG_EVALUATIONS = {
    "the listing": (evaluation(mode=None, score="means"), "torch.no_grad() is none"),
    "train": (evaluation(mode="train"), "torch.no_grad() is none"),
    "mean of means": (evaluation(score="means"), "the mean over batches"),
    "last left out": (evaluation(last=False), "is the last batch left out"),
    "percent": (evaluation(score="percent"), "not per cent"),
    "error": (evaluation(score="error"), "is that the error"),
    "hits": (evaluation(score="hits"), "number of right answers"),
    "left in eval": (evaluation(restore=None), "still in evaluation mode"),
    "thawed": (evaluation(restore="train"), "model.train() reaches all"),
    "not safe": (evaluation(safe=False), "try … finally"),
    "constant": (lambda *a: 0.123, "dropout included"),
    "list": (evaluation(score="list"), "expected a number"),
    "none": (evaluation(score="none"), "return` missing"),
    "raises": (lambda m, x, y, b: m(x.T), "RuntimeError"),
    "NaN": (lambda *a: float("nan"), "finite"),
}


@pytest.mark.parametrize("name", WRONG_EVALUATIONS)
def test_evaluate_names_what_is_wrong(name):
    answer, words = WRONG_EVALUATIONS[name]
    fails(B.evaluate, answer, words=words)


def test_evaluate_names_a_mode_that_is_changed_otherwise():
    def answer(model, x, y, batch_size):
        result = evaluation()(model, x, y, batch_size)
        model[3].training = False
        return result

    fails(B.evaluate, answer, words="in another mode than before")


# fine_tuning


def tuning(
    kinds=(nn.BatchNorm1d, nn.BatchNorm2d),
    walk=nn.Module.modules,
    train=True,
    do=lambda module: module.eval(),
):
    def answer(model):
        if train:
            model.train()
        for module in walk(model):
            if isinstance(module, kinds):
                do(module)

    return answer


def by_apply(model):
    model.train()
    return model.apply(lambda m: m.eval() if "BatchNorm" in type(m).__name__ else None)


def by_flag(model):
    for module in model.modules():
        module.training = not isinstance(module, nn.modules.batchnorm._BatchNorm)
    return model


@pytest.mark.parametrize("answer", [tuning(), by_apply, by_flag])
def test_fine_tuning_accepts(answer):
    passes(B.fine_tuning, answer)


def freeze(module):
    for p in module.parameters():
        p.requires_grad_(False)


def freeze_too(module):
    module.eval()
    freeze(module)


def reset(module):
    module.reset_running_stats()


def momentum_zero(module):
    module.momentum = 0.0


def untrack(module):
    module.eval()
    module.track_running_stats = False


def batch_statistics(module):
    """Evaluation in name; the batch's statistics all the same."""
    module.eval()
    module.forward = lambda x: nn.functional.batch_norm(
        x, None, None, module.weight, module.bias, True
    )


WRONG_TUNINGS = {
    "the listing": (
        tuning(nn.BatchNorm2d, nn.Module.children, do=freeze),
        "requires_grad says nothing about buffers",
    ),
    "children": (
        tuning(walk=nn.Module.children),
        "is every batch norm reached",
    ),
    "2d alone": (tuning(nn.BatchNorm2d), "is every batch norm reached"),
    "1d alone": (tuning(nn.BatchNorm1d), "is every batch norm reached"),
    "freezes": (tuning(do=freeze), "requires_grad says nothing"),
    "freezes too": (tuning(do=freeze_too), "is no longer trained"),
    "everything": (tuning(train=False), "dropout is off"),
    "resets": (tuning(do=reset), "your function changes"),
    "momentum": (tuning(do=momentum_zero), "settings"),
    "untracked": (tuning(do=untrack), "settings are changed"),
    "weighs nothing": (tuning(do=batch_statistics), "normalizes by the batch, not"),
    "layer norm too": (
        tuning((nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm)),
        "no batch norm is in evaluation mode",
    ),
    "raises": (lambda model: model.freeze(), "AttributeError"),
}


@pytest.mark.parametrize("name", WRONG_TUNINGS)
def test_fine_tuning_names_what_is_wrong(name):
    answer, words = WRONG_TUNINGS[name]
    fails(B.fine_tuning, answer, words=words)


# build


def stack(*names, p=lambda p: p, momentum=0.01, hidden=lambda n: n, last_bias=True):
    def answer(n_in, n_hidden, n_out, rate):
        n = hidden(n_hidden)
        kinds = {
            "linear": lambda: nn.Linear(n_in, n, bias=False),
            "linear+bias": lambda: nn.Linear(n_in, n),
            "bn": lambda: nn.BatchNorm1d(n, momentum=momentum),
            "bn_in": lambda: nn.BatchNorm1d(n_in),
            "bn_out": lambda: nn.BatchNorm1d(n_out),
            "relu": nn.ReLU,
            "drop": lambda: nn.Dropout(p(rate)),
            "out": lambda: nn.Linear(n, n_out, bias=last_bias),
        }
        return nn.Sequential(*(kinds[name]() for name in names))

    return answer


RIGHT = ("linear", "bn", "relu", "drop", "out")


def with_extra_names(n_in, n_hidden, n_out, p):
    net = nn.Sequential()
    net.add_module("hidden", nn.Linear(n_in, n_hidden, False))
    net.add_module("norm", nn.BatchNorm1d(n_hidden, momentum=0.01, eps=1e-3))
    net.add_module("relu", nn.ReLU(inplace=True))
    net.add_module("drop", nn.Dropout(p=p))
    net.add_module("output", nn.Linear(n_hidden, n_out))
    return net


@pytest.mark.parametrize(
    "answer", [stack(*RIGHT), stack(*RIGHT, momentum=1 - 0.99), with_extra_names]
)
def test_build_accepts(answer):
    passes(B.build, answer)


WRONG_STACKS = {
    "the listing": (
        stack(
            "linear+bias", "drop", "bn", "relu", "out", "bn_out",
            momentum=0.99, p=lambda p: 1 - p,
        ),
        "stands on the logits",
    ),
    "dropout on logits": (stack(*RIGHT[:3], "out", "drop"), "dropout stands on the"),
    "relu on logits": (stack("linear", "bn", "drop", "out", "relu"), "a ReLU stands"),
    "dropout first": (stack("linear", "drop", "bn", "relu", "out"), "noisier input"),
    "input": (stack("bn_in", "linear", "relu", "drop", "out"), "input of the network"),
    "after relu": (stack("linear", "relu", "bn", "drop", "out"), "in the paper"),
    "bias": (stack("linear+bias", *RIGHT[1:]), "its gradient is 0"),
    "no last bias": (stack(*RIGHT, last_bias=False), "takes the place of the last"),
    "keras": (stack(*RIGHT, momentum=0.99), "the weight of the NEW"),
    "default": (stack(*RIGHT, momentum=0.5), "means Keras's 0.99"),
    "cumulative": (stack(*RIGHT, momentum=None), "means Keras's 0.99"),
    "1 - p": (stack(*RIGHT, p=lambda p: 1 - p), "the drop rate is 0.7"),
    "no relu": (stack("linear", "bn", "drop", "out"), "expected one batch norm"),
    "no norm": (stack("linear", "relu", "drop", "out"), "expected one batch norm"),
    "one layer": (stack("linear"), "expected two linear layers"),
    "width": (stack(*RIGHT, hidden=lambda n: n + 1), "the weights have shapes"),
    "list": (lambda *a: list(stack(*RIGHT)(*a)), "expected a torch.nn.Sequential"),
    "does not run": (
        lambda i, h, o, p: nn.Sequential(
            nn.Linear(i, h, False), nn.BatchNorm1d(h + 1), nn.Linear(h, o)
        ),
        "raised",
    ),
    "raises": (lambda *a: nn.Linear(*a, *a), "TypeError"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_STACKS)
def test_build_names_what_is_wrong(name):
    answer, words = WRONG_STACKS[name]
    fails(B.build, answer, words=words, seeds=[0])


# floor


def floor_by_batch(k):
    """The loss of a batch that is classified as well as can be, by PyTorch."""
    target = torch.arange(4 * k) % k
    logits = nn.functional.one_hot(target, k).double()
    logits = nn.functional.batch_norm(logits, None, None, training=True, eps=1e-14)
    return nn.functional.cross_entropy(logits, target).item()


@pytest.mark.parametrize(
    "answer",
    [
        floor_by_batch,
        lambda k: np.log(1 + (k - 1) * np.exp(-k / np.sqrt(k - 1))),
        lambda k: -np.log(1 / (1 + (k - 1) * np.exp(-k / (k - 1) ** 0.5))),
    ],
)
def test_floor_accepts(answer):
    passes(B.floor, answer, seeds=[0])


def loss(gap):
    return lambda k: np.log(1 + (k - 1) * np.exp(-gap(k)))


WRONG_FLOORS = {
    "probability": (lambda k: np.exp(-floor_by_batch(k)), "the probability of"),
    "sign": (lambda k: -floor_by_batch(k), "the wrong sign"),
    "equal": (np.log, "the loss of equal logits"),
    "zeros elsewhere": (loss(lambda k: np.sqrt(k - 1)), "Each column sums to 0"),
    "one other class": (
        lambda k: (
            floor_by_batch(k) if k == 2 else np.log(1 + np.exp(-k / np.sqrt(k - 1)))
        ),
        "over all k classes",
    ),
    "half": (
        lambda k: floor_by_batch(k) if k == 2 else loss(lambda k: 2)(k),
        "1/k or 1/2",
    ),
    "root of k": (loss(lambda k: np.sqrt(k) + 1 / np.sqrt(k)), "x̂ = √(k - 1) there"),
    "zero": (lambda k: 0.0, "bounded at all"),
    "other": (lambda k: 5.0, "the 1/k large values"),
    "text": (lambda k: "ln 2", "expected a number"),
    "raises": (lambda k: 1 / (k - 2), "ZeroDivisionError"),
}


@pytest.mark.parametrize("name", WRONG_FLOORS)
def test_floor_names_what_is_wrong(name):
    answer, words = WRONG_FLOORS[name]
    fails(B.floor, answer, words=words, seeds=[0])
