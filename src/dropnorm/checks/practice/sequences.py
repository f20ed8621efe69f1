"""Exercises of the chapter practice/sequences."""

import copy

import numpy as np
import torch
from torch import nn

from dropnorm.checks.base import Wrong, agree, call, check_array, pure
from dropnorm.checks.practice.tensors import array, build, checker, state

# One norm for each step


@checker
def step_norm(cls, *, seed=0):
    """``cls(features, steps)``: a batch norm with statistics for each step."""
    rng = np.random.default_rng(seed)
    layer = build(cls, 3, 4)
    scales = [w for w in layer.parameters() if (w == 0.1).all()]
    shifts = [w for w in layer.parameters() if (w == 0).all()]
    total = sum(w.numel() for w in layer.parameters())
    if total != 6:
        hint = "has each step its own? They are common to all"
        if total == 0:
            hint = "are they in the state_dict?"
        raise Wrong(
            f"there are {total} parameters, expected 3 for γ and 3 for β: {hint}"
        )
    if len(scales) != 1 or len(shifts) != 1:
        raise Wrong("γ is to start at 0.1 and β at 0")
    steps = [torch.tensor(rng.standard_normal((8, 3)) + 3 * t) for t in range(4)]
    layer.train()
    for t, x in enumerate(steps):
        for _ in range(120):  # the running statistics become those of the batch
            y = call(layer, x, t, when=f"at step {t}, in training,")
        right = 0.1 * (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt()
        y = array(y, (8, 3), f"at step {t}")
        agree(
            f"at step {t} the output in training", y, right.numpy(), {},
            "γ (x - mean)/√(variance + ε) + β with the statistics of this batch",
        )  # fmt: skip
    before = state(layer.eval())
    x = torch.tensor(rng.standard_normal((5, 3)))
    outputs = []
    for t in range(4):
        y = call(layer, x, t, when=f"at step {t}, in evaluation,")
        outputs.append(array(y, (5, 3), f"at step {t}"))

    def expected(t):
        mean, var = steps[t].mean(0), steps[t].var(0)
        return (0.1 * (x - mean) / (var + 1e-5).sqrt()).numpy()

    for t in range(4):
        if not np.allclose(outputs[t], expected(t), rtol=1e-3, atol=1e-4):
            hint = "by which statistics is it normalized?"
            if np.allclose(outputs[t], expected(3), rtol=1e-3, atol=1e-4):
                hint = (
                    "these are the statistics of the last step: are all norms in the "
                    "list one object?"
                )
            raise Wrong(f"in evaluation the output of step {t} is wrong: {hint}")
    later = call(layer, x, 9, when="at step 9, which training never had,")
    if not np.allclose(array(later, (5, 3), "at step 9"), outputs[3]):
        raise Wrong(
            "at step 9, which training never had, expected the last step's statistics"
        )
    if any(not torch.equal(before[key], value) for key, value in state(layer).items()):
        raise Wrong("evaluation changes the layer")


# Summaries of a padded sequence


def _summaries(h, lengths):
    """Right and wrong versions of the three parts, in lists (the right one first)."""
    N, T, C = h.shape
    valid = np.arange(T) < lengths[:, np.newaxis]
    zeroed = np.where(valid[..., np.newaxis], h, 0.0)
    last = h[np.arange(N), lengths - 1]
    mean = zeroed.sum(axis=1) / lengths[:, np.newaxis]
    low = np.where(valid[..., np.newaxis], h, -np.inf)
    beyond = np.arange(T) <= lengths[:, np.newaxis]
    inside = np.where(beyond[..., np.newaxis], h, 0.0)
    longer = np.minimum(lengths, T - 1)
    return {
        "last state": {
            "": last,
            "for a short sequence, what stands at step T - 1?": h[:, -1],
            "for a short sequence, is step T - 1 zero because you made it so?": (
                zeroed[:, -1]
            ),
            "steps count from 0: at which is the last of `length` steps?": (
                h[np.arange(N), longer]
            ),
            "is that the last state of the longest sequence for all?": np.broadcast_to(
                h[np.arange(N), lengths.max() - 1], (N, C)
            ),
        },
        "mean": {
            "": mean,
            "by how many steps is the sum divided?": zeroed.mean(axis=1),
            "does the padding enter the sum?": h.mean(axis=1),
            "does the padding enter the sum? Only the divisor knows of lengths": (
                h.sum(axis=1) / lengths[:, np.newaxis]
            ),
            "is one step too many in the sum?": (
                inside.sum(axis=1) / lengths[:, np.newaxis]
            ),
        },
        "maximum": {
            "": low.max(axis=1),
            "if all values of a feature are negative, does the 0 of the padding win?": (
                zeroed.max(axis=1)
            ),
            "does the padding take part?": h.max(axis=1),
            "is one step too many among them?": inside.max(axis=1),
        },
    }


@checker
def summary(solve, *, seed=0):
    """``solve(h, lengths)``: last state, mean and maximum of padded sequences."""
    rng = np.random.default_rng(seed)
    for lengths in ([2, 7, 1, 4], [3, 5, 2]):
        lengths = np.array(lengths)
        h = rng.standard_normal((len(lengths), 7, 3)) - 0.5
        h[0, :, 0] = -abs(h[0, :, 0]) - 0.1  # a feature that is negative
        h[2, lengths[2] :] += 3  # padding is not zero behind a layer with a bias
        given = torch.tensor(h)
        got = call(solve, given, torch.tensor(lengths))
        if not np.array_equal(given.numpy(), h):
            raise Wrong("your code changes h, which its caller may still need")
        got = array(got, (len(lengths), 9))
        for part, (what, versions) in enumerate(_summaries(h, lengths).items()):
            value = got[:, 3 * part : 3 * part + 3]
            right = versions[""]
            known = {words: v for words, v in versions.items() if words}
            agree(f"the {what}", value, right, known, "over the valid steps only")


# Standardized by the past


def _so_far(x, eps, ddof=0, before=False):
    y = np.zeros_like(x)
    for t in range(x.shape[1]):
        past = x[:, : t + (not before)]
        if past.shape[1] == 0:
            continue
        mean = past.mean(axis=1)
        var = past.var(axis=1, ddof=ddof if past.shape[1] > ddof else 0)
        y[:, t] = (x[:, t] - mean) / np.sqrt(var + eps)
    return y


@checker
def causal(solve, *, seed=0):
    """``solve(x, eps)``: each step by the mean and variance of the steps so far."""
    rng = np.random.default_rng(seed)
    for shift in (0.0, 1e6):
        x = rng.standard_normal((5, 12)).cumsum(axis=1) + shift
        eps = 0.1
        when = f"at a mean of {shift:.0e}" if shift else ""
        got = pure(solve, {"x": x}, eps, when=when)
        check_array(got, like=x, when=when)
        mean, var = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
        step_mean = x.mean(axis=0)
        known = {
            "are mean and variance those of the whole sequence? Later steps are in "
            "them": (x - mean) / np.sqrt(var + eps),
            "are the statistics those of all sequences at this step?": (x - step_mean)
            / np.sqrt(x.var(axis=0) + eps),
            "is step t itself in its mean?": _so_far(x, eps, before=True),
            "is the variance divided by the number of steps, or by one less?": (
                _so_far(x, eps, ddof=1)
            ),
            "is only the mean subtracted?": (
                x - np.cumsum(x, axis=1) / np.arange(1, x.shape[1] + 1)
            ),
        }
        hint = "the mean and variance of x[:, : t + 1]"
        if shift:
            hint = (
                "it is right at a mean of 0. Is a variance the difference of two large "
                "numbers, E[x²] - E[x]²?"
            )
        agree(f"{when} the output".strip(), got, _so_far(x, eps), known, hint, 1e-5)


# Which inputs reach which outputs


class _Causal(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 2, 3)

    def forward(self, x):
        x = nn.functional.pad(x.transpose(1, 2), (2, 0))
        return self.conv(x).transpose(1, 2)


class _TimeLast(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x.transpose(1, 2)).transpose(1, 2)


class _First(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


def _layers(rng):
    """Name, layer, and the pattern (T, T) of a sequence of 5 steps."""
    T = 5
    own, past = np.eye(T, dtype=bool), np.tri(T, dtype=bool)
    all_ = np.ones((T, T), bool)
    window = past & ~np.tri(T, k=-3, dtype=bool)
    torch.manual_seed(int(rng.integers(2**31)))
    return [
        ("a layer norm", nn.LayerNorm(2), own),
        ("an LSTM", _First(nn.LSTM(2, 2, batch_first=True)), past),
        ("a convolution over three steps, causal", _Causal(), window),
        ("batch norm over batch and time", _TimeLast(nn.BatchNorm1d(2)), all_),
        ("instance norm", _TimeLast(nn.InstanceNorm1d(2)), all_),
        (
            "batch norm in evaluation",
            _TimeLast(nn.BatchNorm1d(2)).eval(),
            own,
        ),
        (
            "an LSTM in both directions",
            _First(nn.LSTM(2, 2, batch_first=True, bidirectional=True)),
            all_,
        ),
        ("dropout in training", nn.Sequential(nn.Linear(2, 9), nn.Dropout(0.3)), own),
        ("a ReLU of small numbers", nn.Sequential(nn.Linear(2, 9), nn.Tanh()), own),
    ]


@checker
def reach(solve, *, seed=0):
    """``solve(layer, x)``: element (t, s) says whether output t depends on input s."""
    rng = np.random.default_rng(seed)
    for name, layer, right in _layers(rng):
        x = torch.tensor(rng.standard_normal((3, 5, 2)))
        given, before = x.clone(), copy.deepcopy(state(layer))
        got = call(solve, layer, given, when=f"for {name}:")
        if not torch.equal(given.detach(), x):
            raise Wrong("your function changes x")
        if isinstance(got, torch.Tensor):
            got = got.detach().numpy()
        if not isinstance(got, np.ndarray) or got.shape != (5, 5):
            raise Wrong(f"for {name}: expected an array of shape (5, 5), got {got!r}")
        if got.dtype != bool:
            raise Wrong(f"for {name}: expected True and False, got {got.dtype}")
        if any(not torch.equal(before[k], v) for k, v in state(layer).items()):
            raise Wrong(
                "your function moves the running statistics of a batch norm: examine a "
                "copy"
            )
        if np.array_equal(got, right):
            continue
        hint = "change input s of the first sequence: which of its outputs change?"
        if np.array_equal(got, right.T):
            hint = "rows are outputs and columns inputs: are they exchanged?"
        elif "dropout" in name and got.all():
            hint = "are the same masks drawn in both passes?"
        elif "batch norm" in name or "instance" in name:
            if right.all() and not got.any():
                hint = (
                    "the sum of a normalized feature is always 0: does its gradient "
                    "say anything? "
                )
            hint += " Is the layer in the mode in which it is given?"
        t, s = np.argwhere(got != right)[0]
        raise Wrong(
            f"for {name}: whether output {t} depends on input {s} is {right[t, s]}, "
            f"you find {got[t, s]}: {hint}"
        )
