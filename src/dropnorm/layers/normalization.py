"""Layer, group and instance normalization: statistics that no batch is needed for.

All three are one computation (Wu and He 2018, section 3.1): the channels of an example
are put into groups, and each group is normalized by itself. One group gives layer
normalization, a group for each channel instance normalization.
"""

import math

import numpy as np

from dropnorm.layers.base import Layer, check_dtype, check_integer
from dropnorm.layers.batchnorm import (
    RunningNorm,
    affine_parameters,
    batchnorm_backward,
    batchnorm_forward,
    by_channel,
    channel_sum,
    check_count,
    check_eps,
)


def groupnorm_forward(x, num_groups, gamma, beta, eps=1e-5):
    """Normalize each group of channels of each example, then scale each channel.

    Parameters
    ----------
    x : (N, C) or (N, C, ...)
    num_groups : int
        A divisor of C; groups are made of neighboring channels.
    gamma, beta : (C,)
    eps : float
        Added to the variance.

    Returns
    -------
    y : array like x
    cache : (x_hat, gamma, inner)
        What `groupnorm_backward` needs; the last entries of `inner` are mean and
        biased variance (N · num_groups,) of the groups.

    References
    ----------
    Wu and He (2018), Group Normalization, arXiv:1803.08494, equations 1, 2 and 7.
    """
    groups = x.shape[0] * num_groups
    # Batch norm of one example that has each group of each example for a channel
    alone = x.reshape(1, groups, x.size // max(groups, 1))
    ones, zeros = np.ones(groups, x.dtype), np.zeros(groups, x.dtype)
    x_hat, inner = batchnorm_forward(alone, ones, zeros, eps)
    x_hat = by_channel(x_hat.reshape(x.shape))
    y = x_hat * gamma[:, None] + beta[:, None]  # y = γ x̂ + β
    return y.reshape(x.shape), (x_hat, gamma, inner)


def groupnorm_backward(dy, cache):
    """Gradients of `groupnorm_forward`.

    Returns
    -------
    dx : array like dy
    dgamma, dbeta : (C,)
    """
    x_hat, gamma, inner = cache
    shape, dy = dy.shape, by_channel(dy)
    dgamma = channel_sum(dy, x_hat)  # dγ = Σ dy_i x̂_i
    dbeta = channel_sum(dy)  # dβ = Σ dy_i
    dx_hat = dy * gamma[:, None]  # dx̂ = γ dy
    dx, _, _ = batchnorm_backward(dx_hat.reshape(inner[0].shape), inner)
    return dx.reshape(shape), dgamma, dbeta


def layernorm_forward(x, gamma, beta, eps=1e-5):
    """Normalize each example over the last axes, then scale each of its values.

    Parameters
    ----------
    x : (..., *normalized_shape)
    gamma, beta : (*normalized_shape,)
    eps : float
        Added to the variance.

    Returns
    -------
    y : array like x
    cache : what `layernorm_backward` needs

    References
    ----------
    Ba, Kiros and Hinton (2016), Layer Normalization, arXiv:1607.06450, section 3.
    """
    # Group norm of (examples, values): all values in one group, each its own channel
    rows = x.reshape(math.prod(x.shape[: x.ndim - gamma.ndim]), gamma.size)
    y, inner = groupnorm_forward(rows, 1, gamma.ravel(), beta.ravel(), eps)
    return y.reshape(x.shape), (gamma.shape, inner)


def layernorm_backward(dy, cache):
    """Gradients of `layernorm_forward`.

    Returns
    -------
    dx : array like dy
    dgamma, dbeta : (*normalized_shape,)
    """
    normalized_shape, inner = cache
    rows = dy.reshape(-1, math.prod(normalized_shape))
    dx, dgamma, dbeta = groupnorm_backward(rows, inner)
    return (
        dx.reshape(dy.shape),
        dgamma.reshape(normalized_shape),
        dbeta.reshape(normalized_shape),
    )


class LayerNorm(Layer):
    """y = γ (x − μ) / √(σ² + ε) + β over the last axes, as ``torch.nn.LayerNorm``.

    μ and the biased σ² are those of the values of one example, so training and
    evaluation are the same.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        Lengths of the last axes, which are normalized together.
    eps : float
        Added to the variance.
    elementwise_affine : bool
        Whether γ and β are learned; else they are 1 and 0.
    bias : bool
        If False there is no β.
    dtype : numpy.float64 or numpy.float32

    Attributes
    ----------
    weight, bias : of shape normalized_shape
        γ, from 1, and β, from 0; absent if not learned.

    Shapes
    ------
    Input ``(..., *normalized_shape)``; output the same. Without parameters any float
    dtype; an example of one value gives β.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of these kinds, or the input has another dtype or does
        not end in `normalized_shape`.

    References
    ----------
    Ba, Kiros and Hinton (2016), Layer Normalization. arXiv:1607.06450.
    """

    def __init__(
        self,
        normalized_shape,
        eps=1e-5,
        elementwise_affine=True,
        bias=True,
        *,
        dtype=np.float64,
    ):
        super().__init__()
        if isinstance(normalized_shape, (int, np.integer)):
            normalized_shape = (normalized_shape,)
        if not isinstance(normalized_shape, (tuple, list)):
            raise TypeError(
                "normalized_shape must be an integer or a sequence of them, "
                f"got {normalized_shape!r}"
            )
        if not normalized_shape:
            raise ValueError("normalized_shape must have at least one axis, got ()")
        for size in normalized_shape:
            check_integer("normalized_shape", size)
        check_eps(eps)
        check_dtype(dtype)
        self.normalized_shape = tuple(normalized_shape)
        self.eps = float(eps)
        if elementwise_affine:
            self.params["weight"] = np.ones(self.normalized_shape, dtype)
            if bias:
                self.params["bias"] = np.zeros(self.normalized_shape, dtype)

    def _check_input(self, x):
        super()._check_input(x)
        if x.shape[-len(self.normalized_shape) :] != self.normalized_shape:
            raise ValueError(
                f"the shape of x must end in {self.normalized_shape}, got {x.shape}"
            )

    def _forward(self, x):
        gamma, beta = affine_parameters(self, self.normalized_shape, x.dtype)
        return layernorm_forward(x, gamma, beta, self.eps)

    def _backward(self, dy, cache):
        dx, dgamma, dbeta = layernorm_backward(dy, cache)
        gradients = {"weight": dgamma, "bias": dbeta}
        self.grads = {name: gradients[name] for name in self.params}
        return dx


class GroupNorm(Layer):
    """y = γ (x − μ) / √(σ² + ε) + β by groups of channels, as ``torch.nn.GroupNorm``.

    μ and the biased σ² are those of C / num_groups neighboring channels of one
    example, so training and evaluation are the same.

    Parameters
    ----------
    num_groups : int
        A divisor of `num_channels`.
    num_channels : int
        C.
    eps : float
        Added to the variance.
    affine : bool
        Whether γ and β are learned; else they are 1 and 0.
    dtype : numpy.float64 or numpy.float32

    Attributes
    ----------
    weight, bias : (C,)
        γ, from 1, and β, from 0; absent if not `affine`.

    Shapes
    ------
    Input (N, C) or (N, C, ...); output the same. Without parameters any float dtype;
    a group of one value gives β.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of these kinds, or the input has another dtype, rank or
        number of channels.

    References
    ----------
    Wu and He (2018), Group Normalization. ECCV, arXiv:1803.08494.
    """

    def __init__(
        self, num_groups, num_channels, eps=1e-5, affine=True, *, dtype=np.float64
    ):
        super().__init__()
        check_integer("num_groups", num_groups)
        check_integer("num_channels", num_channels)
        if num_channels % num_groups:
            raise ValueError(
                f"num_groups must divide num_channels = {num_channels}, "
                f"got {num_groups}"
            )
        check_eps(eps)
        check_dtype(dtype)
        self.num_groups, self.num_channels = num_groups, num_channels
        self.eps = float(eps)
        if affine:
            self.params["weight"] = np.ones(num_channels, dtype)
            self.params["bias"] = np.zeros(num_channels, dtype)

    def _check_input(self, x):
        super()._check_input(x)
        if x.ndim < 2:
            raise ValueError(f"x must have shape (N, C, ...), got shape {x.shape}")
        if x.shape[1] != self.num_channels:
            raise ValueError(
                f"x must have {self.num_channels} channels on axis 1, "
                f"got shape {x.shape}"
            )

    def _forward(self, x):
        gamma, beta = affine_parameters(self, self.num_channels, x.dtype)
        return groupnorm_forward(x, self.num_groups, gamma, beta, self.eps)

    def _backward(self, dy, cache):
        dx, dgamma, dbeta = groupnorm_backward(dy, cache)
        if self.params:
            self.grads["weight"], self.grads["bias"] = dgamma, dbeta
        return dx


class InstanceNorm2d(RunningNorm):
    """Each map of each example normalized alone, as ``torch.nn.InstanceNorm2d``.

    That is `GroupNorm` with a group for each channel, in training and in evaluation,
    except that with `track_running_stats` evaluation uses, as a batch norm does,
    running statistics: averages over the examples of mean and *unbiased* variance.

    Parameters
    ----------
    num_features : int
        C, the number of channels.
    eps, momentum, affine, track_running_stats, dtype
        As for `BatchNorm2d`, but parameters and buffers are absent by default.

    Attributes
    ----------
    weight, bias, running_mean, running_var, num_batches_tracked
        As for `BatchNorm2d`, except that PyTorch's instance norm counts no batches,
        nor does this: the count stays 0, and with ``momentum=None`` the running
        statistics stay as they are.

    Shapes
    ------
    Input (N, C, H, W); output the same.

    Raises
    ------
    TypeError, ValueError
        As `BatchNorm2d`; there must be more than one value per map.

    References
    ----------
    Ulyanov, Vedaldi and Lempitsky (2016), Instance Normalization: The Missing
    Ingredient for Fast Stylization. arXiv:1607.08022.
    """

    shapes = {4: "(N, C, H, W)"}

    def __init__(
        self,
        num_features,
        eps=1e-5,
        momentum=0.1,
        affine=False,
        track_running_stats=False,
        *,
        dtype=np.float64,
    ):
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, dtype=dtype
        )

    def _count(self):
        return 0.0 if self.momentum is None else self.momentum

    def _normalize(self, x, gamma, beta):
        count = check_count("map", math.prod(x.shape[2:]), x.shape)
        y, cache = groupnorm_forward(x, self.num_features, gamma, beta, self.eps)
        *_, mean, var = cache[-1]
        mean = mean.reshape(x.shape[:2]).mean(axis=0)
        var = var.reshape(x.shape[:2]).mean(axis=0) * (count / (count - 1))
        return y, (groupnorm_backward, cache), mean, var
