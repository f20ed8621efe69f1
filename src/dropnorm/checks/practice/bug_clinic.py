"""Exercises of the chapter practice/bug_clinic."""

import copy
import math
import warnings

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from dropnorm.checks.base import Wrong, call, judgments, number
from dropnorm.checks.practice.tensors import array, build, checker, state

# What the training loss shows


@checker
def visible(predicted, *, seed=0):
    """``predicted``: whether a fault changes the loss of some training step."""
    right = {
        "never updated": (False, "who reads the running statistics in training?"),
        "momentum 0.99": (False, "who reads the running statistics in training?"),
        "m - 1": (True, "every output of the layer is a little smaller"),
        "graph kept": (False, "the numbers are right; what grows?"),
        "stuck": (True, "what has dropout been doing since the first evaluation?"),
        "validated in training mode": (
            False,
            "there is no mask to draw, so what does the pass leave behind?",
        ),
        "constants": (True, "equal losses in the first step, and equal gradients?"),
        "chosen by test error": (False, "when does the choice take place?"),
        "decay on gamma": (True, "gamma is used in the next forward pass"),
        "not saved": (False, "when are the buffers missing?"),
    }
    judgments(predicted, right)


# The best epoch


def _scripts(rng):
    """Errors of the epochs, a patience, the number of epochs that are trained."""
    a = np.sort(rng.uniform(1, 9, 6))[::-1].round(3)
    return [
        ("an error that falls", list(a), 2, 6),
        ("a best epoch in the middle", [a[2], a[4], a[3], a[1], a[0]], 2, 4),
        (
            "two bad epochs, not in a row",
            [a[1], a[0], a[2], a[0], a[4], a[3]],
            2,
            6,
        ),
        ("an error that stays", [a[3], a[3], a[3], a[3]], 2, 3),
        ("errors that are never better than the first", [a[4], a[3], a[1]], 2, 3),
    ]


def _epoch(model, count):
    """What stands for training: all parameters and buffers become the epoch's."""
    with torch.no_grad():
        for value in [*model.parameters(), *model.buffers()]:
            value.fill_(count)


@checker
def best_epoch(solve, *, seed=0):
    """``solve(model, train_epoch, validate, patience, max_epochs)``: early stopping."""
    for where, errors, patience, trained in _scripts(np.random.default_rng(seed)):
        model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
        done, looked = [], []

        def train_epoch(net, done=done):
            done.append(1)
            _epoch(net, len(done))

        def validate(net, done=done, looked=looked, errors=errors):
            if not done or len(looked) >= len(errors):
                raise Wrong("`validate` is to be called once after each epoch")
            looked.append(len(done))
            return errors[len(looked) - 1]

        when = f"with {where},"
        limit = len(errors)
        got = call(solve, model, train_epoch, validate, patience, limit, when=when)
        if looked != list(range(1, len(done) + 1)):
            raise Wrong("`validate` is to be called once after each epoch")
        if len(done) != trained:
            hint = "training is to end after `patience` epochs in a row without a gain"
            if where == "an error that stays":
                hint = "an error that is only equal is no gain"
            elif where == "two bad epochs, not in a row":
                hint = "what happens to the count when an epoch is better?"
            raise Wrong(
                f"{when} {len(done)} epochs are trained, expected {trained}: {hint}"
            )
        lowest, best = min(errors), int(np.argmin(errors)) + 1
        if not math.isclose(number(got, "the result"), lowest):
            hint = "is it the error of the last epoch?" if got == errors[-1] else ""
            hint = hint or "with which value does the comparison begin?"
            raise Wrong(f"{when} the result is {got:.3g}, expected the lowest: {hint}")
        _check_state(model, best, trained, when)


def _check_state(model, best, last, when):
    def all_are(values, count):
        return all((value == count).all() for value in values)

    parameters, buffers = list(model.parameters()), list(model.buffers())
    if all_are([*parameters, *buffers], best):
        return
    if all_are([*parameters, *buffers], last):
        raise Wrong(
            f"{when} the model is that of the last epoch, {last}, not of the best, "
            f"{best}: does the state that you keep change along with the model, and is "
            "it put back?"
        )
    if all_are(parameters, best):
        raise Wrong(
            f"{when} the weights are those of the best epoch, and the running "
            "statistics are not: are they parameters?"
        )
    raise Wrong(f"{when} the model is not that of the best epoch, {best}")


# Groups for the optimizer


class _Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.debias = nn.LayerNorm(4), nn.Linear(4, 4)
        self.scale = nn.Parameter(torch.ones(4))


class _Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.norm = nn.Embedding(7, 4), nn.BatchNorm1d(4)
        self.out = nn.Linear(4, 7)
        self.out.weight = self.embedding.weight


def _frozen():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    return model


@checker
def decay_groups(solve, *, seed=0):
    """``solve(model, weight_decay)``: groups that decay matrices and kernels alone."""
    decay = float(np.random.default_rng(seed).uniform(0.05, 0.2))
    cases = {
        "nn.Sequential with a batch norm": nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 2)
        ),
        "a layer norm called ln_1 and a linear layer called debias": _Block(),
        "an embedding that shares its weight with the last layer": _Tied(),
        "a frozen layer": _frozen(),
        "a linear layer without bias": nn.Sequential(nn.Linear(4, 1, bias=False)),
    }
    for where, model in cases.items():
        when = f"for {where}:"
        groups = call(solve, model, decay, when=when)
        if hasattr(groups, "__next__"):
            groups = list(groups)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a parameter that is there twice
                # A default that is not 0, as AdamW has one.
                optimizer = torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.01)
        except Exception as error:
            if "more than one parameter group" in str(error):
                raise Wrong(f"{when} a parameter is in two groups") from None
            raise Wrong(f"{when} AdamW refuses the groups: {error}") from None
        found = [
            (id(w), group["weight_decay"])
            for group in optimizer.param_groups
            for w in group["params"]
        ]
        rates = dict(found)
        names = {id(w): name for name, w in model.named_parameters()}
        if len(rates) < len(found):
            raise Wrong(f"{when} a parameter is in the groups twice")
        if set(rates) - set(names):
            raise Wrong(
                f"{when} there are tensors in the groups that are no parameters"
            )
        for name, w in model.named_parameters():
            _check_rate(name, w, rates.get(id(w)), decay, when)


def _check_rate(name, w, rate, decay, when):
    if not w.requires_grad:
        if rate is not None:
            raise Wrong(f"{when} {name} is frozen, and in the groups")
        return
    if rate is None:
        raise Wrong(f"{when} {name} is in no group: it would not be trained")
    if rate not in (0.0, decay):
        raise Wrong(
            f"{when} {name} decays at {rate}, the optimizer's default: has its group a "
            "weight_decay of its own?"
        )
    if (w.ndim > 1) != (rate > 0):
        hint = "what is known of it but its name?"
        if name.split(".")[-1] == "bias":
            hint = "it is a shift"
        does = "does not decay" if rate == 0 else "decays"
        raise Wrong(f"{when} {name}, of shape {tuple(w.shape)}, {does}: {hint}")


# Layers that are not there


@checker
def layers(cls, *, seed=0):
    """``cls(width, depth, p)``: a network with all its layers."""
    torch.manual_seed(seed)
    width, depth, p = 8, 3, 0.3
    net = build(cls, width, depth, p)
    modules = list(net.modules())
    norms = [m for m in modules if isinstance(m, _BatchNorm)]
    linears = [m for m in modules if isinstance(m, nn.Linear)]
    if len(norms) != depth or len(linears) != depth + 2:
        hint = "a network that does not know a layer neither trains nor saves it, and "
        hint += "does not set its mode: is it in a list that PyTorch sees?"
        if len(norms) == 1:
            hint = "is the same object in the list several times?"
        raise Wrong(
            f"for depth 3 PyTorch finds {len(norms)} batch norms and {len(linears)} "
            f"linear layers, expected 3 and 5: {hint}"
        )
    x = torch.randn(16, 64)
    net.train()
    one, two = (call(net, x, when="in training") for _ in range(2))
    array(one, (16, 10), "in training")
    one.sum().backward()
    for name, w in net.named_parameters():
        if w.grad is None:
            raise Wrong(f"{name} gets no gradient: is its layer called?")
    if torch.equal(one, two):
        raise Wrong("in training two passes are equal: is there dropout?")
    net.eval()
    one, two = (call(net, x, when="in evaluation") for _ in range(2))
    if not torch.equal(one, two):
        raise Wrong(
            "in evaluation two passes differ: a dropout layer that is made in "
            "`forward` is new each time, and who tells it the mode?"
        )
    drops = [m for m in modules if isinstance(m, _DropoutNd)]
    if any(m.p != p for m in drops):
        raise Wrong(f"a dropout has the rate {drops[0].p}, expected {p}")
    if (
        len({id(w) for w in net.parameters()})
        != len(list(net.state_dict())) - 3 * depth
    ):
        raise Wrong("two layers share a parameter")
    _check_place(net.train(), norms, x)


def _check_place(net, norms, x):
    """No mask in front of a batch norm."""
    seen = []
    hooks = [
        m.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
        for m in norms
    ]
    try:
        with torch.no_grad():
            net(x), net(x)
    finally:
        for hook in hooks:
            hook.remove()
    half = len(seen) // 2
    if any(
        not torch.equal(a, b) for a, b in zip(seen[:half], seen[half:], strict=True)
    ):
        raise Wrong("dropout is to stand before the last layer only")


# A doctor for batch norms


class _Own(nn.BatchNorm1d):
    """nn.BatchNorm1d with a place for each fault."""

    ddof, detach, share, mode, update = 0, False, None, True, True

    def forward(self, x):
        mean, var = self.running_mean, self.running_var
        if self.training or not self.mode:
            mean, var = x.mean(0), x.var(0, correction=self.ddof)
            if self.detach:
                mean, var = mean.detach(), var.detach()
        if self.training and self.update:
            share = self.momentum if self.share is None else self.share
            with torch.no_grad():
                self.running_mean.lerp_(x.mean(0), share)
                self.running_var.lerp_(x.var(0), share)
        x_hat = (x - mean) / (var + self.eps).sqrt()
        return self.weight * x_hat + self.bias


class _Unsaved(_Own):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        for name in ("running_mean", "running_var"):
            setattr(self, name, self._buffers.pop(name))


def _own(momentum, **faults):
    layer = _Own(4, momentum=momentum)
    vars(layer).update(faults)
    return layer


PATIENTS = {
    "healthy": lambda a: nn.BatchNorm1d(4, momentum=a),
    "healthy, by hand": lambda a: _own(a),
    "m - 1": lambda a: _own(a, ddof=1),
    "constants": lambda a: _own(a, detach=True),
    "momentum": lambda a: _own(a, share=1 - a),
    "never updated": lambda a: _own(a, update=False),
    "mode": lambda a: _own(a, mode=False),
    "not saved": lambda a: _Unsaved(4, momentum=a),
}
MISSED = {
    "healthy": "which of your tests is too strict?",
    "m - 1": "is the output in training compared with F.batch_norm, closely enough for "
    "the batch that you use? In a large one m and m - 1 are nearly equal",
    "constants": "what is the sum of the gradient over the batch?",
    "momentum": "which part of the old running mean does one step replace, and which "
    "should it?",
    "never updated": "do the running statistics move at all?",
    "mode": "in evaluation, do the numbers of an example depend on the others?",
    "not saved": "what is in the state_dict?",
}


@checker
def doctor(solve, *, seed=0):
    """``solve(norm)``: the name of what is wrong with a batch norm of four features."""
    rng = np.random.default_rng(seed)
    for name, make in PATIENTS.items():
        for momentum in (0.1, round(float(rng.uniform(0.2, 0.4)), 2)):
            layer = make(momentum).train()
            right = name.split(",")[0]
            with torch.no_grad():  # not as new
                layer.weight.copy_(torch.tensor(rng.uniform(0.5, 2, 4)))
                layer.bias.copy_(torch.tensor(rng.standard_normal(4)))
                for _ in range(int(rng.integers(3))):
                    layer(torch.tensor(2 + rng.standard_normal((8, 4))))
            mode, before = layer.training, _remember(layer)
            got = call(solve, layer, when=f"a layer that is {name}:")
            if got != right:
                words = f"a layer with the fault {right!r}"
                if right == "healthy":
                    words = f"a healthy layer of momentum {momentum}"
                raise Wrong(f"{words} is found {got!r}: {MISSED[right]}")
            after = _remember(layer)
            if layer.training != mode or any(
                not torch.equal(before[key], after[key]) for key in before
            ):
                raise Wrong(
                    "your examination changes the layer: is it one pass in training "
                    "mode? Examine a copy"
                )


def _remember(layer):
    plain = {k: v for k, v in vars(layer).items() if isinstance(v, torch.Tensor)}
    return {**state(layer), **copy.deepcopy(plain)}
