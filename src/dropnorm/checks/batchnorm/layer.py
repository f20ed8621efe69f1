"""Exercises of the chapter batchnorm/layer."""

import copy

import numpy as np
import torch

from dropnorm.checks.base import (
    Wrong,
    agree,
    call,
    check_array,
    checker,
    guesses,
    number,
    numbers,
    prediction_items,
    pure,
    recognize,
    table,
)


@checker
def by_hand(y, *, seed=0):
    """``y``: the output for the batch of four that the exercise prints."""
    x = np.array([[11.0, 70], [17, 30], [9, 30], [3, 70]])
    gamma, beta = np.array([5.0, -2]), np.array([1.0, 0])
    y = table(y, x, "four rows of two numbers")

    def layer(axis=0, ddof=0, power=0.5, g=gamma, b=beta):
        mean, var = x.mean(axis, keepdims=True), x.var(axis, ddof=ddof, keepdims=True)
        return g * (x - mean) / var**power + b

    known = {
        "that is x̂: what do γ and β do to it?": layer(g=1, b=0),
        "β is missing": layer(b=0),
        "γ is missing": layer(g=1),
        "are γ and β exchanged?": layer(g=beta, b=gamma),
        "is the variance divided by m - 1? Within the batch it is divided by m": (
            layer(ddof=1)
        ),
        "is it divided by the variance, in place of its root?": layer(power=1),
        "is only the mean subtracted?": layer(power=0),
        "do the two numbers of an example share a mean? They are different "
        "features": layer(axis=1),
        "do all eight numbers share a mean?": layer(axis=None),
        "those are scale and shift by the batch's own σ and μ: the layer would "
        "change nothing": x,
        "the signs are reversed": -layer(),
        "the second feature's γ is negative": layer(g=abs(gamma)),
    }
    agree("y", y, layer(), known, "write down mean and variance of each column first")


# A batch norm for any layout


def _columns(x, axis):
    """The values of each channel, (C, m)."""
    return np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)


def _check_map(y, x, gamma, beta, eps, axis, when):
    """Each channel of y must be the right affine function of that of x."""
    xs, ys = _columns(x, axis), _columns(y, axis)
    mean, var, m = xs.mean(axis=1), xs.var(axis=1), xs.shape[1]
    right = gamma / np.sqrt(var + eps)
    gain = ((xs - mean[:, None]) * ys).mean(axis=1) / var
    shift = ys.mean(axis=1)
    if np.allclose(gain, right) and np.allclose(shift, beta):
        return
    words = _axes(y, x, gamma, beta, eps, axis)
    if words:
        raise Wrong(f"{when} the means are the wrong ones: {words}")
    line = shift[:, None] + gain[:, None] * (xs - mean[:, None])
    if not np.allclose(ys, line, rtol=1e-5, atol=1e-6):
        raise Wrong(
            f"{when} equal values of one channel become different outputs: which "
            "numbers share a mean, and along which axis does γ lie?"
        )
    if not np.allclose(shift, beta, atol=1e-6):
        known = {
            "is β missing?": 0.0 * beta,
            "is that the batch's mean, which has just been subtracted?": mean,
            "is the mean of the batch never subtracted?": beta + gain * mean,
            "are γ and β exchanged?": gamma,
        }
        raise Wrong(
            f"{when} the outputs of channel 0 have mean {shift[0]:.3g}, expected "
            f"β = {beta[0]:.3g}: " + recognize(shift, known, "what is added to γ x̂?")
        )
    if not np.allclose(gain, right, rtol=1e-6):
        sd, root, bessel = np.sqrt(var), np.sqrt(var + eps), m / (m - 1)
        unbiased = np.sqrt(var * bessel + eps)
        known = {
            "is γ missing?": 1 / root,
            "is it scaled by the batch's σ, where γ belongs?": sd / root,
            "is it scaled by √(σ² + ε), where γ belongs?": root / root,
            "is it scaled by the batch's variance, where γ belongs?": var / root,
            "is it scaled by the batch's variance, and divided by m - 1?": (
                var * bessel / unbiased
            ),
            "are γ and β exchanged?": beta / root,
            "is the variance divided by m - 1? Within the batch it is divided by m": (
                gamma / unbiased
            ),
            "is it divided by the variance, in place of its root?": gamma / (var + eps),
            "is it divided by the variance of m - 1?": gamma / (var * bessel + eps),
            "is ε added to the root, in place of the variance?": gamma / (sd + eps),
            "is ε added to the root, in place of the variance, and is the variance "
            "divided by m - 1?": gamma / (np.sqrt(var * bessel) + eps),
            "is ε missing?": gamma / sd,
            "is ε subtracted?": gamma / np.sqrt(np.abs(var - eps)),
            "is nothing divided by the standard deviation?": gamma,
        }
        raise Wrong(
            f"{when} channel 0 is multiplied by {gain[0]:.3g}, expected "
            f"γ/√(σ² + ε) = {right[0]:.3g}: "
            + recognize(gain, known, "which variance, which root, and where is ε?")
        )


def _axes(y, x, gamma, beta, eps, axis):
    """Which axes the statistics seem to go over, if not the right ones."""
    known = {
        "one for all channels": tuple(range(x.ndim)),
        "one for each example and channel": tuple(
            i for i in range(1, x.ndim) if i != axis
        ),
        "one for each example": tuple(range(1, x.ndim)),
        "one for each place: the statistics go over the examples alone": (0,),
        "one for each column of pixels: the last axis is not the channels'": tuple(
            range(x.ndim - 1)
        ),
        "one for each channel of a batch whose channels come second": tuple(
            i for i in range(x.ndim) if i != 1
        ),
    }
    right = tuple(i for i in range(x.ndim) if i != axis)
    for words, axes in known.items():
        if axes == right or not axes:
            continue
        for place in (axis, x.ndim - 1, 1):
            if x.shape[place] != len(gamma):
                continue
            column = [1] * x.ndim
            column[place] = -1
            mean = x.mean(axes, keepdims=True)
            root = np.sqrt(x.var(axes, keepdims=True) + eps)
            g, b = gamma.reshape(column), beta.reshape(column)
            if np.allclose(y, g * (x - mean) / root + b):
                return f"there seems to be {words}"
    return ""


@checker
def forward(batchnorm, *, seed=0):
    """``batchnorm(x, gamma, beta, channel_axis, eps)``: y, for any layout."""
    rng = np.random.default_rng(seed)
    layouts = [((6, 4), 1), ((5, 4, 7), 1), ((3, 4, 5, 4), 1), ((3, 4, 5, 6), 3)]
    layouts += [((3, 4, 5, 6), 1), ((2, 3, 3, 2, 3), 4), ((4, 3), 0)]
    for shape, axis in layouts:
        channels = shape[axis]
        column = [1] * len(shape)
        column[axis] = channels
        offset = rng.permutation(channels) - 1.3
        spread = rng.permutation(np.linspace(0.6, 3, channels))
        x = rng.standard_normal(shape) * spread.reshape(column)
        x += offset.reshape(column)
        gamma = rng.uniform(1.5, 3, channels) * rng.choice([-1, 1], channels)
        beta = rng.uniform(3, 5, channels)
        eps = float(rng.uniform(0.05, 0.2))
        when = f"on shape {shape}, channels on axis {axis},"
        arrays = {"x": x, "gamma": gamma, "beta": beta}
        y = pure(batchnorm, arrays, axis, eps, when=when)
        check_array(y, like=x, when=when)
        _check_map(y, x, gamma, beta, eps, axis, when)
    one, zero = np.ones(2), np.zeros(2)
    x = rng.standard_normal((8, 2))
    x[:, 0] = 5.0
    y = pure(batchnorm, {"x": x, "gamma": one, "beta": zero + 3}, 1, 1e-5)
    check_array(y, like=x, when="on a constant channel")
    agree("a constant channel's output", y[0, 0], 3.0, {}, "x̂ is 0 there, and y is β")
    for mean in (0.0, 1e4):
        x = (mean + rng.standard_normal((64, 2))).astype(np.float32)
        arrays = {"x": x, "gamma": np.float32(one), "beta": np.float32(zero)}
        when = f"on float32 numbers around {mean:g}"
        try:
            y = pure(batchnorm, arrays, 1, 1e-5, when=when)
            check_array(y, like=x, when=when)
        except Wrong as wrong:
            if mean and "sqrt" in str(wrong) or "nan" in str(wrong):
                y = x * np.float32(0)
            else:
                raise
        right = (x - x.mean(axis=0, dtype=float)) / x.std(axis=0, dtype=float)
        if np.abs(y - right).max() > 0.05:
            raise Wrong(
                f"{when} the outputs have variance {y.var():.2g}, expected 1: "
                "is the variance computed as E[x²] - E[x]², which loses all digits?"
            )


# Predictions


@checker
def layouts(predicted, *, seed=0):
    """``predicted``: a pair (number of means, values behind each) for each layer."""
    right = {
        "vectors": (20, 32),
        "signals": (20, 32 * 50),
        "images": (3, 8 * 16 * 12),
        "axes (0, 1, 2)": (12, 8 * 3 * 16),
        "last axis": (50, 32 * 20),
    }
    known = {
        "vectors": {"are the rows the features?": (32, 20)},
        "signals": {
            "do all places of a channel share its mean?": (20 * 50, 32),
            "how many values has a channel in the whole batch?": (20, 32),
            "is there a mean for each example?": (32 * 20, 50),
        },
        "images": {
            "do all places of a channel share its mean?": (3 * 16 * 12, 8),
            "how many values has a channel in the whole batch?": (3, 8),
            "how many has it in all images together?": (3, 16 * 12),
        },
        "axes (0, 1, 2)": {
            "the axes that are named are those that are summed over": right["images"],
            "that would be axis 3 alone": (8 * 3 * 16, 12),
        },
        "last axis": {
            "that is PyTorch, whose channels come second": right["signals"],
            "how many values has the last axis' feature in the whole batch?": (50, 32),
        },
    }
    for key, value in prediction_items(predicted, right):
        names = [f"{key!r}: the number of means", "the number of values"]
        got = numbers(value, names)
        if got != right[key]:
            hint = "is it the other way around?" if got[::-1] == right[key] else (
                "the two must multiply to the number of all values: which axis is "
                "not summed over?"
            )  # fmt: skip
            raise Wrong(
                f"{key!r}: you predict {got[0]:g} means, each of {got[1]:g} values, "
                "and that is not it: " + recognize(got, known[key], hint)
            )


@checker
def peeks(predicted, *, seed=0):
    """``predicted``: the running mean that each of five programs leaves."""
    right = {"no_grad": 1.0, "eval": 0.0, "frozen": 1.9, "none": 15.0, "keras": 19.899}
    known = {
        "no_grad": {
            "does torch.no_grad() change the mode, or what autograd records?": 0.0,
            "how much does one batch weigh?": 10.0,
            "does `momentum` weigh the new value, or the old one?": 9.0,
        },
        "eval": {"in evaluation the buffers are only read": 1.0},
        "frozen": {
            "γ and β are frozen. Are the buffers parameters?": 0.0,
            "both passes count, and the second batch is the same": 1.0,
            "the second step weighs 0.1, and what was there 0.9": 2.0,
        },
        "none": {
            "with `momentum=None` what does PyTorch use, if not 0?": 0.0,
            "all batches weigh the same": 20.0,
            "that is momentum 0.1": 2.9,
        },
        "keras": {
            "that is Keras: whose weight is `momentum` in PyTorch?": 0.299,
            "the first batch leaves something": 20.0,
        },
    }
    why = dict.fromkeys(right, "which passes are in training mode, and what does each")
    why = {key: f"{words} weigh?" for key, words in why.items()}
    guesses(predicted, right, known, why)


# Statistics


@checker
def variance(solve, *, seed=0):
    """``solve(x)``: the biased variance of a float32 or float64 vector."""
    rng = np.random.default_rng(seed)
    cases = [(np.float64, 0.0), (np.float32, 0.0), (np.float32, 2e4)]
    for dtype, mean in [*cases, (np.float64, 3e8)]:
        m = int(rng.integers(50, 200))
        x = (mean + 3 * rng.standard_normal(m)).astype(dtype)
        right = float((x - x.astype(float).mean()).astype(float).var())
        when = f"on {m} {dtype.__name__} numbers around {mean:g}"
        value = pure(solve, {"x": x}, when=when)
        if isinstance(value, np.ndarray) and value.ndim == 0:
            value = value[()]
        if not isinstance(value, dtype):
            kind = type(value).__name__
            if mean == 0 and np.ndim(value) == 0 and isinstance(value, (float, int)):
                raise Wrong(
                    f"{when} the result is a {kind}, expected {dtype.__name__}, as the "
                    "input: a wider type only moves the mean at which the digits end"
                )
            if not isinstance(value, np.floating):
                raise Wrong(f"{when} the result is a {kind}, expected one number")
            raise Wrong(
                f"{when} the result is a {kind}, expected {dtype.__name__}, as the "
                "input: a wider type only moves the mean at which the digits end"
            )
        value = float(value)
        if np.isclose(value, right, rtol=1e-2 if mean else 1e-4):
            continue
        known = {
            "is the sum divided by m - 1?": right * m / (m - 1),
            "is the sum not divided by m?": right * m,
            "is that the standard deviation?": np.sqrt(right),
            "what is E[x²] - E[x]² where both are rounded to 0 digits after the "
            "point? Clipping at 0 hides it only": 0.0,
        }
        hint = "is there a difference of two large numbers left?"
        if not mean:
            hint = "expected the mean of the squared distances from the mean"
        raise Wrong(
            f"{when} the variance is {value:.4g}, expected {right:.4g}: "
            + recognize(value, known, hint)
        )


@checker
def on_value(solve, *, seed=0):
    """``solve(k, m, d, eps)``: x̂ of the k of m values that are d, the others 0."""
    rng = np.random.default_rng(seed)
    for m in rng.permutation([5, 12, 50, 200]):
        k = int(rng.integers(2, m // 2 + 1))
        d, eps = float(rng.uniform(0.3, 4)), float(rng.uniform(1e-3, 0.1))
        m = int(m)
        q = k / m
        mean, var = q * d, q * (1 - q) * d**2
        right = (d - mean) / np.sqrt(var + eps)
        what = f"with k = {k}, m = {m}, d = {d:.2f}, eps = {eps:.3f} x̂"
        got = number(call(solve, k, m, d, eps), what)
        known = {
            "is that the limit of small ε?": np.sqrt((m - k) / k),
            "is that the bound √(m - 1), which one value alone attains?": np.sqrt(
                m - 1
            ),
            "is that x̂ of the values that are 0?": -mean / np.sqrt(var + eps),
            "is the variance divided by m - 1?": (d - mean)
            / np.sqrt(var * m / (m - 1) + eps),
            "is the mean not subtracted?": d / np.sqrt(var + eps),
            "is the variance that of one value, d² k/m?": (d - mean)
            / np.sqrt(q * d**2 + eps),
            "is ε added to the root?": (d - mean) / (np.sqrt(var) + eps),
            "is it divided by the variance?": (d - mean) / (var + eps),
            "does d stand squared in the variance?": (d - mean)
            / np.sqrt(q * (1 - q) * d + eps),
            "is that for d = 1?": (1 - q) / np.sqrt(q * (1 - q) + eps),
        }
        agree(what, got, right, known, "mean kd/m, and the variance of a yes or no?")


@checker
def steps(solve, *, seed=0):
    """``solve(share, momentum, library)``: steps until less than `share` is left."""
    rng = np.random.default_rng(seed)
    cases = [(0.01, 0.1, "torch"), (0.01, 0.99, "keras")]
    for _ in range(6):
        library = str(rng.choice(["torch", "keras"]))
        weight = float(rng.uniform(0.01, 0.4))
        momentum = weight if library == "torch" else 1 - weight
        cases.append((float(rng.uniform(0.001, 0.3)), momentum, library))
    # an eighth is left after three steps, and that is not less than an eighth
    cases += [(0.125, 0.5, "torch"), (0.25, 0.5, "keras"), (0.5, 1.0, "torch")]
    for share, momentum, library in cases:
        keep = 1 - momentum if library == "torch" else momentum
        right, left = 0, 1.0
        while left >= share:
            right, left = right + 1, left * keep
        what = f"for share {share:.3g}, momentum {momentum:.3g} in {library}: the steps"
        got = number(call(solve, share, momentum, library), what)
        if got == right:
            continue
        if got != int(got):
            raise Wrong(f"{what} are {got:.4g}, expected a whole number")
        other = 1 - keep
        swapped = np.log(share) / np.log(other) if 0 < other < 1 else 0.0
        ends = np.ceil(swapped - 1e-9), np.floor(swapped + 1e-9) + 1
        if not np.isclose(keep, other) and got in ends:
            raise Wrong(
                f"{what} are {got:g}, expected {right}: does `momentum` weigh the new "
                "value in this library, or the old one?"
            )
        known = {
            "is the number rounded down? Then more than the share is left": right - 1,
            "one fewer is enough": right + 1,
        }
        if np.isclose(keep ** (right - 1), share):
            known = {"less than the share must be left, not just as much": right - 1}
        hint = "after t steps the initial value has the weight (1 - α)^t"
        raise Wrong(
            f"{what} are {got:g}, expected {right}: " + recognize(got, known, hint)
        )


# A PyTorch module


@checker
def module(BatchNorm, *, seed=0):
    """``BatchNorm(num_features, eps=1e-5, momentum=0.1)``, for NCHW input."""
    torch.manual_seed(seed)
    offset = torch.tensor([-2.0, 0.5, 3.0])[:, None, None]

    def images(*shape):
        return (torch.randn(shape) + 1) * (1 + offset.abs()) + offset

    def build(momentum=0.3):
        net = call(BatchNorm, 3, 0.05, momentum)
        if not isinstance(net, torch.nn.Module):
            raise Wrong("expected a class derived from torch.nn.Module")
        return net

    def run(net, x, when):
        y = call(net, x, when=when)
        if not isinstance(y, torch.Tensor):
            raise Wrong(f"{when} the output is a {type(y).__name__}, expected a tensor")
        if y.shape != x.shape:
            raise Wrong(f"{when} the output has shape {tuple(y.shape)}")
        return y

    def same(a, b, rtol=1e-4):
        return torch.allclose(a, b, rtol=rtol, atol=1e-5)

    def normalized(x, axes=(0, 2, 3), correction=0):
        mean = x.mean(axes, keepdim=True)
        return (x - mean) / (
            x.var(axes, correction=correction, keepdim=True) + 0.05
        ) ** (0.5)

    net = build()
    net.train()
    x = images(4, 3, 5, 3)
    when = "in training"
    y = run(net, x, when)
    if not same(y, normalized(x)):
        if same(y, normalized(x, (0, 1, 2))):
            hint = (
                "each column of pixels has a mean of its own: which axis of NCHW is "
                "the channels'?"
            )
        elif same(y, normalized(x, (0, 2, 3), 1)):
            hint = "is the variance that normalizes divided by m - 1?"
        elif same(y, normalized(x, (0, 1, 2), 1)):
            hint = (
                "each column of pixels has a mean of its own: which axis of NCHW is "
                "the channels'?"
            )
        elif same(y, x / 1.05**0.5):
            hint = "is it normalized by the running statistics?"
        else:
            hint = "expected x̂ with the batch's mean and biased variance, per channel"
        raise Wrong(f"{when} the output is not that of BatchNorm2d: {hint}")
    x = images(5, 3, 4, 6)
    net = build()
    with torch.no_grad():
        y = run(net, x, "in training under torch.no_grad()")
    if not same(y, normalized(x)):
        raise Wrong(
            "under torch.no_grad() a module in training mode normalizes otherwise: is "
            "the mode decided by torch.is_grad_enabled(), in place of self.training?"
        )
    _check_buffers(build, images, run, same)
    # evaluation
    net, x = build(), images(5, 3, 4, 6)
    for _ in range(3):
        run(net, images(5, 3, 4, 6), when)
    net.eval()
    running = [buffer.detach().clone() for buffer in _running(net)]
    y = run(net, x, "in evaluation")
    if any(not same(a, b) for a, b in zip(running, _running(net), strict=True)):
        raise Wrong("in evaluation a pass changes the running statistics")
    mean, var = (b[:, None, None] for b in running)
    if not same(y, (x - mean) / (var + 0.05) ** 0.5):
        hint = "expected (x - running_mean)/√(running_var + ε)"
        if same(y, normalized(x)):
            hint = (
                "it is normalized by the batch: is the mode decided by "
                "torch.is_grad_enabled(), or not at all?"
            )
        raise Wrong(f"in evaluation the output is wrong: {hint}")
    run(net, x[:1, :, :1, :1], "in evaluation, on a single pixel,")
    # gradients
    net, theirs = build(), torch.nn.BatchNorm2d(3, 0.05, 0.3)
    dy, grads = torch.randn(x.shape), []
    for layer in (net, theirs):
        leaf = x.clone().requires_grad_()
        try:
            grads.append(torch.autograd.grad((layer(leaf) * dy).sum(), leaf)[0])
        except RuntimeError as error:
            raise Wrong(f"no gradient reaches x: {error}") from None
    if not same(*grads):
        raise Wrong(
            "in training the gradient is not that of BatchNorm2d: are mean and "
            "variance cut out of the graph? They are functions of x"
        )
    n = sum(p.numel() for p in net.parameters())
    if n != 6:
        raise Wrong(
            f"the module has {n} parameters, expected 6: γ and β are learned, the "
            "running statistics are not"
        )


def _running(net):
    found = []
    for name in ("running_mean", "running_var"):
        buffer = getattr(net, name, None)
        if not isinstance(buffer, torch.Tensor) or buffer.shape != (3,):
            raise Wrong(f"expected {name}, a tensor of 3 numbers, got {buffer!r}")
        found.append(buffer)
    return found


def _check_buffers(build, images, run, same):
    net = build()
    first = [buffer.detach().clone() for buffer in _running(net)]
    for buffer, name, value in zip(first, ["mean", "var"], [0.0, 1.0], strict=True):
        if not same(buffer, torch.full((3,), value)):
            raise Wrong(f"running_{name} starts at {buffer[0]:g}, expected {value:g}")
    x = images(2, 3, 2, 3).requires_grad_()
    run(net, x, "in training")
    mean, var = _running(net)
    if mean.requires_grad or var.requires_grad:
        raise Wrong(
            "the running statistics keep the graph of every batch so far: what does "
            "the update run under?"
        )
    new = x.detach().mean((0, 2, 3))
    if not same(mean, 0.3 * new):
        hint = "expected (1 - momentum) · old + momentum · new"
        if same(mean, 0.7 * new):
            hint = "does `momentum` weigh the new value, or the old one?"
        elif same(mean, new):
            hint = "is the old value thrown away?"
        elif same(mean, 0 * new):
            hint = "is it never updated?"
        elif same(mean, 0.1 * new):
            hint = "is the argument `momentum` used?"
        raise Wrong(f"after one batch running_mean is wrong: {hint}")
    unbiased = x.detach().var((0, 2, 3))
    if not same(var, 0.7 + 0.3 * unbiased):
        hint = "expected (1 - momentum) · 1 + momentum · new"
        if same(var, 0.7 + 0.3 * unbiased * 11 / 12):
            hint = "the buffer estimates the source's variance: by m, or by m - 1?"
        elif same(var, 0.7 * unbiased * 11 / 12 + 0.3) or same(
            var, 0.7 * unbiased + 0.3
        ):
            hint = "does `momentum` weigh the new value, or the old one?"
        elif same(var, 0.7 + 0.3 * unbiased**0.5):
            hint = "is that the standard deviation?"
        raise Wrong(f"after one batch running_var is wrong: {hint}")
    saved = copy.deepcopy(net.state_dict())
    for name in ("running_mean", "running_var"):
        if name not in saved:
            raise Wrong(
                f"{name} is not in state_dict(): a saved network would forget it. Is "
                "it a plain attribute, where a buffer is needed?"
            )
        if isinstance(getattr(net, name), torch.nn.Parameter):
            raise Wrong(
                f"{name} is a parameter, which the optimizer would change: register "
                "a buffer"
            )
        if not same(saved[name], getattr(net, name).detach()):
            raise Wrong(f"state_dict() holds another {name} than the module uses")
    other = build()
    try:
        other.load_state_dict(saved)
    except RuntimeError as error:
        raise Wrong(f"the state cannot be loaded: {error}") from None
    x = x.detach()
    y = run(net.eval(), x, "in evaluation")
    if not same(run(other.eval(), x, "with a loaded state"), y):
        raise Wrong(
            "with a loaded state the evaluation is another: is all it needs in the "
            "state, and read from there?"
        )
