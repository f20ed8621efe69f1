"""Relatives of dropout."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from dropnorm.layers.base import check_integer
from dropnorm.layers.dropout import check_probability


def check_float_tensor(name, value):
    """Raise TypeError unless `value` is a tensor of floating-point numbers."""
    if not torch.is_tensor(value):
        raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")
    if not value.is_floating_point():
        raise TypeError(f"{name} must be a tensor of floats, got {value.dtype}")


def keep_mask(x, shape, p, generator=None):
    """Zeros with probability `p` and ones, in the dtype and on the device of `x`."""
    return x.new_empty(shape).bernoulli_(1 - p, generator=generator)


def inverted_mask(x, shape, p, generator=None):
    """m = r / (1 − p) with r ~ Bernoulli(1 − p), so that E[m] = 1 (if p < 1)."""
    mask = keep_mask(x, shape, p, generator)
    return mask / (1 - p) if p < 1 else mask


class RandomLayer:
    """Marks a module that draws random numbers in training mode.

    `monte_carlo_dropout` looks for it. A subclass has ``p`` and ``sample``.
    """


class _MultiplicativeNoise(RandomLayer, nn.Module):
    """y = m ⊙ x in training mode with a random m from `sample`, else y = x."""

    def __init__(self, p=0.5):
        super().__init__()
        check_probability(p)
        self.p = p

    def _check_input(self, x):
        check_float_tensor("x", x)

    def sample(self, x, generator=None):
        """The factor m for an input of the shape, dtype and device of `x`."""
        raise NotImplementedError(f"{type(self).__name__} defines no sample")

    def forward(self, x):
        self._check_input(x)
        if not self.training or self.p == 0:
            return x
        return x * self.sample(x)

    def extra_repr(self):
        return f"p={self.p}"


class OriginalDropout(_MultiplicativeNoise):
    """Dropout as first published: no scaling in training, scaling at test.

    Training: y = r ⊙ x with r ~ Bernoulli(1 − p) for each element. Evaluation:
    y = (1 − p) x. Multiplying a layer's input by 1 − p is the same as multiplying its
    weights (not its bias) by 1 − p, which is how the paper puts it. The output is
    1 − p times that of ``torch.nn.Dropout``, in both modes.

    Parameters
    ----------
    p : float
        Probability to drop, between 0 and 1. (The paper's p is the one to keep.)

    Shapes
    ------
    Input and output of any one shape.

    Raises
    ------
    TypeError, ValueError
        If `p` is not a number between 0 and 1, or the input not a float tensor.

    References
    ----------
    Srivastava et al. (2014), Dropout: A Simple Way to Prevent Neural Networks from
    Overfitting. JMLR 15:1929–1958: section 4.
    """

    def sample(self, x, generator=None):
        """r, of the shape of `x`."""
        return keep_mask(x, x.shape, self.p, generator)

    def forward(self, x):
        if self.training:
            return super().forward(x)
        self._check_input(x)
        return x * (1 - self.p)


class GaussianDropout(_MultiplicativeNoise):
    """Multiplies each element by its own draw from N(1, p/(1 − p)) in training.

    The factor has the mean and the variance of inverted dropout's mask r/(1 − p), but
    is never exactly 0. Evaluation is the identity.

    Parameters
    ----------
    p : float
        Drop probability of the dropout that has this variance: at least 0, below 1.

    Shapes
    ------
    Input and output of any one shape.

    Raises
    ------
    TypeError, ValueError
        If `p` is not such a number, or the input not a float tensor.

    References
    ----------
    Srivastava et al. (2014), section 10, where the variance reads (1 − p)/p because p
    is the probability to keep.
    """

    def __init__(self, p=0.5):
        super().__init__(p)
        if p == 1:
            raise ValueError(f"p must be below 1, so that p/(1 - p) is finite, got {p}")

    def sample(self, x, generator=None):
        """m ~ N(1, p/(1 − p)), of the shape of `x`."""
        std = math.sqrt(self.p / (1 - self.p))
        return x.new_empty(x.shape).normal_(1, std, generator=generator)


class DropConnectLinear(RandomLayer, nn.Linear):
    """A fully connected layer that drops weights instead of units.

    Training: y_n = (M_n ⊙ W) x_n / (1 − p) with a mask M_n ~ Bernoulli(1 − p) of its
    own for each example n. The bias is masked in the same way, as the weight of an
    input that is always 1. Evaluation: y = W x + b, the mean over the masks. The paper
    does not scale in training and, at test, samples each pre-activation from a Gaussian
    with the masks' mean and variance (algorithm 2); that is not done here.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
    p : float
        Probability to drop a weight, between 0 and 1.

    Shapes
    ------
    Input (..., in_features), output (..., out_features); every row of the input is an
    example. In training, memory for a mask and the masked weights of each: a batch of
    128 with 784 inputs and 256 outputs takes 100 MB each in float32.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, the input is not a float tensor or has
        another number of features.

    References
    ----------
    Wan et al. (2013), Regularization of Neural Networks using DropConnect. ICML.
    """

    def __init__(self, in_features, out_features, bias=True, p=0.5):
        check_integer("in_features", in_features)
        check_integer("out_features", out_features)
        check_probability(p)
        super().__init__(in_features, out_features, bias)
        self.p = p

    def sample(self, x, generator=None):
        """M / (1 − p) of shape (..., out_features, in_features); with bias, + 1."""
        columns = self.in_features + (self.bias is not None)
        shape = (*x.shape[:-1], self.out_features, columns)
        return inverted_mask(x, shape, self.p, generator)

    def forward(self, x):
        check_float_tensor("x", x)
        if x.dim() == 0 or x.shape[-1] != self.in_features:
            raise ValueError(
                f"x must have in_features = {self.in_features} on its last axis, "
                f"got shape {tuple(x.shape)}"
            )
        if not self.training or self.p == 0:
            return super().forward(x)
        mask = self.sample(x)
        weight = self.weight
        if self.bias is not None:
            weight = torch.cat([weight, self.bias.unsqueeze(1)], dim=1)
            x = F.pad(x, (0, 1), value=1)
        # y_no = Σ_i m_noi W_oi x_ni
        return torch.einsum("...oi,...i->...o", mask * weight, x)

    def extra_repr(self):
        return f"{super().extra_repr()}, p={self.p}"


class DropBlock2d(_MultiplicativeNoise):
    """Drops square blocks of each feature map.

    In training each place where a whole block fits starts one with probability

        γ = p/b² · H W / ((H − b + 1)(W − b + 1)),        b = block_size    (eq. 1)

    independently in each map of each example; the blocks' union is zeroed, and the rest
    of the batch is multiplied by (number of elements)/(number kept). Evaluation is the
    identity.

    `p` is the mean number of blocks over a unit. Blocks overlap, so fewer units are
    dropped: a unit that k of the places cover (b² inside, 1 in a corner) is dropped
    with probability 1 − (1 − γ)^k. Averaged over a map that is less than p: 0.18 for
    p = 0.2, b = 3 and maps of 8 × 8.

    Parameters
    ----------
    p : float
        Drop probability before overlaps, between 0 and 1.
    block_size : int
        Side of a block; with 1 it is dropout.

    Shapes
    ------
    Input and output (N, C, H, W) with H and W at least `block_size`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or the input not such a float tensor.

    References
    ----------
    Ghiasi, Lin and Le (2018), DropBlock: A regularization method for convolutional
    networks. NeurIPS 31: equation 1.
    """

    def __init__(self, p, block_size):
        super().__init__(p)
        check_integer("block_size", block_size)
        self.block_size = block_size

    def _check_input(self, x):
        super()._check_input(x)
        if x.dim() != 4:
            raise ValueError(f"x must have shape (N, C, H, W), got {tuple(x.shape)}")
        if min(x.shape[2:]) < self.block_size:
            raise ValueError(
                f"x must be at least block_size = {self.block_size} high and wide, "
                f"got shape {tuple(x.shape)}"
            )

    def gamma(self, height, width):
        """The probability γ that a block starts at a place, by equation 1."""
        b = self.block_size
        places = (height - b + 1) * (width - b + 1)
        return self.p * height * width / (b**2 * places)

    def sample(self, x, generator=None):
        """Zeros on the blocks, elsewhere one number that makes the mean 1."""
        b = self.block_size
        *maps, height, width = x.shape
        shape = (*maps, height - b + 1, width - b + 1)
        gamma = self.gamma(height, width)
        seeds = x.new_empty(shape).bernoulli_(gamma, generator=generator)
        # A unit is dropped if one of the b × b places up and left of it has a seed.
        keep = 1 - F.max_pool2d(F.pad(seeds, [b - 1] * 4), b, stride=1)
        return keep * (keep.numel() / keep.sum().clamp(min=1))

    def extra_repr(self):
        return f"{super().extra_repr()}, block_size={self.block_size}"


class StochasticDepth(_MultiplicativeNoise):
    """Drops a residual branch: ``y = x + StochasticDepth(p)(branch(x))``.

    In training the branch's output is zeroed with probability `p` and otherwise
    multiplied by 1/(1 − p), as in torchvision; the paper scales at test instead.
    Evaluation is the identity. The paper lets p grow with depth: block l of L has
    p_l = (l/L) p_L, with p_L = 0.5.

    Parameters
    ----------
    p : float
        Probability to drop the branch, between 0 and 1.
    mode : {"row", "batch"}
        Whether each example has a draw of its own, or one decides for the batch, as in
        the paper.

    Shapes
    ------
    Input (N, ...), output of the same shape.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or the input not such a float tensor.

    References
    ----------
    Huang et al. (2016), Deep Networks with Stochastic Depth. ECCV.
    """

    def __init__(self, p=0.5, mode="row"):
        super().__init__(p)
        if mode not in ("row", "batch"):
            raise ValueError(f"mode must be 'row' or 'batch', got {mode!r}")
        self.mode = mode

    def _check_input(self, x):
        super()._check_input(x)
        if x.dim() == 0:
            raise ValueError("x must have shape (N, ...), got ()")

    def sample(self, x, generator=None):
        """One factor for each example, or one for all, in a shape that broadcasts."""
        draws = len(x) if self.mode == "row" else 1
        shape = (draws, *[1] * (x.dim() - 1))
        return inverted_mask(x, shape, self.p, generator)

    def extra_repr(self):
        return f"{super().extra_repr()}, mode={self.mode!r}"
