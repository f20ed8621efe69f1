"""Exercises on the order: right answers pass, wrong ones are named."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from answers import fails, passes
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dropnorm import checks
from dropnorm.nn import reestimate_statistics

T = checks.together

# falsified

FALSIFIED = {
    "direct": True,
    "behind": False,
    "relu between": True,
    "two blocks": True,
    "layer norm": False,
    "always on": False,
    "untracked": False,
}


class Noise(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5)


def block():
    return [nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5)]


NETWORKS = {
    "direct": [nn.Linear(8, 8), nn.Dropout(0.5), nn.BatchNorm1d(8)],
    "behind": [nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5)],
    "relu between": [nn.Dropout(0.5), nn.Linear(8, 8), nn.ReLU(), nn.BatchNorm1d(8)],
    "two blocks": [*block(), *block()],
    "layer norm": [nn.Dropout(0.5), nn.Linear(8, 8), nn.LayerNorm(8)],
    "always on": [nn.Linear(8, 8), Noise(), nn.BatchNorm1d(8)],
    "untracked": [
        nn.Dropout(0.5),
        nn.Linear(8, 8),
        nn.BatchNorm1d(8, track_running_stats=False),
    ],
}


@pytest.mark.parametrize("key", FALSIFIED)
def test_falsified_is_what_a_measurement_finds(key):
    """Stored variance against that which arrives in evaluation."""
    torch.manual_seed(0)
    net = nn.Sequential(*NETWORKS[key])
    norms = [m for m in net if isinstance(m, _BatchNorm) and m.track_running_stats]
    x = torch.randn(20_000, 8) + 0.5
    arrived = {}
    for norm in norms:
        norm.momentum = 1.0
        norm.register_forward_pre_hook(
            lambda m, args: arrived.__setitem__(m, args[0].var(0))
        )
    with torch.no_grad():
        net(x)
        net.eval()(x)
    off = [abs(arrived[m] / m.running_var - 1).max().item() for m in norms]
    assert any(value > 0.2 for value in off) == FALSIFIED[key]
    assert all(value > 0.2 or value < 0.1 for value in off)


def test_falsified():
    passes(T.falsified, FALSIFIED, seeds=[0])
    passes(T.falsified, {k: np.bool_(v) for k, v in FALSIFIED.items()}, seeds=[0])
    assert T.falsified(dict.fromkeys(FALSIFIED)).status == "not attempted"


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("direct", "sees the masked units"),
        ("behind", "of a layer behind it"),
        ("relu between", "take the noise away"),
        ("two blocks", "dropout of the first block"),
        ("layer norm", "what does a layer norm store"),
        ("always on", "F.dropout has no mode"),
        ("untracked", "divide by in evaluation"),
    ],
)
def test_falsified_names_what_is_wrong(key, words):
    wrong = FALSIFIED | {key: not FALSIFIED[key]}
    fails(T.falsified, wrong, words=words, seeds=[0])
    fails(T.falsified, FALSIFIED | {key: "yes"}, words="True or False", seeds=[0])


# upstream

DROPS = nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout
NORMS = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d


def walking(
    drops=DROPS,
    norms=NORMS,
    walk=nn.Module.named_modules,
    zero=False,
    window=None,
    order=True,
    full=True,
    each=False,
):
    def answer(net):
        layers = list(walk(net))
        found = []
        for i, (name, layer) in enumerate(layers):
            before = layers[:i] if order else layers
            before = before[-window:] if window else before
            count = sum(isinstance(m, drops) and (zero or m.p > 0) for _, m in before)
            if isinstance(layer, norms) and count:
                name = name if full else name.split(".")[-1]
                found += [name] * (count if each else 1)
        return found

    return answer


def by_recursion(net):
    found, noisy = set(), False

    def visit(layer, name):
        nonlocal noisy
        for key, child in layer.named_children():
            path = f"{name}.{key}" if name else key
            if "Dropout" in type(child).__name__ and child.p:
                noisy = True
            if "BatchNorm" in type(child).__name__ and noisy:
                found.add(path)
            visit(child, path)

    visit(net, "")
    return found


def by_generator(net):
    yield from walking()(net)


@pytest.mark.parametrize("answer", [walking(), by_recursion, by_generator])
def test_upstream_accepts(answer):
    passes(T.upstream, answer, seeds=[0])


def forgets(net):
    """Each network inside by itself."""
    found = []
    for name, child in net.named_children():
        inner = [f"{name}.{n}" for n in walking()(child)]
        found += inner or ([name] if name in walking()(net) else [])
    return found


WRONG_UPSTREAMS = {
    "direct": (walking(window=1), "is every earlier layer looked at"),
    "order": (walking(order=False), "does the order count"),
    "children": (walking(walk=nn.Module.named_children), "networks inside the network"),
    "forgets": (forgets, "remembered in the next"),
    "rate 0": (walking(zero=True), "a dropout of rate 0"),
    "Dropout alone": (walking(drops=nn.Dropout), "dropouts of whole channels"),
    "1d alone": (walking(norms=nn.BatchNorm1d), "batch norms of images"),
    "layer norm": (walking(norms=(*NORMS, nn.LayerNorm)), "a layer norm stores"),
    "last name": (walking(full=False), "expected the whole name"),
    "each": (walking(each=True), "once for each dropout"),
    "nothing": (lambda net: [], "look at what is before"),
    "all": (
        lambda net: [n for n, m in net.named_modules() if isinstance(m, NORMS)],
        "three layers before|the order count",
    ),
    "modules": (lambda net: [net[2]], "expected a list of names"),
    "text": (lambda net: "2", "expected a list of names"),
    "number": (lambda net: 1, "expected a list of names"),
    "changes": (lambda net: net.eval() and ["2"], "your function changes the mode"),
    "raises": (lambda net: net.layers, "AttributeError"),
}


@pytest.mark.parametrize("name", WRONG_UPSTREAMS)
def test_upstream_names_what_is_wrong(name):
    answer, words = WRONG_UPSTREAMS[name]
    fails(T.upstream, answer, words=words, seeds=[0])


# reorder


def reordering(
    drops=DROPS,
    copied=False,
    place=-1,
    new=nn.Dropout,
    rate=lambda p: p,
    remove=True,
    check=True,
    error=ValueError,
):
    def answer(net, p):
        layers = [m for m in net if not (remove and isinstance(m, drops))]
        last = max(i for i, m in enumerate(layers) if isinstance(m, nn.Linear))
        if check and any(isinstance(m, NORMS) for m in layers[last:]):
            raise error("a batch norm stands behind the last linear layer")
        if copied:
            layers = [copy.deepcopy(m) for m in layers]
        layers.insert(last if place == -1 else place(last), new(rate(p)))
        return nn.Sequential(*layers)

    return answer


def backwards(net, p):
    """Built from the end."""
    layers, placed = [], False
    for layer in reversed(list(net)):
        if "Dropout" in type(layer).__name__:
            continue
        if isinstance(layer, _BatchNorm) and not placed:
            raise ValueError(layer)
        layers.append(layer)
        if isinstance(layer, nn.Linear) and not placed:
            layers.append(nn.Dropout(p, inplace=False))
            placed = True
    return nn.Sequential(*reversed(layers))


@pytest.mark.parametrize("answer", [reordering(), backwards])
def test_reorder_accepts(answer):
    passes(T.reorder, answer)


def shrink(net, p):
    """Takes the dropouts out of the given network."""
    new = reordering()(net, p)
    for i in reversed(range(len(net))):
        if isinstance(net[i], DROPS):
            del net[i]
    return new


def set_to_zero(net, p):
    for m in net:
        if isinstance(m, DROPS):
            m.p = 0.0
    return reordering()(net, p)


WRONG_ORDERS = {
    "not removed": (reordering(remove=False), "there are"),
    "Dropout alone": (reordering(drops=nn.Dropout), "whole channels taken out"),
    "copies": (reordering(copied=True), "an optimizer that holds"),
    "logits": (reordering(place=lambda last: last + 1), "on the logits"),
    "before": (reordering(place=lambda last: last - 1), "directly before the last"),
    "first": (reordering(place=lambda last: 0), "a batch norm still stands behind"),
    "1 - p": (reordering(rate=lambda p: 1 - p), "expected nn.Dropout of rate"),
    "kind": (reordering(new=nn.Dropout1d), "expected nn.Dropout of rate"),
    "no error": (reordering(check=False), "expected a ValueError"),
    "another error": (reordering(error=KeyError), "raised KeyError"),
    "shrinks": (shrink, "changes the network it is given"),
    "zero": (set_to_zero, "changes the network it is given"),
    "list": (lambda net, p: list(net), "expected a torch.nn.Sequential"),
    "new layers": (
        lambda net, p: nn.Sequential(nn.Linear(4, 4), nn.Dropout(p), nn.Linear(4, 2)),
        "the layers are to be the same",
    ),
    "same": (lambda net, p: net, "there are 3 dropouts"),
    "raises": (lambda net, p: net[99], "IndexError"),
}


@pytest.mark.parametrize("name", WRONG_ORDERS)
def test_reorder_names_what_is_wrong(name):
    answer, words = WRONG_ORDERS[name]
    fails(T.reorder, answer, words=words, seeds=[0])


# network


def cnn(forward, drop=nn.Dropout, rate=lambda p: p, blocks=2, head=10):
    class Net(nn.Module):
        def __init__(self, channels, p):
            super().__init__()
            self.conv1 = nn.Conv2d(1, channels, 3, padding=1, bias=False)
            self.norm1 = nn.BatchNorm2d(channels)
            self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
            self.norm2 = nn.BatchNorm2d(channels) if blocks == 2 else nn.Identity()
            self.dropout = drop(rate(p))
            self.head = nn.Linear(channels, head)
            self.p = p

    Net.forward = forward
    return Net


def right(self, x):
    h = F.relu(self.norm1(self.conv1(x)))
    h = F.relu(self.norm2(self.conv2(h)))
    return self.head(self.dropout(h.mean((2, 3))))


def on_maps(self, x):
    h = F.relu(self.norm1(self.conv1(x)))
    h = self.dropout(F.relu(self.norm2(self.conv2(h))))
    return self.head(h.mean((2, 3)))


def functional(self, x):
    h = F.relu(self.norm1(self.conv1(x)))
    h = F.relu(self.norm2(self.conv2(h)))
    return self.head(F.dropout(h.mean((2, 3)), self.dropout.p, self.training))


@pytest.mark.parametrize(
    "answer", [cnn(right), cnn(on_maps), cnn(on_maps, nn.Dropout2d), cnn(functional)]
)
def test_network_accepts(answer):
    passes(T.network, answer)


def given(self, x):
    h = F.relu(self.norm1(self.conv1(x)))
    h = F.dropout(h, self.p)
    h = F.relu(self.norm2(self.conv2(h)))
    return self.head(h.mean((2, 3)))


def between(self, x):
    h = self.dropout(F.relu(self.norm1(self.conv1(x))))
    h = F.relu(self.norm2(self.conv2(h)))
    return self.head(h.mean((2, 3)))


def left_on(self, x):
    h = F.relu(self.norm1(self.conv1(x)))
    h = F.relu(self.norm2(self.conv2(h)))
    return self.head(F.dropout(h.mean((2, 3)), self.dropout.p))


def fixed(self, x):
    h = F.relu(self.norm1(self.conv1(x)))
    h = F.relu(self.norm2(self.conv2(h)))
    return self.head(F.dropout(h.mean((2, 3)), self.p, self.training))


def logits(self, x):
    h = F.relu(self.norm1(self.conv1(x)))
    h = F.relu(self.norm2(self.conv2(h)))
    return self.dropout(self.head(h.mean((2, 3))))


def no_dropout(self, x):
    h = F.relu(self.norm1(self.conv1(x)))
    h = F.relu(self.norm2(self.conv2(h)))
    return self.head(h.mean((2, 3)))


def skipping(self, x):
    h = F.relu(self.norm1(self.conv1(x)))
    return self.head(self.dropout(h.mean((2, 3))))


WRONG_NETWORKS = {
    "the listing": (cnn(given), "does F.dropout know the mode"),
    "left on": (cnn(left_on), "does F.dropout know the mode"),
    "between": (cnn(between), "a batch norm receives noise"),
    "fixed": (cnn(fixed), "which rate does your forward use"),
    "logits": (cnn(logits), "behind the last layer, on the logits"),
    "none": (cnn(no_dropout), "in training nothing is dropped"),
    "no module": (cnn(fixed, drop=lambda p: nn.Identity()), "would set_rate find"),
    "1 - p": (cnn(right, rate=lambda p: 1 - p), "a dropout's rate is 0.7"),
    "one block": (cnn(right, blocks=1), "expected two convolutions"),
    "skips": (cnn(skipping), "a BatchNorm2d is not called"),
    "shape": (cnn(right, head=3), "expected logits of shape"),
    "no module at all": (lambda channels, p: right, "derived from torch.nn.Module"),
    "raises": (cnn(lambda self, x: self.tail(x)), "AttributeError"),
}


@pytest.mark.parametrize("name", WRONG_NETWORKS)
def test_network_names_what_is_wrong(name):
    answer, words = WRONG_NETWORKS[name]
    fails(T.network, answer, words=words)


def test_network_is_a_stub():
    class Net(nn.Module):
        def __init__(self, channels, p):
            raise NotImplementedError

    assert T.network(Net).status == "not attempted"


# reestimate


def reestimating(
    kinds=(nn.BatchNorm1d, nn.BatchNorm2d),
    walk=nn.Module.modules,
    dropout=False,
    reset=True,
    momentum=None,
    restore_momentum=True,
    restore="each",
    train=True,
    batches=slice(None),
):
    def answer(model, data):
        modes = [(m, m.training) for m in model.modules()]
        norms = [m for m in walk(model) if isinstance(m, kinds)]
        momenta = [m.momentum for m in norms]
        model.train(dropout)
        for m in norms:
            m.train(train)
            if reset:
                m.reset_running_stats()
            if momentum != "keep":
                m.momentum = momentum
        with torch.no_grad():
            for x in data[batches]:
                model(x)
        if restore_momentum:
            for m, old in zip(norms, momenta, strict=True):
                m.momentum = old
        if restore == "each":
            for m, mode in modes:
                m.training = mode
        elif restore is not None:
            model.train(restore)

    return answer


def by_hooks(model, data):
    """Without touching momentum: each batch's moments, averaged by hand."""
    modes = [(m, m.training) for m in model.modules()]
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    seen = {m: [] for m in norms}

    def look(module, args):
        x = args[0].transpose(0, 1).flatten(1)
        seen[module].append((x.mean(1), x.var(1)))

    hooks = [m.register_forward_pre_hook(look) for m in norms]
    model.eval()
    for m in norms:
        m.train()
    for x in data:
        with torch.no_grad():
            model(x)
    for hook in hooks:
        hook.remove()
    for m, mode in modes:
        m.training = mode
    for m in norms:
        m.running_mean.copy_(torch.stack([a for a, _ in seen[m]]).mean(0))
        m.running_var.copy_(torch.stack([b for _, b in seen[m]]).mean(0))
    return model


@pytest.mark.parametrize("answer", [reestimating(), by_hooks, reestimate_statistics])
def test_reestimate_accepts(answer):
    passes(T.reestimate, answer)


WRONG_ESTIMATES = {
    "the listing": (
        reestimating(
            kinds=nn.BatchNorm1d,
            dropout=True,
            reset=False,
            restore=None,
            restore_momentum=False,
        ),
        "dropout is on meanwhile",
    ),
    "dropout": (reestimating(dropout=True), "dropout is on meanwhile"),
    "no reset": (reestimating(reset=False), "from num_batches_tracked"),
    "moving average": (
        reestimating(momentum="keep", reset=False),
        "which still holds the old statistics",
    ),
    "from 0 and 1": (reestimating(momentum="keep"), "starts at 0 and 1"),
    "last batch": (reestimating(momentum=1.0), "the last batch alone"),
    "first batch": (reestimating(batches=slice(1)), "the first batch alone"),
    "eval": (reestimating(train=False, reset=False), "are as they were"),
    "reset alone": (reestimating(train=False), "those of a new layer"),
    "1d alone": (reestimating(kinds=nn.BatchNorm1d), "are those of images reached"),
    "children": (reestimating(walk=nn.Module.children), "at any depth"),
    "momentum": (
        reestimating(restore_momentum=False),
        "the momentum of a batch norm is another: from here on",
    ),
    "training mode": (reestimating(restore=True), "put back into its own mode"),
    "eval mode": (reestimating(restore=False), "put back into its own mode"),
    "half of the batches": (
        reestimating(batches=slice(0, None, 2)),
        "expected the mean over batches",
    ),
    "nothing": (lambda model, batches: None, "are as they were"),
    "raises": (lambda model, batches: model(batches), "raised"),
}


@pytest.mark.parametrize("name", WRONG_ESTIMATES)
def test_reestimate_names_what_is_wrong(name):
    answer, words = WRONG_ESTIMATES[name]
    fails(T.reestimate, answer, words=words, seeds=range(3))


def test_reestimate_names_biased_variances():
    def answer(model, batches):
        reestimating()(model, batches)
        norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
        for m, n in zip(norms, (64, 16), strict=True):
            m.running_var *= (n - 1) / n

    fails(T.reestimate, answer, words="the variances are not", seeds=[0])


def test_reestimate_survives_statistics_that_are_gone():
    def answer(model, batches):
        model[1].running_mean = None

    fails(T.reestimate, answer, words="running_mean of a batch norm is None")


def test_reestimate_names_weights_that_change():
    def answer(model, batches):
        reestimating()(model, batches)
        with torch.no_grad():
            model[1].weight.fill_(1.1)

    fails(T.reestimate, answer, words="afterwards a parameter is another", seeds=[0])


# fit


def fitting(
    train="epoch",
    zero=True,
    validate="epoch",
    collect=True,
    loss=F.cross_entropy,
    skip=0,
    after=None,
):
    def answer(model, batches, optimizer, validation, epochs):
        errors = []
        if train == "once":
            model.train()
        for _ in range(epochs):
            if train == "epoch":
                model.train()
            for x, y in batches[skip:]:
                if train == "batch":
                    model.train()
                if zero:
                    optimizer.zero_grad()
                loss(model(x), y).backward()
                optimizer.step()
                if validate == "batch":
                    errors.append(validation(model))
            if after:
                after(model, batches)
            if validate == "epoch":
                errors.append(validation(model))
        if validate == "end":
            errors.append(validation(model))
        return errors if collect else errors[-1]

    return answer


def zero_after(model, batches, optimizer, validate, epochs):
    found = []
    for _ in range(epochs):
        for x, y in batches:
            model.train()
            nn.CrossEntropyLoss()(model(x), y).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        found.append(validate(model))
    return tuple(found)


@pytest.mark.parametrize("answer", [fitting(), fitting(train="batch"), zero_after])
def test_fit_accepts(answer):
    passes(T.fit, answer)


def peek(model, batches):
    model.train()
    with torch.no_grad():
        model(batches[0][0])


def frozen(model, batches):
    model[1].momentum = 0.0


def norm_in_eval(model, batches, optimizer, validate, epochs):
    def look(m):
        if isinstance(m, nn.BatchNorm1d):
            m.eval()

    train = model.train
    model.train = lambda mode=True: train(mode).apply(look)
    return fitting()(model, batches, optimizer, validate, epochs)


WRONG_FITS = {
    "the listing": (fitting(train="once", zero=False), "what did `validate` do"),
    "once": (fitting(train="once"), "what did `validate` do"),
    "never": (fitting(train=None), "who calls model.train()"),
    "norm frozen": (norm_in_eval, "the batch norm is in evaluation mode"),
    "no zero_grad": (fitting(zero=False), "are those of the batches before"),
    "sum": (
        fitting(loss=lambda a, y: F.cross_entropy(a, y, reduction="sum")),
        "the mean cross-entropy of this batch",
    ),
    "a peek": (fitting(after=peek), "who else sends examples through"),
    "momentum 0": (fitting(after=frozen), "at momentum 0.1"),
    "a batch missing": (fitting(skip=1), "makes 12 steps, expected 15"),
    "validates each batch": (
        fitting(train="batch", validate="batch"),
        "one call of `validate` after each epoch",
    ),
    "validates at the end": (fitting(validate="end"), "one call of `validate`"),
    "last alone": (fitting(collect=False), "the list of what `validate` returned"),
    "none": (lambda m, b, o, v, e: print(e), "return` missing"),
    "raises": (lambda m, b, o, v, e: m(b), "raised"),
}


@pytest.mark.parametrize("name", WRONG_FITS)
def test_fit_names_what_is_wrong(name):
    answer, words = WRONG_FITS[name]
    fails(T.fit, answer, words=words, seeds=range(3))


# correlation


def correlation(c1, v1, c2, v2, rho, p):
    t1 = (c1**2 + v1) / (1 - p) - c1**2
    t2 = (c2**2 + v2) / (1 - p) - c2**2
    return rho * np.sqrt(v1 * v2 / (t1 * t2))


def by_ratios(c1, v1, c2, v2, rho, p):
    ratios = [(1 - p) / (1 + p * c**2 / v) for c, v in ((c1, v1), (c2, v2))]
    return rho * np.sqrt(ratios[0]) * np.sqrt(ratios[1])


def by_enumeration(c1, v1, c2, v2, rho, p):
    """Two points for each unit, all masks."""
    rows, weights = [], []
    for a in (-1, 1):
        for b in (-1, 1):
            for m in (0, 1 / (1 - p)):
                for n in (0, 1 / (1 - p)):
                    rows.append((m * (c1 + a * v1**0.5), n * (c2 + b * v2**0.5)))
                    q = (1 + a * b * rho) / 4
                    weights.append(q * (1 - p if m else p) * (1 - p if n else p))
    cov = np.cov(np.array(rows).T, aweights=weights, bias=True)
    return cov[0, 1] / np.sqrt(cov[0, 0] * cov[1, 1])


@pytest.mark.parametrize("answer", [correlation, by_ratios, by_enumeration])
def test_correlation_accepts(answer):
    passes(T.correlation, answer)


def after(c, v, p):
    return (c**2 + v) / (1 - p) - c**2


WRONG_CORRELATIONS = {
    "unchanged": (lambda c1, v1, c2, v2, rho, p: rho, "is it as before"),
    "zero means": (lambda c1, v1, c2, v2, rho, p: rho * (1 - p), "for means of 0"),
    "no root": (
        lambda c1, v1, c2, v2, rho, p: (
            rho * v1 * v2 / (after(c1, v1, p) * after(c2, v2, p))
        ),
        "of each unit rooted",
    ),
    "covariance": (
        lambda c1, v1, c2, v2, rho, p: rho * np.sqrt(v1 * v2),
        "is that the covariance",
    ),
    "one mask": (
        lambda c1, v1, c2, v2, rho, p: (
            ((rho * np.sqrt(v1 * v2) + c1 * c2) / (1 - p) - c1 * c2)
            / np.sqrt(after(c1, v1, p) * after(c2, v2, p))
        ),
        "one mask in common|as before",
    ),
    "exchanged": (
        lambda c1, v1, c2, v2, rho, p: correlation(c1, v1, c2, v2, rho, 1 - p),
        "exchanged",
    ),
    "both kept": (
        lambda c1, v1, c2, v2, rho, p: (
            correlation(c1, v1, c2, v2, rho, p) * (1 - p) ** 2
        ),
        "multiplied by (1 - p)²",
    ),
    "variances": (
        lambda c1, v1, c2, v2, rho, p: (
            rho * np.sqrt(v1 * v2) / (after(c1, v1, p) * after(c2, v2, p))
        ),
        "without the root",
    ),
    "deviations": (
        lambda c1, v1, c2, v2, rho, p: (
            rho * v1 * v2 / np.sqrt(after(c1, v1, p) * after(c2, v2, p))
        ),
        "standard deviations v1",
    ),
    "other": (lambda *a: 0.01, "and to each variance"),
    "text": (lambda *a: "rho", "expected a number"),
    "raises": (lambda *a: a[9], "IndexError"),
}


@pytest.mark.parametrize("name", WRONG_CORRELATIONS)
def test_correlation_names_what_is_wrong(name):
    answer, words = WRONG_CORRELATIONS[name]
    fails(T.correlation, answer, words=words)


# temperature


def nll(T, logits, y):
    return -log_softmax(logits / T, axis=1)[np.arange(len(y)), y].mean()


def by_scipy(logits, y):
    found = minimize_scalar(nll, bounds=(0.05, 20), args=(logits, y), method="bounded")
    return found.x


def by_grid(logits, y):
    grid = np.geomspace(0.05, 20, 600)
    return min(grid, key=lambda T: nll(T, logits, y))


def by_newton(logits, y):
    """In 1/T the loss is convex: bisect its derivative."""
    low, high = 0.01, 50.0
    for _ in range(60):
        b = np.sqrt(low * high)
        P = softmax(b * logits, axis=1)
        slope = ((P * logits).sum(axis=1) - logits[np.arange(len(y)), y]).mean()
        low, high = (low, b) if slope > 0 else (b, high)
    return 1 / b


def by_torch(logits, y):
    logits, y = torch.tensor(logits), torch.tensor(y)
    log_T = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_T], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(logits / log_T.exp(), y)
        loss.backward()
        return loss

    optimizer.step(closure)
    return log_T.exp().item()


@pytest.mark.parametrize("answer", [by_scipy, by_grid, by_newton, by_torch])
def test_temperature_accepts(answer):
    passes(T.temperature, answer)


WRONG_TEMPERATURES = {
    "inverse": (lambda z, y: 1 / by_scipy(z, y), "multiplied by your T"),
    "not below 1": (lambda z, y: max(1.0, by_scipy(z, y)), "may T be below 1"),
    "one": (lambda z, y: 1.0, "may T be below 1|is it the minimum"),
    "lowest": (lambda z, y: nll(by_scipy(z, y), z, y), "that gives it"),
    "log": (lambda z, y: np.log(by_scipy(z, y)), "could it be negative|logarithm"),
    "coarse": (lambda z, y: 1.1 * by_scipy(z, y), "is the grid too coarse"),
    "negative": (lambda z, y: -by_scipy(z, y), "could it be negative"),
    "overflow": (
        lambda z, y: by_scipy(np.log(np.exp(z) / np.exp(z).sum(1)[:, None]), y),
        "overflow",
    ),
    "far": (lambda z, y: 7.0, "is it the minimum"),
    "in place": (lambda z, y: by_scipy(z.__itruediv__(2), y), "changes its input"),
    "vector": (lambda z, y: np.ones(5), "expected a number"),
    "raises": (lambda z, y: y[z], "IndexError"),
}


@pytest.mark.parametrize("name", WRONG_TEMPERATURES)
def test_temperature_names_what_is_wrong(name):
    answer, words = WRONG_TEMPERATURES[name]
    fails(T.temperature, answer, words=words, seeds=range(3))
