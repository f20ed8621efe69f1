"""Checkers of the chapter practice/bug_clinic."""

import copy

import pytest
import torch
import torch.nn.functional as F
from answers import fails, passes
from torch import nn

from dropnorm.checks import practice as P

# visible

RIGHT = {
    "never updated": False,
    "momentum 0.99": False,
    "m - 1": True,
    "graph kept": False,
    "stuck": True,
    "validated in training mode": False,
    "constants": True,
    "chosen by test error": False,
    "decay on gamma": True,
    "not saved": False,
}


class Norm(nn.BatchNorm1d):
    fault = ""

    def forward(self, x):
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var)
        mean, var = x.mean(0), x.var(0, correction=int(self.fault == "m - 1"))
        if self.fault == "constants":
            mean, var = mean.detach(), var.detach()
        if self.fault != "never updated":
            share = 0.99 if self.fault == "momentum 0.99" else 0.1
            with torch.set_grad_enabled(self.fault == "graph kept"):
                new = (1 - share) * self.running_mean + share * mean
            if self.fault == "not saved":
                vars(self)["kept"] = new
            else:
                self.running_mean = new
        x_hat = (x - mean) / (var + self.eps).sqrt()
        return self.weight * x_hat + self.bias


def losses(fault="", p=0.3):
    """Of all steps of three epochs, with an evaluation after each."""
    torch.manual_seed(0)
    norm, drop = Norm(6), nn.Dropout(p)
    norm.fault = fault
    model = nn.Sequential(nn.Linear(4, 6), norm, nn.ReLU(), drop, nn.Linear(6, 3))
    x, y = torch.randn(24, 4), torch.randint(3, (24,))
    vectors = [w for w in model.parameters() if w.ndim == 1]
    matrices = [w for w in model.parameters() if w.ndim == 2]
    decay = 0.1 if fault == "decay on gamma" else 0.0
    groups = [{"params": matrices}, {"params": vectors, "weight_decay": decay}]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    found, kept = [], None
    for _ in range(3):
        model.train()
        for rows in torch.arange(24).split(8):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[rows]), y[rows])
            loss.backward(retain_graph=fault == "graph kept")
            optimizer.step()
            found.append(loss.item())
        if fault != "validated in training mode":
            model.eval()
        with torch.no_grad():
            model(x)
        if fault == "stuck":
            drop.p = 0.0
        if fault == "chosen by test error":
            kept = copy.deepcopy(model.state_dict())
    assert kept is None or len(kept)
    return found


@pytest.mark.parametrize("fault", RIGHT)
def test_training_sees_what_the_checker_says(fault):
    p = 0.0 if fault == "validated in training mode" else 0.3
    same = torch.allclose(torch.tensor(losses(fault, p)), torch.tensor(losses("", p)))
    assert same != RIGHT[fault]


def test_visible_accepts():
    passes(P.visible, RIGHT)
    passes(P.visible, dict(reversed(RIGHT.items())))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("never updated", True, "who reads the running statistics"),
        ("m - 1", False, "a little smaller"),
        ("stuck", False, "since the first evaluation"),
        ("validated in training mode", True, "no mask to draw"),
        ("constants", False, "equal gradients"),
        ("decay on gamma", False, "in the next forward pass"),
        ("not saved", 1, "expected True or False"),
        ("graph kept", None, "no prediction yet for graph kept"),
    ],
)
def test_visible_names_what_is_wrong(key, value, words):
    fails(P.visible, RIGHT | {key: value}, words=words)


# best_epoch


def fitting(
    start=float("inf"),
    reset=True,
    keep=lambda model: copy.deepcopy(model.state_dict()),
    restore=lambda model, kept: model.load_state_dict(kept),
    ties=False,
    returns=lambda best, error: best,
    extra=0,
):
    def answer(model, train_epoch, validate, patience, max_epochs):
        best, waited, kept, error = start, 0, keep(model), None
        for _ in range(max_epochs):
            train_epoch(model)
            error = validate(model)
            if error < best or (ties and error == best):
                best, kept = error, keep(model)
                if reset:
                    waited = 0
            else:
                waited += 1
            if waited == patience + extra:
                break
        restore(model, kept)
        return returns(best, error)

    return answer


def by_list(model, train_epoch, validate, patience, max_epochs):
    errors, states = [], []
    for epoch in range(max_epochs):
        train_epoch(model)
        errors.append(validate(model))
        states.append({k: v.clone() for k, v in model.state_dict().items()})
        best = errors.index(min(errors))
        if epoch - best >= patience:
            break
    model.load_state_dict(states[best])
    return errors[best]


@pytest.mark.parametrize("answer", [fitting(), by_list])
def test_best_epoch_accepts(answer):
    passes(P.best_epoch, answer)


def parameters(model):
    return copy.deepcopy(list(model.parameters()))


def put_parameters(model, kept):
    with torch.no_grad():
        for w, v in zip(model.parameters(), kept, strict=True):
            w.copy_(v)


def validates_first(model, train_epoch, validate, patience, max_epochs):
    validate(model)
    return fitting()(model, train_epoch, validate, patience, max_epochs)


WRONG_FITS = {
    "reference": (fitting(keep=lambda m: m.state_dict()), "along with the model"),
    "shallow copy": (
        fitting(keep=lambda m: dict(m.state_dict())),
        "along with the model",
    ),
    "not restored": (fitting(restore=lambda m, k: None), "is it put back"),
    "not reset": (fitting(reset=False), "when an epoch is better"),
    "starts at 0": (fitting(start=0.0), "epochs are trained|where the comparison"),
    "ties": (fitting(ties=True), "only equal is no gain"),
    "patience": (fitting(extra=1), "in a row without a gain"),
    "parameters": (
        fitting(keep=parameters, restore=put_parameters),
        "running statistics are not",
    ),
    "last error": (
        fitting(returns=lambda best, error: error),
        "of the last epoch|expected the lowest",
    ),
    "validates first": (validates_first, "once after each epoch"),
    "none": (fitting(returns=lambda best, error: None), "a `return` missing"),
    "raises": (lambda m, *a: m.best, "AttributeError"),
}


@pytest.mark.parametrize("name", WRONG_FITS)
def test_best_epoch_names_what_is_wrong(name):
    answer, words = WRONG_FITS[name]
    fails(P.best_epoch, answer, words=words)


def listing(model, train_epoch, validate, patience, max_epochs):
    best, waited = 1.0, 0
    for _ in range(max_epochs):
        train_epoch(model)
        error = validate(model)
        if error < best:
            best, state = error, model.state_dict()
        else:
            waited += 1
        if waited == patience:
            break
    model.load_state_dict(state)
    return best


def test_best_epoch_refuses_the_listing():
    fails(P.best_epoch, listing, words="UnboundLocalError")


# decay_groups


def by_axes(model, weight_decay):
    groups = {}
    for w in model.parameters():
        if w.requires_grad:
            groups.setdefault(weight_decay if w.ndim > 1 else 0.0, []).append(w)
    return [{"params": p, "weight_decay": rate} for rate, p in groups.items()]


def by_type(model, weight_decay):
    """A group for each parameter."""
    for w in model.parameters():
        if w.requires_grad:
            yield {"params": [w], "weight_decay": weight_decay * (w.ndim >= 2)}


@pytest.mark.parametrize("answer", [by_axes, by_type])
def test_decay_groups_accepts(answer):
    passes(P.decay_groups, answer)


def by_name(parts, zero=True, frozen=False, modules=False):
    def answer(model, weight_decay):
        decayed, others = [], []
        if modules:
            pairs = [
                (name, w)
                for module in model.modules()
                for name, w in module.named_parameters(recurse=False)
            ]
        else:
            pairs = model.named_parameters()
        for name, w in pairs:
            if w.requires_grad or frozen:
                skip = any(part in name for part in parts) if parts else w.ndim == 1
                (others if skip else decayed).append(w)
        spared = {"params": others, "weight_decay": 0.0} if zero else {"params": others}
        return [{"params": decayed, "weight_decay": weight_decay}, spared]

    return answer


WRONG_GROUPS = {
    "the listing": (by_name(["bias", "LayerNorm.weight"], zero=False), "default"),
    "by name": (by_name(["bias", "LayerNorm.weight"]), "decays: what is known of it"),
    "bn in the name": (by_name(["bias", "bn", "norm", "ln"]), "what is known of it"),
    "default": (by_name([], zero=False), "a weight_decay of its own"),
    "frozen": (by_name([], frozen=True), "is frozen, and in the groups"),
    "twice": (by_name([], modules=True), "twice"),
    "all": (
        lambda m, d: [{"params": list(m.parameters()), "weight_decay": d}],
        "decays",
    ),
    "bare list": (lambda m, d: list(m.parameters()), "decays at 0.01"),
    "matrices only": (
        lambda m, d: [
            {
                "params": [w for w in m.parameters() if w.ndim > 1],
                "weight_decay": d,
            }
        ],
        "is in no group",
    ),
    "exchanged": (
        lambda m, d: [
            {"params": [w], "weight_decay": d * (w.ndim == 1)} for w in m.parameters()
        ],
        "does not decay",
    ),
    "names": (
        lambda m, d: [{"params": [n for n, _ in m.named_parameters()]}],
        "AdamW refuses",
    ),
    "raises": (lambda m, d: m.weights, "AttributeError"),
}


@pytest.mark.parametrize("name", WRONG_GROUPS)
def test_decay_groups_names_what_is_wrong(name):
    answer, words = WRONG_GROUPS[name]
    fails(P.decay_groups, answer, words=words, seeds=range(3))


# layers


def network(
    blocks="own", container=nn.ModuleList, dropout="layer", place="end", rate=None
):
    class Net(nn.Module):
        def __init__(self, width, depth, p):
            super().__init__()
            p = p if rate is None else rate
            self.first, self.p = nn.Linear(64, width), p

            def block():
                norm = nn.BatchNorm1d(width)
                return nn.Sequential(nn.Linear(width, width), norm, nn.ReLU())

            if blocks == "own":
                self.blocks = container([block() for _ in range(depth)])
            elif blocks == "copies":
                one = block()
                self.blocks = container([copy.deepcopy(one) for _ in range(depth)])
            else:
                self.blocks = container([block()] * depth)
            if dropout == "layer":
                self.dropout = nn.Dropout(p)
            self.last = nn.Linear(width, 10)

        def drop(self, x):
            if dropout == "layer":
                return self.dropout(x)
            if dropout == "mode":
                return F.dropout(x, self.p, self.training)
            if dropout == "forward":
                return nn.Dropout(self.p)(x)
            return x

        def forward(self, x):
            x = F.relu(self.first(x))
            for block in self.blocks:
                x = block(x)
                if place == "blocks":
                    x = self.drop(x)
            if place == "end":
                x = self.drop(x)
            return self.last(x)

    return Net


@pytest.mark.parametrize(
    "answer", [network(), network("copies", dropout="mode"), network("copies")]
)
def test_layers_accepts(answer):
    passes(P.layers, answer)


WRONG_NETWORKS = {
    "the listing": (network("same", list, "forward"), "a list that PyTorch sees"),
    "same block": (network("same"), "the same object in the list several times"),
    "plain list": (network(container=list), "a list that PyTorch sees"),
    "dropout in forward": (network(dropout="forward"), "who tells it the mode"),
    "no dropout": (network(dropout=""), "is there dropout"),
    "in the blocks": (network(place="blocks"), "before the last layer only"),
    "rate": (network(rate=0.7), "has the rate 0.7"),
    "no module": (lambda w, d, p: [w], "derived from torch.nn.Module|returns a module"),
    "raises": (lambda w, d, p: w[0], "TypeError"),
}


@pytest.mark.parametrize("name", WRONG_NETWORKS)
def test_layers_names_what_is_wrong(name):
    answer, words = WRONG_NETWORKS[name]
    fails(P.layers, answer, words=words, seeds=range(3))


# doctor


def examining(
    copying=copy.deepcopy,
    size=8,
    saved=True,
    output=True,
    gradient=True,
    never=True,
    momentum=True,
    mode=True,
    share=None,
):
    def answer(norm):
        if saved and "running_mean" not in norm.state_dict():
            return "not saved"
        norm = copying(norm).train()
        x = torch.randn(size, 4, requires_grad=True)
        old = norm.running_mean.clone()
        y = norm(x)
        affine = norm.weight, norm.bias
        right = F.batch_norm(x, None, None, *affine, True, eps=norm.eps)
        if output and not torch.allclose(y, right, rtol=1e-2, atol=1e-2):
            return "m - 1"
        dx = torch.autograd.grad((y**3).sum(), x)[0].sum(0)
        if gradient and dx.abs().max() > 1e-6:
            return "constants"
        moved, full = norm.running_mean - old, x.mean(0) - old
        if never and not moved.any():
            return "never updated"
        expected = norm.momentum if share is None else share
        if momentum and not torch.allclose(moved, expected * full):
            return "momentum"
        norm.eval()
        if mode and not torch.allclose(norm(x)[:1], norm(x[:1])):
            return "mode"
        return "healthy"

    return answer


def in_another_order(norm):
    norm = copy.deepcopy(norm).eval()
    x, shift = 1 + torch.randn(6, 4), torch.zeros(4, requires_grad=True)
    if not torch.allclose(norm(x)[2:4], norm(x[2:4])):
        return "mode"
    norm.train()
    before = norm.running_var.clone()
    old = norm.running_mean.clone()
    y = norm(x + shift)
    (slope,) = torch.autograd.grad((y * torch.randn(6, 4)).sum(), shift)
    if (slope.abs() > 1e-9).any():
        return "constants"
    if torch.equal(before, norm.running_var):
        return "never updated"
    if not torch.allclose((norm.running_mean - old) / (x.mean(0) - old),
                          torch.tensor(norm.momentum)):  # fmt: skip
        return "momentum"
    if len(dict(norm.named_buffers())) < 2:
        return "not saved"
    twin = nn.BatchNorm1d(4)
    twin.weight, twin.bias = norm.weight, norm.bias
    return "healthy" if torch.allclose(twin(x), y) else "m - 1"


@pytest.mark.parametrize("answer", [examining(), in_another_order])
def test_doctor_accepts(answer):
    passes(P.doctor, answer, seeds=range(4))


def inplace(norm):
    return norm


WRONG_DOCTORS = {
    "always healthy": (lambda norm: "healthy", "what is the sum|compared with"),
    "no output": (examining(output=False), "compared with F.batch_norm"),
    "a large batch": (examining(size=4000), "In a large one"),
    "no gradient": (examining(gradient=False), "the sum of the gradient"),
    "no momentum": (examining(momentum=False), "of the old running mean"),
    "no update": (examining(never=False), "do the running statistics move"),
    "no mode": (examining(mode=False), "depend on the others"),
    "not saved": (examining(saved=False), "what is in the state_dict"),
    "momentum 0.1": (examining(share=0.1), "which of your tests is too strict"),
    "no copy": (examining(copying=inplace), "Examine a copy"),
    "none": (lambda norm: print(norm), "a `return` missing"),
    "raises": (lambda norm: norm.mean, "AttributeError"),
}


@pytest.mark.parametrize("name", WRONG_DOCTORS)
def test_doctor_names_what_is_wrong(name):
    answer, words = WRONG_DOCTORS[name]
    fails(P.doctor, answer, words=words, seeds=range(3))
