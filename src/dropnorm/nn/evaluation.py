"""Ways to evaluate a model: Monte-Carlo dropout, folded and precise batch norm."""

import copy
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from dropnorm.nn.batchnorm import check_finite, local_statistics, values_per_channel
from dropnorm.nn.dropout import RandomLayer


def _check_model(model):
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")


def _drops(module):
    """Whether `module` itself applies dropout in training mode."""
    if isinstance(module, (nn.RNNBase, nn.MultiheadAttention)) and module.dropout > 0:
        return True
    # In evaluation TransformerEncoderLayer may skip the dropout modules it contains.
    return isinstance(module, (_DropoutNd, RandomLayer, nn.TransformerEncoderLayer))


@contextmanager
def _modes_restored(model):
    before = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


@contextmanager
def monte_carlo_dropout(model):
    """A context in which dropout is random and all else is in evaluation mode.

    ::

        with monte_carlo_dropout(model), torch.no_grad():
            samples = torch.stack([model(x).softmax(1) for _ in range(50)])

    Dropout modules are those of ``torch.nn`` and of this package, and the layers of
    ``torch.nn`` that have dropout inside (recurrent, attention, transformer encoder);
    calls of ``torch.nn.functional.dropout`` cannot be found. On leaving, also by an
    exception, every module is back in the mode in which it was.

    Parameters
    ----------
    model : torch.nn.Module

    Raises
    ------
    TypeError, ValueError
        If `model` is not a module, or has no dropout module.

    References
    ----------
    Gal and Ghahramani (2016), Dropout as a Bayesian Approximation. ICML;
    Srivastava et al. (2014), section 7.5.
    """
    _check_model(model)
    dropouts = [module for module in model.modules() if _drops(module)]
    if not dropouts:
        raise ValueError(f"model must have a dropout module, {_name(model)} has none")
    with _modes_restored(model):
        model.eval()
        for module in dropouts:
            module.training = True  # not train(), which would reach its submodules
        yield model


def _name(module):
    return type(module).__name__


# Folding -----------------------------------------------------------------------------


def _can_fold(layer, norm):
    """Whether `norm`, which stands after `layer`, normalizes its outputs."""
    # No subclasses of the layers: their forward may do more, or have other weights.
    return (
        type(layer) in (nn.Linear, nn.Conv1d, nn.Conv2d)
        and isinstance(norm, _BatchNorm)
        and norm.num_features == len(layer.weight)
    )


def _fold(layer, norm):
    """The layer that computes norm(layer(x)) in evaluation mode."""
    # γ (W x + b − μ)/√(σ² + ε) + β = (s W) x + s (b − μ) + β  with s = γ/√(σ² + ε)
    scale = torch.rsqrt(norm.running_var + norm.eps)
    if norm.weight is not None:
        scale = norm.weight * scale
    bias = -norm.running_mean if layer.bias is None else layer.bias - norm.running_mean
    bias = scale * bias
    if norm.bias is not None:
        bias = bias + norm.bias
    # scale belongs to the outputs, axis 0 of the weight
    weight = layer.weight * scale.reshape(-1, *[1] * (layer.weight.dim() - 1))
    folded = copy.deepcopy(layer)
    folded.weight, folded.bias = nn.Parameter(weight), nn.Parameter(bias)
    return folded


@torch.no_grad()
def fold_batchnorm(model):
    """A copy of the model with its batch norms folded into the layers before them.

    In evaluation mode a batch norm is an affine map of each channel, which the linear
    or convolutional layer before it can take over:

        W' = γ/√(σ² + ε) · W,   b' = γ/√(σ² + ε) · (b − μ) + β.

    This is done wherever, in a ``torch.nn.Sequential`` at any depth of the model, a
    batch norm stands directly after a ``torch.nn.Linear``, ``Conv1d`` or ``Conv2d``
    with as many outputs; its place is taken by ``torch.nn.Identity``. Any other batch
    norm is left as it is, which is right too: the outputs are those of
    ``model.eval()``. Layers that a custom ``forward`` applies one after another are not
    found.

    Parameters
    ----------
    model : torch.nn.Module
        Stays as it is. The output of a Linear before a batch norm must be (N, C).

    Returns
    -------
    torch.nn.Module
        A deep copy in evaluation mode.

    Raises
    ------
    TypeError
        If `model` is not a module.
    ValueError
        If a batch norm to be folded has no running statistics, or there is none.

    References
    ----------
    Ioffe and Szegedy (2015), Batch Normalization. ICML: section 3.1, algorithm 2, where
    inference is such a linear transform; ``torch.nn.utils.fusion`` folds one pair.
    """
    _check_model(model)
    model = copy.deepcopy(model)
    n_folded = 0
    for path, block in model.named_modules():
        if type(block).forward is not nn.Sequential.forward:
            continue
        names = list(block._modules)
        for before, name in zip(names, names[1:], strict=False):
            layer, norm = block._modules[before], block._modules[name]
            if not _can_fold(layer, norm):
                continue
            if norm.running_mean is None:
                raise ValueError(
                    f"batch norm {f'{path}.{name}'.lstrip('.')} has no running "
                    "statistics, so it cannot be folded: track_running_stats must be "
                    "True"
                )
            block._modules[before] = _fold(layer, norm)
            block._modules[name] = nn.Identity()
            n_folded += 1
    if n_folded == 0:
        raise ValueError(
            "model must have a batch norm directly after a Linear, Conv1d or Conv2d in "
            f"a Sequential, {_name(model)} has none"
        )
    return model.eval()


# Precise batch norm ------------------------------------------------------------------


class _Moments:
    """Mean and variance of all inputs of a layer, merged from one input to the next."""

    def __init__(self):
        self.calls, self.n, self.mean, self.squares = 0, 0, 0.0, 0.0

    def __call__(self, module, args):
        x = args[0]
        n = values_per_channel(x)
        mean, var = local_statistics(x)
        # Law of total variance, as sums of squares about the mean:
        # S = S_1 + S_2 + (μ_2 − μ_1)² n_1 n_2 / (n_1 + n_2)
        total = self.n + n
        difference = mean - self.mean
        self.squares = (
            self.squares + var * n + difference.square() * (self.n * n / total)
        )
        self.mean = self.mean + difference * (n / total)
        self.n, self.calls = total, self.calls + 1


def _running_buffers(norms):
    return [
        buffer
        for norm in norms
        for buffer in (norm.running_mean, norm.running_var, norm.num_batches_tracked)
    ]


@torch.no_grad()
def reestimate_statistics(model, batches, dropout=False):
    """Replace the running statistics of every batch norm by those of these batches.

    Also known as precise batch norm. The moving averages of training lag behind the
    weights; here all batches go through the model with its weights as they are, each
    batch norm normalizing by the batch as in training. Its `running_mean` and
    `running_var` become the mean and the unbiased variance of all values that it
    received: each value weighs the same, also in batches of unequal size, and the
    variance includes that between the batches. `num_batches_tracked` becomes their
    number.

    If the batches partition a data set, a batch norm with no other before it gets the
    exact statistics of that data set. Those behind it see activations that were
    normalized by the batch, and so depend somewhat on how the data are batched.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place: only those buffers. Every module keeps its mode. A batch norm
        without running statistics, or that the model does not call, stays as it is. In
        a process group each process gets the statistics of its own batches.
    batches : iterable of tensors
        Or of tuples or lists whose first entry is the input, as a DataLoader yields.
    dropout : bool
        Whether dropout is on meanwhile. The statistics that fit evaluation are those
        without.

    Raises
    ------
    TypeError, ValueError
        If `model` is not a module or has no batch norm with running statistics, there
        are no batches, one is not a tensor, or a channel's mean or variance is not
        finite. After any error all buffers are as they were.

    References
    ----------
    Ioffe and Szegedy (2015), algorithm 2; Wu and Johnson (2021), Rethinking "Batch" in
    BatchNorm; Li et al. (2019), Understanding the Disharmony Between Dropout
    and Batch Normalization by Variance Shift. CVPR.
    """
    _check_model(model)
    norms = [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    ]
    if not norms:
        raise ValueError(
            "model must have a batch norm with running statistics, "
            f"{_name(model)} has none"
        )
    moments = [_Moments() for _ in norms]
    before = [buffer.clone() for buffer in _running_buffers(norms)]
    hooks = []
    try:
        with _modes_restored(model):
            model.eval()
            for module in model.modules():
                module.training = module in norms or (dropout and _drops(module))
            for norm, moment in zip(norms, moments, strict=True):
                hooks.append(norm.register_forward_pre_hook(moment))
            n_batches = 0
            for batch in batches:
                x = batch[0] if isinstance(batch, (tuple, list)) else batch
                if not torch.is_tensor(x):
                    raise TypeError(
                        "batches must yield tensors, or tuples that begin with one, "
                        f"got {type(x).__name__}"
                    )
                model(x)
                n_batches += 1
        if n_batches == 0:
            raise ValueError("batches must hold at least one batch, got none")
        for norm, moment in zip(norms, moments, strict=True):
            if moment.calls:
                var = moment.squares / (moment.n - 1)
                check_finite(moment.mean, var)
                norm.running_mean.copy_(moment.mean)
                norm.running_var.copy_(var)
                norm.num_batches_tracked.fill_(moment.calls)
    except BaseException:
        for buffer, value in zip(_running_buffers(norms), before, strict=True):
            buffer.copy_(value)
        raise
    finally:
        for hook in hooks:
            hook.remove()
