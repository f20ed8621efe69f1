"""Batch normalization."""

import math
import numbers

import numpy as np

from dropnorm.layers.base import Layer, check_dtype, check_integer


def by_channel(x):
    """x (N, C, ...) as (N, C, L), with L = 1 for (N, C)."""
    return x.reshape(*x.shape[:2], math.prod(x.shape[2:]))


def channel_sum(a, b=None):
    """Σ a, or Σ a ⊙ b, over all but the channels of arrays (N, C, L): shape (C,)."""
    # einsum adds in one pass, without an array for the product.
    return np.einsum("ncl->c", a) if b is None else np.einsum("ncl,ncl->c", a, b)


def batchnorm_forward(x, gamma, beta, eps=1e-5):
    """Batch normalization in training: each channel with the batch's own statistics.

    Parameters
    ----------
    x : (N, C) or (N, C, ...)
        A channel has m values: N times those of the axes after the second.
    gamma, beta : (C,)
        Scale and shift.
    eps : float
        Added to the variance.

    Returns
    -------
    y : array like x
    cache : (centered, inv_std, gamma, mean, var)
        What `batchnorm_backward` needs and, last, the statistics (C,) of the batch;
        the variance is the biased one, with 1/m.

    References
    ----------
    Ioffe and Szegedy (2015), arXiv:1502.03167, Algorithm 1.
    """
    shape, x = x.shape, by_channel(x)
    m = x.shape[0] * x.shape[2]
    mean = channel_sum(x) / m  # μ = 1/m Σ x_i
    centered = x - mean[:, None]
    # A sum of large values is rounded: what is left of the mean goes as well.
    rest = channel_sum(centered) / m
    centered -= rest[:, None]
    var = channel_sum(centered, centered) / m  # σ² = 1/m Σ (x_i − μ)²
    inv_std = 1 / np.sqrt(var + eps)
    # y = γ x̂ + β with x̂ = (x − μ) / √(σ² + ε); both factors are one per channel
    y = centered * (gamma * inv_std)[:, None]
    y += beta[:, None]
    return y.reshape(shape), (centered, inv_std, gamma, mean + rest, var)


def batchnorm_backward(dy, cache):
    """Gradients of `batchnorm_forward`; they flow through mean and variance too.

    Returns
    -------
    dx : array like dy
    dgamma, dbeta : (C,)

    References
    ----------
    Ioffe and Szegedy (2015), section 3, with the chain of derivatives collected in
    one closed form.
    """
    centered, inv_std, gamma, *_ = cache  # x̂ = centered · inv_std
    shape, dy = dy.shape, by_channel(dy)
    m = dy.shape[0] * dy.shape[2]
    dgamma = channel_sum(dy, centered) * inv_std  # dγ = Σ dy_i x̂_i
    dbeta = channel_sum(dy)  # dβ = Σ dy_i
    # dx = γ / √(σ² + ε) · (dy − x̂ dγ/m − dβ/m), built up in one array
    dx = centered * (-inv_std * dgamma / m)[:, None]
    dx += dy
    dx -= (dbeta / m)[:, None]
    dx *= (gamma * inv_std)[:, None]
    return dx.reshape(shape), dgamma, dbeta


def batchnorm_eval_forward(x, mean, var, gamma, beta, eps=1e-5):
    """Batch normalization in evaluation: fixed statistics, each example by itself.

    Parameters
    ----------
    x : (N, C) or (N, C, ...)
    mean, var : (C,)
        The running statistics.
    gamma, beta : (C,)
    eps : float

    Returns
    -------
    y : array like x
    cache : what `batchnorm_eval_backward` needs

    References
    ----------
    Ioffe and Szegedy (2015), arXiv:1502.03167, Algorithm 2.
    """
    shape, x = x.shape, by_channel(x)
    inv_std = 1 / np.sqrt(var + eps)
    x_hat = (x - mean[:, None]) * inv_std[:, None]  # x̂ = (x − E[x]) / √(Var[x] + ε)
    y = x_hat * gamma[:, None] + beta[:, None]  # y = γ x̂ + β
    return y.reshape(shape), (x_hat, inv_std, gamma)


def batchnorm_eval_backward(dy, cache):
    """Gradients of `batchnorm_eval_forward`: the statistics are constants.

    Returns
    -------
    dx : array like dy
    dgamma, dbeta : (C,)
    """
    x_hat, inv_std, gamma = cache
    shape, dy = dy.shape, by_channel(dy)
    dgamma = channel_sum(dy, x_hat)  # dγ = Σ dy_i x̂_i
    dbeta = channel_sum(dy)  # dβ = Σ dy_i
    dx = dy * (gamma * inv_std)[:, None]  # dx = γ / √(Var[x] + ε) · dy
    return dx.reshape(shape), dgamma, dbeta


def affine_parameters(layer, shape, dtype):
    """γ and β of a layer; where it has none, ones and zeros."""
    gamma, beta = layer.params.get("weight"), layer.params.get("bias")
    return (
        np.ones(shape, dtype) if gamma is None else gamma,
        np.zeros(shape, dtype) if beta is None else beta,
    )


def check_eps(eps):
    """Raise unless `eps` is a finite number of at least 0."""
    if isinstance(eps, bool) or not isinstance(eps, numbers.Real):
        raise TypeError(f"eps must be a number of at least 0, got {eps!r}")
    if not 0 <= eps < math.inf:
        raise ValueError(f"eps must be a finite number of at least 0, got {eps}")


def check_momentum(momentum):
    """Raise unless `momentum` is None or a number between 0 and 1."""
    if momentum is None:
        return
    if isinstance(momentum, bool) or not isinstance(momentum, numbers.Real):
        raise TypeError(f"momentum must be None or a number, got {momentum!r}")
    if not 0 <= momentum <= 1:
        raise ValueError(
            "momentum, the weight of the new value, must lie between 0 and 1, "
            f"got {momentum}"
        )


def check_count(where, count, shape):
    """Return `count`, of values per `where`, or raise ValueError if it is below 2."""
    if count < 2:
        raise ValueError(
            f"x must have more than one value per {where} in training (and, without "
            f"running statistics, in evaluation), got {count} in shape {shape}"
        )
    return count


def check_finite(name, statistic):
    """Raise ValueError, naming the channels, unless `statistic` (C,) is finite."""
    finite = np.isfinite(statistic)
    if not finite.all():
        bad = np.flatnonzero(~finite)
        channels = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
        raise ValueError(
            f"{name} must be finite in every channel, got {statistic[bad[0]]} "
            f"in channel {channels}"
        )


class RunningNorm(Layer):
    """A batch norm for inputs of the ranks in `shapes`, which a subclass fills in.

    Instance norm, too, is one: it overrides `_normalize`.
    """

    shapes: dict[int, str] = {}  # rank: the input's shape in words

    def __init__(
        self,
        num_features,
        eps=1e-5,
        momentum=0.1,
        affine=True,
        track_running_stats=True,
        *,
        dtype=np.float64,
    ):
        super().__init__()
        check_integer("num_features", num_features)
        check_eps(eps)
        check_momentum(momentum)
        check_dtype(dtype)
        self.num_features = num_features
        self.eps, self.momentum = float(eps), momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        if affine:
            self.params["weight"] = np.ones(num_features, dtype)
            self.params["bias"] = np.zeros(num_features, dtype)
        if track_running_stats:
            self.buffers["running_mean"] = np.zeros(num_features, dtype)
            self.buffers["running_var"] = np.ones(num_features, dtype)
            self.buffers["num_batches_tracked"] = np.array(0, np.int64)

    def _check_input(self, x):
        super()._check_input(x)
        if x.ndim not in self.shapes:
            accepted = " or ".join(self.shapes.values())
            raise ValueError(f"x must have shape {accepted}, got shape {x.shape}")
        if x.shape[1] != self.num_features:
            raise ValueError(
                f"x must have {self.num_features} channels on axis 1, "
                f"got shape {x.shape}"
            )

    def _normalize(self, x, gamma, beta):
        """Output, (backward function, its cache), mean (C,), unbiased variance (C,)."""
        count = check_count("channel", x.size // self.num_features, x.shape)
        y, cache = batchnorm_forward(x, gamma, beta, self.eps)
        *_, mean, var = cache
        return y, (batchnorm_backward, cache), mean, var * (count / (count - 1))

    def _forward(self, x):
        gamma, beta = affine_parameters(self, self.num_features, x.dtype)
        if self.track_running_stats and not self.training:
            mean, var = self.running_mean, self.running_var
            check_finite("running_mean", mean)
            check_finite("running_var", var)
            y, cache = batchnorm_eval_forward(x, mean, var, gamma, beta, self.eps)
            return y, (batchnorm_eval_backward, cache)
        with np.errstate(over="ignore", invalid="ignore"):  # reported by channel
            y, cache, mean, var = self._normalize(x, gamma, beta)
        check_finite("the mean of x", mean)
        check_finite("the variance of x", var)
        if self.track_running_stats:
            self._update(mean, var)
        return y, cache

    def _count(self):
        """Count a batch and return the weight of its statistics."""
        self.num_batches_tracked[...] += 1
        if self.momentum is None:
            return 1 / int(self.num_batches_tracked)  # all batches weigh the same
        return self.momentum

    def _update(self, mean, var):
        weight = self._count()
        # running = (1 − momentum) · running + momentum · new
        self.running_mean[...] = (1 - weight) * self.running_mean + weight * mean
        self.running_var[...] = (1 - weight) * self.running_var + weight * var

    def _backward(self, dy, cache):
        backward, inner = cache
        dx, dgamma, dbeta = backward(dy, inner)
        if self.affine:
            self.grads["weight"], self.grads["bias"] = dgamma, dbeta
        return dx


class BatchNorm1d(RunningNorm):
    """y = γ (x − μ) / √(σ² + ε) + β for each feature, as ``torch.nn.BatchNorm1d``.

    In training μ and σ² are the mean and the biased variance of the batch, over N, or
    N and L; in evaluation they are the running statistics. Each training step moves
    ``running = (1 − momentum) · running + momentum · new``, with the *unbiased*
    variance of the batch. The backward pass follows the mode of its forward.

    Parameters
    ----------
    num_features : int
        C, the number of features or channels.
    eps : float
        Added to the variance.
    momentum : float or None
        Weight of the **new** value. (Keras calls the weight of the old value
        momentum.) None: the average of all batches so far.
    affine : bool
        Whether γ and β are learned; else they are 1 and 0.
    track_running_stats : bool
        If False there are no buffers, and evaluation uses the batch's statistics too.
    dtype : numpy.float64 or numpy.float32

    Attributes
    ----------
    weight, bias : (C,)
        γ, from 1, and β, from 0; absent if not `affine`.
    running_mean, running_var : (C,)
        From 0 and from 1; absent if not `track_running_stats`, as is the next.
    num_batches_tracked : () of int64

    Shapes
    ------
    Input (N, C) or (N, C, L); output the same.

    Raises
    ------
    TypeError, ValueError
        If an argument is not of these kinds; if the input has another dtype, rank or
        number of channels; if statistics of the batch are needed and it has fewer
        than two values per channel; if a channel's mean or variance is not finite, in
        which case the running statistics stay as they were.

    References
    ----------
    Ioffe and Szegedy (2015), Batch Normalization: Accelerating Deep Network Training
    by Reducing Internal Covariate Shift. ICML, arXiv:1502.03167: Algorithms 1 and 2.
    Algorithm 2 averages the statistics for evaluation over batches, with equal
    weights; the exponential average is as in PyTorch.
    """

    shapes = {2: "(N, C)", 3: "(N, C, L)"}


class BatchNorm2d(RunningNorm):
    """`BatchNorm1d` for images, as ``torch.nn.BatchNorm2d``: statistics over N, H, W.

    Parameters, attributes, errors and source are those of `BatchNorm1d`.

    Shapes
    ------
    Input (N, C, H, W); output the same.
    """

    shapes = {4: "(N, C, H, W)"}
