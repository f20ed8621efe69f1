"""Exercises of the chapter together/order."""

import copy

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from dropnorm.checks.base import (
    Wrong,
    agree,
    call,
    checker,
    judgments,
    number,
    pure,
)
from dropnorm.checks.together.models import act, changed, listed, settings, watched

# Which order


@checker
def falsified(predicted, *, seed=0):
    """``predicted``: whether a batch norm stores a variance that dropout falsifies."""
    right = {
        "direct": (True, "the batch norm sees the masked units"),
        "behind": (False, "what does a batch norm see of a layer behind it?"),
        "relu between": (True, "does a ReLU take the noise away?"),
        "two blocks": (True, "whose input is the dropout of the first block?"),
        "layer norm": (False, "what does a layer norm store?"),
        "always on": (
            False,
            "F.dropout has no mode: which variance arrives in evaluation?",
        ),
        "untracked": (
            False,
            "what does this batch norm divide by in evaluation?",
        ),
    }
    judgments(predicted, right)


def _norms_behind_dropout(net):
    """The reference of `upstream`: names, in the order of a Sequential."""
    noisy, names = False, []
    for name, module in net.named_modules():
        noisy |= isinstance(module, _DropoutNd) and module.p > 0
        if isinstance(module, _BatchNorm) and noisy:
            names.append(name)
    return names


def _upstream_cases():
    S, D, L, R = nn.Sequential, nn.Dropout, nn.Linear, nn.ReLU
    B, B2 = nn.BatchNorm1d, nn.BatchNorm2d
    return [
        ("dropout directly before", S(L(4, 4), D(0.3), B(4)), "look at what is before"),
        (
            "dropout three layers before",
            S(D(0.3), L(4, 4), R(), B(4), L(4, 4), B(4)),
            "noise passes through layers: is every earlier layer looked at?",
        ),
        (
            "dropout behind the last batch norm",
            S(L(4, 4), B(4), R(), D(0.3), L(4, 2)),
            "does the order count, or only that there is a dropout?",
        ),
        (
            "the dropout of one block before the next block",
            S(S(L(4, 4), B(4), R(), D(0.3)), S(L(4, 4), B(4), R(), D(0.3))),
            "are the networks inside the network looked into, and is what was found in "
            "one remembered in the next?",
        ),
        (
            "dropout and batch norm at different depths",
            S(S(S(L(4, 4), D(0.2))), L(4, 4), S(R(), S(B(4))), B(4)),
            "are the networks inside the network looked into, at any depth?",
        ),
        (
            "a rate of 0",
            S(D(0.0), L(4, 4), B(4), D(0.1), L(4, 4), B(4)),
            "does a dropout of rate 0 change anything?",
        ),
        (
            "images",
            S(nn.Conv2d(1, 3, 3), nn.Dropout2d(0.2), nn.Conv2d(3, 3, 3), B2(3)),
            "there are dropouts of whole channels (nn.Dropout2d) and batch norms of "
            "images",
        ),
        (
            "a layer norm",
            S(D(0.5), L(4, 4), nn.LayerNorm(4), L(4, 4), B(4)),
            "a layer norm stores nothing",
        ),
        (
            "two dropouts before one batch norm",
            S(D(0.2), L(4, 4), D(0.3), L(4, 4), B(4)),
            "is every earlier layer looked at?",
        ),
        ("no dropout", S(L(4, 4), B(4)), "there is no dropout in it"),
    ]


@checker
def upstream(solve, *, seed=0):
    """``solve(net)``: names of the batch norms that have dropout before them."""
    for where, net, hint in _upstream_cases():
        before = settings(net)
        got = listed(solve, net, when=f"{where}:")
        if changed(before, net):
            raise Wrong(f"{where}: your function changes {changed(before, net)}")
        try:
            names = list(got)
            if isinstance(got, str) or not all(isinstance(n, str) for n in names):
                raise TypeError
        except TypeError:
            raise Wrong(f"{where}: expected a list of names, got {got!r}") from None
        right = _norms_behind_dropout(net)
        if sorted(names) == sorted(right):
            continue
        shown = ", ".join(map(repr, right)) or "none"
        if sorted(name.split(".")[-1] for name in right) == sorted(names):
            hint = "expected the whole name, as in net.named_modules()"
        elif len(set(names)) < len(names):
            hint = "is a batch norm named once for each dropout before it?"
        raise Wrong(f"{where}: you name {names}, expected {shown}: {hint}")


@checker
def reorder(solve, *, seed=0):
    """``solve(net, p)``: the same layers with one dropout, before the last Linear."""
    p = float(np.random.default_rng(seed).uniform(0.1, 0.6))
    plain = nn.Sequential(
        nn.Dropout(0.2), nn.Linear(4, 4), nn.Dropout(0.5), nn.BatchNorm1d(4),
        nn.ReLU(), nn.Dropout(0.5), nn.Linear(4, 2),
    )  # fmt: skip
    images = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.Dropout2d(0.5), nn.BatchNorm2d(3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4), nn.Dropout(0.9),
        nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2), nn.LogSoftmax(1),
    )  # fmt: skip
    none = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    for net in (plain, images, none):
        old, before = list(net), settings(net)
        shown = " → ".join(type(layer).__name__ for layer in net)
        new = call(solve, net, p, when=f"{shown}:")
        if list(net) != old or changed(before, net):
            raise Wrong(f"{shown}: your function changes the network it is given")
        if not isinstance(new, nn.Sequential):
            raise Wrong(f"expected a torch.nn.Sequential, got a {type(new).__name__}")
        result = " → ".join(type(layer).__name__ for layer in new)
        _check_order(list(new), old, p, f"{shown} becomes {result}")
    closed = nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.5), nn.BatchNorm1d(2))
    try:
        solve(closed, p)
    except ValueError:
        return
    except Exception as error:
        raise Wrong(
            "where a batch norm stands behind the last linear layer, your function "
            f"raised {type(error).__name__}, expected ValueError"
        ) from None
    raise Wrong(
        "where a batch norm stands behind the last linear layer, there is no such "
        "place: expected a ValueError"
    )


def _check_order(new, old, p, shown):
    drops = [i for i, layer in enumerate(new) if isinstance(layer, _DropoutNd)]
    others = [layer for layer in new if not isinstance(layer, _DropoutNd)]
    expected = [layer for layer in old if not isinstance(layer, _DropoutNd)]
    kinds = [type(layer) for layer in expected]
    if [type(layer) for layer in others] != kinds:
        raise Wrong(f"{shown}: apart from dropout the layers are to be the same")
    if any(a is not b for a, b in zip(others, expected, strict=True)):
        raise Wrong(
            f"{shown}: a layer is a copy, or a new one. Then an optimizer that holds "
            "the old parameters trains nothing: use the layers themselves"
        )
    if len(drops) != 1:
        two = any(isinstance(new[i], nn.Dropout2d) for i in drops)
        hint = "are those of whole channels taken out, too?" if two else "one is to be"
        raise Wrong(f"{shown}: there are {len(drops)} dropouts: {hint}")
    linears = [i for i, layer in enumerate(new) if isinstance(layer, nn.Linear)]
    if drops[0] > linears[-1]:
        raise Wrong(f"{shown}: the dropout stands on the logits")
    if drops[0] != linears[-1] - 1:
        norms = [i for i, layer in enumerate(new) if isinstance(layer, _BatchNorm)]
        hint = "it is to stand directly before the last linear layer"
        if norms and drops[0] < norms[-1]:
            hint = "a batch norm still stands behind it"
        raise Wrong(f"{shown}: {hint}")
    if type(new[drops[0]]) is not nn.Dropout or new[drops[0]].p != p:
        raise Wrong(
            f"{shown}: expected nn.Dropout of rate {p:.2f}, got {new[drops[0]]}"
        )


# Programs to repair


@checker
def network(cls, *, seed=0):
    """``cls(channels, p)``: a CNN whose dropout can be set and shifts no variance."""
    torch.manual_seed(seed)
    p = 0.3
    net = call(cls, 8, p)
    if not isinstance(net, nn.Module):
        raise Wrong("expected a class derived from torch.nn.Module")
    modules = list(net.modules())
    norms = [module for module in modules if isinstance(module, _BatchNorm)]
    convolutions = [module for module in modules if isinstance(module, nn.Conv2d)]
    heads = [module for module in modules if isinstance(module, nn.Linear)]
    if [len(convolutions), len(norms), len(heads)] != [2, 2, 1]:
        raise Wrong("expected two convolutions, two batch norms and a linear layer")
    drops = [module for module in modules if isinstance(module, _DropoutNd)]
    if not drops:
        raise Wrong(
            "there is no nn.Dropout among the modules: what would set_rate find?"
        )
    if any(module.p != p for module in drops):
        rate = next(module.p for module in drops if module.p != p)
        raise Wrong(
            f"a dropout's rate is {rate}, expected {p}, its probability to drop"
        )
    x = torch.randn(6, 1, 8, 8)

    def run(when):
        """The output, and what batch norms and the last layer receive."""
        seen = {}

        def look(module, args):
            seen[module] = args[0].detach()

        with watched(net, look), torch.no_grad():
            y = call(net, x, when=when)
        if not isinstance(y, torch.Tensor) or y.shape != (6, 10):
            raise Wrong(f"{when} expected logits of shape (6, 10)")
        unused = [module for module in norms + heads if module not in seen]
        if unused:
            raise Wrong(f"{when} a {type(unused[0]).__name__} is not called")
        return y, [seen[module] for module in norms], seen[heads[0]]

    def twice(when):
        one, two = run(when), run(when)
        return [
            torch.equal(one[0], two[0]),
            all(torch.equal(a, b) for a, b in zip(one[1], two[1], strict=True)),
            torch.equal(one[2], two[2]),
        ]

    net.eval()
    if not twice("in evaluation")[0]:
        raise Wrong(
            "in evaluation two passes over the same images give different logits: does "
            "F.dropout know the mode of the module?"
        )
    net.train()
    same_logits, same_inside, same_features = twice("in training")
    if same_logits:
        raise Wrong("in training nothing is dropped: is the dropout called?")
    if not same_inside:
        raise Wrong(
            "in training a batch norm receives noise: its running variance is that of "
            "another input than evaluation has. Where could dropout stand?"
        )
    if same_features:
        raise Wrong("dropout stands behind the last layer, on the logits")
    for module in drops:
        module.p = 0.0
    if not twice("at rate 0")[0]:
        raise Wrong(
            "set_rate(net, 0) has set every nn.Dropout to 0, and in training something "
            "is still dropped: which rate does your forward use?"
        )


def _trained(seed):
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(2, 3, 2),
        nn.BatchNorm2d(3, momentum=0.03),
        nn.ReLU(),
        nn.Sequential(
            nn.Dropout2d(0.3), nn.Flatten(), nn.Linear(12, 5), nn.BatchNorm1d(5)
        ),
        nn.ReLU(),
        nn.Dropout(0.4),
        nn.Linear(5, 3),
    ).double()
    for _ in range(20):
        net(torch.randn(16, 2, 3, 3, dtype=torch.float64) * 2 + 1)
    return net


def _norms(net):
    return [module for module in net.modules() if isinstance(module, _BatchNorm)]


def _statistics(net):
    found = []
    for norm in _norms(net):
        for name in ("running_mean", "running_var"):
            value = getattr(norm, name)
            shape = (norm.num_features,)
            if not isinstance(value, torch.Tensor) or value.shape != shape:
                raise Wrong(f"{name} of a batch norm is {value!r}")
            found.append(value.detach().double().clone())
    return found


def _reference(net, batches):
    """Means and variances of each batch at each batch norm, dropout off."""
    net = copy.deepcopy(net).eval()
    rows = []
    for module in _norms(net):
        module.train()
        module.momentum = 1.0  # keeps the last batch
    with torch.no_grad():
        for x in batches:
            net(x)
            rows.append(_statistics(net))
    return [torch.stack(column) for column in zip(*rows, strict=True)]


def _pooled(per_batch, size):
    """Mean and variance of all values together; `size` values to a batch."""
    found = []
    k = len(per_batch[0])
    for i in range(0, len(per_batch), 2):
        means, variances = per_batch[i], per_batch[i + 1]
        n = size[i // 2]
        squares = (variances * (n - 1)).sum(0) + n * ((means - means.mean(0)) ** 2).sum(
            0
        )
        found += [means.mean(0), squares / (k * n - 1)]
    return found


@checker
def reestimate(solve, *, seed=0):
    """``solve(model, batches)``: new running statistics; all else stays."""
    net = _trained(seed)
    batches = [torch.randn(16, 2, 3, 3, dtype=torch.float64) - 0.5 for _ in range(4)]
    per_batch = _reference(net, batches)
    old = _statistics(net)
    sizes = [16 * 4, 16]
    right = [column.mean(0) for column in per_batch]
    pooled = _pooled(per_batch, sizes)

    def ema(start, momenta):
        found = []
        for i, column in enumerate(per_batch):
            value = start[i]
            for row in column:
                value = (1 - momenta[i // 2]) * value + momenta[i // 2] * row
            found.append(value)
        return found

    fresh = [
        torch.zeros_like(v) if i % 2 == 0 else torch.ones_like(v)
        for i, v in enumerate(old)
    ]
    momenta = [module.momentum for module in _norms(net)]
    k, before_k = len(batches), int(_norms(net)[0].num_batches_tracked)
    known = {
        "the statistics are as they were: are the batch norms in training mode "
        "meanwhile?": old,
        "they are those of a new layer: are the batches sent through the model?": fresh,
        "that is a moving average, which still holds the old statistics": ema(
            old, momenta
        ),
        "that is a moving average that starts at 0 and 1 and has not got far": ema(
            fresh, momenta
        ),
        "the batches of training count as well: with momentum None the average goes on "
        "from num_batches_tracked. What resets it?": [
            (before_k * a + k * b) / (before_k + k)
            for a, b in zip(old, right, strict=True)
        ],
        "is that the last batch alone?": [column[-1] for column in per_batch],
        "is that the first batch alone?": [column[0] for column in per_batch],
    }
    for start in ("training", "evaluation", "mixed"):
        model = copy.deepcopy(net).train(start != "evaluation")
        if start == "mixed":
            model[1].eval()
        when = f"with the model in {start} mode"
        if start == "mixed":
            when = "with one batch norm of the model in evaluation mode"
        before, given = settings(model), [x.clone() for x in batches]
        act(solve, model, given, when=when)
        got = _statistics(model)
        again = copy.deepcopy(net).train(start != "evaluation")
        act(solve, again, [x.clone() for x in batches], when=when)
        _check_statistics(got, _statistics(again), [right, pooled], known, old, when)
        words = changed(before, model)
        if words:
            hint = {
                "the mode of a module": "is each module put back into its own mode?",
                "the momentum of a batch norm": "from here on training would go on "
                "with it",
            }.get(words, "only the running statistics are to change")
            raise Wrong(f"{when}: afterwards {words} is another: {hint}")


def _close(a, b):
    return all(torch.allclose(x, y, atol=1e-8) for x, y in zip(a, b, strict=True))


def _check_statistics(got, again, right, known, old, when):
    if not _close(got, again):
        raise Wrong(
            f"{when}: two runs over the same batches leave different statistics: "
            "dropout is on meanwhile. Evaluation will have none"
        )
    if any(_close(got, accepted) for accepted in right):
        return
    hint = "expected the mean over batches of each batch's mean and unbiased variance"
    stale = [torch.equal(a, b) for a, b in zip(got, old, strict=True)]
    if any(stale) and not all(stale):
        hint = "one of two batch norms is as it was: are those of images reached, and "
        hint += "those at any depth?"
    for words, wrong in known.items():
        if _close(got, wrong):
            hint = words
            break
    else:
        if _close(got[::2], right[0][::2]) and not any(stale):
            hint = "the means are right, the variances are not: the unbiased ones?"
    raise Wrong(f"{when} the running statistics are not those of the batches: {hint}")


class _Steps(torch.optim.SGD):
    """SGD that notes its learning rate at each step, and the gradients."""

    def __init__(self, parameters, lr):
        super().__init__(parameters, lr)
        self.rates, self.gradients = [], []

    def step(self, closure=None):
        self.rates.append(self.param_groups[0]["lr"])
        self.gradients.append(
            [
                p.grad.clone()
                for p in self.param_groups[0]["params"]
                if p.grad is not None
            ]
        )
        return super().step(closure)


def task(seed, rate=0.0):
    """A small network, its batches, and an optimizer that takes notes."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(rate), nn.Linear(6, 3)
    ).double()
    batches = [
        (torch.randn(8, 4, dtype=torch.float64), torch.randint(3, (8,)))
        for _ in range(5)
    ]
    return net, batches, _Steps(net.parameters(), 0.1)


@checker
def fit(solve, *, seed=0):
    """``solve(model, batches, optimizer, validate, epochs)``: validation errors."""
    epochs = 3
    net, batches, optimizer = task(seed)
    norm, dropout = net[1], net[3]
    net.eval()  # as a new call finds a model that was validated before
    seen, validated = [], []

    def look(module, args):
        if module is norm and torch.is_grad_enabled():
            seen.append((len(optimizer.rates), norm.training, dropout.training))

    def validate(model):
        model.eval()
        validated.append(len(optimizer.rates))
        return 10.0 - len(validated)

    with watched(net, look):
        errors = listed(solve, net, batches, optimizer, validate, epochs)
    steps, expected = len(optimizer.rates), epochs * len(batches)
    if steps != expected:
        raise Wrong(f"the optimizer makes {steps} steps, expected {expected}")
    for step, norm_trains, dropout_trains in seen:
        epoch = 1 + step // len(batches)
        if not (norm_trains and dropout_trains):
            hint = "who calls model.train()?"
            if epoch > 1:
                hint = "what did `validate` do to the model, and who undoes it?"
            part = "the batch norm" if not norm_trains else "dropout"
            raise Wrong(f"in epoch {epoch} {part} is in evaluation mode: {hint}")
    if norm.momentum != 0.1 or int(norm.num_batches_tracked) != expected:
        raise Wrong(
            f"the batch norm has counted {int(norm.num_batches_tracked)} batches, "
            f"expected {expected}, at momentum 0.1: who else sends examples through "
            "the model in training mode?"
        )
    if validated != [len(batches) * (i + 1) for i in range(epochs)]:
        raise Wrong("expected one call of `validate` after each epoch")
    try:
        same = list(errors) == [9.0, 8.0, 7.0]
    except (TypeError, ValueError, RuntimeError):
        same = False
    if not same:
        raise Wrong(
            "expected the list of what `validate` returned, one entry for each epoch, "
            f"got {errors!r}"
        )
    check_gradients(seed, optimizer, batches, epochs)


def check_gradients(seed, optimizer, batches, epochs):
    """The gradients of each step are those of its batch alone."""
    net, _, ours = task(seed)
    total = []
    for step, (x, y) in enumerate(batches * epochs):
        net.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        right = [p.grad.clone() for p in net.parameters()]
        if total:
            total = [a + b for a, b in zip(total, right, strict=True)]
        total = total or right
        got = optimizer.gradients[step]
        if len(got) != len(right) or not _close(got, right):
            hint = "is it the mean cross-entropy of this batch?"
            if len(got) == len(right) and step and _close(got, total):
                hint = "are those of the batches before still in it?"
            raise Wrong(f"at step {step + 1} the gradients are not its batch's: {hint}")
        ours.param_groups[0]["lr"] = optimizer.rates[step]
        ours.step()


# What dropout does to two units, and what a number can undo


@checker
def correlation(solve, *, seed=0):
    """``solve(c1, v1, c2, v2, rho, p)``: correlation of two units behind dropout."""
    rng = np.random.default_rng(seed)
    for centered in (True, False, False, False):
        c1, c2 = (0.0, 0.0) if centered else map(float, rng.uniform(0.5, 2, 2))
        v1, v2 = map(float, rng.uniform(0.5, 3, 2))
        rho, p = float(rng.uniform(0.3, 0.9)), float(rng.choice([0.1, 0.3, 0.6]))
        cov = rho * np.sqrt(v1 * v2)

        def ratio(p, shared=False, c1=c1, c2=c2, v1=v1, v2=v2, cov=cov):
            t1, t2 = ((v + c**2) / (1 - p) - c**2 for c, v in ((c1, v1), (c2, v2)))
            both = (cov + c1 * c2) / (1 - p) - c1 * c2 if shared else cov
            return both / np.sqrt(t1 * t2)

        what = (
            f"for c1 = {c1:.2f}, v1 = {v1:.2f}, c2 = {c2:.2f}, v2 = {v2:.2f}, rho = "
            f"{rho:.2f}, p = {p} the correlation"
        )
        got = number(call(solve, c1, v1, c2, v2, rho, p), what)
        right = ratio(p)
        t1, t2 = ((v + c**2) / (1 - p) - c**2 for c, v in ((c1, v1), (c2, v2)))
        known = {
            "is it as before? The covariance is, but the variances?": rho,
            "that holds for means of 0, as behind a batch norm": rho * (1 - p),
            "is the factor of each unit rooted, as standard deviations are?": (
                rho * v1 * v2 / (t1 * t2)
            ),
            "is that the covariance?": cov,
            "do the two units have one mask in common?": ratio(p, shared=True),
            "keeping and dropping are exchanged": ratio(1 - p),
            "is the covariance multiplied by (1 - p)²? Kept units are scaled": (
                ratio(p) * (1 - p) ** 2
            ),
            "that divides by the new variances, without the root": cov / (t1 * t2),
            "that is for standard deviations v1 and v2": (
                rho * v1 * v2 / np.sqrt(t1 * t2)
            ),
        }
        hint = "what does dropout do to the covariance, and to each variance?"
        agree(what, got, right, known, hint)


@checker
def temperature(solve, *, seed=0):
    """``solve(logits, y)``: the T that minimizes the mean NLL of logits / T."""
    rng = np.random.default_rng(seed)
    for scale in rng.permutation([0.3, 1.0, 4.0]):
        logits = 2 * rng.standard_normal((400, 5))
        noise = rng.gumbel(size=logits.shape)
        y = (logits + noise).argmax(axis=1)
        logits = logits * scale
        if scale == 1.0:
            logits += rng.uniform(800, 900, (400, 1))  # whose exp overflows

        def nll(T, logits=logits, y=y):
            return -log_softmax(logits / T, axis=1)[np.arange(len(y)), y].mean()

        best = minimize_scalar(
            lambda a, nll=nll: nll(np.exp(a)),
            bounds=(-5, 5),
            method="bounded",
            options={"xatol": 1e-8},
        )
        right = float(np.exp(best.x))
        kind = {0.3: "too unsure", 1.0: "just sure enough", 4.0: "too sure"}[scale]
        when = f"for logits that are {kind}"
        got = number(
            pure(solve, {"logits": logits, "y": y}, when=when), f"{when} the T"
        )
        if got > 0 and abs(np.log(got / right)) <= 0.02:
            continue
        hint = "is it the minimum of the mean of -log softmax(logits / T)[y]?"
        if got <= 0:
            hint = "it divides the logits: could it be negative?"
        elif abs(np.log(got * right)) <= 0.02:
            hint = "are the logits multiplied by your T, where they should be divided?"
        elif right < 1 and np.isclose(got, 1, atol=0.06):
            hint = "may T be below 1? Then the network becomes surer"
        elif np.isclose(got, nll(right), rtol=1e-3):
            hint = "is that the lowest NLL, in place of the T that gives it?"
        elif np.isclose(got, np.log(right), rtol=2e-2):
            hint = "is that the logarithm of T?"
        elif abs(np.log(got / right)) <= 0.2:
            hint = "is the grid too coarse, or the descent too short?"
        raise Wrong(f"{when} T is {got:.4g}, expected {right:.4g}: {hint}")
