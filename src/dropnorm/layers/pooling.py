"""Pooling: one number for each window of each map."""

import numpy as np

from dropnorm.layers.base import Layer
from dropnorm.layers.windows import (
    as_pair,
    check_maps,
    output_size,
    pad,
    unpad,
    windows,
)


def _sizes(kernel_size, stride, padding):
    """The three as pairs, checked; the stride is by default the kernel's size."""
    kernel = as_pair("kernel_size", kernel_size)
    stride = kernel if stride is None else as_pair("stride", stride)
    padding = as_pair("padding", padding, least=0)
    # With more, a window could hold nothing but padding.
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise ValueError(
            f"padding must be at most half of kernel_size {kernel}, got {padding}"
        )
    return kernel, stride, padding


def max_pool2d_forward(x, kernel_size, stride=None, padding=0):
    """The maximum of each window; padding never wins, since it is −∞.

    A NaN makes the output of each of its windows NaN, as in PyTorch.

    Parameters
    ----------
    x : (N, C, H, W)
    kernel_size, stride, padding : int or pair of int
        Vertically, horizontally. The stride is by default the kernel's size.

    Returns
    -------
    y : (N, C, H_out, W_out)
        With H_out = ⌊(H + 2P − K)/S⌋ + 1, and so for W.
    cache : what `max_pool2d_backward` needs

    Raises
    ------
    TypeError, ValueError
        If a size is not of this kind, padding exceeds half the kernel, or the kernel
        the padded input.
    """
    kernel, stride, padding = _sizes(kernel_size, stride, padding)
    padded = pad(x, padding, -np.inf)
    first, *others = (window for _, _, window in windows(padded, kernel, stride))
    y = first.copy()
    for window in others:
        np.maximum(y, window, out=y)  # y_ncij = max_uv x_n,c,si+u,sj+v
    return y, (x, y, kernel, stride, padding)


def max_pool2d_backward(dy, cache):
    """dx: each dy goes to its window's maximum, of equal ones to the first, row by row.

    A window whose maximum is NaN passes nothing on.
    """
    x, y, kernel, stride, padding = cache
    padded = pad(x, padding, np.nan)  # equals nothing: padding gets no gradient
    dpadded = np.zeros_like(padded)
    left = dy.copy()  # what has not yet found its maximum
    for (_, _, window), (_, _, dwindow) in zip(
        windows(padded, kernel, stride), windows(dpadded, kernel, stride), strict=True
    ):
        share = left * (window == y)
        dwindow += share
        left -= share
    return unpad(dpadded, padding)


def avg_pool2d_forward(x, kernel_size, stride=None, padding=0, count_include_pad=True):
    """The mean of each window; zeros of the padding count, or do not.

    Parameters
    ----------
    x : (N, C, H, W)
    kernel_size, stride, padding : int or pair of int
        Vertically, horizontally. The stride is by default the kernel's size.
    count_include_pad : bool
        True divides by K_h K_w, False by the number of elements that are not padding.

    Returns
    -------
    y : (N, C, H_out, W_out)
        With H_out = ⌊(H + 2P − K)/S⌋ + 1, and so for W.
    cache : what `avg_pool2d_backward` needs

    Raises
    ------
    TypeError, ValueError
        If a size is not of this kind, padding exceeds half the kernel, or the kernel
        the padded input.
    """
    kernel, stride, padding = _sizes(kernel_size, stride, padding)
    padded = pad(x, padding)
    output_size(padded, kernel, stride)  # names a kernel that is too large
    count = kernel[0] * kernel[1]
    if not count_include_pad:
        ones = np.ones((1, 1, *x.shape[2:]), x.dtype)
        count = _sum_windows(pad(ones, padding), kernel, stride)
    y = _sum_windows(padded, kernel, stride)
    y /= count  # y_ncij = 1/count Σ_uv x_n,c,si+u,sj+v
    return y, (padded.shape, count, kernel, stride, padding)


def avg_pool2d_backward(dy, cache):
    """dx: each dy is spread equally over its window."""
    shape, count, (down, right), (down_step, right_step), padding = cache
    n, channels, _, width = shape
    share = dy / count
    # The way back of `_sum_windows`: along the rows, then down the columns.
    drows = np.zeros((n, channels, dy.shape[2], width), dy.dtype)
    for _, _, window in windows(drows, (1, right), (1, right_step)):
        window += share
    dpadded = np.zeros(shape, dy.dtype)
    for _, _, window in windows(dpadded, (down, 1), (down_step, 1)):
        window += drows
    return unpad(dpadded, padding)


def _sum_windows(x, kernel, stride):
    """Σ_uv x_n,c,si+u,sj+v: first Σ_u, then Σ_v, in K_h + K_w additions for K_h K_w."""
    down = windows(x, (kernel[0], 1), (stride[0], 1))
    rows = _sum(window for _, _, window in down)
    right = windows(rows, (1, kernel[1]), (1, stride[1]))
    return _sum(window for _, _, window in right)


def _sum(arrays):
    """Their sum in a new array."""
    first, *others = arrays
    total = first.copy()
    for array in others:
        total += array
    return total


class _Pool2d(Layer):
    """What the pooling layers share: their sizes and the rank of their input."""

    def __init__(self, kernel_size, stride=None, padding=0):
        super().__init__()
        sizes = _sizes(kernel_size, stride, padding)
        self.kernel_size, self.stride, self.padding = sizes

    def _check_input(self, x):
        super()._check_input(x)
        check_maps(x)


class MaxPool2d(_Pool2d):
    """The maximum of each window, as ``torch.nn.MaxPool2d``.

    Of several equal maxima the first, row by row, gets the gradient.

    Parameters
    ----------
    kernel_size, stride, padding : int or pair of int
        Vertically and horizontally. The stride is by default the kernel's size; the
        padding, of −∞, is at most half of it.

    Shapes
    ------
    Input (N, C, H, W), output (N, C, H_out, W_out) with
    H_out = ⌊(H + 2P − K)/S⌋ + 1, and so for W. Rows and columns that no window reaches
    get the gradient 0.

    Raises
    ------
    TypeError, ValueError
        If a size is not of this kind, or the input has another rank or is smaller,
        padding included, than the kernel.

    Notes
    -----
    A NaN makes its window's output NaN as in PyTorch, but passes no gradient back,
    where PyTorch passes it to the last NaN.
    """

    def _forward(self, x):
        return max_pool2d_forward(x, self.kernel_size, self.stride, self.padding)

    def _backward(self, dy, cache):
        return max_pool2d_backward(dy, cache)


class AvgPool2d(_Pool2d):
    """The mean of each window, as ``torch.nn.AvgPool2d``.

    Parameters
    ----------
    kernel_size, stride, padding : int or pair of int
        Vertically and horizontally. The stride is by default the kernel's size; the
        padding, of zeros, is at most half of it.
    count_include_pad : bool
        True divides by K_h K_w, False by the number of elements that are not padding.

    Shapes
    ------
    Input (N, C, H, W), output (N, C, H_out, W_out) with
    H_out = ⌊(H + 2P − K)/S⌋ + 1, and so for W.

    Raises
    ------
    TypeError, ValueError
        If a size is not of this kind, or the input has another rank or is smaller,
        padding included, than the kernel.
    """

    def __init__(self, kernel_size, stride=None, padding=0, count_include_pad=True):
        super().__init__(kernel_size, stride, padding)
        self.count_include_pad = count_include_pad

    def _forward(self, x):
        return avg_pool2d_forward(
            x, self.kernel_size, self.stride, self.padding, self.count_include_pad
        )

    def _backward(self, dy, cache):
        return avg_pool2d_backward(dy, cache)


def global_avg_pool2d_forward(x):
    """The mean of each map: from (N, C, H, W) to (N, C); returns (y, cache)."""
    return x.mean(axis=(2, 3)), x.shape


def global_avg_pool2d_backward(dy, cache):
    """dx: each dy is spread equally over its map, of H W elements."""
    height, width = cache[2:]
    share = dy[:, :, None, None] / (height * width)
    return np.broadcast_to(share, cache).copy()


class GlobalAvgPool2d(Layer):
    """The mean of each map: ``torch.nn.AdaptiveAvgPool2d(1)`` and then ``Flatten``.

    Shapes
    ------
    Input (N, C, H, W) with H and W of at least 1, output (N, C).

    Raises
    ------
    ValueError
        If the input has another rank or empty maps.

    References
    ----------
    Lin, Chen and Yan (2013), Network In Network, arXiv:1312.4400, section 3.2.
    """

    def _check_input(self, x):
        super()._check_input(x)
        check_maps(x)

    def _forward(self, x):
        return global_avg_pool2d_forward(x)

    def _backward(self, dy, cache):
        return global_avg_pool2d_backward(dy, cache)
