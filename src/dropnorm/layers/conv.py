"""Two-dimensional convolution."""

import numpy as np

from dropnorm.layers.base import Layer, check_dtype, check_integer
from dropnorm.layers.windows import (
    as_pair,
    check_maps,
    output_size,
    pad,
    unpad,
    windows,
)
from dropnorm.randomness import default_generator


def conv2d_forward(x, weight, bias=None, stride=1, padding=0):
    """Cross-correlation, which deep learning calls convolution, as one matrix product.

    y_noij = b_o + Σ_cuv W_ocuv x_n,c,si+u,sj+v: slide the kernel over the padded
    maps, multiply elementwise, sum over the window and all input channels. The kernel
    is not flipped.

    Parameters
    ----------
    x : (N, C, H, W)
    weight : (O, C, K_h, K_w)
    bias : (O,), optional
    stride, padding : int or pair of int
        Step between windows; zeros around each map: vertically, horizontally.

    Returns
    -------
    y : (N, O, H_out, W_out)
        With H_out = ⌊(H + 2P − K)/S⌋ + 1, and so for W. In memory the channels come
        first, as the product leaves them, which spares a copy.
    cache : what `conv2d_backward` needs; it holds K_h K_w copies of `x`

    Raises
    ------
    TypeError, ValueError
        If stride or padding is not of this kind, or the kernel is larger than the
        padded input.

    References
    ----------
    Chellapilla, Puri and Simard (2006), High Performance Convolutional Neural Networks
    for Document Processing: unrolled convolution ("im2col").
    """
    stride, padding = as_pair("stride", stride), as_pair("padding", padding, least=0)
    out_channels, in_channels, *kernel_size = weight.shape
    padded = pad(x, padding)
    height, width = output_size(padded, kernel_size, stride)
    # X_cuv,nij = x_n,c,si+u,sj+v: a column for each window, a row for each weight.
    columns = np.empty((in_channels, *kernel_size, len(x), height, width), x.dtype)
    for u, v, window in windows(padded, kernel_size, stride):
        columns[:, u, v] = window.swapaxes(0, 1)
    columns = columns.reshape(weight[0].size, -1)
    y = weight.reshape(out_channels, -1) @ columns  # y_o,nij = Σ_cuv W_o,cuv X_cuv,nij
    if bias is not None:
        y += bias[:, None]
    y = y.reshape(out_channels, len(x), height, width).swapaxes(0, 1)
    return y, (columns, weight, padded.shape, stride, padding)


def conv2d_backward(dy, cache):
    """Gradients of `conv2d_forward`.

    Returns
    -------
    dx : (N, C, H, W)
    dweight : (O, C, K_h, K_w)
    dbias : (O,)
    """
    columns, weight, padded_shape, stride, padding = cache
    out_channels, in_channels, *kernel_size = weight.shape
    n, _, height, width = dy.shape
    dy = dy.swapaxes(0, 1).reshape(out_channels, -1)
    dbias = dy.sum(axis=1)  # db_o = Σ_nij dy_o,nij
    dweight = (dy @ columns.T).reshape(weight.shape)  # dW = dy Xᵀ
    dcolumns = weight.reshape(out_channels, -1).T @ dy  # dX = Wᵀ dy
    dcolumns = dcolumns.reshape(in_channels, *kernel_size, n, height, width)
    # An input that several windows share collects the gradients of all of them.
    dpadded = np.zeros(padded_shape, dy.dtype)
    for u, v, window in windows(dpadded, kernel_size, stride):
        window += dcolumns[:, u, v].swapaxes(0, 1)
    return unpad(dpadded, padding), dweight, dbias


class Conv2d(Layer):
    """Convolution over maps, as ``torch.nn.Conv2d``.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, padding : int or pair of int
        Vertically and horizontally; `padding` zeros on each side.
    bias : bool
    rng : numpy.random.Generator, optional
        For the initial values; by default the package's generator.
    dtype : numpy.float64 or numpy.float32

    Attributes
    ----------
    weight : (out_channels, in_channels, K_h, K_w)
    bias : (out_channels,)
        Both start uniform on ±1/√(in_channels K_h K_w), PyTorch's default.

    Shapes
    ------
    Input (N, in_channels, H, W), output (N, out_channels, H_out, W_out) with
    H_out = ⌊(H + 2P − K_h)/S⌋ + 1, and so for W: the stride need not tile the input.

    Raises
    ------
    TypeError, ValueError
        If a size is not an integer of at least 1 (`padding`: 0), `dtype` is not a
        float type, or the input has another rank or number of channels or is smaller,
        padding included, than the kernel.
    """

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        bias=True,
        *,
        rng=None,
        dtype=np.float64,
    ):
        super().__init__()
        check_integer("in_channels", in_channels)
        check_integer("out_channels", out_channels)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = as_pair("kernel_size", kernel_size)
        self.stride = as_pair("stride", stride)
        self.padding = as_pair("padding", padding, least=0)
        check_dtype(dtype)
        rng = default_generator() if rng is None else rng
        shape = (out_channels, in_channels, *self.kernel_size)
        bound = 1 / np.sqrt(np.prod(shape[1:]))
        self.params["weight"] = rng.uniform(-bound, bound, shape).astype(dtype)
        if bias:
            self.params["bias"] = rng.uniform(-bound, bound, out_channels).astype(dtype)

    def _check_input(self, x):
        super()._check_input(x)
        check_maps(x, self.in_channels)

    def _forward(self, x):
        bias = self.params.get("bias")
        return conv2d_forward(x, self.weight, bias, self.stride, self.padding)

    def _backward(self, dy, cache):
        dx, self.grads["weight"], dbias = conv2d_backward(dy, cache)
        if "bias" in self.params:
            self.grads["bias"] = dbias
        return dx
