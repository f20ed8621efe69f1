"""Exercises of the chapter cnn/convolution."""

import numpy as np
import torch
from scipy import signal

from dropnorm.checks.base import (
    Wrong,
    agree,
    call,
    check_array,
    checker,
    number,
    numbers,
    pure,
    table,
    unpack,
)
from dropnorm.layers import (
    avg_pool2d_forward,
    conv2d_backward,
    conv2d_forward,
    max_pool2d_backward,
    max_pool2d_forward,
)
from dropnorm.replicates import Comparison

# Forward


def _convolve(x, weight, bias=None, stride=1, padding=0):
    return conv2d_forward(x, weight, bias, stride, padding)[0]


def _frame(x, padding, **how):
    """x with `padding` rows and columns around each map."""
    sides = (padding, padding) if np.isscalar(padding) else padding
    return np.pad(x, ((0, 0), (0, 0), sides, sides), **how)


def _flip(weight):
    return weight[:, :, ::-1, ::-1]


def _setting(kernel, stride, padding):
    return f"with kernel {kernel}, stride {stride}, padding {padding}:"


@checker
def by_hand(y, *, seed=0):
    """``y``: the output for the image and the kernel that the exercise prints."""
    image = [[2.0, 1, 0, 3], [0, 3, 1, 2], [1, 0, 2, 1], [3, 2, 0, 1]]
    kernel = [[1.0, 0, 2], [0, 1, -1], [-2, 1, 0]]
    x, w = np.array(image)[None, None], np.array(kernel)[None, None]
    y = table(y, np.zeros((2, 2)), "two rows of two numbers")

    def layer(x=x, w=w, bias=10.0, stride=2, padding=1):
        return _convolve(x, w, np.array([bias]), stride, padding)[0, 0]

    known = {
        "is the bias missing?": layer(bias=0.0),
        "is the kernel flipped? That is the true convolution": layer(w=_flip(w)),
        "is the kernel flipped, and the bias missing?": layer(w=_flip(w), bias=0.0),
        "those are the windows without padding, one step apart": (
            layer(stride=1, padding=0)
        ),
        "those are the first windows with padding: what does a stride of 2 skip?": (
            layer(stride=1)[:2, :2]
        ),
        "is there a frame above and on the left? The first window begins in it": (
            layer(_frame(x, (0, 1)), padding=0)
        ),
        "does the border repeat in the padding? It is zeros": (
            layer(_frame(x, 1, mode="edge"), padding=0)
        ),
        "do rows and columns of the kernel change places?": (layer(w=w.swapaxes(2, 3))),
        "do rows and columns of the result change places?": layer().T,
    }
    hint = "write the frame of zeros around the image, then mark the four windows"
    agree("y", y, layer(), known, hint)


@checker
def output_size(solve, *, seed=0):
    """``solve(size, kernel, stride, padding, dilation)``: how many windows fit."""
    rng = np.random.default_rng(seed)
    cases = [(10, 3, 1, 2, 1), (8, 3, 2, 0, 1), (9, 3, 1, 0, 2), (20, 5, 3, 2, 3)]
    for _ in range(12):
        kernel, stride, dilation = (int(v) for v in rng.integers(1, 6, 3))
        padding = int(rng.integers(0, 4))
        least = dilation * (kernel - 1) + 1 - 2 * padding
        size = max(least, 1) + int(rng.integers(0, 20))
        cases.append((size, kernel, stride, padding, dilation))
    # exactly one window, and none
    cases += [(5, 3, 4, 0, 2), (5, 3, 1, 0, 3), (4, 3, 3, 0, 4), (2, 5, 3, 0, 2)]
    for size, kernel, stride, padding, dilation in cases:
        padded, spread = size + 2 * padding, dilation * (kernel - 1) + 1

        def windows(padded=padded, spread=spread, stride=stride):
            return max((padded - spread) // stride + 1, 0)

        right = windows()
        what = (
            f"for size {size}, kernel {kernel}, stride {stride}, padding {padding} "
            f"and dilation {dilation} the number"
        )
        got = number(call(solve, size, kernel, stride, padding, dilation), what)
        if got == right:
            continue
        if got != int(got):
            raise Wrong(
                f"{what} is {got:.4g}, expected a whole one, {right}: what becomes of "
                "a window that does not fit whole?"
            )
        known = {
            "what if not even one window fits?": (padded - spread) // stride + 1
            if right == 0
            else -1,
            "is the dilation used?": windows(spread=kernel),
            "how far does a dilated kernel reach? There are K - 1 steps in it": (
                windows(spread=dilation * kernel)
            ),
            "is that reach K + D - 1? Each of its K - 1 steps is D pixels": (
                windows(spread=kernel + dilation - 1)
            ),
            "count the first window, too": right - 1,
            "is the padding on both sides?": windows(padded=size + padding),
            "is the padding used?": windows(padded=size),
            "a window that does not fit whole does not count: round down": right + 1,
            "is the stride used?": windows(stride=1),
        }
        hint = "the last pixel of window i is i · S + D · (K - 1)"
        agree(what, got, float(right), known, hint)


@checker
def convolution(solve, *, seed=0):
    """``solve(x, weight, bias, stride, padding)``: y of formula (4)."""
    rng = np.random.default_rng(seed)
    cases = [
        ((2, 1, 6, 5), (3, 1, 3, 3), 1, 0),
        ((2, 3, 7, 6), (4, 3, 3, 3), 1, 1),
        ((2, 2, 8, 7), (3, 2, 3, 3), 2, 1),
        ((1, 3, 9, 8), (3, 3, 2, 2), 3, 2),
        ((3, 4, 4, 6), (4, 4, 4, 4), 1, 1),
    ]
    for shape, kernels, stride, padding in cases:
        x, w = rng.standard_normal(shape), rng.standard_normal(kernels)
        b = rng.uniform(2, 4, kernels[0])
        c, k = kernels[1], kernels[3]
        when = f"on {shape} with kernels {kernels}, stride {stride}, padding {padding}"
        arrays = {"x": x, "weight": w, "bias": b}
        y = pure(solve, arrays, stride, padding, when=when)
        right = _convolve(x, w, b, stride, padding)
        _check_size(y, right, x, padding, when)
        column = b[:, None, None]

        def conv(x=x, w=w, b=b, stride=stride, padding=padding):
            return _convolve(x, w, b, stride, padding)

        last, first = slice(-1, None), slice(0, 1)
        every = conv(stride=1)[:, :, : y.shape[2], : y.shape[3]]
        known = {
            "is the bias missing?": right - column,
            "is the kernel flipped? That is the true convolution": conv(w=_flip(w)),
            "is the kernel flipped, and the bias missing?": conv(w=_flip(w)) - column,
            "is the kernel flipped, and does the last channel alone count?": (
                conv(x[:, last], _flip(w)[:, last])
            ),
            "does the last input channel alone count? (`=` in place of `+=`)": (
                conv(x[:, last], w[:, last])
            ),
            "does the first input channel alone count?": conv(x[:, first], w[:, first]),
            "does each kernel use its first channel for all?": (
                conv(w=np.repeat(w[:, first], c, axis=1))
            ),
            "is the bias added once for each input channel?": right + (c - 1) * column,
            "is the bias added once for each weight?": (
                right + (w[0].size - 1) * column
            ),
            "is it the mean over the channels, where the sum is due?": (
                (right - column) / c + column
            ),
            "is it the mean over the window, where the sum is due?": (
                (right - column) / k**2 + column
            ),
            "is it the mean over all products, where the sum is due?": (
                (right - column) / w[0].size + column
            ),
            "do rows and columns of the kernel change places?": conv(
                w=w.swapaxes(2, 3)
            ),
            "do the windows begin one pixel apart, whatever the stride?": every,
            "does the border repeat in the padding? It is zeros": (
                conv(_frame(x, padding, mode="edge"), padding=0)
            ),
            "is the padding at the end alone?": (
                conv(_frame(x, (0, 2 * padding)), padding=0)
            ),
        }
        if kernels[0] == c:
            words = "are the axes of weight (out, in), or (in, out)?"
            known[words] = conv(w=w.swapaxes(0, 1))
        if kernels[0] == y.shape[3]:
            known["along which axis does the bias lie?"] = right - column + b
        hint = "sum over channels and window, then add the bias of the kernel"
        agree(f"{when} y", y, right, known, hint)


def _check_size(y, right, x, padding, when):
    """Raise `Wrong` with a question if a convolution's output has another shape."""
    if not isinstance(y, np.ndarray) or y.shape == right.shape:
        check_array(y, like=right, when=when)
        return
    hints = {
        "where does the padding go? np.pad(x, 1) frames every axis, the batch too": (
            y.ndim == 4 and len(y) == len(x) + 2 * padding != len(x)
        ),
        "is the padding used?": padding > 0
        and y.ndim == 4
        and y.shape[2] < right.shape[2],
        "expected (images, kernels, rows, columns)": sorted(y.shape)
        == sorted(right.shape)
        or y.ndim != 4,
    }
    hint = "how many windows fit?"
    for words, fits in hints.items():
        if fits:
            hint = words
            break
    raise Wrong(f"{when} y has shape {y.shape}, expected {right.shape}: {hint}")


@checker
def layout(prepare, *, seed=0):
    """``prepare(train, test)``: NHWC bytes to standardized NCHW, both."""
    rng = np.random.default_rng(seed)
    names = ["train", "test"]
    for height, width in [(5, 7), (6, 6)]:
        level = rng.permutation([60.0, 110, 190])
        spread = rng.permutation([5.0, 12, 25])
        # each place has a brightness of its own, and so has the test part
        dark = np.linspace(0, 30, height * width).reshape(height, width, 1)
        arrays = {
            name: np.clip(
                level - dark - less + spread * rng.standard_normal((n, *dark.shape)),
                0,
                255,
            ).astype(np.uint8)
            for name, n, less in (("train", 9, 0), ("test", 4, 10))
        }
        when = f"on photographs of {height}×{width}:"
        got = unpack(pure(prepare, arrays, when=when), names)
        train, test = (array.astype(float) for array in arrays.values())
        right = _standardized(_moved_channels(train), _moved_channels(test))
        for name, value, like in zip(names, got, right, strict=True):
            if isinstance(value, np.ndarray) and value.shape != like.shape:
                hint = "expected (images, channels, rows, columns)"
                if value.shape == like.swapaxes(2, 3).shape:
                    hint = "do rows and columns change places?"
                raise Wrong(
                    f"{when} {name} has shape {value.shape}, expected {like.shape}: "
                    + hint
                )
            check_array(value, like=like, when=f"{when} {name}:")
        both = np.concatenate(got)
        bessel = _standardized(_moved_channels(train), _moved_channels(test), ddof=1)
        if np.allclose(both, np.concatenate(bessel)):
            continue  # that harms nothing
        known = {
            words: np.concatenate(wrong)
            for words, wrong in _layouts(train, test).items()
        }
        hint = "what do the three numbers of one pixel become?"
        agree(f"{when} the result", both, np.concatenate(right), known, hint)


def _moved_channels(x):
    return x.transpose(0, 3, 1, 2)


def _standardized(train, test, axes=(0, 2, 3), ddof=0, own=False):
    by = {"axis": axes, "keepdims": True}
    parts = (train, train), (test, test if own else train)
    return [(x - s.mean(**by)) / s.std(**by, ddof=ddof) for x, s in parts]


def _layouts(train, test):
    """Both parts as a wrong answer has them, by the question that leads to it."""

    def reshape(x):
        return x.reshape(len(x), 3, *x.shape[1:3])

    moved = [_moved_channels(x) for x in (train, test)]
    cut = [reshape(x) for x in (train, test)]
    columns, everything = (0, 1, 2), (0, 1, 2, 3)
    scrambled = (
        "does `reshape` move the numbers in memory, or only say where rows end? Look "
        "at the three numbers of one pixel"
    )
    known = {
        scrambled: [reshape(x) for x in _standardized(train, test, columns)],
        f"{scrambled}.": _standardized(*cut),
        f"{scrambled} (and at the axes of the means)": _standardized(*cut, columns),
        f"{scrambled} (and at the mean of each channel)": (
            _standardized(*cut, everything)
        ),
        "each column of pixels has a mean of its own: which axis is the channels' "
        "now?": _standardized(*moved, columns),
        "do all channels share a mean?": _standardized(*moved, everything),
        "does each pixel have a mean of its own?": _standardized(*moved, (0,)),
        "does each photograph have a mean of its own?": _standardized(
            *moved, (2, 3), own=True
        ),
        "is the test part standardized by its own statistics?": (
            _standardized(*moved, own=True)
        ),
        "is nothing standardized?": moved,
        "are the values divided by 255 only?": [x / 255 for x in moved],
    }
    if train.shape[1] == train.shape[2]:
        known["do rows and columns change places?"] = _standardized(
            *(x.swapaxes(2, 3) for x in moved)
        )
    return known


# Backward


@checker
def backward(solve, *, seed=0):
    """``solve(dy, x, weight, stride, padding)``: dx, dweight, dbias."""
    rng = np.random.default_rng(seed)
    names = ["dx", "dweight", "dbias"]
    cases = [
        ((1, 1, 5, 4), (1, 1, 3, 3), 1, 0),
        ((3, 2, 6, 5), (4, 2, 3, 3), 1, 1),
        ((2, 3, 8, 7), (3, 3, 3, 3), 2, 0),
        ((2, 3, 7, 9), (2, 3, 2, 2), 3, 1),
    ]
    for shape, kernels, stride, padding in cases:
        x, w = rng.standard_normal(shape), rng.standard_normal(kernels)
        y, cache = conv2d_forward(x, w, None, stride, padding)
        dy = rng.standard_normal(y.shape)
        n, k = len(x), kernels[3]
        when = f"on {shape} with kernels {kernels}, stride {stride}, padding {padding}:"
        arrays = {"dy": dy, "x": x, "weight": w}
        got = unpack(pure(solve, arrays, stride, padding, when=when), names)
        right = conv2d_backward(dy, cache)
        for name, value, like in zip(names, got, right, strict=True):
            check_array(value, like=like, when=f"{when} {name}:")

        def through(weight, dy=dy, x=x, stride=stride, padding=padding):
            _, cache = conv2d_forward(x, weight, None, stride, padding)
            return conv2d_backward(dy, cache)[0]

        dbias = right[2]
        known = {
            "is it the mean, where the sum is due?": dy.mean(axis=(0, 2, 3)),
            "is it the mean over the images, where the sum is due?": dbias / n,
            "does the last image alone count?": dy[-1].sum(axis=(1, 2)),
        }
        hint = "the bias enters every output of its map"
        agree(f"{when} dbias", got[2], dbias, known, hint)
        dweight = right[1]
        one = [
            conv2d_backward(
                dy[i : i + 1], conv2d_forward(x[i : i + 1], w, None, stride, padding)[1]
            )[1]
            for i in (0, n - 1)
        ]
        known = {
            "is it the mean over the images, where the sum is due?": dweight / n,
            "does the last image alone count?": one[1],
            "does the first image alone count?": one[0],
            "is it flipped? In dweight nothing is": _flip(dweight),
            "is it divided by the number of windows?": dweight / dy[0, 0].size,
            "is it divided by the number of outputs?": dweight / dy[:, 0].size,
            "do rows and columns change places?": dweight.swapaxes(2, 3),
        }
        if kernels[0] == kernels[1]:
            known["does axis 0 belong to the outputs?"] = dweight.swapaxes(0, 1)
        hint = "W_uv meets the pixel at (S i + u, S j + v) of the padded image"
        agree(f"{when} dweight", got[1], dweight, known, hint)
        dx = right[0]
        known = {
            "is the kernel turned the wrong way? x_ab was multiplied by W_uv where "
            "a = i + u": through(_flip(w)),
            "a pixel lies in several windows: do their gradients add up? (`=` in place "
            "of `+=`)": _overwritten(dy, w, x.shape, stride, padding),
            "does the last kernel alone count?": through(w * _only(-1, kernels[0])),
            "does the first kernel alone count?": through(w * _only(0, kernels[0])),
            "is it divided by the number of windows?": dx / dy[0, 0].size,
            "is it divided by the number of weights?": dx / k**2,
            "do rows and columns of the kernel change places?": through(
                w.swapaxes(2, 3)
            ),
        }
        if kernels[0] == kernels[1]:
            known["axis 0 of the weight belongs to the outputs"] = through(
                w.swapaxes(0, 1)
            )
        hint = "each output hands dy times its kernel back to its window"
        agree(f"{when} dx", got[0], dx, known, hint)


def _only(index, count):
    mask = np.zeros((count, 1, 1, 1))
    mask[index] = 1
    return mask


def _overwritten(dy, weight, shape, stride, padding):
    """dx if each window overwrites what the windows before have left."""
    n, c, height, width = shape
    k = weight.shape[2]
    dx = np.zeros((n, c, height + 2 * padding, width + 2 * padding))
    for i in range(dy.shape[2]):
        for j in range(dy.shape[3]):
            part = np.einsum("no,ocuv->ncuv", dy[:, :, i, j], weight)
            dx[:, :, i * stride : i * stride + k, j * stride : j * stride + k] = part
    return dx[:, :, padding : padding + height, padding : padding + width]


@checker
def compose(solve, *, seed=0):
    """``solve(first, second)``: the one kernel that does what two do in turn."""
    rng = np.random.default_rng(seed)
    for shapes in [((3, 3), (3, 3)), ((2, 3), (4, 2)), ((1, 1), (3, 3))]:
        first, second = (rng.standard_normal(shape) for shape in shapes)
        when = f"for kernels {shapes[0]} and {shapes[1]}:"
        right = signal.convolve2d(first, second)
        arrays = {"first": first, "second": second}
        got = pure(solve, arrays, when=when)
        if isinstance(got, np.ndarray) and got.shape != right.shape:
            raise Wrong(
                f"{when} the kernel has shape {got.shape}, expected {right.shape}: how "
                "many pixels does one output of the second layer depend on?"
            )
        check_array(got, like=right, when=when)
        known = {
            "that is the cross-correlation of the two: which signs has formula (2)?": (
                signal.correlate2d(first, second)
            ),
            "that is the cross-correlation of the two, the other way around": (
                signal.correlate2d(second, first)
            ),
            "is the result flipped?": right[::-1, ::-1],
            "do rows and columns change places?": right.T
            if right.shape[0] == right.shape[1]
            else 0 * right,
        }
        hint = "put the first formula into the second: which products meet x at (a, b)?"
        agree(f"{when} the kernel", got, right, known, hint)


@checker
def max_backward(solve, *, seed=0):
    """``solve(dy, x, kernel, stride)``: dx of max pooling, ties to the first."""
    rng = np.random.default_rng(seed)
    cases = [((1, 1, 4, 4), 2, 2), ((2, 3, 7, 8), 3, 2), ((2, 2, 7, 6), 2, 3)]
    cases += [((2, 2, 6, 5), 3, 1)]
    for shape, kernel, stride in cases:
        # behind a ReLU: many zeros, and few different numbers
        x = np.maximum(rng.integers(-3, 3, shape), 0).astype(float)
        y, cache = max_pool2d_forward(x, kernel, stride)
        dy = rng.uniform(1, 2, y.shape) * rng.choice([-1, 1], y.shape)
        when = f"on {shape}, many ties, with kernel {kernel}, stride {stride}:"
        dx = pure(solve, {"dy": dy, "x": x}, kernel, stride, when=when)
        check_array(dx, like=x, when=when)
        right = max_pool2d_backward(dy, cache)

        def rule(share, add=True, dy=dy, x=x, kernel=kernel, stride=stride):
            found = np.zeros_like(x)
            for n, c, i, j in np.ndindex(*dy.shape):
                rows = slice(i * stride, i * stride + kernel)
                columns = slice(j * stride, j * stride + kernel)
                window = x[n, c, rows, columns]
                part = share(window == window.max()) * dy[n, c, i, j]
                if add:
                    found[n, c, rows, columns] += part
                else:
                    index = np.nonzero(part)
                    found[n, c, rows, columns][index] = part[index]
            return found

        def one(index):
            def share(ties):
                result = np.zeros(ties.shape)
                result[tuple(np.argwhere(ties)[index])] = 1
                return result

            return share

        def by_column(ties):
            return one(0)(ties.T).T

        known = {
            "does every maximum of a window get all of dy? Only the first one does": (
                rule(lambda ties: ties)
            ),
            "is dy shared among equal maxima? PyTorch gives it to the first": (
                rule(lambda ties: ties / ties.sum())
            ),
            "does the last of equal maxima get it?": rule(one(-1)),
            "is the first maximum sought column by column? It is row by row": (
                rule(by_column)
            ),
            "a pixel may win in several windows: do their gradients add up? (`=` in "
            "place of `+=`)": rule(one(0), add=False),
            "that is the way back through a mean": rule(
                lambda ties: np.ones(ties.shape) / ties.size
            ),
            "where does dy come in?": rule(one(0), dy=np.ones_like(dy)),
        }
        hint = "each dy goes to one place of its window: to the first maximum"
        agree(f"{when} dx", dx, right, known, hint)


@checker
def pool(solve, *, seed=0):
    """``solve(x, kernel, stride, padding, kind)``: padding does not count."""
    rng = np.random.default_rng(seed)
    for kind in ("max", "mean"):
        for shape, kernel, stride, padding in [
            ((2, 3, 5, 6), 2, 2, 0),
            ((1, 2, 5, 4), 3, 1, 1),
            ((2, 2, 7, 8), 4, 3, 2),
        ]:
            x = rng.standard_normal(shape) - 2
            when = f"{kind} of {shape} {_setting(kernel, stride, padding)}"
            y = pure(solve, {"x": x}, kernel, stride, padding, kind, when=when)

            def mean(x=x, sizes=(kernel, stride, padding), count=False):
                return avg_pool2d_forward(x, *sizes, count_include_pad=count)[0]

            def largest(x=x, sizes=(kernel, stride, padding)):
                return max_pool2d_forward(x, *sizes)[0]

            bare = (kernel, stride, 0)
            other = {"max": mean, "mean": largest}[kind]
            right = {"max": largest, "mean": mean}[kind]()
            check_array(y, like=right, when=when)
            known = {
                "is it the other kind?": other(),
                "does a zero of the padding win against pixels that are negative?": (
                    largest(_frame(x, padding), bare)
                ),
                "do the padding's zeros count in the mean? There are no such pixels": (
                    mean(count=True)
                ),
                "does the border repeat in the padding?": mean(
                    _frame(x, padding, mode="edge"), bare
                ),
            }
            if kind == "mean":
                known["is it the sum?"] = mean(count=True) * kernel**2
            hint = "which pixels of the image lie in the window?"
            agree(f"{when} y", y, right, known, hint)


# What an output sees, and what a shift does


@checker
def seen(solve, *, seed=0):
    """``solve(stack, i)``: first and last row of the image that output i sees."""
    rng = np.random.default_rng(seed)
    stacks = [[(3, 1, 0)], [(3, 2, 0)], [(3, 1, 1)], [(3, 1, 0), (2, 2, 0)]]
    stacks.append([(3, 1, 1), (2, 2, 0), (3, 1, 1), (2, 2, 0)])
    for _ in range(4):
        layers = rng.integers([1, 1, 0], [6, 4, 3], (3, 3))
        stacks.append([tuple(int(v) for v in layer) for layer in layers])
    for stack in stacks:
        for i in (0, int(rng.integers(1, 9))):
            right = _interval(stack, i)
            shown = ", ".join(str(layer) for layer in stack)
            what = f"output {i} behind {shown}"
            names = [f"{what}: the first row", "the last row"]
            got = numbers(call(solve, list(stack), i), names)
            if got == right:
                continue
            first, last = right
            clipped = max(first, 0), last
            known = {
                "the last row still belongs to the window": (first, last + 1),
                "rows of the padding have negative numbers: they are asked for": (
                    clipped
                ),
                "is the padding used?": _interval([(k, s, 0) for k, s, _ in stack], i),
                "go back from the output: the layer nearest to the image comes last": (
                    _interval(stack[::-1], i)
                ),
                "how many pixels of the image is a padding of a later layer?": (
                    _shifted(stack, i)
                ),
                "is the stride used?": _interval([(k, 1, p) for k, _, p in stack], i),
                "is the padding on the left as well? It makes the numbers smaller": (
                    _interval([(k, s, -p) for k, s, p in stack], i)
                ),
                "that is a receptive field of the right size, at another place": (
                    (0, last - first)
                ),
            }
            hint = "a window begins at S · i - P and has K rows"
            for words, wrong in known.items():
                if got == wrong:
                    hint = words
                    break
            raise Wrong(
                f"{what} sees rows {got[0]:g} to {got[1]:g}, expected {first} to "
                f"{last}: {hint}"
            )


def _interval(stack, i):
    first = last = i
    for kernel, stride, padding in reversed(stack):
        first = stride * first - padding
        last = stride * last - padding + kernel - 1
    return first, last


def _shifted(stack, i):
    """The interval if each padding counts as so many pixels of the image."""
    first, last = _interval([(k, s, 0) for k, s, _ in stack], i)
    padding = sum(p for *_, p in stack)
    return first - padding, last - padding


KERNELS = np.random.default_rng(5).uniform(0.5, 1.5, (5, 2, 2, 5, 5))
BIAS = np.array([1.0, -0.5])


def _same(x, weight, bias=BIAS):
    return _convolve(x, weight, bias, 1, weight.shape[2] // 2)


def _repeat(y, down, right, shape):
    """Each number `down` times below and `right` times beside itself, cut to shape."""
    y = y.repeat(down, axis=2).repeat(right, axis=3)
    return _frame(y, (0, 4))[:, :, : shape[2], : shape[3]]


def _every(down, right):
    """Keeps one number of each block: the first."""
    return lambda x: _repeat(x[:, :, ::down, ::right], down, right, x.shape)


def _ramp(axis):
    def layer(x):
        place = np.arange(x.shape[axis])
        return x + 0.1 * np.expand_dims(place, tuple({0, 1, 2, 3} - {axis}))

    return layer


def _local(x):
    """A 1×1 kernel of its own at every place."""
    height, width = x.shape[2:]
    return x * (1 + 0.3 * np.sin(np.arange(height * width)).reshape(height, width))


def _moved(x):
    return np.pad(x, ((0, 0), (0, 0), (1, 0), (2, 0)))[:, :, :-1, :-2]


def _one_channel(x):
    y = x.copy()
    y[:, 1] = _every(2, 2)(x)[:, 1]
    return y


EQUIVARIANT = {
    "convolves with 3×3 kernels": lambda x: _same(x, KERNELS[0, :, :, :3, :3]),
    "convolves with 5×5 kernels": lambda x: _same(x, KERNELS[1]),
    "takes the maximum of 3×3 pixels at stride 1": lambda x: max_pool2d_forward(
        x, 3, 1, 1
    )[0],
    "is a ReLU": lambda x: np.maximum(x, 0),
    "mixes the channels of each pixel and adds a bias": lambda x: _same(
        x, KERNELS[2, :, :, :1, :1]
    ),
    "moves everything down by one and right by two": _moved,
    "rounds otherwise at other places": lambda x: x + 1e-13 * (_ramp(3)(x) - x),
}
NOT_EQUIVARIANT = {
    "convolves, and keeps every second number": lambda x: _every(2, 2)(
        _same(x, KERNELS[3])
    ),
    "pools 2×2 and repeats the maxima": lambda x: _repeat(
        max_pool2d_forward(x, 2)[0], 2, 2, x.shape
    ),
    "keeps every second column": _every(1, 2),
    "keeps every second row": _every(2, 1),
    "adds a little more to each column": _ramp(3),
    "adds a little more to each row": _ramp(2),
    "has a weight of its own at every place": _local,
    "mirrors the image": lambda x: x[:, :, :, ::-1].copy(),
    "turns the image upside down": lambda x: x[:, :, ::-1].copy(),
    "keeps every second number, in its last channel alone": _one_channel,
}


@checker
def equivariant(test, *, seed=0):
    """``test(layer, rng)``: whether shift and layer can change places."""

    def verdict(layer, run, what):
        rng = np.random.default_rng([seed, run])
        when = f"on a layer that {what}:"

        def guarded(x):
            if not isinstance(x, np.ndarray) or x.ndim != 4 or x.shape[1] != 2:
                raise Wrong(
                    f"{when} your test gives it {np.shape(x)}, expected (N, 2, H, W)"
                )
            return layer(x.astype(float))

        answer = call(test, guarded, rng, when=when)
        if not isinstance(answer, (bool, np.bool_)):
            raise Wrong(f"your test returned {answer!r}, expected True or False")
        return bool(answer)

    for what, layer in EQUIVARIANT.items():
        if not all(verdict(layer, run, what) for run in range(3)):
            hint = "what enters at the border, and is it compared?"
            if "rounds" in what:
                hint = "are floating-point numbers compared with ==?"
            raise Wrong(f"your test turns away a layer that {what}: {hint}")
    for what, layer in NOT_EQUIVARIANT.items():
        missed = sum(verdict(layer, run, what) for run in range(3))
        if missed:
            hint = "are both channels compared, at all places inside?"
            if "second" in what or "pools" in what:
                hint = "is the shift one pixel, down as well as to the right?"
            if "row" in what or "upside" in what:
                hint = "is there a shift down as well?"
            if "column" in what or "mirrors" in what:
                hint = "is there a shift to the right as well?"
            if "channel" in what:
                hint = "are both channels compared?"
            raise Wrong(
                f"your test overlooks in {missed} of 3 runs a layer that {what}: {hint}"
            )


@checker
def shift(damage, train, *, seed=0):
    """``damage(arms, images, d)``: a Comparison of what a shift by d columns costs.

    ``train()`` returns the two trained arms, and the function from seed to images.
    """
    arms, images = call(train)
    rng = np.random.default_rng(seed)

    splits = {s: images(s) for runs in arms.values() for s in runs.seeds}
    models = {name: [runs.model(s) for s in runs.seeds] for name, runs in arms.items()}

    def error(model, x, y):
        x = torch.from_numpy(x).to(next(model.parameters()).dtype)
        with torch.no_grad():
            guess = model(x).argmax(dim=1).numpy()
        return 100 * (guess != y).mean()

    def errors(name, d, part="test", axis=3):
        found = []
        for s, model in zip(arms[name].seeds, models[name], strict=True):
            x, y = (getattr(splits[s], f"{array}_{part}") for array in "xy")
            # nothing but black leaves the canvas
            found.append(error(model, np.roll(x, d, axis=axis), y))
        return np.array(found)

    def cost(name, d, *where):
        return errors(name, d, *where) - errors(name, 0, *where)

    first, second = arms
    for d in rng.permutation([0, 1, 2])[:2]:
        d = int(d)
        when = f"for a shift by {d}"
        result = call(damage, arms, images, d, when=when)
        if not isinstance(result, Comparison):
            raise Wrong(
                f"{when} the result is a {type(result).__name__}, expected what "
                "replicates.compare returns"
            )
        right = cost(first, d) - cost(second, d)
        if len(result.differences) != len(right):
            raise Wrong(
                f"{when} {len(result.differences)} seeds are compared, expected all "
                f"{len(right)}"
            )
        if np.allclose(result.differences, right, atol=1e-3):
            continue
        known = {
            "is treatment minus control the other way around?": -right,
            "are the errors of the shifted images compared? One network may be better "
            "to begin with": errors(first, d) - errors(second, d),
            "are those the errors on images that are not shifted?": (
                errors(first, 0) - errors(second, 0)
            ),
            "is the shift downwards? Columns are the last axis": (
                cost(first, d, "test", 2) - cost(second, d, "test", 2)
            ),
            "is the shift to the left?": cost(first, -d) - cost(second, -d),
            "is that the training part?": (
                cost(first, d, "train") - cost(second, d, "train")
            ),
            "expected per cent": right / 100,
            "is that the cost to the first arm alone?": cost(first, d),
            "is that the cost to the second arm alone?": cost(second, d),
        }
        hint = "error on shifted images minus error on images as they are, arm by arm"
        agree(f"{when} the difference", result.differences, right, known, hint)
