"""Exercises of the chapter practice/frameworks."""

import itertools

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from dropnorm.checks.base import Wrong, call, number, recognize, unpack
from dropnorm.checks.practice.tensors import array, build, checker, state

# A network from Keras


def _keras_arrays(rng, size=5, channels=2, maps=4, classes=3):
    """The arrays of Conv2D("same"), BatchNormalization, Flatten and Dense."""
    return {
        "kernel": rng.standard_normal((3, 3, channels, maps)) / 3,
        "bias": rng.standard_normal(maps),
        "gamma": rng.uniform(0.5, 2, maps),
        "beta": rng.standard_normal(maps),
        "moving_mean": rng.standard_normal(maps),
        "moving_variance": rng.uniform(0.02, 0.1, maps),
        "dense": rng.standard_normal((size * size * maps, classes)),
        "dense_bias": rng.standard_normal(classes),
    }


CONVERSION = {
    "kernel": "the kernels stand in (H, W, I, O), and PyTorch wants (O, I, H, W): does "
    "`.T`, which reverses all four axes, also exchange rows and columns?",
    "buffers": "the moving mean and variance are not in the layer, which has 0 and 1",
    "flatten": "Keras flattens (H, W, C) and PyTorch (C, H, W): are the inputs of the "
    "linear layer in the same order?",
    "epsilon": "is the epsilon that of the layer, or PyTorch's default?",
}


def _convolve(x, w, faults):
    kernel = w["kernel"].transpose(3, 2, 0, 1)
    if "kernel" in faults:
        kernel = w["kernel"].T
    kernel, bias = torch.tensor(kernel), torch.tensor(w["bias"])
    return F.conv2d(x, kernel, bias, padding=1)


def _keras_network(x, w, epsilon, faults=()):
    """Logits of the network of `w` in evaluation, for x in NCHW."""
    z = _convolve(x, w, faults).numpy().transpose(0, 2, 3, 1)
    mean, var = w["moving_mean"], w["moving_variance"]
    if "buffers" in faults:
        mean, var = 0.0, 1.0
    if "epsilon" in faults:
        epsilon = 1e-5
    y = w["gamma"] * (z - mean) / np.sqrt(var + epsilon) + w["beta"]
    y = np.maximum(y, 0)
    if "flatten" in faults:
        y = y.transpose(0, 3, 1, 2)
    return y.reshape(len(y), -1) @ w["dense"] + w["dense_bias"]


@checker
def conversion(solve, *, seed=0):
    """``solve(w, momentum, epsilon)``: the network of Keras in PyTorch."""
    rng = np.random.default_rng(seed)
    momentum, epsilon = float(rng.uniform(0.6, 0.8)), 2e-2
    w = _keras_arrays(rng)
    given = {name: value.copy() for name, value in w.items()}
    net = call(solve, given, momentum, epsilon)
    if any(not np.array_equal(given[name], w[name]) for name in w):
        raise Wrong("your code changes the arrays that it is given")
    if not isinstance(net, nn.Module):
        raise Wrong(f"expected a torch module, got {type(net).__name__}")
    x = torch.tensor(rng.standard_normal((8, 2, 5, 5)))
    net.eval()
    with torch.no_grad():
        got = array(call(net, x, when="in evaluation"), (8, 3), "in evaluation")
        variants = {
            faults: _keras_network(x, w, epsilon, faults)
            for k in range(5)
            for faults in itertools.combinations(CONVERSION, k)
        }
        faults = recognize(got, variants)
        if faults is None:
            raise Wrong(
                "the logits are not those of the network in Keras: which array goes "
                "where, and in which order of its axes?"
            )
        if faults:
            raise Wrong(
                f"the logits are not those of the network in Keras: "
                f"{CONVERSION[faults[0]]}"
            )
        norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
        if len(norms) != 1:
            raise Wrong("expected one nn.BatchNorm2d, so that training can go on")
        net.train()
        call(net, x, when="in training")
        batch = _convolve(x, w, ()).mean((0, 2, 3)).numpy()
    old, new = w["moving_mean"], norms[0].running_mean.numpy()
    if np.allclose(new, momentum * old + (1 - momentum) * batch):
        return
    hint = "the moving mean is to become momentum · old + (1 - momentum) · batch"
    if np.allclose(new, (1 - momentum) * old + momentum * batch):
        hint = "which of the two values does `momentum` weigh in Keras?"
    elif np.allclose(new, 0.9 * old + 0.1 * batch):
        hint = "is the momentum that of the layer, or PyTorch's default?"
    raise Wrong(f"the logits are right, but not after a training pass: {hint}")


# Padding


def _same(size, kernel, stride):
    n = -(-size // stride)
    total = max((n - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


@checker
def same_padding(solve, *, seed=0):
    """``solve(size, kernel, stride)``: zeros before and after, as "same" has them."""
    rng = np.random.default_rng(seed)
    cases = [(8, 3, 1), (8, 3, 2), (9, 3, 2), (8, 4, 1), (7, 5, 3), (8, 1, 2)]
    cases += [
        (int(rng.integers(6, 40)), int(rng.integers(1, 7)), int(rng.integers(1, 5)))
        for _ in range(30)
    ]
    for size, kernel, stride in cases:
        when = f"for size {size}, kernel {kernel}, stride {stride}"
        got = unpack(call(solve, size, kernel, stride, when=when), ["before", "after"])
        got = tuple(
            number(v, name) for v, name in zip(got, ("before", "after"), strict=True)
        )
        right = _same(size, kernel, stride)
        if got == right:
            continue
        n, floor = -(-size // stride), size // stride
        hint = "the last of ⌈size/stride⌉ windows ends at (that - 1) · stride + kernel"
        if min(got) < 0:
            hint = "if the windows need less than there is, nothing is added"
        elif got == right[::-1]:
            hint = "where does the odd zero stand, in front or behind?"
        elif min(right) > 0 and got in ((sum(right), 0), (0, sum(right))):
            hint = "are the zeros shared between both sides?"
        elif got == (kernel // 2, kernel // 2) or sum(got) == kernel - 1:
            hint = (
                "that would do for a stride of 1: how far does the last window reach?"
            )
        elif sum(got) == max((floor - 1) * stride + kernel - size, 0):
            hint = "how many outputs are there if the stride does not divide the size?"
        elif sum(got) == max(n * stride + kernel - size, 0):
            hint = (
                "the first window begins at 0, so the last begins at (n - 1) · stride"
            )
        raise Wrong(f"{when} you add {got[0]:g} and {got[1]:g} zeros: {hint}")


# Keras's batch normalization


def _standardize(x, axes, correction, eps):
    mean = x.mean(axis=axes, keepdims=True)
    var = x.var(axis=axes, ddof=correction, keepdims=True)
    return (x - mean) / np.sqrt(var + eps)


@checker
def keras_norm(cls, *, seed=0):
    """``cls(features, momentum, epsilon)``: Keras's BatchNormalization."""
    rng = np.random.default_rng(seed)
    momentum, eps = 0.7, 0.05
    names = ["gamma", "beta", "moving_mean", "moving_variance"]
    for shape in ((6, 4), (4, 4, 4, 4)):
        when = f"for an input of shape {shape}"
        layer = build(cls, 4, momentum, eps)
        missing = set(names) - set(layer.state_dict())
        if missing:
            raise Wrong(
                f"{', '.join(sorted(missing))} is not in the state_dict: parameters "
                "need nn.Parameter, statistics register_buffer"
            )
        values = state(layer)
        start = {"gamma": 1, "beta": 0, "moving_mean": 0, "moving_variance": 1}
        for name, value in start.items():
            if not np.array_equal(array(values[name], (4,), name), np.full(4, value)):
                raise Wrong(f"{name} starts at {values[name].tolist()}, not at {value}")
        learned = {name for name, _ in layer.named_parameters()}
        if learned != {"gamma", "beta"}:
            raise Wrong(
                f"the parameters are {sorted(learned)}, expected beta and gamma: are "
                "the statistics learned by gradients?"
            )
        gamma, beta = rng.uniform(0.5, 2, 4), rng.standard_normal(4)
        with torch.no_grad():
            layer.gamma.copy_(torch.tensor(gamma))
            layer.beta.copy_(torch.tensor(beta))
        x = rng.standard_normal(shape) * 0.3 + rng.standard_normal(4)
        fresh = array(call(layer.eval(), torch.tensor(x), when=when), shape, when)
        if not np.allclose(fresh, gamma * x / np.sqrt(1 + eps) + beta):
            hint = "does it ask self.training?"
            second = (1, 4) if x.ndim == 2 else (1, 4, 1, 1)
            other = gamma.reshape(second) * x / np.sqrt(1 + eps) + beta.reshape(second)
            if np.allclose(fresh, other):
                hint = "are the features on the last axis?"
            elif np.allclose(fresh, gamma * x / np.sqrt(1 + 1e-5) + beta):
                hint = "is that PyTorch's epsilon?"
            raise Wrong(
                f"{when}, fresh and in evaluation, it does not normalize by the moving "
                f"statistics 0 and 1: {hint}"
            )
        axes = tuple(range(x.ndim - 1))
        tracked = torch.tensor(x, requires_grad=True)
        got = array(call(layer.train(), tracked, when=when), shape, when)
        known = {
            "are the features on the last axis?": (_first_axis(x), 0, eps),
            "is the variance that normalizes divided by m, or by m - 1?": (
                axes,
                1,
                eps,
            ),
            "where is the layer's epsilon?": (axes, 0, 1e-3),
            "is that PyTorch's epsilon?": (axes, 0, 1e-5),
        }
        if not np.allclose(got, gamma * _standardize(x, axes, 0, eps) + beta):
            variants = {}
            for words, (over, ddof, e) in known.items():
                y = _standardize(x, over, ddof, e)
                variants[words] = gamma * y + beta
            hint = recognize(got, variants)
            if hint is None and np.allclose(got, fresh):
                hint = "is it the batch that normalizes in training?"
            hint = (
                hint or "γ (x - mean)/√(variance + ε) + β, over all axes but the last"
            )
            raise Wrong(f"{when} the output in training is wrong: {hint}")
        _check_moving(layer, x, axes, momentum)
        if not layer(torch.tensor(x)).requires_grad:
            raise Wrong("the output has no gradient: is too much under no_grad?")
    _check_gradient(cls, rng)
    layer = build(cls, 4, momentum, eps)
    with torch.no_grad():
        layer.beta.fill_(3.0)
    alone = call(
        layer, torch.tensor(rng.standard_normal((1, 4))), when="for a batch of one,"
    )
    if not np.allclose(array(alone, (1, 4), "for a batch of one,"), 3.0):
        raise Wrong("for a batch of one, expected β: its variance is 0, and ε is not")


def _first_axis(x):
    """All axes but 1, as in PyTorch."""
    return tuple(axis for axis in range(x.ndim) if axis != 1)


def _check_moving(layer, x, axes, momentum):
    for name in ("moving_mean", "moving_variance"):
        if getattr(layer, name).requires_grad:
            raise Wrong(f"{name} keeps the graph of the step: compute it under no_grad")
    mean = array(layer.moving_mean, (4,), "moving_mean:")
    var = array(layer.moving_variance, (4,), "moving_variance:")
    new, m = 1 - momentum, x.size // 4
    batch = x.mean(axis=axes), x.var(axis=axes)
    right = new * batch[0], momentum + new * batch[1]
    if np.allclose(mean, 0) and np.allclose(var, 1):
        raise Wrong("a training pass leaves the moving statistics as they are")
    if not np.allclose(mean, right[0]):
        hint = "is it momentum · old + (1 - momentum) · new?"
        if np.allclose(mean, momentum * batch[0]):
            hint = "which of the two values does `momentum` weigh in Keras?"
        raise Wrong(f"the moving mean is wrong: {hint}")
    if not np.allclose(var, right[1]):
        hint = "is it momentum · old + (1 - momentum) · new?"
        if np.allclose(var, momentum + new * batch[1] * m / (m - 1)):
            hint = "which variance does Keras store, with 1/m or with 1/(m - 1)?"
        raise Wrong(f"the moving variance is wrong: {hint}")


def _check_gradient(cls, rng):
    layer, dy = build(cls, 4, 0.7, 0.05), torch.tensor(rng.standard_normal((6, 4)))
    x = torch.tensor(rng.standard_normal((6, 4)), requires_grad=True)
    layer.train()(x).backward(dy)
    if x.grad is None or not np.allclose(x.grad.sum(0), 0, atol=1e-8):
        raise Wrong(
            "the gradient with respect to x does not sum to zero over the batch: are "
            "mean and variance constants to autograd?"
        )
