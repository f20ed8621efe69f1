"""Exercises of the chapter cnn/network."""

import itertools

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

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
    unpack,
)
from dropnorm.checks.masks import CALLS, RATES, check_ends, check_masks, make_input
from dropnorm.layers import batchnorm_backward, batchnorm_forward

# The network of the article


@checker
def count(predicted, *, seed=0):
    """``predicted``: parameters and multiply-adds of three layers, for 20×20 pixels."""
    conv1, conv2, fc1 = 3 * 9 * 32, 32 * 9 * 64, 64 * 5 * 5 * 128
    right = {
        "conv1 parameters": conv1 + 32,
        "conv1 multiply-adds": conv1 * 400,
        "conv2 parameters": conv2 + 64,
        "conv2 multiply-adds": conv2 * 100,
        "fc1 parameters": fc1 + 128,
        "fc1 multiply-adds": fc1,
    }
    bias = "are the biases parameters?"
    known = {
        "conv1 parameters": {
            bias: conv1,
            "has a kernel weights for each input channel?": 9 * 32 + 32,
            "one bias for each kernel": 10 * 3 * 32,
            "do parameters depend on the size of the image?": (conv1 + 32) * 400,
        },
        "conv1 multiply-adds": {
            "padding 1 keeps the 20×20 places": conv1 * 18 * 18,
            "the pooling comes after the convolution": conv1 * 100,
            "at how many places is each kernel laid?": conv1,
            "does a window reach through all input channels?": 9 * 32 * 400,
            "are the additions counted on their own?": 2 * conv1 * 400,
            "the biases are added, not multiplied": (conv1 + 32) * 400,
        },
        "conv2 parameters": {
            bias: conv2,
            "has a kernel weights for each input channel?": 9 * 64 + 64,
            "how many channels does it read?": 3 * 9 * 64 + 64,
            "one bias for each kernel": 10 * 32 * 64,
            "do parameters depend on the size of the image?": (conv2 + 64) * 100,
        },
        "conv2 multiply-adds": {
            "how large are the maps behind the first pooling?": conv2 * 400,
            "the pooling comes after the convolution": conv2 * 25,
            "padding 1 keeps the 10×10 places": conv2 * 64,
            "at how many places is each kernel laid?": conv2,
            "does a window reach through all input channels?": 9 * 64 * 100,
            "are the additions counted on their own?": 2 * conv2 * 100,
            "the biases are added, not multiplied": (conv2 + 64) * 100,
        },
        "fc1 parameters": {
            bias: fc1,
            "it reads all numbers of all maps, 64 · 5 · 5": 64 * 128 + 128,
            "one bias for each output": fc1 + 1600,
        },
        "fc1 multiply-adds": {
            "the biases are added, not multiplied": fc1 + 128,
            "each weight is used once for an image": fc1 * 25,
            "are the additions counted on their own?": 2 * fc1,
        },
    }
    why = {}
    for key in right:
        why[key] = "weights: inputs of a window times outputs. And biases"
        if key.endswith("adds"):
            why[key] = "each weight is used once at every place of the output"
    guesses(predicted, right, known, why, rtol=1e-9)


@checker
def rows(solve, *, seed=0):
    """``solve(n, height, width)``: rows behind ``view(-1, 64 * 5 * 5)``, or 0."""
    rng = np.random.default_rng(seed)
    cases = [(8, 20, 20), (8, 23, 21), (25, 32, 32), (8, 32, 32), (3, 40, 40)]
    cases += [(7, 20, 40), (2, 4, 100), (49, 28, 28), (25, 28, 28), (1, 19, 24)]
    for _ in range(8):
        height, width = (int(v) for v in rng.integers(4, 70, 2))
        cases.append((int(rng.choice([5, 16, 25, 50])), height, width))
    for n, height, width in cases:
        total = n * 64 * (height // 4) * (width // 4)
        right = total // 1600 if total % 1600 == 0 else 0
        what = f"for {n} images of {height}×{width} the number of rows"
        got = number(call(solve, n, height, width), what)
        if got == right:
            continue
        known = {}
        if right not in (0, n):
            known["is an error raised? All numbers of the batch are counted"] = 0
        ceil = n * 64 * np.ceil(height / 4) * np.ceil(width / 4)
        known |= {
            "does view keep the number of images? It keeps that of all numbers": n,
            "must the numbers not fill whole rows?": total // 1600,
            "must the numbers fill whole rows? Is the last one cut off, or is there "
            "an error?": total / 1600,
            "a pooling drops the row that is left over: round down": ceil / 1600,
            "height and width are halved twice, and rounded down each": (
                n * 64 * height * width / 16 / 1600
            ),
            "how many numbers has one image behind the poolings?": (
                n * 64 * (height // 2) * (width // 2) / 1600
            ),
            "does it matter how many images there are?": total / n / 1600,
        }
        hint = "n · 64 · ⌊H/4⌋ · ⌊W/4⌋ numbers, in rows of 1,600"
        agree(what, got, float(right), known, hint)


@checker
def network(CNN, *, seed=0):
    """``CNN(height, width)``: the article's network, for images of this size."""
    torch.manual_seed(seed)
    for height, width in [(32, 32), (20, 20), (28, 36), (21, 14)]:
        when = f"CNN({height}, {width})"
        net = call(CNN, height, width, when=f"{when}:")
        if not isinstance(net, nn.Module):
            raise Wrong("expected a class derived from torch.nn.Module")
        reads = 64 * (height // 4) * (width // 4)
        for n in (25, 1, 6):
            x = torch.randn(n, 3, height, width)
            y = call(net, x, when=f"{when} on {n} images:")
            if not isinstance(y, torch.Tensor) or y.shape != (n, 10):
                shape = tuple(getattr(y, "shape", ()))
                raise Wrong(
                    f"{when} on {n} images: the output has shape {shape}, expected "
                    f"{(n, 10)}: which axis may a flattening never touch?"
                )
        _check_layers(net, reads, when)
        expected = _reference(net, x)
        if not torch.allclose(y, expected, atol=1e-8):
            hint = "is it twice convolution, ReLU, pooling, then dense, ReLU, dense?"
            if torch.allclose(y, expected.softmax(1)):
                hint = "is there a softmax? The loss takes logits"
            raise Wrong(
                f"{when}: the logits are not those of the article's network with the "
                f"same weights: {hint}"
            )
        for other in [
            (2 * height, 2 * width),
            (height + 4, width),
            (height, width - 4),
        ]:
            _check_refusal(net, height, width, other)


def _parts(net):
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    dense = [m for m in net.modules() if isinstance(m, nn.Linear)]
    return convolutions, dense


def _check_layers(net, reads, when):
    convolutions, dense = _parts(net)
    found = [tuple(layer.weight.shape) for layer in convolutions + dense]
    expected = [(32, 3, 3, 3), (64, 32, 3, 3), (128, reads), (10, 128)]
    if found != expected:
        hint = "the article's layers stay, but for what the first dense one reads"
        if len(found) == 4 and found[2][1] != reads:
            hint = (
                "the first dense layer reads 64 maps of ⌊H/4⌋ · ⌊W/4⌋ numbers, "
                f"{reads} in all"
            )
        raise Wrong(f"{when}: the weights have shapes {found}: {hint}")


def _reference(net, x):
    (conv1, conv2), (fc1, fc2) = _parts(net)
    with torch.no_grad():
        for layer in (conv1, conv2):
            x = F.conv2d(x, layer.weight, layer.bias, padding=1)
            x = F.max_pool2d(F.relu(x), 2)
        hidden = F.relu(F.linear(x.flatten(1), fc1.weight, fc1.bias))
        return F.linear(hidden, fc2.weight, fc2.bias)


def _check_refusal(net, height, width, other):
    """Images of another size must raise an error."""
    for n in (25, 3):
        x = torch.zeros(n, 3, *other)
        try:
            y = net(x)
        except Exception:
            continue
        shape = tuple(getattr(y, "shape", ()))
        hint = "what does a -1 in `view` make of numbers that are too many?"
        if shape[:1] == (n,):
            hint = "are the maps resized or cut? The dense layer was made for others"
        raise Wrong(
            f"CNN({height}, {width}) answers {n} images of {other[0]}×{other[1]} with "
            f"an output of shape {shape}, expected an error: {hint}"
        )


@checker
def speaks(predicted, *, seed=0):
    """``predicted``: "error", "wrong" or "right" for the article's batch norm."""
    right = {
        "color": "error",
        "narrow": "wrong",
        "gray": "wrong",
        "channels last": "right",
        "maps": "error",
        "square": "wrong",
        "vectors": "error",
        "one column": "right",
    }
    per_column = (
        "the mean has one number for each column of pixels. Does γ, one for each "
        "channel, fit beside it?"
    )
    hints = {
        "color": f"32 columns, 3 channels: {per_column}",
        "narrow": "3 columns, 3 channels: do the shapes fit? And whose means are they?",
        "gray": "γ has a single number and fits everywhere. How many means are there?",
        "channels last": "which axis is left, and what lies on it?",
        "maps": f"5 columns, 64 channels: {per_column}",
        "square": "16 columns, 16 channels: do the shapes fit? Whose means are they?",
        "vectors": "is there an axis 2?",
        "one column": "how many means are there, and over which numbers?",
    }
    for key, value in prediction_items(predicted, right):
        if not isinstance(value, str) or value.lower() not in (
            "error",
            "wrong",
            "right",
        ):
            raise Wrong(f"{key!r}: expected 'error', 'wrong' or 'right', got {value!r}")
        if value.lower() != right[key]:
            raise Wrong(
                f"{key!r}: you predict {value!r}, and that is not it: {hints[key]}"
            )


# Batch norm and dropout on maps


@checker
def norm_backward(backward, *, seed=0):
    """``backward(dy, x, gamma, eps)`` for NCHW: dx, dgamma, dbeta in training."""
    rng = np.random.default_rng(seed)
    names = ["dx", "dgamma", "dbeta"]
    for shape in [(3, 4, 2, 5), (5, 3, 4, 3), (4, 4, 4, 4), (2, 1, 3, 3)]:
        n, c, height, width = shape
        x = rng.standard_normal(shape) * rng.uniform(0.5, 3, (c, 1, 1))
        x += rng.standard_normal((c, 1, 1))
        gamma, dy = rng.uniform(1.5, 3, c), rng.standard_normal(shape) + 0.5
        eps = float(rng.uniform(0.05, 0.2))
        when = f"on shape {shape}:"
        arrays = {"dy": dy, "x": x, "gamma": gamma}
        got = unpack(pure(backward, arrays, eps, when=when), names)
        _, cache = batchnorm_forward(x, gamma, 0 * gamma, eps)
        right = batchnorm_backward(dy, cache)
        for name, value, like in zip(names, got, right, strict=True):
            what = f"{when} {name}"
            if isinstance(value, np.ndarray) and value.shape != like.shape:
                hint = "over which axes do the sums go?"
                raise Wrong(
                    f"{what} has shape {value.shape}, expected {like.shape}: {hint}"
                )
            check_array(value, like=like, when=f"{what}:")
        column = (-1, 1, 1)
        mean = x.mean(axis=(0, 2, 3), keepdims=True)
        centered = x - mean
        root = np.sqrt(x.var(axis=(0, 2, 3), keepdims=True) + eps)
        hat, m = centered / root, n * height * width
        dx, dgamma, dbeta = right
        axes = {
            "over all but the columns of pixels": (0, 1, 2),
            "over all but the rows of pixels": (0, 1, 3),
        }
        for name, product, value, sums in [
            ("dbeta", dy, got[2], dbeta),
            ("dgamma", dy * hat, got[1], dgamma),
        ]:
            known = {
                "is it the mean, where the sum is due?": sums / m,
                "is it the mean over the images?": sums / n,
                "is it multiplied by γ?": gamma * sums,
            }
            if name == "dgamma":
                known["is it x that multiplies dy, or x̂?"] = (dy * x).sum((0, 2, 3))
                known["is it x - μ that multiplies dy, or x̂?"] = (dy * centered).sum(
                    (0, 2, 3)
                )
                known["is that dbeta?"] = dbeta
            for words, over in axes.items():
                wrong = product.sum(axis=over)
                if wrong.shape == sums.shape:
                    known[f"does the sum go {words}? The channels come second"] = wrong
            hint = "sum over images, rows and columns"
            agree(f"{when} {name}", value, sums, known, hint)
        gain = gamma.reshape(column) / root

        def variant(
            m=m,
            beta_term=True,
            gamma_term=True,
            gain=gain,
            sums=(dbeta, dgamma),
            shapes=(column, column),
            dy=dy,
            hat=hat,
        ):
            terms = [s.reshape(shape) for s, shape in zip(sums, shapes, strict=True)]
            y = dy - beta_term * terms[0] / m
            return gain * (y - gamma_term * hat * terms[1] / m)

        known = {
            "how many values share a mean? Not only the number of images": variant(n),
            "how many values share a mean? The pixels of all images": variant(
                height * width
            ),
            "are mean and variance taken for constants?": gain * dy,
            "the way through the variance is missing": variant(gamma_term=False),
            "the way through the mean is missing": variant(beta_term=False),
            "is γ missing?": variant(gain=1 / root),
            "is it divided by m at all?": variant(1),
            "is it divided by the variance, in place of its root?": variant(
                gain=gain / root
            ),
            "are the sums divided by all numbers, those of other channels too?": (
                variant(x.size)
            ),
        }
        if width == c:
            _check_places(got[0], variant, (m, n), gamma, root)
        hint = "write it for a column of m = N · H · W numbers, one for each channel"
        agree(f"{when} dx", got[0], dx, known, hint)


def _check_places(dx, variant, counts, gamma, root):
    """Raise `Wrong` if a vector lies along the columns of pixels in dx."""
    channels, columns = (-1, 1, 1), (1, 1, -1)
    places = list(itertools.product([channels, columns], repeat=3))
    for m, (first, second, third) in itertools.product(counts, places[1:]):
        gain = gamma.reshape(third) / root
        if np.allclose(dx, variant(m, shapes=(first, second), gain=gain)):
            vectors = {"dbeta": first, "dgamma": second, "γ": third}
            names = [name for name, place in vectors.items() if place == columns]
            raise Wrong(
                f"dx: along which axis do {' and '.join(names)} lie? NumPy lays a "
                "vector along the last one, and here there are as many columns as "
                "channels"
            )


@checker
def map_dropout(MapDropout, *, seed=0):
    """``MapDropout(p)``: a module that drops whole maps in training."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)

    def build(p):
        layer = call(MapDropout, p)
        if not isinstance(layer, nn.Module):
            raise Wrong("expected a class derived from torch.nn.Module")
        return layer

    def run(x, p, training=True, when=""):
        """One number for each map, which it multiplied."""
        given = torch.from_numpy(x.copy())
        y = call(build(p).train(training), given, when=when)
        if not isinstance(y, torch.Tensor):
            raise Wrong(f"{when} the result is a {type(y).__name__}, expected a tensor")
        if not np.array_equal(given.numpy(), x):
            raise Wrong("your code changes its input, which its caller may still need")
        y = y.detach().numpy()
        check_array(y, like=x, when=when)
        return y

    p = float(rng.choice(RATES))
    x = make_input(rng, 100, 40, 3, 4)
    ys = []
    for _ in range(CALLS):
        y = run(x, p, when="in training")
        keep = y != 0
        if (keep != keep[:, :, :1, :1]).any():
            hint = "which axes of the mask have length 1?"
            if (keep == keep[:, :, :1]).all() or (keep == keep[..., :1]).all():
                hint = "whole rows or columns do. " + hint
            elif (keep == keep[:, :1]).all():
                hint = (
                    "a pixel is lost in all maps at once. Which axes of the mask have "
                    "length 1?"
                )
            raise Wrong(f"the pixels of one map do not share their fate: {hint}")
        # all pixels of a map, side by side, tell the scale of the map
        ys.append(y)
    ratio = np.stack(ys) / x
    if np.ptp(ratio, axis=(3, 4)).max() > 1e-6:
        raise Wrong("the pixels of one map are multiplied by different numbers")
    check_masks([y[:, :, 0, 0] for y in ys], x[:, :, 0, 0], p, 1 / (1 - p))

    def flat(x, p=p, when=""):
        maps = np.broadcast_to(x[:, :, None, None], (*x.shape, 2, 3))
        return run(maps.copy(), p, when=when)[:, :, 0, 0]

    check_ends(flat, rng)
    y = run(x, p, training=False, when="in evaluation")
    if not np.allclose(y, x):
        hint = "where does the code ask for self.training?"
        if np.allclose(y, x * (1 - p)):
            hint = "in the inverted form nothing is scaled then"
        elif np.allclose(y, x / (1 - p)):
            hint = "what makes up for dropped maps is not wanted when none is dropped"
        raise Wrong(f"in evaluation the output differs from x: {hint}")
    leaf = torch.from_numpy(x).clone().requires_grad_()
    y = call(build(p), leaf)
    try:
        (dx,) = torch.autograd.grad(y.sum(), leaf)
    except RuntimeError as error:
        raise Wrong(f"no gradient reaches x: {error}") from None
    if not np.allclose(dx.numpy() * x, y.detach().numpy()):
        raise Wrong("the gradient of x is not the mask that multiplied it")


@checker
def noise(solve, *, seed=0):
    """``solve(window, weight, p)``: variance with pixels dropped, with maps dropped."""
    rng = np.random.default_rng(seed)
    units = ["pixels", "maps"]
    for shape in [(1, 2, 2), (3, 3, 3), (4, 2, 3), (2, 1, 1)]:
        window = rng.uniform(0.5, 2, shape)
        weight = rng.uniform(-0.5, 1.5, shape)
        p = float(rng.choice([0.1, 0.2, 0.3, 0.6, 0.7]))
        when = f"for a window {shape} at p = {p}:"
        arrays = {"window": window, "weight": weight}
        names = [f"{when} the variance with {what} dropped" for what in units]
        got = pure(solve, arrays, p, when=when)
        got = numbers(got, names)
        odds, products = p / (1 - p), weight * window
        maps = products.sum(axis=(1, 2))
        right = odds * (products**2).sum(), odds * (maps**2).sum()
        hints = [
            "the masks are independent: variances add up",
            "one factor for each map: first sum within the map",
        ]
        for i, name in enumerate(names):
            base = right[i] / odds
            known = {
                "is it the other one?": right[1 - i],
                "is p(1 - p) the variance of the factor? What is kept is scaled": (
                    p * (1 - p) * base
                ),
                "keeping and dropping are exchanged": base / odds,
                "what is the variance of a factor that is 0 or 1/(1 - p)?": base,
                "that is the mean of the square, not the variance: subtract 1": (
                    base / (1 - p)
                ),
                "is that the standard deviation?": np.sqrt(right[i]),
                "do all products share one factor?": odds * products.sum() ** 2,
                "does the input enter?": odds
                * (
                    (weight**2).sum()
                    if i == 0
                    else (weight.sum(axis=(1, 2)) ** 2).sum()
                ),
                "is the square of each product missing?": odds * products.sum(),
            }
            agree(name, got[i], right[i], known, hints[i])


@checker
def behind_max(solve, *, seed=0):
    """``solve(values, p)``: the mean of max pooling behind inverted dropout."""
    rng = np.random.default_rng(seed)
    for size in (1, 3, 4, 9):
        values = np.roll(np.sort(rng.uniform(0.2, 3, size)), 1)  # in neither order
        p = float(rng.choice([0.1, 0.2, 0.3, 0.6, 0.7]))
        shown = ", ".join(f"{v:.2f}" for v in values[:4])
        what = f"for {shown}{', …' if size > 4 else ''} at p = {p} the mean"
        got = number(pure(solve, {"values": values}, p), what)
        down = np.sort(values)[::-1]
        rank = np.arange(size)
        right = float((p**rank * down).sum())
        known = {
            "are kept values scaled by 1/(1 - p)?": (1 - p) * right,
            "is it the maximum, as in evaluation?": down[0],
            "may the second largest win as well, if the largest is dropped?": (
                (1 - p) * down[0]
            ),
            "who wins depends on the order of size: are the values sorted?": (
                (p**rank * values).sum()
            ),
            "is the largest value the first? (np.sort begins with the smallest)": (
                (p**rank * down[::-1]).sum()
            ),
            "keeping and dropping are exchanged": (p * (1 - p) ** rank * down).sum()
            / (1 - p),
            "keeping and dropping are exchanged: is p the probability to drop?": (
                ((1 - p) ** rank * down).sum()
            ),
            "that is the mean of the values: the maximum is of those that are kept": (
                values.mean()
            ),
            "how many larger values must be dropped for the k-th to win?": (
                (p ** (rank + 1) * down).sum()
            ),
            "is the scale 1/(1 - p) applied twice?": right / (1 - p),
        }
        hint = "the k-th largest wins if it is kept and all larger ones are dropped"
        agree(what, got, right, known, hint)


# The whole, and a cheaper convolution


@checker
def build(solve, *, seed=0):
    """``solve(height, width, p)``: a Sequential with both, in the right order."""
    torch.manual_seed(seed)
    p = 0.3
    for height, width in [(20, 20), (32, 24)]:
        net = call(solve, height, width, p)
        if not isinstance(net, nn.Sequential):
            raise Wrong(f"expected a torch.nn.Sequential, got a {type(net).__name__}")
        kinds = [type(layer).__name__ for layer in net]
        for layer in net:
            if isinstance(layer, (nn.Softmax, nn.LogSoftmax)):
                raise Wrong(
                    f"there is a {type(layer).__name__} at the end, and the "
                    "cross-entropy takes a softmax itself: what does it expect?"
                )
        for n in (6, 1):
            y = call(net.eval(), torch.randn(n, 3, height, width), when="on images:")
            if y.shape != (n, 10):
                raise Wrong(
                    f"{n} images of {height}×{width} become an output of shape "
                    f"{tuple(y.shape)}, expected {(n, 10)}: from which axis on is "
                    "flattened?"
                )
        _check_order(net, kinds, p)


def _check_order(net, kinds, p):
    def places(kind):
        return [i for i, layer in enumerate(net) if isinstance(layer, kind)]

    convolutions, dense, flat = map(places, (nn.Conv2d, nn.Linear, nn.Flatten))
    if [len(convolutions), len(flat), len(dense)] != [2, 1, 2]:
        raise Wrong(
            f"{' → '.join(kinds)}: expected two convolutions, one Flatten and two "
            "dense layers"
        )
    if dense[1] < len(net) - 1:
        raise Wrong(
            f"a {kinds[-1]} stands on the logits: what does it do to the classes?"
        )
    ends = [*convolutions, flat[0]]
    for start, end in itertools.pairwise(ends):
        part = kinds[start:end]
        shown = " → ".join(part)
        if set(part) & {"Dropout", "Dropout2d"}:
            raise Wrong(
                f"{shown}: dropout stands among the maps, where the task asks for it "
                "behind the hidden dense layer. In front of a batch norm it also "
                "falsifies the variance that is stored"
            )
        counts = [part.count(k) for k in ("BatchNorm2d", "ReLU", "MaxPool2d")]
        if counts != [1, 1, 1] or len(part) != 4:
            raise Wrong(
                f"{shown}: expected one convolution, one BatchNorm2d, one ReLU and one "
                "pooling"
            )
        if part[1] != "BatchNorm2d":
            raise Wrong(
                f"{shown}: in the paper the batch norm stands right behind the "
                "convolution, before the nonlinearity"
            )
        if net[start].bias is not None:
            raise Wrong(
                f"{shown}: the batch norm subtracts the convolution's bias again: "
                "leave it out"
            )
    tail = kinds[flat[0] + 1 :]
    if tail != ["Linear", "ReLU", "Dropout", "Linear"]:
        shown = " → ".join(tail)
        hint = "expected ReLU and one dropout between the dense layers"
        if "Dropout2d" in tail:
            hint = "Dropout2d drops whole maps: what is a map of a vector?"
        elif "BatchNorm1d" in tail:
            hint = "the task asks for two batch norms, one behind each convolution"
        # a ReLU leaves zeros and positive factors as they are
        if tail != ["Linear", "Dropout", "ReLU", "Linear"]:
            raise Wrong(f"{shown}: {hint}")
    if any(layer.bias is None for layer in (net[i] for i in dense)):
        raise Wrong("a dense layer has no bias, and no batch norm behind it has one")
    (drop,) = (layer for layer in net if isinstance(layer, nn.Dropout))
    if drop.p != p:
        hint = "is it the probability to keep? PyTorch's p drops"
        if drop.p != 1 - p:
            hint = "is p used?"
        raise Wrong(f"the drop rate is {drop.p}, expected {p}: {hint}")


@checker
def separable(solve, *, seed=0):
    """``solve(c_in, c_out, kernel, height, width)``: weights and multiply-adds."""
    rng = np.random.default_rng(seed)
    for case in [(32, 64, 3, 10, 10), *rng.integers([2, 9, 2, 5, 5], 9 * 3, (4, 5))]:
        c_in, c_out, kernel, height, width = (int(v) for v in case)
        when = f"for {c_in} to {c_out} channels, {kernel}×{kernel}, {height}×{width}"
        result = call(solve, c_in, c_out, kernel, height, width, when=when)
        got = numbers(result, [f"{when} the weights", "the multiply-adds"])
        depth, point = c_in * kernel**2, c_in * c_out
        known = {
            "that is the ordinary convolution": depth * c_out,
            "where is the 1×1 convolution that mixes the channels?": depth,
            "where is the convolution of each map by itself?": point,
            "the depthwise kernels are one for each input channel, not for each "
            "output": kernel**2 * c_out + point,
            "is a kernel K × K, or K?": c_in * kernel + point,
            "are there biases? They are left out": depth + point + c_in + c_out,
            "do the two follow each other? Their costs add up": depth * point,
            "has the 1×1 convolution a weight for each pair of channels?": (
                depth + c_out
            ),
        }
        pixels, right = height * width, float(depth + point)
        hint = "first a kernel for each map, then a 1×1 convolution"
        agree(f"{when}: the weights", got[0], right, known, hint)
        known = {words: wrong * pixels for words, wrong in known.items()}
        known["at how many places is each weight used?"] = right
        known["are the additions counted on their own?"] = 2 * right * pixels
        hint = "each weight is used once at every place of the output"
        agree(f"{when}: the multiply-adds", got[1], right * pixels, known, hint)
