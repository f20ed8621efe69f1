"""Relatives of batch norm."""

import numbers

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dropnorm.layers.base import check_integer
from dropnorm.nn.dropout import check_float_tensor


def channel_axes(x):
    """All axes but 1, over which the statistics of a batch norm go."""
    return [0, *range(2, x.dim())]


def values_per_channel(x):
    """How many numbers of `x` share a channel: N, N·L or N·H·W."""
    return x.numel() // x.shape[1]


def local_statistics(x):
    """Mean and biased variance of each channel, of shape (C,), without a graph."""
    var, mean = torch.var_mean(x.detach(), channel_axes(x), correction=0)
    return mean, var


def check_count(n, what="x"):
    """Raise ValueError unless a channel has at least 2 values."""
    if n < 2:
        raise ValueError(
            f"in training {what} must have more than 1 value per channel, got {n}"
        )


def check_finite(mean, var):
    """Raise ValueError naming the channels whose mean or variance is not finite."""
    bad = ~(torch.isfinite(mean) & torch.isfinite(var))
    if bad.any():
        raise ValueError(
            "x must have a finite mean and variance in each channel, "
            f"not so in channels {bad.nonzero().flatten().tolist()}"
        )


class _CheckedBatchNorm(_BatchNorm):
    """``torch.nn``'s batch norm that refuses bad input before it changes a buffer."""

    def _check_batch(self, x):
        check_float_tensor("x", x)
        self._check_input_dim(x)  # the rank, as torch.nn.BatchNorm1d and 2d do
        if x.shape[1] != self.num_features:
            raise ValueError(
                f"x must have num_features = {self.num_features} channels on axis 1, "
                f"got shape {tuple(x.shape)}"
            )
        for own in (self.weight, self.running_mean):
            if own is not None and own.dtype != x.dtype:
                raise TypeError(
                    f"x must have the dtype of the layer, {own.dtype}, got {x.dtype}"
                )

    @torch.no_grad()
    def _update_running_statistics(self, mean, var, count):
        """One step of the running statistics, as ``torch.nn``'s; `var` is biased."""
        if not self.track_running_stats:
            return
        self.num_batches_tracked += 1
        momentum = self.momentum
        if momentum is None:  # a cumulative average
            momentum = 1 / self.num_batches_tracked.item()
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(var * (count / (count - 1)), momentum)


# Ghost batch norm --------------------------------------------------------------------


class _GhostBatchNorm(_CheckedBatchNorm):
    def __init__(
        self,
        num_features,
        ghost_batch_size,
        eps=1e-5,
        momentum=0.1,
        affine=True,
        track_running_stats=True,
    ):
        check_integer("num_features", num_features)
        check_integer("ghost_batch_size", ghost_batch_size)
        super().__init__(num_features, eps, momentum, affine, track_running_stats)
        self.ghost_batch_size = ghost_batch_size

    def forward(self, x):
        self._check_batch(x)
        if not self.training:
            return super().forward(x)
        ghosts = x.split(self.ghost_batch_size)
        for ghost in ghosts:
            check_count(values_per_channel(ghost), "each ghost batch")
            check_finite(*local_statistics(ghost))
        return torch.cat([super(_GhostBatchNorm, self).forward(g) for g in ghosts])

    def extra_repr(self):
        return f"{super().extra_repr()}, ghost_batch_size={self.ghost_batch_size}"


class GhostBatchNorm1d(_GhostBatchNorm, nn.BatchNorm1d):
    """Batch norm over parts of the batch, as a small batch would have it.

    Training: the batch is split in its order into ghost batches of `ghost_batch_size`,
    and each is normalized with its own statistics and updates the running statistics in
    turn. If the sizes do not divide, the last ghost batch is smaller and its statistics
    weigh as much as any other's. Evaluation is ``torch.nn.BatchNorm1d``.

    Parameters
    ----------
    num_features : int
    ghost_batch_size : int
        Examples that are normalized together.
    eps, momentum, affine, track_running_stats
        As in ``torch.nn.BatchNorm1d``; `num_batches_tracked` counts ghost batches.

    Shapes
    ------
    Input and output (N, C) or (N, C, L).

    Raises
    ------
    TypeError, ValueError
        If a size is not an integer of at least 1; if the input is not a float tensor of
        such a shape; in training, before the running statistics are touched, if a ghost
        batch has one value per channel (as the last of N = 5 in ghost batches of 4) or
        a mean or variance that is not finite.

    References
    ----------
    Hoffer, Hubara and Soudry (2017), Train longer, generalize better: closing the
    generalization gap in large batch training of neural networks. NIPS 30.
    """


class GhostBatchNorm2d(_GhostBatchNorm, nn.BatchNorm2d):
    """`GhostBatchNorm1d` for images: input and output (N, C, H, W)."""


# Batch norm over processes -----------------------------------------------------------


class _SumOverProcesses(torch.autograd.Function):
    """Σ over processes. L = Σ_s L_s gives dL/dx_r = Σ_s dL_s/dy: the same sum again."""

    @staticmethod
    def forward(ctx, x, group):
        ctx.group = group
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx, dy):
        return _SumOverProcesses.apply(dy, ctx.group), None


class SyncBatchNorm(_CheckedBatchNorm):
    """Batch norm with the statistics of all processes' batches together.

    ``torch.nn.SyncBatchNorm`` refuses tensors on the CPU; this one takes any device
    that the process group reduces. In training the processes sum x and their counts,
    then the squares about the common mean, so their batches may differ in size and even
    be empty; all must call the layer, and its backward pass, equally often. Without an
    initialized process group, with one process, and in evaluation it is plain batch
    norm.

    Output, gradient of the input and running statistics are those of batch norm on the
    concatenated batch with the processes' losses summed. `weight` and `bias` get the
    gradient of the local examples: summed over the processes it is that of the whole
    batch. (DistributedDataParallel averages, which fits losses that are means over
    batches of one size.)

    Parameters
    ----------
    num_features, eps, momentum, affine, track_running_stats
        As in ``torch.nn.BatchNorm1d``.
    process_group : torch.distributed.ProcessGroup, optional
        By default all processes.

    Shapes
    ------
    Input and output (N, C), (N, C, L) or (N, C, H, W).

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or the input not such a float tensor; in
        training, in all processes and before the running statistics are touched, if
        together they have fewer than two values per channel or a channel's mean or
        variance is not finite.

    References
    ----------
    Peng et al. (2018), MegDet: A Large Mini-Batch Object Detector. CVPR: cross-GPU
    batch normalization.
    """

    def __init__(
        self,
        num_features,
        eps=1e-5,
        momentum=0.1,
        affine=True,
        track_running_stats=True,
        process_group=None,
    ):
        check_integer("num_features", num_features)
        super().__init__(num_features, eps, momentum, affine, track_running_stats)
        self.process_group = process_group

    def _check_input_dim(self, x):
        if x.dim() not in (2, 3, 4):
            raise ValueError(
                "x must have shape (N, C), (N, C, L) or (N, C, H, W), "
                f"got {tuple(x.shape)}"
            )

    def _processes(self):
        if dist.is_available() and dist.is_initialized():
            return dist.get_world_size(self.process_group)
        return 1

    def forward(self, x):
        self._check_batch(x)
        if self.training and self._processes() > 1:
            return self._synchronized(x)
        if self.training:
            check_count(values_per_channel(x))
            check_finite(*local_statistics(x))
        return super().forward(x)

    def _synchronized(self, x):
        def total(values):
            return _SumOverProcesses.apply(values, self.process_group)

        axes, shape = channel_axes(x), (1, -1, *[1] * (x.dim() - 2))
        n_here = x.new_full((1,), values_per_channel(x))
        sums = total(torch.cat([x.sum(axes), n_here]))
        n = sums[-1].detach()
        check_count(int(n))
        mean = sums[:-1] / n  # μ = Σx / n
        centered = x - mean.reshape(shape)
        var = total(centered.square().sum(axes)) / n  # σ² = Σ(x − μ)² / n
        check_finite(mean, var)
        self._update_running_statistics(mean, var, n)
        normalized = centered * torch.rsqrt(var + self.eps).reshape(shape)
        if not self.affine:
            return normalized
        return normalized * self.weight.reshape(shape) + self.bias.reshape(shape)


# Batch renormalization ---------------------------------------------------------------


def _check_bound(name, value, at_least):
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not value >= at_least:  # true for NaN
        raise ValueError(f"{name} must be at least {at_least}, got {value}")


class _BatchRenorm(_CheckedBatchNorm):
    def __init__(
        self, num_features, eps=1e-5, momentum=0.1, affine=True, *, rmax=3.0, dmax=5.0
    ):
        check_integer("num_features", num_features)
        _check_bound("rmax", rmax, 1)
        _check_bound("dmax", dmax, 0)
        super().__init__(num_features, eps, momentum, affine)
        self.rmax, self.dmax = rmax, dmax

    def forward(self, x):
        self._check_batch(x)
        if not self.training:
            return super().forward(x)
        n = values_per_channel(x)
        check_count(n)
        with torch.no_grad():  # r and d count as constants
            mean, var = local_statistics(x)
            check_finite(mean, var)
            sigma = torch.sqrt(self.running_var + self.eps)
            # r = σ_B/σ and d = (μ_B − μ)/σ, both clipped
            r = torch.sqrt(var + self.eps) / sigma
            r = r.clamp(1 / self.rmax, self.rmax)
            d = (mean - self.running_mean) / sigma
            d = d.clamp(-self.dmax, self.dmax)
            self._update_running_statistics(mean, var, n)
        # γ (x̂ r + d) + β = (γ r) x̂ + (γ d + β)
        if self.affine:
            r, d = self.weight * r, self.weight * d + self.bias
        return F.batch_norm(x, None, None, r, d, training=True, eps=self.eps)

    def extra_repr(self):
        return f"{super().extra_repr()}, rmax={self.rmax}, dmax={self.dmax}"


class BatchRenorm1d(_BatchRenorm, nn.BatchNorm1d):
    """Batch norm that trains with nearly the statistics it is evaluated with.

    Training: with μ, σ from the running statistics and μ_B, σ_B from the batch,

        y = γ ((x − μ_B)/σ_B · r + d) + β,
        r = σ_B/σ clipped to [1/rmax, rmax],   d = (μ_B − μ)/σ clipped to ±dmax;

    no gradient flows through r and d, and the running statistics are updated after. If
    nothing is clipped, y = γ (x − μ)/σ + β, which is also the output in evaluation.
    With rmax = 1 and dmax = 0 it is batch norm. The paper starts so and raises rmax to
    3 and dmax to 5 in the course of training: assign ``layer.rmax`` and ``layer.dmax``
    between steps.

    Parameters
    ----------
    num_features, eps, momentum, affine
        As in ``torch.nn.BatchNorm1d``. The paper's momentum is 0.01.
    rmax, dmax : float
        At least 1 and 0; ``float("inf")`` clips nothing.

    Attributes
    ----------
    running_mean, running_var
        As in ``torch.nn.BatchNorm1d``; σ² is running_var + eps. (The paper averages σ
        instead.)

    Shapes
    ------
    Input and output (N, C) or (N, C, L).

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or the input not such a float tensor; in
        training, before the running statistics are touched, if the input has one value
        per channel, or a channel's mean or variance is not finite.

    References
    ----------
    Ioffe (2017), Batch Renormalization: Towards Reducing Minibatch Dependence in
    Batch-Normalized Models. NIPS 30: algorithm 1.
    """


class BatchRenorm2d(_BatchRenorm, nn.BatchNorm2d):
    """`BatchRenorm1d` for images: input and output (N, C, H, W)."""
