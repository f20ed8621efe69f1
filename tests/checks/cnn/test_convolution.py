"""Exercises on convolution and pooling: right answers pass, wrong ones are named."""

import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from answers import fails, passes
from numpy.lib.stride_tricks import sliding_window_view
from scipy import signal
from torch import nn

from dropnorm import checks, data, layers, replicates
from dropnorm.checks.cnn.convolution import EQUIVARIANT, NOT_EQUIVARIANT

C = checks.cnn


def tensors(*arrays):
    return [torch.from_numpy(np.ascontiguousarray(a)) for a in arrays]


def frame(x, padding, **how):
    sides = (padding, padding)
    return np.pad(x, ((0, 0), (0, 0), sides, sides), **how)


# by_hand

X = np.array([[2.0, 1, 0, 3], [0, 3, 1, 2], [1, 0, 2, 1], [3, 2, 0, 1]])
W = np.array([[1.0, 0, 2], [0, 1, -1], [-2, 1, 0]])
Y = [[11, 2], [20, 14]]


def hand(x=X, w=W, bias=10, stride=2, padding=1):
    x = np.pad(x, padding)
    return signal.correlate2d(x, w, "valid")[::stride, ::stride] + bias


@pytest.mark.parametrize("y", [Y, np.array(Y), tuple(map(tuple, Y)), hand()])
def test_by_hand_accepts(y):
    passes(C.by_hand, y, seeds=[0])


WRONG_HANDS = {
    "no bias": (hand(bias=0), "bias missing"),
    "flipped": (hand(w=W[::-1, ::-1]), "is the kernel flipped? That is the true"),
    "flipped, no bias": (hand(w=W[::-1, ::-1], bias=0), "and the bias missing"),
    "no padding": (hand(stride=1, padding=0), "without padding, one step apart"),
    "stride 1": (hand(stride=1)[:2, :2], "what does a stride of 2 skip"),
    "padding at the end": (hand(np.pad(X, (0, 1)), padding=0), "on the left"),
    "repeated border": (hand(np.pad(X, 1, mode="edge"), padding=0), "repeat in the"),
    "kernel turned": (hand(w=W.T), "rows and columns of the kernel"),
    "turned": (hand().T, "rows and columns of the result"),
    "a slip": (hand() + np.eye(2), "mark the four windows"),
    "all windows": (hand(stride=1), "shape (4, 4), expected (2, 2)"),
    "text": ("many", "two rows of two numbers"),
    "a number": (11, "shape ()"),
    "a blank": ([[11, None], [20, 14]], "holds nan"),
}


@pytest.mark.parametrize("name", WRONG_HANDS)
def test_by_hand_names_what_is_wrong(name):
    y, words = WRONG_HANDS[name]
    fails(C.by_hand, y, words=words, seeds=[0])


@pytest.mark.parametrize("y", [None, [[None, None], [None, None]], [...]])
def test_by_hand_not_attempted(y):
    assert C.by_hand(y).status == "not attempted"


# output_size


def size_by_formula(size, kernel, stride, padding, dilation):
    return max((size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1, 0)


def size_by_counting(size, kernel, stride, padding, dilation):
    last = size + 2 * padding - 1
    starts = range(0, last + 1, stride)
    return sum(start + dilation * (kernel - 1) <= last for start in starts)


def size_by_torch(size, kernel, stride, padding, dilation):
    try:
        line, w = torch.zeros(1, 1, size), torch.zeros(1, 1, kernel)
        return F.conv1d(line, w, None, stride, padding, dilation).shape[2]
    except RuntimeError:
        return 0


def size_as_float(*args):
    return np.float64(size_by_counting(*args))


@pytest.mark.parametrize(
    "answer", [size_by_formula, size_by_counting, size_by_torch, size_as_float]
)
def test_output_size_accepts(answer):
    passes(C.output_size, answer)


def missize(reach=lambda k, d: d * (k - 1) + 1, sides=2, add=1, step=True, end=0):
    def answer(size, kernel, stride, padding, dilation):
        room = size + sides * padding - reach(kernel, dilation)
        if room < 0:
            return end
        return room // (stride if step else 1) + add

    return answer


def size_rounded_up(size, kernel, stride, padding, dilation):
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    return -(-room // stride) + 1 if room >= 0 else 0


WRONG_SIZES = {
    "no dilation": (missize(lambda k, d: k), "is the dilation used"),
    "D K": (missize(lambda k, d: d * k), "K - 1 steps in it"),
    "K + D - 1": (missize(lambda k, d: k + d - 1), "Each of its K - 1 steps"),
    "no + 1": (missize(add=0), "count the first window"),
    "one side": (missize(sides=1), "on both sides"),
    "no padding": (missize(sides=0), "is the padding used"),
    "up": (size_rounded_up, "round down"),
    "no stride": (missize(step=False), "is the stride used"),
    "none fits": (
        lambda s, k, t, p, d: (s + 2 * p - d * (k - 1) - 1) // t + 1,
        "not even one window fits",
    ),
    "a fraction": (
        lambda s, k, t, p, d: (s + 2 * p - d * (k - 1) - 1) / t + 1,
        "expected a whole one",
    ),
    "zero": (lambda *a: 0, "expected 12"),
    "nothing": (lambda *a: print("?"), "is a `return` missing"),
    "text": (lambda *a: "8", "expected a number"),
    "raises": (lambda s, k, t, p, d: s // 0, "ZeroDivisionError"),
}


@pytest.mark.parametrize("name", WRONG_SIZES)
def test_output_size_names_what_is_wrong(name):
    answer, words = WRONG_SIZES[name]
    fails(C.output_size, answer, words=words)


# convolution


def conv_by_torch(x, weight, bias, stride, padding):
    return F.conv2d(*tensors(x, weight, bias), stride, padding).numpy()


def conv_by_loops(x, weight, bias, stride, padding):
    x, k = frame(x, padding), weight.shape[2]
    rows, columns = (np.array(x.shape[2:]) - k) // stride + 1
    y = np.zeros((len(x), len(weight), rows, columns))
    for n, o, i, j in np.ndindex(*y.shape):
        window = x[n, :, i * stride : i * stride + k, j * stride : j * stride + k]
        y[n, o, i, j] = (window * weight[o]).sum() + bias[o]
    return y


def conv_by_windows(x, weight, bias, stride, padding):
    views = sliding_window_view(frame(x, padding), weight.shape[2:], axis=(2, 3))
    views = views[:, :, ::stride, ::stride]
    return np.einsum("ncijuv,ocuv->noij", views, weight) + bias[:, None, None]


def conv_by_layer(x, weight, bias, stride, padding):
    n_out, n_in, k, _ = weight.shape
    layer = layers.Conv2d(n_in, n_out, k, stride, padding)
    layer.weight[...], layer.bias[...] = weight, bias
    return layer(x)


def conv_by_flipped_scipy(x, weight, bias, stride, padding):
    x = frame(x, padding)
    y = [[signal.convolve(image, w[::-1, ::-1, ::-1], "valid")[0] for w in weight]
         for image in x]  # fmt: skip
    return np.array(y)[:, :, ::stride, ::stride] + bias[None, :, None, None]


@pytest.mark.parametrize(
    "answer",
    [
        conv_by_torch,
        conv_by_loops,
        conv_by_windows,
        conv_by_layer,
        conv_by_flipped_scipy,
    ],
)
def test_convolution_accepts(answer):
    passes(C.convolution, answer)


def misconv(**change):
    """The right layer, of changed arguments."""

    def answer(x, weight, bias, stride, padding):
        given = {
            "x": x,
            "weight": weight,
            "bias": bias,
            "stride": stride,
            "padding": padding,
        }
        for name, function in change.items():
            given[name] = function(given)
        return conv_by_loops(**given)

    return answer


def listing(x, weight, bias, stride, padding, pad=np.pad, f=signal.convolve2d, c=None):
    x = pad(x, padding)
    full = np.array(
        [
            [[f(image[c], w[c], "valid") for c in range(len(image))] for w in weight]
            for image in x
        ]
    )
    y = full[:, :, -1] if c is None else full.sum(axis=2)
    return y[:, :, ::stride, ::stride] + bias[:, None, None]


def conv_with_bias_along_columns(x, weight, bias, stride, padding):
    return conv_by_loops(x, weight, 0 * bias, stride, padding) + bias


def conv_with_steps_of_one(x, weight, bias, stride, padding):
    y = conv_by_loops(x, weight, bias, 1, padding)
    size = conv_by_loops(x, weight, bias, stride, padding).shape
    return y[:, :, : size[2], : size[3]]


def scaled_conv(by):
    def answer(x, weight, bias, stride, padding):
        y = conv_by_loops(x, weight, 0 * bias, stride, padding)
        return y / by(weight) + bias[:, None, None]

    return answer


def conv_in_place(x, weight, bias, stride, padding):
    y = conv_by_loops(x, weight, bias, stride, padding)
    x *= 2
    return y


WRONG_CONVS = {
    "listing": (listing, "is the kernel flipped"),
    "listing, unflipped": (
        functools.partial(listing, f=signal.correlate2d),
        "IndexError",
    ),
    "listing, framed": (functools.partial(listing, pad=frame), "is the kernel flipped"),
    "listing, framed, unflipped": (
        functools.partial(listing, pad=frame, f=signal.correlate2d),
        "last input channel alone",
    ),
    "listing, unflipped, summed": (
        functools.partial(listing, f=signal.correlate2d, c="all"),
        "IndexError",
    ),
    "all axes framed": (
        lambda x, w, b, s, p: conv_by_loops(
            np.pad(x, p)[:, p or 0 : -p or None], w, b, s, 0
        ),
        "frames every axis",
    ),
    "flipped": (misconv(weight=lambda g: g["weight"][:, :, ::-1, ::-1]), "flipped"),
    "no bias": (misconv(bias=lambda g: 0 * g["bias"]), "is the bias missing"),
    "flipped, no bias": (
        misconv(
            weight=lambda g: g["weight"][:, :, ::-1, ::-1],
            bias=lambda g: 0 * g["bias"],
        ),
        "and the bias missing",
    ),
    "turned kernel": (
        misconv(weight=lambda g: g["weight"].swapaxes(2, 3)),
        "rows and columns of the kernel",
    ),
    "first channel": (
        misconv(
            x=lambda g: g["x"] * (np.arange(g["x"].shape[1]) == 0)[:, None, None],
        ),
        "first input channel alone",
    ),
    "first kernel channel": (
        misconv(
            weight=lambda g: np.repeat(
                g["weight"][:, :1], g["weight"].shape[1], axis=1
            ),
        ),
        "its first channel for all",
    ),
    "bias for each channel": (
        misconv(bias=lambda g: g["weight"].shape[1] * g["bias"]),
        "once for each input channel",
    ),
    "bias for each weight": (
        misconv(bias=lambda g: g["weight"][0].size * g["bias"]),
        "once for each weight",
    ),
    "mean over channels": (scaled_conv(lambda w: w.shape[1]), "mean over the channels"),
    "mean over window": (scaled_conv(lambda w: w[0, 0].size), "mean over the window"),
    "mean over all": (scaled_conv(lambda w: w[0].size), "mean over "),
    "steps of one": (conv_with_steps_of_one, "one pixel apart"),
    "repeated border": (
        misconv(
            x=lambda g: frame(g["x"], g["padding"], mode="edge"), padding=lambda g: 0
        ),
        "border repeat",
    ),
    "bias along columns": (conv_with_bias_along_columns, "which axis does the bias"),
    "no padding": (misconv(padding=lambda g: 0), "is the padding used"),
    "no stride": (misconv(stride=lambda g: 1), "how many windows fit"),
    "turned": (
        lambda *a: conv_by_loops(*a).swapaxes(2, 3),
        "expected (images, kernels, rows, columns)",
    ),
    "one map": (lambda *a: conv_by_loops(*a)[0], "expected (images, kernels"),
    "in place": (conv_in_place, "changes its input x"),
    "a list": (lambda *a: conv_by_loops(*a).tolist(), "expected one NumPy array"),
    "float32": (lambda *a: conv_by_loops(*a).astype("float32"), "float32"),
    "NaN": (lambda *a: conv_by_loops(*a) * np.nan, "holds nan"),
    "zeros": (lambda *a: 0 * conv_by_loops(*a), "sum over channels and window"),
}


@pytest.mark.parametrize("name", WRONG_CONVS)
def test_convolution_names_what_is_wrong(name):
    answer, words = WRONG_CONVS[name]
    fails(C.convolution, answer, words=words, seeds=range(3))


def test_convolution_sees_a_bias_that_fits_the_columns():
    """Where no error is raised since there are as many columns as kernels."""

    def answer(x, weight, bias, stride, padding):
        y = conv_by_loops(x, weight, 0 * bias, stride, padding)
        return y + (bias if y.shape[3] == len(bias) else bias[:, None, None])

    fails(C.convolution, answer, words="along which axis does the bias lie")


def test_convolution_sees_a_weight_with_its_inputs_first():
    def answer(x, weight, bias, stride, padding):
        if weight.shape[0] == weight.shape[1]:
            weight = weight.swapaxes(0, 1)
        return conv_by_loops(x, weight, bias, stride, padding)

    fails(C.convolution, answer, words="(out, in), or (in, out)")


# layout


def by_transpose(train, test):
    train, test = (x.transpose(0, 3, 1, 2) / 255.0 for x in (train, test))
    mean = train.mean(axis=(0, 2, 3), keepdims=True)
    std = train.std(axis=(0, 2, 3), keepdims=True)
    return (train - mean) / std, (test - mean) / std


def by_rows(train, test):
    rows = train.reshape(-1, 3).astype(float)
    mean, std = rows.mean(0), rows.std(0, ddof=1)
    return [np.moveaxis((x - mean) / std, 3, 1) for x in (train, test)]


def by_permute(train, test):
    train, test = (t.permute(0, 3, 1, 2).double() for t in tensors(train, test))
    std, mean = torch.std_mean(train, (0, 2, 3), correction=0, keepdim=True)
    return tuple(((x - mean) / std).numpy() for x in (train, test))


@pytest.mark.parametrize("answer", [by_transpose, by_rows, by_permute])
def test_layout_accepts(answer):
    passes(C.layout, answer)


def mislayout(turn, axes=(0, 2, 3), own=False, after=None):
    def answer(train, test):
        a, b = turn(train.astype(float)), turn(test.astype(float))
        parts = [
            (x - s.mean(axes, keepdims=True)) / s.std(axes, keepdims=True)
            for x, s in ((a, a), (b, b if own else a))
        ]
        return [x if after is None else after(x) for x in parts]

    return answer


def cut(x):
    return x.reshape(len(x), 3, *x.shape[1:3])


def first(x):
    return x.transpose(0, 3, 1, 2)


def given_layout(train, test):
    train, test = cut(train), cut(test)
    mean, std = train.mean(axis=(0, 1, 2)), train.std(axis=(0, 1, 2))
    return (train - mean) / std, (test - mean) / std


def in_bytes(train, test):
    mean = train.mean(axis=(0, 1, 2)).astype(np.uint8)
    return [first(x - mean).astype(float) for x in (train, test)]


WRONG_LAYOUTS = {
    "given": (given_layout, "does `reshape` move the numbers"),
    "given, axes": (mislayout(cut), "does `reshape` move the numbers"),
    "given, one mean": (mislayout(cut, (0, 1, 2, 3)), "does `reshape` move"),
    "cut late": (
        mislayout(lambda x: x, (0, 1, 2), after=cut),
        "does `reshape` move the numbers",
    ),
    "columns": (mislayout(first, (0, 1, 2)), "each column of pixels"),
    "one mean": (mislayout(first, (0, 1, 2, 3)), "do all channels share a mean"),
    "each pixel": (mislayout(first, (0,)), "does each pixel have a mean"),
    "each photograph": (mislayout(first, (2, 3), own=True), "does each photograph"),
    "own": (mislayout(first, own=True), "by its own statistics"),
    "not standardized": (
        lambda a, b: (first(a) * 1.0, first(b) * 1.0),
        "is nothing standardized",
    ),
    "by 255": (lambda a, b: (first(a) / 255, first(b) / 255), "divided by 255 only"),
    "columns first": (
        mislayout(lambda x: x.transpose(0, 3, 2, 1)),
        "do rows and columns change places",
    ),
    "bytes": (in_bytes, "three numbers of one pixel"),
    "unmoved": (mislayout(lambda x: x, (0, 1, 2)), "expected (images, channels"),
    "one": (lambda a, b: by_transpose(a, b)[0], "expected 2 things"),
    "float32": (
        lambda a, b: [x.astype("float32") for x in by_transpose(a, b)],
        "float32",
    ),
}


@pytest.mark.parametrize("name", WRONG_LAYOUTS)
def test_layout_names_what_is_wrong(name):
    answer, words = WRONG_LAYOUTS[name]
    fails(C.layout, answer, words=words)


def test_layout_sees_transposed_squares():
    def answer(train, test):
        parts = by_transpose(train, test)
        square = train.shape[1] == train.shape[2]
        return [x.swapaxes(2, 3) if square else x for x in parts]

    fails(C.layout, answer, words="do rows and columns change places")


# backward


def back_by_torch(dy, x, weight, stride, padding):
    x, weight = (t.requires_grad_() for t in tensors(x, weight))
    bias = torch.zeros(len(weight), dtype=x.dtype, requires_grad=True)
    y = F.conv2d(x, weight, bias, stride, padding)
    grads = torch.autograd.grad(y, (x, weight, bias), *tensors(dy))
    return tuple(g.numpy() for g in grads)


def back_by_package(dy, x, weight, stride, padding):
    _, cache = layers.conv2d_forward(x, weight, None, stride, padding)
    return layers.conv2d_backward(dy, cache)


def back_by_loops(dy, x, weight, stride, padding, add=True, flip=False):
    x, k = frame(x, padding), weight.shape[2]
    dx, dw = np.zeros_like(x), np.zeros_like(weight)
    w = weight[:, :, ::-1, ::-1] if flip else weight
    for n, o, i, j in np.ndindex(*dy.shape):
        at = np.s_[n, :, i * stride : i * stride + k, j * stride : j * stride + k]
        dw[o] += dy[n, o, i, j] * x[at]
        part = dy[n, o, i, j] * w[o]
        dx[at] = dx[at] + part if add or o else part
    end = [size - padding for size in x.shape[2:]]
    return [dx[:, :, padding : end[0], padding : end[1]], dw, dy.sum((0, 2, 3))]


@pytest.mark.parametrize("answer", [back_by_torch, back_by_package, back_by_loops])
def test_backward_accepts(answer):
    passes(C.backward, answer)


def misback(dx=None, dw=None, db=None, **how):
    def answer(dy, x, weight, stride, padding):
        a, b, c = back_by_loops(dy, x, weight, stride, padding, **how)
        given = dy, x, weight, stride, padding
        return (
            dx(a, *given) if dx else a,
            dw(b, *given) if dw else b,
            db(c, *given) if db else c,
        )

    return answer


def of(index, at):
    """Gradient number `index` of the images or kernels `at` alone."""

    def change(value, dy, x, w, stride, padding):
        if index == 0:
            mask = np.zeros((len(w), 1, 1, 1))
            mask[at] = 1
            return back_by_package(dy, x, w * mask, stride, padding)[0]
        one = np.zeros_like(dy)
        one[at] = dy[at]
        return back_by_package(one, x, w, stride, padding)[index]

    return change


WRONG_BACKS = {
    "db mean": (misback(db=lambda v, dy, *a: dy.mean((0, 2, 3))), "is it the mean"),
    "db mean over images": (
        misback(db=lambda v, dy, *a: v / len(dy)),
        "mean over the images",
    ),
    "db of the last": (misback(db=of(2, -1)), "dbias"),
    "db of all": (misback(db=lambda v, dy, *a: dy.sum()), "dbias: the result is"),
    "db wrong": (misback(db=lambda v, *a: v + 1), "enters every output"),
    "dw mean": (misback(dw=lambda v, dy, *a: v / len(dy)), "mean over the images"),
    "dw of the last": (misback(dw=of(1, -1)), "does the last image alone"),
    "dw of the first": (misback(dw=of(1, 0)), "does the first image alone"),
    "dw flipped": (misback(dw=lambda v, *a: v[:, :, ::-1, ::-1]), "is it flipped"),
    "dw by windows": (
        misback(dw=lambda v, dy, *a: v / dy[0, 0].size),
        "by the number of windows",
    ),
    "dw by outputs": (
        misback(dw=lambda v, dy, *a: v / dy[:, 0].size),
        "divided by the number of",
    ),
    "dw turned": (misback(dw=lambda v, *a: v.swapaxes(2, 3)), "rows and columns"),
    "dw wrong": (misback(dw=lambda v, *a: v + 1), "meets the pixel"),
    "dx flipped": (misback(flip=True), "turned the wrong way"),
    "dx overwritten": (misback(add=False), "do their gradients add up"),
    "dx of the last": (misback(dx=of(0, -1)), "does the last kernel alone"),
    "dx of the first": (misback(dx=of(0, 0)), "does the first kernel alone"),
    "dx by windows": (
        misback(dx=lambda v, dy, *a: v / dy[0, 0].size),
        "divided by the number of windows",
    ),
    "dx by weights": (
        misback(dx=lambda v, dy, x, w, *a: v / w[0, 0].size),
        "divided by the number of weights",
    ),
    "dx turned": (
        misback(
            dx=lambda v, dy, x, w, s, p: back_by_package(dy, x, w.swapaxes(2, 3), s, p)[
                0
            ]
        ),
        "rows and columns of the kernel",
    ),
    "dx wrong": (misback(dx=lambda v, *a: v + 1), "hands dy times its kernel"),
    "dx padded": (misback(dx=lambda v, dy, x, w, s, p: frame(v, p)), "dx: the result"),
    "other order": (lambda *a: back_by_loops(*a)[::-1], "dx: the result has shape"),
    "two": (lambda *a: back_by_loops(*a)[:2], "expected 3 things"),
    "in place": (
        lambda dy, x, w, s, p: back_by_loops(dy.__imul__(2) / 2, x, w, s, p),
        "changes its input dy",
    ),
}


@pytest.mark.parametrize("name", WRONG_BACKS)
def test_backward_names_what_is_wrong(name):
    answer, words = WRONG_BACKS[name]
    fails(C.backward, answer, words=words, seeds=range(2))


@pytest.mark.parametrize("index", [0, 1])
def test_backward_sees_exchanged_channels(index):
    def answer(dy, x, weight, stride, padding):
        result = list(back_by_package(dy, x, weight, stride, padding))
        if weight.shape[0] == weight.shape[1]:
            other = weight.swapaxes(0, 1) if index == 0 else weight
            result = list(back_by_package(dy, x, other, stride, padding))
            if index == 1:
                result[1] = result[1].swapaxes(0, 1)
        return result

    fails(C.backward, answer, words="axis 0", seeds=range(2))


# compose


def compose_by_scipy(first, second):
    return signal.convolve2d(second, first)


def compose_by_impulse(first, second):
    rows = first.shape[0] + second.shape[0] - 1
    columns = first.shape[1] + second.shape[1] - 1
    kernel = np.zeros((rows, columns))
    for i in range(rows):
        for j in range(columns):
            image = np.zeros_like(kernel)
            image[i, j] = 1
            once = signal.correlate2d(image, first, "valid")
            kernel[i, j] = signal.correlate2d(once, second, "valid")[0, 0]
    return kernel


@pytest.mark.parametrize("answer", [compose_by_scipy, compose_by_impulse])
def test_compose_accepts(answer):
    passes(C.compose, answer)


WRONG_COMPOSES = {
    "correlation": (lambda a, b: signal.correlate2d(a, b), "which signs has formula"),
    "the other way": (lambda a, b: signal.correlate2d(b, a), "the other way around"),
    "flipped": (
        lambda a, b: signal.convolve2d(a, b)[::-1, ::-1],
        "is the result flipped",
    ),
    "turned": (lambda a, b: signal.convolve2d(a, b).T, "rows and columns"),
    "same": (lambda a, b: signal.convolve2d(a, b, "same"), "how many pixels"),
    "product": (lambda a, b: np.outer(a, b), "how many pixels"),
    "wrong": (lambda a, b: signal.convolve2d(a, b) + 1, "which products meet x"),
}


@pytest.mark.parametrize("name", WRONG_COMPOSES)
def test_compose_names_what_is_wrong(name):
    answer, words = WRONG_COMPOSES[name]
    fails(C.compose, answer, words=words)


# max_backward


def max_by_torch(dy, x, kernel, stride):
    (x,) = tensors(x)
    y = F.max_pool2d(x.requires_grad_(), kernel, stride)
    return torch.autograd.grad(y, x, *tensors(dy))[0].numpy()


def max_by_package(dy, x, kernel, stride):
    return layers.max_pool2d_backward(
        dy, layers.max_pool2d_forward(x, kernel, stride)[1]
    )


def max_by_loops(dy, x, kernel, stride, choose=None, add=True):
    dx = np.zeros_like(x)
    for n, c, i, j in np.ndindex(*dy.shape):
        at = np.s_[
            n, c, i * stride : i * stride + kernel, j * stride : j * stride + kernel
        ]
        ties = np.argwhere(x[at] == x[at].max())
        for u, v in ties[:1] if choose is None else choose(ties):
            part = dy[n, c, i, j]
            dx[at][u, v] = (dx[at][u, v] if add else 0) + part
    return dx


@pytest.mark.parametrize("answer", [max_by_torch, max_by_package, max_by_loops])
def test_max_backward_accepts(answer):
    passes(C.max_backward, answer)


def shared(dy, x, kernel, stride):
    dx = np.zeros_like(x)
    for n, c, i, j in np.ndindex(*dy.shape):
        at = np.s_[
            n, c, i * stride : i * stride + kernel, j * stride : j * stride + kernel
        ]
        ties = x[at] == x[at].max()
        dx[at] += dy[n, c, i, j] * ties / ties.sum()
    return dx


def averaged(dy, x, kernel, stride):
    return layers.avg_pool2d_backward(
        dy, layers.avg_pool2d_forward(x, kernel, stride)[1]
    )


WRONG_MAXES = {
    "all": (
        functools.partial(max_by_loops, choose=lambda ties: ties),
        "does every maximum of a window",
    ),
    "shared": (shared, "shared among equal maxima"),
    "last": (
        functools.partial(max_by_loops, choose=lambda ties: ties[-1:]),
        "does the last of equal maxima",
    ),
    "by column": (
        functools.partial(
            max_by_loops, choose=lambda ties: ties[np.lexsort(ties.T)][:1]
        ),
        "column by column",
    ),
    "overwritten": (
        functools.partial(max_by_loops, add=False),
        "do their gradients add up",
    ),
    "mean": (averaged, "the way back through a mean"),
    "ones": (
        lambda dy, *a: max_by_loops(np.ones_like(dy), *a),
        "where does dy come in",
    ),
    "wrong": (lambda *a: max_by_loops(*a) + 1, "to the first maximum"),
    "shape of dy": (lambda dy, *a: dy.copy(), "the result has shape"),
}


@pytest.mark.parametrize("name", WRONG_MAXES)
def test_max_backward_names_what_is_wrong(name):
    answer, words = WRONG_MAXES[name]
    fails(C.max_backward, answer, words=words, seeds=range(3))


# pool


def pool_by_torch(x, kernel, stride, padding, kind):
    (x,) = tensors(x)
    if kind == "max":
        return F.max_pool2d(x, kernel, stride, padding).numpy()
    y = F.avg_pool2d(x, kernel, stride, padding, count_include_pad=False)
    return y.numpy()


def pool_by_cutting(x, kernel, stride, padding, kind):
    rows, columns = (np.array(x.shape[2:]) + 2 * padding - kernel) // stride + 1
    y = np.empty((*x.shape[:2], rows, columns))
    for i in range(rows):
        for j in range(columns):
            top, left = i * stride - padding, j * stride - padding
            part = x[:, :, max(top, 0) : top + kernel, max(left, 0) : left + kernel]
            y[:, :, i, j] = getattr(part, kind)(axis=(2, 3))
    return y


def pool_by_counting(x, kernel, stride, padding, kind):
    def windows(x, value):
        x = frame(x, padding, constant_values=value)
        view = sliding_window_view(x, (kernel, kernel), axis=(2, 3))
        return view[:, :, ::stride, ::stride]

    if kind == "max":
        return windows(x, -np.inf).max(axis=(4, 5))
    count = windows(np.ones_like(x), 0).sum(axis=(4, 5))
    return windows(x, 0).sum(axis=(4, 5)) / count


@pytest.mark.parametrize("answer", [pool_by_torch, pool_by_cutting, pool_by_counting])
def test_pool_accepts(answer):
    passes(C.pool, answer)


def given_pool(x, kernel, stride, padding, kind, **how):
    windows = sliding_window_view(
        frame(x, padding, **how), (kernel, kernel), axis=(2, 3)
    )[:, :, ::stride, ::stride]
    return {"max": np.max, "mean": np.mean, "sum": np.sum}[kind](windows, axis=(4, 5))


def half_repaired(x, kernel, stride, padding, kind):
    value = -np.inf if kind == "max" else 0
    return given_pool(x, kernel, stride, padding, kind, constant_values=value)


WRONG_POOLS = {
    "given": (given_pool, "does a zero of the padding win"),
    "half": (half_repaired, "do the padding's zeros count"),
    "edge": (functools.partial(given_pool, mode="edge"), "does the border repeat"),
    "exchanged": (
        lambda *a: pool_by_torch(*a[:4], {"max": "mean", "mean": "max"}[a[4]]),
        "is it the other kind",
    ),
    "sum": (
        lambda *a: pool_by_torch(*a) if a[4] == "max" else given_pool(*a[:4], "sum"),
        "is it the sum",
    ),
    "infinite": (
        functools.partial(given_pool, constant_values=-np.inf),
        "holds -inf",
    ),
    "no padding": (
        lambda x, k, s, p, kind: given_pool(x, k, s, 0, kind),
        "the result has shape",
    ),
    "wrong": (lambda *a: pool_by_torch(*a) + 1, "which pixels of the image"),
}


@pytest.mark.parametrize("name", WRONG_POOLS)
def test_pool_names_what_is_wrong(name):
    answer, words = WRONG_POOLS[name]
    fails(C.pool, answer, words=words, seeds=range(3))


# seen


def seen_by_recursion(stack, i):
    if not stack:
        return i, i
    *before, (kernel, stride, padding) = stack
    start = i * stride - padding
    return seen_by_recursion(before, start)[0], (
        seen_by_recursion(before, start + kernel - 1)[1]
    )


def seen_by_jumps(stack, i):
    size = jump = 1
    start = 0
    for kernel, stride, padding in stack:
        start -= padding * jump
        size += (kernel - 1) * jump
        jump *= stride
    return [start + i * jump, start + i * jump + size - 1]


@pytest.mark.parametrize("answer", [seen_by_recursion, seen_by_jumps])
def test_seen_accepts(answer):
    passes(C.seen, answer)


def misseen(change=lambda stack: stack, after=lambda a, b: (a, b)):
    def answer(stack, i):
        return after(*seen_by_recursion(change(stack), i))

    return answer


def padded_by_pixels(stack, i):
    a, b = seen_by_recursion([(k, s, 0) for k, s, _ in stack], i)
    padding = sum(p for *_, p in stack)
    return a - padding, b - padding


WRONG_SEENS = {
    "one further": (misseen(after=lambda a, b: (a, b + 1)), "belongs to the window"),
    "clipped": (misseen(after=lambda a, b: (max(a, 0), b)), "have negative numbers"),
    "no padding": (
        misseen(lambda stack: [(k, s, 0) for k, s, _ in stack]),
        "is the padding used",
    ),
    "forward": (misseen(lambda stack: stack[::-1]), "go back from the output"),
    "pixels of padding": (padded_by_pixels, "how many pixels of the image is a"),
    "no stride": (
        misseen(lambda stack: [(k, 1, p) for k, _, p in stack]),
        "is the stride used",
    ),
    "padding added": (
        misseen(lambda stack: [(k, s, -p) for k, s, p in stack]),
        "makes the numbers smaller",
    ),
    "size alone": (
        misseen(after=lambda a, b: (0, b - a)),
        "at another place",
    ),
    "wrong": (lambda stack, i: (-9, 99), "begins at S · i - P"),
    "one": (lambda stack, i: i, "expected output"),
    "raises": (lambda stack, i: stack[9], "IndexError"),
}


@pytest.mark.parametrize("name", WRONG_SEENS)
def test_seen_names_what_is_wrong(name):
    answer, words = WRONG_SEENS[name]
    fails(C.seen, answer, words=words)


# equivariant


def by_inner(layer, rng, shift=1, axes=(2, 3), channels=2, exact=False):
    x = rng.standard_normal((2, 2, 14, 16))
    y = layer(x)
    for axis in axes:
        moved = layer(np.roll(x, shift, axis))
        a, b = moved, np.roll(y, shift, axis)
        a, b = (v[:, :channels, 5:-5, 5:-5] for v in (a, b))
        if not (np.array_equal(a, b) if exact else np.allclose(a, b, atol=1e-9)):
            return False
    return True


def by_frame(layer, rng):
    x = np.pad(rng.standard_normal((1, 2, 9, 9)), ((0, 0), (0, 0), (8, 8), (8, 8)))
    for d in (1, 2):
        moved = np.roll(x, (d, d), (2, 3))
        if not np.allclose(
            layer(moved)[:, :, 6:-3, 6:-3],
            np.roll(layer(x), (d, d), (2, 3))[:, :, 6:-3, 6:-3],
        ):
            return np.False_
    return np.True_


@pytest.mark.parametrize("answer", [by_inner, by_frame])
def test_equivariant_accepts(answer):
    passes(C.equivariant, answer)


@pytest.mark.parametrize("what", EQUIVARIANT)
def test_layers_are_equivariant(what):
    assert by_inner(EQUIVARIANT[what], np.random.default_rng(0))


@pytest.mark.parametrize("what", NOT_EQUIVARIANT)
def test_layers_are_not_equivariant(what):
    assert not by_inner(NOT_EQUIVARIANT[what], np.random.default_rng(0))


def border_too(layer, rng):
    x = rng.standard_normal((2, 2, 10, 12))
    return np.allclose(layer(np.roll(x, 1, 3)), np.roll(layer(x), 1, 3))


WRONG_TESTS = {
    "always": (lambda layer, rng: True, "overlooks in 3 of 3 runs"),
    "never": (lambda layer, rng: False, "turns away a layer"),
    "the border": (border_too, "what enters at the border"),
    "==": (functools.partial(by_inner, exact=True), "turns away a layer"),
    "by two": (functools.partial(by_inner, shift=2), "is the shift one pixel"),
    "to the right alone": (
        functools.partial(by_inner, axes=(3,)),
        "is there a shift down as well",
    ),
    "down alone": (
        functools.partial(by_inner, axes=(2,)),
        "is there a shift to the right as well",
    ),
    "one channel": (
        functools.partial(by_inner, channels=1),
        "are both channels compared",
    ),
    "a number": (lambda layer, rng: 0.3, "expected True or False"),
    "three channels": (
        lambda layer, rng: bool(layer(rng.random((1, 3, 8, 8))).all()),
        "expected (N, 2, H, W)",
    ),
}


@pytest.mark.parametrize("name", WRONG_TESTS)
def test_equivariant_names_what_is_wrong(name):
    answer, words = WRONG_TESTS[name]
    fails(C.equivariant, answer, words=words, seeds=range(3))


# shift


@functools.cache
def canvas(seed):
    split = data.digits(seed, n_train=100, n_test=150)
    around = ((0, 0), (0, 0), (2, 2), (2, 2))
    return split._replace(
        **{
            part: np.pad(
                getattr(split, part).reshape(-1, 1, 8, 8),
                around,
                constant_values=split.x_train.min(),
            )
            for part in ("x_train", "x_val", "x_test")
        }
    )


@functools.cache
def trained():
    arms = {
        str(size): lambda size=size: nn.Sequential(
            nn.MaxPool2d(size), nn.Flatten(), nn.Linear((12 // size) ** 2, 10)
        )
        for size in (3, 1)
    }
    recipe = replicates.Recipe(
        epochs=5,
        batch_size=25,
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1),
        eval_every=0,
    )
    return replicates.train(arms, canvas, recipe, seeds=range(8)), canvas


def errors(runs, images, d, axis=3, part="test"):
    found = []
    for s in runs.seeds:
        split = images(s)
        x, y = getattr(split, f"x_{part}"), getattr(split, f"y_{part}")
        with torch.no_grad():
            moved = torch.tensor(np.roll(x, d, axis), dtype=torch.get_default_dtype())
            logits = runs.model(s)(moved)
        found.append(100 * (logits.argmax(1).numpy() != y).mean())
    return np.array(found)


def measured(arms, images, d, **how):
    cost = [
        errors(a, images, d, **how) - errors(a, images, 0, **how) for a in arms.values()
    ]
    return replicates.compare(*cost, "cost", ("a", "b"))


def by_stored_errors(arms, images, d):
    a, b = (errors(r, images, d) - r.test_error for r in arms.values())
    return replicates.compare(list(a), list(b))


@pytest.mark.parametrize("answer", [measured, by_stored_errors])
def test_shift_accepts(answer):
    passes(C.shift, answer, trained, seeds=range(3))


def other(function):
    return lambda arms, images, d: replicates.compare(*function(arms, images, d))


def costs(arms, images, d):
    return [errors(a, images, d) - errors(a, images, 0) for a in arms.values()]


WRONG_SHIFTS = {
    "reversed": (other(lambda *a: costs(*a)[::-1]), "the other way around"),
    "errors": (
        other(lambda arms, images, d: [errors(a, images, d) for a in arms.values()]),
        "better to begin with",
    ),
    "not shifted": (
        other(lambda arms, images, d: [a.test_error for a in arms.values()]),
        "that are not shifted|better to begin with",
    ),
    "down": (functools.partial(measured, axis=2), "is the shift downwards"),
    "left": (lambda a, i, d: measured(a, i, -d), "is the shift to the left"),
    "training part": (functools.partial(measured, part="train"), "training part"),
    "a share": (
        other(lambda *a: [c / 100 for c in costs(*a)]),
        "expected per cent",
    ),
    "first alone": (
        other(lambda *a: [costs(*a)[0], 0 * costs(*a)[0]]),
        "cost to the first arm alone",
    ),
    "second alone": (
        other(lambda *a: [costs(*a)[1], 0 * costs(*a)[1]]),
        "cost to the second arm alone",
    ),
    "no shift": (lambda a, i, d: measured(a, i, 0), "images as they are, arm by arm"),
    "a number": (lambda a, i, d: 3.0, "replicates.compare returns"),
    "raises": (lambda a, i, d: a["6x6"], "KeyError"),
}


@pytest.mark.parametrize("name", WRONG_SHIFTS)
def test_shift_names_what_is_wrong(name):
    answer, words = WRONG_SHIFTS[name]
    fails(C.shift, answer, trained, words=words, seeds=range(2))


def test_shift_not_attempted():
    def damage(arms, images, d):
        raise NotImplementedError

    assert C.shift(damage, trained).status == "not attempted"
