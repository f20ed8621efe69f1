"""Exercises of the chapter batchnorm/practice."""

import copy

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dropnorm.checks.base import (
    Wrong,
    agree,
    call,
    check_array,
    checker,
    number,
    pure,
    unpack,
)
from dropnorm.layers import GroupNorm

# Folding and statistics


@checker
def fold(solve, *, seed=0):
    """``solve(weight, bias, mean, var, gamma, beta, eps)``: weight and bias, folded."""
    rng = np.random.default_rng(seed)
    cases = [
        ((4, 4), True),
        ((3, 5), False),
        ((4, 4, 3, 2), True),
        ((2, 2, 2, 2), False),
    ]
    for shape, has_bias in cases:
        n = shape[0]
        weight, old = rng.standard_normal(shape), rng.uniform(1, 2, n)
        mean, var = rng.uniform(0.5, 2, n), rng.uniform(0.5, 4, n)
        gamma, beta = rng.uniform(0.5, 2, n), rng.standard_normal(n)
        eps = float(rng.uniform(0.05, 0.2))
        kind = "a linear layer" if len(shape) == 2 else "a convolution"
        when = f"for {kind} with weight {shape}, {'a' if has_bias else 'no'} bias:"
        given = weight.copy(), None if not has_bias else old.copy()
        result = pure(
            lambda mean, var, gamma, beta, given=given, eps=eps: solve(
                *given, mean, var, gamma, beta, eps
            ),
            {"mean": mean, "var": var, "gamma": gamma, "beta": beta},
            when=when,
        )
        if not np.array_equal(given[0], weight) or (
            has_bias and not np.array_equal(given[1], old)
        ):
            raise Wrong("your code changes the weight or the bias it is given")
        w, b = unpack(result, ["weight", "bias"])
        check_array(w, like=weight, when=f"{when} the weight:")
        check_array(b, like=beta, when=f"{when} the bias:")
        bias = old if has_bias else np.zeros(n)
        scale = gamma / np.sqrt(var + eps)

        def along(s, axis=0, weight=weight):
            column = [1] * weight.ndim
            column[axis] = -1
            return weight * s.reshape(column)

        known = {
            "is γ missing?": along(1 / np.sqrt(var + eps)),
            "is ε missing?": along(gamma / np.sqrt(var)),
            "is it divided by the variance, in place of its root?": along(
                gamma / (var + eps)
            ),
            "is it unchanged?": weight,
        }
        if shape[1] == n:
            words = "does the factor belong to the outputs, axis 0, or to the inputs?"
            known[words] = along(scale, 1)
        if shape[-1] == n:
            words = "does the factor belong to the outputs, or to the last axis?"
            known.setdefault(words, along(scale, -1))
        hint = "write γ (W x + b - μ)/√(σ² + ε) + β as W' x + b'"
        agree(f"{when} weight", w, along(scale), known, hint)
        right = scale * (bias - mean) + beta
        known = {
            "is the layer's own bias forgotten?": beta - scale * mean,
            "is the layer's own bias multiplied as well?": beta - scale * mean + bias,
            "is the running mean forgotten?": scale * bias + beta,
            "is the running mean multiplied as well?": scale * bias - mean + beta,
            "is β forgotten?": scale * (bias - mean),
            "is β multiplied, although it is added last?": scale * (bias - mean + beta),
            "has the mean the right sign?": scale * (bias + mean) + beta,
            "is it β alone?": beta,
        }
        agree(f"{when} bias", b, right, known, hint)


@checker
def merged(solve, *, seed=0):
    """``solve(counts, means, variances)``: mean and unbiased variance of all values."""
    rng = np.random.default_rng(seed)
    for sizes in ([8, 8, 8], [2, 9, 30, 5], [1, 40], [6]):
        parts = [
            rng.standard_normal((n, 3)) * rng.uniform(0.5, 2) + rng.uniform(-3, 3, 3)
            for n in sizes
        ]
        n = np.array(sizes)
        total = n.sum()
        means = np.stack([part.mean(axis=0) for part in parts])
        variances = np.stack([part.var(axis=0) for part in parts])
        when = f"for batches of {', '.join(map(str, sizes))}"
        arrays = {"counts": n, "means": means, "variances": variances}
        mean, var = unpack(pure(solve, arrays, when=when), ["mean", "variance"])
        everything = np.concatenate(parts)
        right = everything.mean(axis=0)
        check_array(mean, like=right, when=f"{when} the mean:")
        check_array(var, like=right, when=f"{when} the variance:")
        known = {
            "do all batches weigh the same? A batch of 2 knows less": means.mean(0)
        }
        agree(f"{when} mean", mean, right, known, "weigh each batch by its size")
        within = (n[:, None] * variances).sum(axis=0) / total
        between = (n[:, None] * (means - right) ** 2).sum(axis=0) / total
        bessel = total / (total - 1)
        m = total / len(n)
        known = {
            "the batches differ in their means: where is the variance between them?": (
                within * bessel
            ),
            "the batches differ in their means, and is it unbiased?": within,
            "is it the unbiased one, as a buffer needs?": within + between,
            "do all batches weigh the same?": variances.mean(0) + means.var(0),
            "do all batches weigh the same, and where is the variance between them?": (
                variances.mean(0)
            ),
            "that is the paper's m/(m - 1) E[σ²_B]: an estimate, not the variance of "
            "these values": variances.mean(0) * m / max(m - 1, 0.5),
            "is Bessel's correction made for each batch, in place of once?": (
                n[:, None] ** 2 * variances / np.maximum(n - 1, 0.5)[:, None]
            ).sum(axis=0)
            / total,
            "is that the sum of squares, not yet divided?": (within + between) * total,
        }
        hint = "n σ² + n μ² is the sum of squares of a batch; add, then go back"
        agree(f"{when} variance", var, everything.var(0, ddof=1), known, hint)
    counts = np.array([30, 50])
    parts = [1e8 + rng.standard_normal((c, 1)) for c in counts]
    means = np.stack([part.mean(axis=0) for part in parts])
    variances = np.stack([part.var(axis=0) for part in parts])
    _, var = call(solve, counts, means, variances, when="at means around 1e8")
    right = np.concatenate(parts).var(ddof=1)
    if not np.allclose(var, right, rtol=1e-3):
        raise Wrong(
            f"at means around 1e8 the variance is {np.ravel(var)[0]:.3g}, expected "
            f"{right:.3g}: is E[x²] - E[x]² in it? Take the batches' means relative to "
            "the mean of all"
        )


# Relatives


@checker
def groupnorm(solve, *, seed=0):
    """``solve(x, groups, gamma, beta, eps)``: group normalization of (N, C, H, W)."""
    rng = np.random.default_rng(seed)
    for shape, groups in [((3, 6, 4, 5), 2), ((2, 6, 3, 3), 3), ((4, 4, 2, 3), 4)]:
        c = shape[1]
        x = rng.standard_normal(shape) * rng.uniform(0.5, 3, (shape[0], c, 1, 1))
        x += rng.uniform(-3, 3, (shape[0], c, 1, 1))
        gamma, beta = rng.uniform(0.5, 3, c), rng.standard_normal(c)
        eps = float(rng.uniform(0.05, 0.2))
        when = f"on shape {shape} with {groups} groups"
        arrays = {"x": x}
        y = pure(
            lambda x, groups=groups, gamma=gamma, beta=beta, eps=eps: solve(
                x, groups, gamma.copy(), beta.copy(), eps
            ),
            arrays,
            when=when,
        )
        check_array(y, like=x, when=when)
        layer = GroupNorm(groups, c, eps=eps)
        layer.weight[...], layer.bias[...] = gamma, beta
        column = (1, -1, 1, 1)

        def variant(
            over, order="blocks", ddof=0, root=True, x=x, groups=groups, eps=eps
        ):
            n, c, h, w = x.shape
            size = c // groups
            if order == "blocks":
                parts = x.reshape(n, groups, size, h, w)
            else:
                parts = x.reshape(n, size, groups, h, w).swapaxes(1, 2)
            mean = parts.mean(over, keepdims=True)
            var = parts.var(over, ddof=ddof, keepdims=True)
            hat = (parts - mean) / ((var + eps) ** (0.5 if root else 1))
            if order != "blocks":
                hat = hat.swapaxes(1, 2)
            return hat.reshape(x.shape)

        def affine(hat, gamma=gamma, beta=beta):
            return gamma[:, None, None] * hat + beta[:, None, None]

        example = (2, 3, 4)
        first = np.repeat(gamma[:groups], c // groups).reshape(column)
        known = {
            "do the examples of a batch share a mean?": affine(variant((0, *example))),
            "does each channel have a mean of its own?": affine(variant((3, 4))),
            "does each place have a mean of its own?": affine(variant((2,))),
            "do all groups share a mean? That is layer normalization": affine(
                variant((1, *example))
            ),
            "are neighboring channels in one group? (0, 1, … belong together, not "
            "every other one)": affine(variant(example, "other")),
            "are γ and β missing?": variant(example),
            "is the variance divided by one less than the number of values?": affine(
                variant(example, ddof=1)
            ),
            "is it divided by the variance, in place of its root?": affine(
                variant(example, root=False)
            ),
            "is there a γ for each group, in place of each channel?": first
            * variant(example)
            + np.repeat(beta[:groups], c // groups).reshape(column),
        }
        hint = "which numbers of one example share a mean?"
        agree(f"{when} y", y, layer(x), known, hint)


def _norm(x, axes):
    return (x - x.mean(axes, keepdims=True)) / (x.std(axes, keepdims=True) + 1e-3)


def _ghost(size):
    return lambda x: np.concatenate(
        [_norm(x[i : i + size], 0) for i in range(0, len(x), size)]
    )


def _scale_only(x):
    return x / (x.std(axis=0) + 1e-3)


def _center_only(x):
    return x - x.mean(axis=0)


def _by_last(x):
    y = x.copy()
    y[:-1] += 0.1 * x[-1]
    return y


def _by_first(x):
    y = x.copy()
    y[1:] += 0.1 * x[0]
    return y


def _one_feature(x):
    y = _norm(x, 1)
    y[:, -1] += x[:, -1].mean()
    return y


DEPEND = {
    "normalizes by the batch": lambda x: _norm(x, 0),
    "subtracts the batch's mean": _center_only,
    "divides by the batch's deviation": _scale_only,
    "normalizes pairs of neighbors (ghost batches of 2)": _ghost(2),
    "adds a bit of the last example to all others": _by_last,
    "adds a bit of the first example to all others": _by_first,
    "looks at the batch in its last feature alone": _one_feature,
    "normalizes by the whole array": lambda x: _norm(x, None),
    "subtracts the batch's median": lambda x: x - np.median(x, axis=0),
}
INDEPENDENT = {
    "normalizes each example (layer norm)": lambda x: _norm(x, 1),
    "normalizes by fixed statistics": lambda x: (x - 0.3) / 1.7,
    "normalizes half of an example's features (group norm)": lambda x: np.concatenate(
        [_norm(x[:, : x.shape[1] // 2], 1), _norm(x[:, x.shape[1] // 2 :], 1)], axis=1
    ),
    "rounds differently in larger batches": lambda x: _norm(x, 1) + 1e-13 * len(x),
    "is the identity": lambda x: x.copy(),
}


@checker
def depends(test, *, seed=0):
    """``test(layer, rng)``: whether an example's output depends on the others."""

    def verdict(layer, run, what):
        rng = np.random.default_rng([seed, run])
        answer = call(test, layer, rng, when=f"on a layer that {what}:")
        if not isinstance(answer, (bool, np.bool_)):
            raise Wrong(f"your test returned {answer!r}, expected True or False")
        return bool(answer)

    for what, layer in INDEPENDENT.items():
        if any(verdict(layer, run, what) for run in range(3)):
            hint = "is the same example compared with itself, in other company?"
            if "rounds" in what:
                hint = "are floating-point numbers compared with ==?"
            raise Wrong(
                f"your test says that a layer depends on the batch that {what}: {hint}"
            )
    for what, layer in DEPEND.items():
        missed = sum(not verdict(layer, run, what) for run in range(3))
        if missed:
            hint = "are all other examples changed, and is every example looked at?"
            if "subtracts" in what or "divides" in what:
                hint = "do mean, deviation and the rest of the company all change?"
            raise Wrong(
                f"your test overlooks in {missed} of 3 runs a layer that {what}: {hint}"
            )


# Programs to repair


def _network(noise=0.0):
    net = nn.Sequential(
        nn.Linear(6, 12, bias=False),
        nn.BatchNorm1d(12),
        nn.ReLU(),
        nn.Dropout(noise),
        nn.Linear(12, 8, bias=False),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.Linear(8, 5),
    )
    for _ in range(30):
        net(torch.randn(20, 6) * 2 + 0.5)
    return net


def _state(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


@checker
def evaluate(solve, *, seed=0):
    """``solve(model, x, y, batch_size)``: the accuracy; the model stays as it is."""
    torch.manual_seed(seed)
    for count, batch_size in [(23, 8), (40, 1), (31, 31)]:
        net = _network(0.4)
        frozen = net[1]
        x = torch.randn(count, 6) * 2 - 1
        net.eval()
        with torch.no_grad():
            right_class = net(x).argmax(1)
        y = torch.where(torch.rand(count) < 0.6, right_class, (right_class + 1) % 5)
        # the mistakes stand at the end, where a batch may be smaller
        order = (right_class != y).int().argsort()
        x, y = x[order], y[order]
        truth = float((right_class[order] == y).double().mean())
        net.train()
        frozen.eval()
        modes = [module.training for module in net.modules()]
        before = _state(net)
        when = f"on {count} examples in batches of {batch_size}"
        got = call(solve, net, x, y, batch_size, when=when)
        if isinstance(got, torch.Tensor) and got.numel() == 1:
            got = got.item()
        got = number(got, f"{when} the accuracy")
        for name, value in net.state_dict().items():
            if not torch.equal(before[name], value):
                raise Wrong(
                    f"{when}: afterwards {name} is another: in which mode did the "
                    "model run? torch.no_grad() is none"
                )
        if abs(got - truth) > 1e-6:
            if batch_size < count:
                parts = [
                    float((right_class[order][i : i + batch_size] == y[
                        i : i + batch_size]).double().mean())
                    for i in range(0, count, batch_size)
                ]  # fmt: skip
                if abs(got - np.mean(parts)) < 1e-6:
                    raise Wrong(
                        f"{when} the accuracy is {got:.4f}, expected {truth:.4f}: is "
                        "it the mean over batches, where the last one is smaller?"
                    )
            whole = count - count % batch_size
            part = float((right_class[order] == y)[:whole].double().mean())
            hint = "is the model in evaluation mode, dropout included?"
            if whole < count and abs(got - part) < 1e-6:
                hint = "is the last batch left out?"
            elif abs(got - truth * 100) < 1e-6:
                hint = "expected a share, not per cent"
            elif abs(got - (1 - truth)) < 1e-6:
                hint = "is that the error?"
            elif abs(got - truth * count) < 1e-6:
                hint = "is that the number of right answers?"
            raise Wrong(
                f"{when} the accuracy is {got:.4f}, expected {truth:.4f}: {hint}"
            )
        after = [module.training for module in net.modules()]
        if after != modes:
            if not any(after):
                hint = "afterwards the model is still in evaluation mode"
            elif not frozen.training:
                hint = "afterwards a module is in another mode than before"
            else:
                hint = (
                    "one batch norm was in evaluation mode inside a model in training "
                    "mode, and now it is not: model.train() reaches all of them"
                )
            raise Wrong(f"{when}: {hint}")
    _check_mode_after_error(solve)


def _check_mode_after_error(solve):
    net = _network()
    net.train()
    try:
        solve(net, torch.randn(4, 7), torch.zeros(4, dtype=torch.long), 2)
    except Exception:
        if not net.training:
            raise Wrong(
                "if a batch raises an error, the model stays in evaluation mode: is "
                "there a try … finally around the loop?"
            ) from None


@checker
def fine_tuning(solve, *, seed=0):
    """``solve(model)``: training mode, but for the statistics of every batch norm."""
    torch.manual_seed(seed)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x):
            return self.norm(self.conv(x))

    net = nn.Sequential(
        nn.Sequential(Block(), nn.ReLU()),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(12, 4),
        nn.BatchNorm1d(4),
        nn.LayerNorm(4),
    )
    norms = [module for module in net.modules() if isinstance(module, _BatchNorm)]
    x = torch.randn(6, 3, 2, 2) * 3 + 1
    for _ in range(2):
        net(x)  # so that the statistics are not those of a new layer
    net.eval()
    other = copy.deepcopy(net)
    trained = [name for name, p in net.named_parameters() if p.requires_grad]
    before = _state(net)
    call(lambda: solve(net) or True)
    for name, value in net.state_dict().items():
        if not torch.equal(before[name], value):
            raise Wrong(f"your function changes {name}: only modes need to change")
    if not net.training or not net[1].training:
        raise Wrong("dropout is off: the rest of the model should be in training mode")
    for module in norms:
        if module.momentum != 0.1 or not module.track_running_stats:
            raise Wrong(
                "a batch norm's settings are changed, and stay so ever after: is there "
                "a mode that only reads?"
            )
    net(x)
    for name, value in net.state_dict().items():
        if not torch.equal(before[name], value):
            hint = "requires_grad says nothing about buffers: which mode updates them?"
            if any(not norm.training for norm in norms):
                hint = "is every batch norm reached, 1d and 2d, at any depth?"
            raise Wrong(f"a training step then changes {name}: {hint}")
    plain = [m for m in net.modules() if not isinstance(m, (_BatchNorm, nn.Sequential))]
    if not all(module.training for module in plain):
        raise Wrong("a module that is no batch norm is in evaluation mode")
    now = [name for name, p in net.named_parameters() if p.requires_grad]
    if now != trained:
        lost = next(name for name in trained if name not in now)
        raise Wrong(f"{lost} is no longer trained: γ and β may go on learning")
    with torch.no_grad():
        y, expected = net[0](x), other[0](x)
    if not torch.allclose(y, expected):
        raise Wrong("a batch norm normalizes by the batch, not by its statistics")


@checker
def build(solve, *, seed=0):
    """``solve(n_in, n_hidden, n_out, p)``: a Sequential in the right order."""
    torch.manual_seed(seed)
    n_in, n_hidden, n_out, p = 7, 9, 4, 0.3
    net = call(solve, n_in, n_hidden, n_out, p)
    if not isinstance(net, nn.Sequential):
        raise Wrong(f"expected a torch.nn.Sequential, got a {type(net).__name__}")
    kinds = [type(layer).__name__ for layer in net]
    shown = " → ".join(kinds)
    norms = [i for i, layer in enumerate(net) if isinstance(layer, nn.BatchNorm1d)]
    linears = [i for i, layer in enumerate(net) if isinstance(layer, nn.Linear)]
    drops = [i for i, layer in enumerate(net) if isinstance(layer, nn.Dropout)]
    relus = [i for i, layer in enumerate(net) if isinstance(layer, nn.ReLU)]
    if len(linears) != 2:
        raise Wrong(f"{shown}: expected two linear layers")
    call(net, torch.randn(5, n_in))
    if any(i > linears[1] for i in norms):
        raise Wrong(
            f"{shown}: a batch norm stands on the logits. The prediction would "
            "depend on the classes of the other images, and confidence has a bound"
        )
    if any(i > linears[1] for i in drops):
        raise Wrong(f"{shown}: dropout stands on the logits")
    if any(i > linears[1] for i in relus):
        raise Wrong(f"{shown}: a ReLU stands on the logits, which need both signs")
    if [len(norms), len(drops), len(relus)] != [1, 1, 1]:
        raise Wrong(f"{shown}: expected one batch norm, one ReLU and one dropout")
    if norms[0] < linears[0]:
        raise Wrong(f"{shown}: the batch norm normalizes the input of the network")
    if drops[0] < norms[0]:
        raise Wrong(
            f"{shown}: dropout stands before the batch norm, whose running variance is "
            "then that of a noisier input than it meets in evaluation"
        )
    if norms[0] > relus[0]:
        raise Wrong(
            f"{shown}: in the paper the batch norm stands before the nonlinearity"
        )
    if net[linears[0]].bias is not None:
        raise Wrong(
            f"{shown}: the bias before the batch norm is subtracted again, and its "
            "gradient is 0: leave it out"
        )
    if net[linears[1]].bias is None:
        raise Wrong(f"{shown}: nothing takes the place of the last layer's bias")
    momentum = net[norms[0]].momentum
    if momentum is not None and momentum > 0.5:
        raise Wrong(
            f"momentum is {momentum}, and in PyTorch that is the weight of the NEW "
            "value: the buffers hold the last batch and little else"
        )
    if momentum is None or not np.isclose(momentum, 0.01):
        raise Wrong(f"momentum is {momentum}: which number means Keras's 0.99 here?")
    if net[drops[0]].p != p:
        raise Wrong(f"the drop rate is {net[drops[0]].p}, expected {p}")
    shape = tuple(net[linears[0]].weight.shape), tuple(net[linears[1]].weight.shape)
    if shape != ((n_hidden, n_in), (n_out, n_hidden)):
        raise Wrong(f"the weights have shapes {shape}")


@checker
def floor(solve, *, seed=0):
    """``solve(k)``: the lowest cross-entropy behind a batch norm on k logits."""
    for k in (2, 3, 10, 100):
        on, off = np.sqrt(k - 1), -1 / np.sqrt(k - 1)
        right = np.log1p((k - 1) * np.exp(off - on))
        what = f"for {k} classes the loss"
        got = number(call(solve, k), what)
        share = 1 / (1 + (k - 1) * np.exp(off - on))
        known = {
            "is that the probability of the right class?": share,
            "has the logarithm the wrong sign?": -right,
            "is that the loss of equal logits?": np.log(k),
            "what is x̂ of the other logits? Each column sums to 0": np.log1p(
                (k - 1) * np.exp(-on)
            ),
            "which share of a column's values is large, 1/k or 1/2?": np.log1p(
                (k - 1) * np.exp(-2.0)
            ),
            "is the softmax over all k classes?": np.log1p(np.exp(off - on)),
            "are logits bounded at all by that?": 0.0,
            "is one of k values large, and x̂ = √(k - 1) there?": np.log1p(
                (k - 1) * np.exp(-np.sqrt(k) - 1 / np.sqrt(k))
            ),
        }
        hint = "find x̂ of the 1/k large values of a column, and of the others"
        agree(what, got, right, known, hint)
