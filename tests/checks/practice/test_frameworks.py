"""Checkers of the chapter practice/frameworks."""

import numpy as np
import pytest
import torch
from answers import fails, passes
from torch import nn

from dropnorm.checks import practice as P

# conversion


def converting(
    kernel=(3, 2, 0, 1),
    epsilon=None,
    momentum=lambda m: 1 - m,
    flatten=True,
    buffers=True,
    swap=False,
    padding="same",
):
    def answer(w, m, eps):
        k = torch.tensor(w["kernel"].transpose(kernel))
        dense = w["dense"].T
        if flatten:
            dense = w["dense"].reshape(5, 5, 4, 3).transpose(3, 2, 0, 1)
            dense = dense.reshape(3, -1)
        net = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=padding),
            nn.BatchNorm2d(4, eps=epsilon or eps, momentum=momentum(m)),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(100, 3),
        )
        gamma, beta = ("beta", "gamma") if swap else ("gamma", "beta")
        with torch.no_grad():
            net[0].weight.copy_(k)
            net[0].bias.copy_(torch.tensor(w["bias"]))
            net[1].weight.copy_(torch.tensor(w[gamma]))
            net[1].bias.copy_(torch.tensor(w[beta]))
            if buffers:
                net[1].running_mean.copy_(torch.tensor(w["moving_mean"]))
                net[1].running_var.copy_(torch.tensor(w["moving_variance"]))
            net[4].weight.copy_(torch.tensor(dense.copy()))
            net[4].bias.copy_(torch.tensor(w["dense_bias"]))
        return net

    return answer


class ChannelsLast(nn.Module):
    """Keeps Keras's order of the dense layer and permutes the maps instead."""

    def __init__(self, net, dense, bias):
        super().__init__()
        self.net, self.dense = net, nn.Parameter(torch.tensor(dense))
        self.bias = nn.Parameter(torch.tensor(bias))

    def forward(self, x):
        return self.net(x).permute(0, 2, 3, 1).flatten(1) @ self.dense + self.bias


def channels_last(w, m, eps):
    return ChannelsLast(converting()(w, m, eps)[:3], w["dense"], w["dense_bias"])


@pytest.mark.parametrize(
    "answer",
    [
        converting(),
        converting(padding=1),
        lambda *a: converting()(*a).eval(),
        channels_last,
    ],
)
def test_conversion_accepts(answer):
    passes(P.conversion, answer)


def spoiling(w, m, eps):
    net = converting()(w, m, eps)
    w["kernel"] *= 2
    return net


REVERSED = (3, 2, 1, 0)
WRONG_CONVERSIONS = {
    "the listing": (
        converting(REVERSED, 1e-5, lambda m: m, flatten=False),
        "also exchange rows and columns",
    ),
    "kernel": (converting(REVERSED), "also exchange rows and columns"),
    "epsilon": (converting(epsilon=1e-5), "PyTorch's default"),
    "flatten": (converting(flatten=False), "in the same order"),
    "flatten and epsilon": (
        converting(flatten=False, epsilon=1e-5),
        "in the same order",
    ),
    "buffers": (converting(buffers=False), "are not in the layer"),
    "momentum": (converting(momentum=lambda m: m), "does `momentum` weigh in Keras"),
    "default momentum": (converting(momentum=lambda m: 0.1), "PyTorch's default"),
    "no momentum": (converting(momentum=lambda m: None), "the moving mean is to"),
    "gamma and beta": (converting(swap=True), "which array goes where"),
    "no padding": (
        converting(padding=0),
        "mat1 and mat2",
    ),
    "in place": (spoiling, "changes the arrays"),
    "raises": (lambda w, m, e: w["dense bias"], "KeyError"),
    "a list": (lambda w, m, e: [1], "expected a torch module"),
}


@pytest.mark.parametrize("name", WRONG_CONVERSIONS)
def test_conversion_names_what_is_wrong(name):
    answer, words = WRONG_CONVERSIONS[name]
    fails(P.conversion, answer, words=words, seeds=range(3))


# same_padding


def same(size, kernel, stride):
    zeros = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return zeros // 2, zeros - zeros // 2


def by_remainder(size, kernel, stride):
    """As TensorFlow's documentation writes it."""
    left = kernel - stride if size % stride == 0 else kernel - size % stride
    zeros = max(left, 0)
    return [zeros // 2, (zeros + 1) // 2]


@pytest.mark.parametrize("answer", [same, by_remainder])
def test_same_padding_accepts(answer):
    passes(P.same_padding, answer)


def halves(total):
    return total // 2, total - total // 2


WRONG_PADDINGS = {
    "stride of 1": (lambda n, k, s: halves(k - 1), "that would do for a stride of 1"),
    "kernel // 2": (lambda n, k, s: (k // 2, k // 2), "for a stride of 1"),
    "in front": (lambda n, k, s: same(n, k, s)[::-1], "where does the odd zero stand"),
    "negative": (
        lambda n, k, s: halves((-(-n // s) - 1) * s + k - n),
        "nothing is added",
    ),
    "floor": (
        lambda n, k, s: halves(max((n // s - 1) * s + k - n, 0)),
        "does not divide the size",
    ),
    "one window more": (
        lambda n, k, s: halves(max(-(-n // s) * s + k - n, 0)),
        "the last begins at|stride of 1",
    ),
    "one side": (lambda n, k, s: (0, sum(same(n, k, s))), "between both sides"),
    "one number": (lambda n, k, s: 1, "expected 2 things"),
    "text": (lambda n, k, s: ("1", "1"), "expected a number"),
    "raises": (lambda n, k, s: n[0], "TypeError"),
}


@pytest.mark.parametrize("name", WRONG_PADDINGS)
def test_same_padding_names_what_is_wrong(name):
    answer, words = WRONG_PADDINGS[name]
    fails(P.same_padding, answer, words=words)


# keras_norm


def norm_class(
    axis=-1,
    normalize=0,
    store=0,
    swap=False,
    fixed_eps=None,
    no_grad=True,
    buffers=True,
    update=True,
    mode=True,
    detach=False,
    guard=False,
    learned=False,
):
    class Norm(nn.Module):
        def __init__(self, features, momentum=0.99, epsilon=1e-3):
            super().__init__()
            self.new = momentum if swap else 1 - momentum
            self.eps = fixed_eps or epsilon
            self.gamma = nn.Parameter(torch.ones(features))
            self.beta = nn.Parameter(torch.zeros(features))
            for name, value in {
                "moving_mean": torch.zeros(features),
                "moving_variance": torch.ones(features),
            }.items():
                if learned:
                    setattr(self, name, nn.Parameter(value))
                elif buffers:
                    self.register_buffer(name, value)
                else:
                    setattr(self, name, value)

        def forward(self, x):
            if guard and len(x) == 1:
                raise ValueError("more than one")
            mean, var = self.moving_mean, self.moving_variance
            shape = [1] * x.ndim
            shape[axis] = -1
            if self.training or not mode:
                axes = [i for i in range(x.ndim) if i != axis % x.ndim]
                mean, var = x.mean(axes), x.var(axes, correction=normalize)
                kept = x.var(axes, correction=store)
                if update:
                    with torch.set_grad_enabled(not no_grad):
                        new = self.new
                        self.moving_mean = (1 - new) * self.moving_mean + new * mean
                        old = self.moving_variance
                        self.moving_variance = (1 - new) * old + new * kept
                if detach:
                    mean, var = mean.detach(), var.detach()
            mean, var, gamma, beta = (
                v.reshape(shape) for v in (mean, var, self.gamma, self.beta)
            )
            return gamma * (x - mean) / (var + self.eps).sqrt() + beta

    return Norm


class Spoils(norm_class()):
    """Its output is changed in place, so that there is no way back."""

    def forward(self, x):
        root = torch.exp(x)
        y = super().forward(root.log())
        root.mul_(2)
        return y


class ByTorch(nn.Module):
    """F.batch_norm does the rest."""

    def __init__(self, features, momentum=0.99, epsilon=1e-3):
        super().__init__()
        self.momentum, self.epsilon = momentum, epsilon
        self.gamma = nn.Parameter(torch.ones(features))
        self.beta = nn.Parameter(torch.zeros(features))
        self.register_buffer("moving_mean", torch.zeros(features))
        self.register_buffer("moving_variance", torch.ones(features))

    def forward(self, x):
        flat = x.flatten(0, -2)
        mean, var = self.moving_mean, self.moving_variance
        if self.training:
            mean, var = flat.mean(0), flat.var(0, correction=0)
            new = 1 - self.momentum
            self.moving_mean += new * (mean.detach() - self.moving_mean)
            self.moving_variance += new * (var.detach() - self.moving_variance)
        y = (flat - mean) * torch.rsqrt(var + self.epsilon) * self.gamma + self.beta
        return y.reshape(x.shape)


@pytest.mark.parametrize("answer", [norm_class(), ByTorch])
def test_keras_norm_accepts(answer):
    passes(P.keras_norm, answer)


WRONG_NORMS = {
    "axis 1": (norm_class(axis=1), "features on the last axis"),
    "unbiased": (norm_class(normalize=1), "divided by m, or by m - 1"),
    "unbiased in the buffer": (norm_class(store=1), "which variance does Keras store"),
    "momentum": (norm_class(swap=True), "does `momentum` weigh in Keras"),
    "epsilon of torch": (norm_class(fixed_eps=1e-5), "that PyTorch's epsilon"),
    "graph": (norm_class(no_grad=False), "keeps the graph"),
    "no buffers": (norm_class(buffers=False), "is not in the state_dict"),
    "learned": (norm_class(learned=True, update=False), "learned by gradients"),
    "no update": (norm_class(update=False), "as they are"),
    "no mode": (norm_class(mode=False), "does it ask self.training"),
    "constants": (norm_class(detach=True), "constants to autograd"),
    "refuses one": (norm_class(guard=True), "for a batch of one"),
    "torch's own": (
        lambda n, m=0.99, e=1e-3: nn.BatchNorm1d(n, eps=e, momentum=1 - m),
        "is not in the state_dict",
    ),
    "no way back": (Spoils, "using your answer raised RuntimeError"),
    "no module": (lambda n, m, e: 3, "returns a module"),
    "raises": (lambda n, m, e: n[0], "TypeError"),
}


@pytest.mark.parametrize("name", WRONG_NORMS)
def test_keras_norm_names_what_is_wrong(name):
    answer, words = WRONG_NORMS[name]
    fails(P.keras_norm, answer, words=words, seeds=range(3))


def test_padding_is_that_of_a_convolution():
    """As many windows as "same" promises, for each case."""
    for size in range(3, 12):
        for kernel in (1, 2, 3, 5):
            for stride in (1, 2, 3):
                x = torch.zeros(1, 1, size + sum(same(size, kernel, stride)))
                y = nn.functional.conv1d(x, torch.zeros(1, 1, kernel), stride=stride)
                assert y.shape[-1] == int(np.ceil(size / stride))
