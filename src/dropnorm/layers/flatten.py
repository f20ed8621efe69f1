"""From maps to features."""

import math

import numpy as np

from dropnorm.layers.base import Layer


def flatten_forward(x, start_dim=1, end_dim=-1):
    """Merge the axes of x from `start_dim` to `end_dim`, both included, into one.

    Returns
    -------
    y : x with the merged axes, in C order
    cache : the shape of x
    """
    shape = x.shape
    start, end = start_dim % max(x.ndim, 1), end_dim % max(x.ndim, 1)
    merged = math.prod(shape[start : end + 1])
    return x.reshape(*shape[:start], merged, *shape[end + 1 :]), shape


def flatten_backward(dy, cache):
    """dx is dy in the shape of x: each value keeps its place."""
    return dy.reshape(cache)


class Flatten(Layer):
    """Merge neighboring axes into one, as ``torch.nn.Flatten``. No parameters.

    Parameters
    ----------
    start_dim, end_dim : int
        First and last axis to merge; negative ones count from the end.

    Shapes
    ------
    By default (N, C, H, W) becomes (N, C · H · W); any rank that has both axes.

    Raises
    ------
    TypeError, ValueError
        If an axis is not an integer, the input lacks it, or `end_dim` stands before
        `start_dim`.
    """

    def __init__(self, start_dim=1, end_dim=-1):
        super().__init__()
        for name, dim in (("start_dim", start_dim), ("end_dim", end_dim)):
            if isinstance(dim, bool) or not isinstance(dim, (int, np.integer)):
                raise TypeError(f"{name} must be an integer, got {dim!r}")
        self.start_dim, self.end_dim = start_dim, end_dim

    def _check_input(self, x):
        super()._check_input(x)
        rank = max(x.ndim, 1)  # a single number becomes an array of one, as in torch
        for name, dim in (("start_dim", self.start_dim), ("end_dim", self.end_dim)):
            if not -rank <= dim < rank:
                raise ValueError(
                    f"x must have the axis {name} = {dim}, got shape {x.shape}"
                )
        if self.start_dim % rank > self.end_dim % rank:
            raise ValueError(
                f"start_dim = {self.start_dim} must not come after "
                f"end_dim = {self.end_dim} in an x of shape {x.shape}"
            )

    def _forward(self, x):
        return flatten_forward(x, self.start_dim, self.end_dim)

    def _backward(self, dy, cache):
        return flatten_backward(dy, cache)
