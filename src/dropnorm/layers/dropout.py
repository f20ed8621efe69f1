"""Dropout."""

import numbers

import numpy as np

from dropnorm.layers.base import Layer
from dropnorm.randomness import default_generator


def check_probability(p):
    """Raise unless `p` is a number between 0 and 1."""
    if isinstance(p, bool) or not isinstance(p, numbers.Real):
        raise TypeError(f"p must be a number between 0 and 1, got {p!r}")
    if not 0 <= p <= 1:  # false for NaN as well
        raise ValueError(
            f"p, the probability to drop a unit, must lie between 0 and 1, got {p}"
        )


def dropout_forward(x, p, rng):
    """Inverted dropout in training mode: drop each element of x with probability p.

    Parameters
    ----------
    x : array of any shape, float32 or float64
    p : float
        Probability to drop, between 0 and 1.
    rng : numpy.random.Generator
        Or anything with ``random(size, dtype)`` that is uniform on [0, 1).

    Returns
    -------
    y : array like x
    cache : the mask, 0 where dropped and 1/(1 − p) where kept
    """
    keep = rng.random(x.shape, dtype=x.dtype) >= p  # r ~ Bernoulli(1 - p)
    scale = 1 / (1 - p) if p < 1 else 0.0
    mask = keep.astype(x.dtype)
    mask *= x.dtype.type(scale)  # m = r / (1 - p)
    return x * mask, mask  # y = m ⊙ x


def dropout_backward(dy, cache):
    """dx = m ⊙ dy, with the mask m that the forward pass drew."""
    return dy * cache


def dropout2d_forward(x, p, rng):
    """Inverted dropout of whole maps: one draw for each channel of each example.

    Parameters
    ----------
    x : (N, C, H, W)
    p, rng : as for `dropout_forward`

    Returns
    -------
    y : (N, C, H, W)
    cache : the mask, of shape (N, C, 1, 1), for `dropout_backward`
    """
    # Dropout of ones is its mask.
    mask, _ = dropout_forward(np.ones((*x.shape[:2], 1, 1), x.dtype), p, rng)
    return x * mask, mask  # y_nchw = m_nc x_nchw


class Dropout(Layer):
    """Inverted dropout, as ``torch.nn.Dropout``.

    In training mode each element is zeroed with probability `p`, independently of
    all others and anew in each forward pass, and the others are multiplied by
    1/(1 − p). In evaluation mode the layer returns its input and draws nothing.

    Parameters
    ----------
    p : float
        Probability to **drop**, between 0 and 1. (Srivastava et al. and TensorFlow 1
        call the probability to *keep* p and ``keep_prob``.)
    rng : numpy.random.Generator, optional
        Or anything with ``random(size, dtype)``. By default the package's generator.

    Shapes
    ------
    Input and output of any one shape.

    Raises
    ------
    TypeError, ValueError
        If `p` is not a number between 0 and 1, or the input not a float array.

    References
    ----------
    Srivastava et al. (2014), Dropout: A Simple Way to Prevent Neural Networks from
    Overfitting. JMLR 15:1929–1958: section 4 for the original form, section 10 for
    the scaling in training.
    """

    def __init__(self, p=0.5, *, rng=None):
        super().__init__()
        check_probability(p)
        self.p = p
        self.rng = default_generator() if rng is None else rng

    def _forward(self, x):
        if not self.training:
            return x, None
        return dropout_forward(x, self.p, self.rng)

    def _backward(self, dy, cache):
        return dy if cache is None else dropout_backward(dy, cache)


class Dropout2d(Dropout):
    """Inverted dropout of whole maps, as ``torch.nn.Dropout2d``.

    As `Dropout`, but the H × W values of a channel of an example are kept or dropped
    together: neighbors in a map are so alike that the kept ones would stand in for
    the dropped. Also called spatial dropout.

    Parameters
    ----------
    p : float
        Probability to **drop** a map, between 0 and 1.
    rng : numpy.random.Generator, optional
        Or anything with ``random(size, dtype)``. By default the package's generator.

    Shapes
    ------
    Input and output (N, C, H, W). PyTorch also takes three axes, documented as
    (C, H, W) and treated as (N, C, L): here they are an error.

    Raises
    ------
    TypeError, ValueError
        If `p` is not a number between 0 and 1, or the input not a float array of
        four axes.

    References
    ----------
    Tompson et al. (2015), Efficient Object Localization Using Convolutional Networks.
    CVPR, arXiv:1411.4280: section 3.2.
    """

    def _check_input(self, x):
        super()._check_input(x)
        if x.ndim != 4:
            raise ValueError(f"x must have shape (N, C, H, W), got shape {x.shape}")

    def _forward(self, x):
        if not self.training:
            return x, None
        return dropout2d_forward(x, self.p, self.rng)
