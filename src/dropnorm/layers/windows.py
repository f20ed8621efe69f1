"""Windows that slide over maps: what convolution and pooling share."""

import numpy as np


def as_pair(name, value, least=1):
    """(vertical, horizontal) from an integer, which stands for both, or a pair.

    Raises TypeError or ValueError unless both are integers of at least `least`.
    """
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2 or any(
        isinstance(v, bool) or not isinstance(v, (int, np.integer)) for v in pair
    ):
        raise TypeError(f"{name} must be an integer or a pair of them, got {value!r}")
    if min(pair) < least:
        raise ValueError(f"{name} must be at least {least}, got {value!r}")
    return pair


def check_maps(x, channels=None):
    """Raise ValueError unless `x` is (N, C, H, W) with H, W ≥ 1 and C = `channels`."""
    if x.ndim != 4 or 0 in x.shape[2:]:
        raise ValueError(
            f"x must have shape (N, C, H, W) with H and W of at least 1, got {x.shape}"
        )
    if channels is not None and x.shape[1] != channels:
        raise ValueError(
            f"x must have {channels} channels on its second axis, got shape {x.shape}"
        )


def pad(x, padding, value=0):
    """`x` with rows and columns of `value` around each map; `x` itself for none."""
    vertical, horizontal = padding
    if padding == (0, 0):
        return x
    n, channels, height, width = x.shape
    shape = (n, channels, height + 2 * vertical, width + 2 * horizontal)
    padded = np.full(shape, value, x.dtype)
    unpad(padded, padding)[...] = x
    return padded


def unpad(padded, padding):
    """The view of `padded` without the rows and columns that `pad` put around it."""
    vertical, horizontal = padding
    height, width = padded.shape[2:]
    return padded[:, :, vertical : height - vertical, horizontal : width - horizontal]


def output_size(padded, kernel_size, stride):
    """How many windows fit below and beside each other.

    Source: H_out = ⌊(H + 2P − K)/S⌋ + 1, with `padded` of height H + 2P. Rows and
    columns at the end that no window reaches are left out.

    Raises ValueError if not even one fits.
    """
    for size, kernel in zip(padded.shape[2:], kernel_size, strict=True):
        if kernel > size:
            raise ValueError(
                f"kernel_size {tuple(kernel_size)} must not exceed the padded input's "
                f"height and width, {padded.shape[2:]}"
            )
    return tuple(
        (size - kernel) // step + 1
        for size, kernel, step in zip(
            padded.shape[2:], kernel_size, stride, strict=True
        )
    )


def windows(padded, kernel_size, stride):
    """For each place (u, v) in the window, what all windows have there.

    Yields
    ------
    u, v : int
        0 ≤ u < K_h and 0 ≤ v < K_w, row by row.
    view : (..., H_out, W_out)
        Element (i, j) is padded[..., S_h i + u, S_w j + v]: a view, so that adding
        to it adds to `padded`.
    """
    height, width = output_size(padded, kernel_size, stride)
    down, right = stride
    for u in range(kernel_size[0]):
        for v in range(kernel_size[1]):
            rows = slice(u, u + down * height, down)
            columns = slice(v, v + right * width, right)
            yield u, v, padded[:, :, rows, columns]
