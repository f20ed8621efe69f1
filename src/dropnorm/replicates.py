"""Train many seeds of one ordinary ``nn.Module`` at once, and compare two arms.

One run per arm is no evidence: the seed alone can move the test error by more than
the technique under test. `train` trains every arm with every seed and computes the
seeds of an arm side by side; `compare` turns two arms into a paired difference, its
99 % interval and a verdict.

**What a seed fixes.** For seed s: ``torch.manual_seed(s)``, build the model, and let
that generator go on to draw the dropout masks; ``numpy.random.default_rng([s, 1])``
orders the batches. `train_one` does this in plain PyTorch, and `train` gives each
seed the same weights up to rounding.

**How the seeds share one computation.** S networks with C channels are one network
with S·C channels: activations are (N, S·C, ...), and each parameter is the S ordinary
ones, joined along dimension 0. What works element by element or channel by channel
needs no change: activation functions, pooling, sums, products. Layers that mix
channels or draw random numbers have a batched form in ``_BATCHED``, the one place to
add another. In sequences (N, T, C) with features last the seeds are side by side in
the last dimension instead, (N, T, S·C). Which of the two a network means shows on
its first batch.

Before an arm is trained, this batch is computed both ways. Unless losses, gradients,
an optimizer step and the evaluation mode agree, and the network draws random numbers
in batched layers only, the seeds are trained one after another, and a line on standard
output says so.

**What is gained** is the cost of many small operations: much for narrow MLPs and
recurrent networks, little for a CNN, whose convolutions take as long side by side as
in turn. Arms in parallel processes come on top. ``benchmarks/replicates.py`` measures
it on your machine.

**What loops**: a layer marked ``_in_turn`` there (ghost batch norm, batch
renormalization, DropConnect, alpha dropout, RReLU) loops over the seeds by itself, and
the layers around it do not. All seeds are trained one after another if a network or
layer has parameters, hooks or random numbers of its own and is not in ``_BATCHED``; if
there are recurrent layers with projections, or embeddings with ``padding_idx``,
``max_norm`` or ``sparse``; or convolutional and recurrent parts in one network, with a
layer between them that cannot tell where its features are.
"""

import copy
import os
import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import joblib
import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import stdtr, stdtrit
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from tqdm import tqdm

import dropnorm.nn

__all__ = [
    "Comparison",
    "Recipe",
    "Runs",
    "compare",
    "expected_calibration_error",
    "train",
    "train_one",
]

# What `compare` accepts of two `Runs`, with units; the targets' unit is not known.
_UNITS = {
    "test_error": "%",
    "test_nll": "nats",
    "test_ece": "%",
    "train_error": "%",
    "train_nll": "nats",
    "val_error": "%",
    "val_nll": "nats",
    "test_mse": None,
    "train_mse": None,
    "val_mse": None,
}


@dataclass(frozen=True)
class Recipe:
    """How every arm is trained.

    Parameters
    ----------
    epochs : int
        Passes over the training part.
    batch_size : int or function
        Examples per step; the last batch of an epoch may be smaller. A function takes
        the epoch, counted from 1, and returns the size for it.
    optimizer : function
        Takes a list of parameters, returns a ``torch.optim.Optimizer``. If it treats
        every number by itself (SGD, Adam, RMSprop …) the seeds are trained at once;
        if not (Muon, Adafactor), one after another. One whose ``step`` needs a
        closure (LBFGS) is refused.
    eval_every : int or None
        Epochs between two entries of `Runs.history`. The last epoch always has one;
        with 0 or None only that.
    loss : {"cross_entropy", "mse"}
        "cross_entropy" of logits and integer labels, or for regression the mean
        squared error, over examples and outputs.
    schedule : function or None
        Takes the optimizer, returns a ``torch.optim.lr_scheduler.LRScheduler``, whose
        ``step()`` is called after every step of the optimizer, not every epoch.
    before_step : function or None
        Called as ``before_step(step, network)`` before every step, with the number of
        steps taken so far and the network in training mode: to let a dropout rate
        depend on time, say, by ``layer.p = ...`` for its layers in
        ``network.modules()``. The network may be that of all seeds (see the top of
        this module), so leave alone what differs between seeds. What the first call
        does is verified, what later ones do is not.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    """

    epochs: int
    batch_size: int | Callable
    optimizer: Callable
    eval_every: int | None = 10
    loss: str = "cross_entropy"
    schedule: Callable | None = None
    before_step: Callable | None = None

    def __post_init__(self):
        _check_integer("epochs", self.epochs, at_least=1)
        if not callable(self.batch_size):
            _check_integer("batch_size", self.batch_size, at_least=1)
        if self.eval_every is not None:
            _check_integer("eval_every", self.eval_every, at_least=0)
        if not callable(self.optimizer):
            raise TypeError(
                "optimizer must be a function of a list of parameters, "
                f"got {type(self.optimizer).__name__}"
            )
        if self.loss not in _LOSSES:
            raise ValueError(f"loss must be one of {[*_LOSSES]}, got {self.loss!r}")
        for name in ("schedule", "before_step"):
            value = getattr(self, name)
            if value is not None and not callable(value):
                raise TypeError(
                    f"{name} must be a function or None, got {type(value).__name__}"
                )

    def _batch_size(self, epoch):
        if not callable(self.batch_size):
            return self.batch_size
        size = self.batch_size(epoch)
        _check_integer(f"batch_size of epoch {epoch}", size, at_least=1)
        return int(size)


def _metric(name, text):
    return property(lambda runs: runs._value(name), doc=f"(S,) {text}.")


@dataclass(frozen=True, repr=False, eq=False)
class Runs:
    """The S trained seeds of one arm.

    Metrics are those of the evaluation mode after the last step. With
    ``loss="cross_entropy"`` they are the percentage of misclassified examples
    (``error``), the mean negative log-likelihood in nats (``nll``) and of the test part
    the expected calibration error in per cent (``ece``); with ``loss="mse"`` the mean
    squared error (``mse``).

    Attributes
    ----------
    name : str
        The arm's name.
    seeds : tuple of int
        In the order of all arrays below.
    history : dict of ndarray
        ``epoch`` (T,); ``batch_loss`` (T, S), the training-mode loss averaged over
        the examples seen since the previous entry; and in evaluation mode
        ``train_nll``, ``train_error``, ``val_nll``, ``val_error``, or ``train_mse``
        and ``val_mse`` (T, S). Without validation rows those are absent. The test part
        never is in here, so that nobody can choose by it.
    looped : str
        Why the seeds were trained one after another; empty if they were not.
    """

    name: str
    seeds: tuple
    history: dict
    looped: str
    _test: dict  # metric -> array (S,)
    _states: dict  # name in the state_dict -> array (S, ...)
    _dtype: torch.dtype
    _factory: Callable | None

    test_error = _metric("test_error", "misclassified test examples in per cent")
    test_nll = _metric("test_nll", "negative log-likelihood of the test part, in nats")
    test_ece = _metric("test_ece", "calibration error of the test part, in per cent")
    test_mse = _metric("test_mse", "mean squared error of the test part")
    train_error = _metric("train_error", "misclassified training examples in per cent")
    train_nll = _metric("train_nll", "negative log-likelihood of the training part")
    train_mse = _metric("train_mse", "mean squared error of the training part")
    val_error = _metric("val_error", "misclassified validation examples in per cent")
    val_nll = _metric("val_nll", "negative log-likelihood of the validation part")
    val_mse = _metric("val_mse", "mean squared error of the validation part")

    def _value(self, metric):
        last = {name: values[-1] for name, values in self.history.items()}
        values = {**last, **self._test}
        if metric in values:
            return values[metric]
        if metric.replace("val_", "train_") in values:
            raise ValueError(f"no {metric}: the validation part had no rows")
        names = ", ".join(name for name in values if name in _UNITS)
        raise ValueError(f"no {metric}: the recipe's loss gives {names}")

    def model(self, seed):
        """A new ordinary module with that seed's weights, in evaluation mode."""
        if seed not in self.seeds:
            raise ValueError(f"seed must be one of {self.seeds}, got {seed!r}")
        s = self.seeds.index(seed)
        with _isolated(self._dtype):
            _set_seed(seed)
            model = self._factory()
        model.load_state_dict({k: torch.tensor(v[s]) for k, v in self._states.items()})
        return model.eval()

    def __repr__(self):
        return f"<{self.name!r}, trained with seeds {self.seeds}>"


# Training --------------------------------------------------------------------------


def train(arms, data, recipe, seeds=range(10)):
    """Train every arm with every seed, on the same splits in the same order.

    Arms run in parallel processes: as many as the environment variable
    ``DROPNORM_JOBS`` says, by default one per core; with 1, in this process. Results
    do not depend on it. Each process uses one thread and the caller's default dtype,
    and the caller's random generators are left as they were.

    Parameters
    ----------
    arms : dict of str to function
        Each function builds a new module, which maps (N, C, ...), or sequences
        (N, T, C), to logits or other outputs (N, K).
    data : function
        Takes a seed, returns an object with the attributes x_train, y_train, x_val,
        y_val, x_test, y_test: inputs (N, C, ...) or (N, T, C), which become numbers
        of the default dtype (for tokens the module calls ``.long()``), and integer
        labels (N,). With the loss "mse", instead of labels, targets (N, K) of what the
        module returns, or (N,) if K = 1. Called once per seed. All seeds need equal
        shapes; the validation part may have no rows.
    recipe : Recipe
    seeds : iterable of int
        Different, not negative.

    Returns
    -------
    dict of str to Runs

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or if batch norm meets a single example.
    Exception
        Whatever a function passed in raises, in whichever process.
    """
    if not isinstance(arms, Mapping) or not arms:
        raise ValueError(f"arms must be a dict with at least one arm, got {arms!r}")
    for name, factory in arms.items():
        if not callable(factory) or isinstance(factory, nn.Module):
            raise TypeError(
                f"arm {name!r} must be a function that builds a module, "
                f"got {type(factory).__name__}"
            )
    if not callable(data):
        raise TypeError(f"data must be a function of a seed, got {type(data).__name__}")
    if not isinstance(recipe, Recipe):
        raise TypeError(f"recipe must be a Recipe, got {type(recipe).__name__}")
    seeds = tuple(seeds)
    for seed in seeds:
        _check_integer("each of the seeds", seed, at_least=0)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be different and at least one, got {seeds}")
    jobs = min(_jobs(), len(arms))

    dtype = torch.get_default_dtype()
    with _isolated(dtype):
        split = _stack([data(seed) for seed in seeds], seeds, recipe.loss)
    # "c": workers share large arrays instead of receiving copies.
    parallel = joblib.Parallel(jobs, mmap_mode="c", return_as="generator")
    results = parallel(
        joblib.delayed(_train_arm)(name, factory, split, recipe, seeds, dtype)
        for name, factory in arms.items()
    )
    runs = {}
    # disable=None: a bar only on a terminal, hence none in a notebook.
    for run in tqdm(results, "arms", total=len(arms), leave=False, disable=None):
        if run.looped:
            print(f"{run.name}: one seed after another, since {run.looped}")
        runs[run.name] = replace(run, _factory=arms[run.name])
    return runs


def train_one(factory, split, recipe, seed):
    """Train one seed in plain PyTorch: what `train` must reproduce.

    Parameters
    ----------
    factory : function
        Builds a new module.
    split : object
        What ``data(seed)`` of `train` returns.
    recipe : Recipe
    seed : int

    Returns
    -------
    Runs
        With this one seed.
    """
    split = _stack([split], [seed], recipe.loss)
    with _isolated(torch.get_default_dtype()):
        _set_seed(seed)
        model = factory()
        optimizer = _build_optimizer(recipe, model)
        schedule = _build_schedule(recipe, optimizer)
        loss_of_one = _LOSSES[recipe.loss].of_one
        order = _batch_order(seed)
        log = _Log(recipe, split)
        x, y = split.part("train")
        x, y = x[:, 0], y[:, 0]
        for epoch in range(1, recipe.epochs + 1):
            model.train()
            rows = torch.from_numpy(order.permutation(len(y)))
            for batch in rows.split(recipe._batch_size(epoch)):
                if recipe.before_step is not None:
                    recipe.before_step(log.steps, model)
                loss = loss_of_one(model(x[batch]), y[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if schedule is not None:
                    schedule.step()
                log.add(loss, len(batch))
            log.end_epoch(epoch, model)
        return log.runs("one seed", (seed,), model, factory)


def _train_together(name, network, split, recipe, seeds):
    """The loop of `train_one` for all seeds, with a column of ``rows`` for each."""
    optimizer = _build_optimizer(recipe, network, fused=True)
    schedule = _build_schedule(recipe, optimizer)
    loss_of_each = _LOSSES[recipe.loss].of_each
    orders = [_batch_order(seed) for seed in seeds]
    log = _Log(recipe, split)
    x, y = split.part("train")
    for epoch in range(1, recipe.epochs + 1):
        network.train()
        rows = np.stack([order.permutation(len(y)) for order in orders], axis=1)
        for batch in torch.from_numpy(rows).split(recipe._batch_size(epoch)):
            if recipe.before_step is not None:
                recipe.before_step(log.steps, network)
            losses = loss_of_each(_outputs(network, _take(x, batch)), _take(y, batch))
            optimizer.zero_grad()
            losses.sum().backward()  # each seed's parameters occur in one term only
            optimizer.step()
            if schedule is not None:
                schedule.step()
            log.add(losses, len(batch))
        log.end_epoch(epoch, network)
    return log.runs(name, seeds, network, None)


def _train_arm(name, factory, split, recipe, seeds, dtype):
    """All seeds of one arm: at once if that gives the same, else one by one."""
    with _isolated(dtype):
        network, looped = _joint_network(factory, split, recipe, seeds)
        try:
            if network is not None:
                return _train_together(name, network, split, recipe, seeds)
            runs = [
                train_one(factory, split.seed(s), recipe, seed)
                for s, seed in enumerate(seeds)
            ]
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            n = len(split.y_train)
            sizes = [recipe._batch_size(e) for e in range(1, recipe.epochs + 1)]
            size = min(sizes, key=lambda size: n % size or size)  # the last batch's
            raise ValueError(
                f"batch norm met a batch of one value per channel: choose a batch_size "
                f"other than {size}, which leaves {n % size} of {n} training examples "
                "to the last batch"
            ) from error
        return _merge(name, runs, looped)


def _joint_network(factory, split, recipe, seeds):
    """The network for all seeds at once; or None, and the reason why there is none."""
    reasons = []
    for seed_axis in (1, -1):
        models, states = _build_models(factory, seeds)
        try:
            if recipe.before_step is not None:  # also what it may later bring back
                as_built = replace(recipe, before_step=None)
                trial = _join(models, states, seed_axis)
                _verify(trial, models, states, split, as_built, seeds)
                models, states = _build_models(factory, seeds)
            network = _join(models, states, seed_axis)
            trial = _join(models, states, seed_axis)
            _verify(trial, models, states, split, recipe, seeds)
        except _CannotJoinError as reason:
            reasons.append(str(reason))
        except Exception as error:
            reasons.append(
                f"{type(models[0]).__name__} raises {type(error).__name__} "
                "when the seeds are side by side"
            )
        else:
            return network, ""
    return None, reasons[0]


def _build_models(factory, seeds):
    """One module per seed, and the generator's state after each was built."""
    models, states = [], []
    for seed in seeds:
        _set_seed(seed)
        models.append(factory())
        states.append(torch.get_rng_state())
        if not isinstance(models[-1], nn.Module):
            raise TypeError(
                f"an arm must build an nn.Module, got {type(models[-1]).__name__}"
            )
    if len({id(model) for model in models}) < len(models):
        raise ValueError("an arm must build a new module whenever it is called")
    return models, states


def _build_optimizer(recipe, model, fused=False):
    optimizer = recipe.optimizer(list(model.parameters()))
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            "the recipe's optimizer must return a torch.optim.Optimizer, "
            f"got {type(optimizer).__name__}"
        )
    if isinstance(optimizer, torch.optim.LBFGS):
        raise ValueError("LBFGS needs a closure and cannot be used in a Recipe")
    for group in optimizer.param_groups:
        # One kernel per tensor, where torch has it: 2 to 3 times as fast.
        if fused and "fused" in group and not group["foreach"]:
            group["fused"] = True
    return optimizer


def _build_schedule(recipe, optimizer):
    if recipe.schedule is None:
        return None
    schedule = recipe.schedule(optimizer)
    if not isinstance(schedule, LRScheduler):
        raise TypeError(
            "the recipe's schedule must return a torch.optim.lr_scheduler.LRScheduler, "
            f"got {type(schedule).__name__}"
        )
    if isinstance(schedule, ReduceLROnPlateau):
        raise ValueError("ReduceLROnPlateau needs a metric at each step of a schedule")
    return schedule


def _batch_order(seed):
    # Not default_rng(seed): that one splits the data.
    return np.random.default_rng([seed, 1])


def _take(x, rows):
    """Row rows[i, s] of seed s: (n, S, C, ...) and (N, S) to (N, S, C, ...)."""
    n_seeds = rows.shape[1]
    flat = (rows * n_seeds + torch.arange(n_seeds)).flatten()
    return x.flatten(0, 1).index_select(0, flat).unflatten(0, rows.shape)


def _outputs(network, x):
    """(N, S, C, ...) to (N, S, K), by the network of S seeds or, if S = 1, of one."""
    joint = _side_by_side(x.movedim(1, 0), getattr(network, "seed_axis", 1))
    return network(joint).unflatten(1, (x.shape[1], -1))


# The joint network -----------------------------------------------------------------


class _CannotJoinError(Exception):
    """The seeds must be trained one after another; the message says why."""


def _seeds_first(x, n_seeds, axis):
    """A view (S, N, C, ...) of (N, S·C, ...), or (S, N, T, C) of (N, T, S·C)."""
    x = x.unflatten(axis, (n_seeds, -1))
    return x.movedim(1 if axis == 1 else -2, 0)


def _side_by_side(parts, axis):
    """The inverse of `_seeds_first`."""
    if axis == 1:
        return parts.movedim(0, 1).flatten(1, 2)
    return parts.movedim(0, -2).flatten(-2, -1)


class _Linear(nn.Linear):
    def forward(self, x):
        if x.ndim > 2:  # features last; the rest is examples, contiguous as in torch
            rows = self.forward(x.flatten(0, -2))
            return rows.contiguous().unflatten(0, x.shape[:-1])
        n_seeds = len(self.generators)
        weight = self.weight.unflatten(0, (n_seeds, -1))  # (S, out, in)
        x = x.t().unflatten(0, (n_seeds, -1))  # (S, in, N)
        if self.bias is None:
            y = weight @ x
        else:
            bias = self.bias.unflatten(0, (n_seeds, -1)).unsqueeze(2)
            y = torch.baddbmm(bias, weight, x)
        return y.flatten(0, 1).t()


class _Embedding(nn.Embedding):
    def forward(self, x):
        if self.padding_idx is not None or self.max_norm is not None or self.sparse:
            raise _CannotJoinError("Embedding has options that are not batched")
        n_seeds = len(self.generators)
        tokens = _seeds_first(x, n_seeds, 1)  # (S, N, T)
        first_row = torch.arange(n_seeds) * self.num_embeddings
        rows = F.embedding(tokens + first_row[:, None, None], self.weight)
        return _side_by_side(rows, self.seed_axis)


class _BatchNorm1d(nn.BatchNorm1d):
    def forward(self, x):
        if x.ndim == 3:
            return super().forward(x)
        # (1, S·C, N) gives the same numbers, along the memory that _Linear left.
        return super().forward(x.t().unsqueeze(0)).squeeze(0).t()


class _LayerNorm(nn.LayerNorm):
    def forward(self, x):
        # The first of the normalized dimensions holds the seeds.
        axis, n_seeds = -len(self.normalized_shape), len(self.generators)
        x = x.unflatten(axis, (n_seeds, -1))  # (..., S, C, ...)
        y = F.layer_norm(x, self.normalized_shape, eps=self.eps)
        if self.weight is not None:
            y = y * self.weight.unflatten(0, (n_seeds, -1))
        if self.bias is not None:
            y = y + self.bias.unflatten(0, (n_seeds, -1))
        return y.flatten(axis - 1, axis)


class _Dropout(nn.Dropout):
    def forward(self, x):
        if not self.training or self.p in (0, 1):
            return super().forward(x)  # draws nothing
        n_seeds = len(self.generators)
        parts = _seeds_first(x, n_seeds, self.seed_axis)
        # PyTorch draws a mask in the memory order of its input. A recurrent layer's
        # output has another than its shape says; so may the matrix that _Linear left,
        # but that of a single seed has not.
        order = range(1, parts.ndim)
        if self.seed_axis == -1 and x.ndim > 2:
            order = sorted(order, key=parts.stride, reverse=True)
        kept = x.new_empty(n_seeds, *(parts.shape[d] for d in order))
        for mask, generator in zip(kept, self.generators, strict=True):
            mask.bernoulli_(1 - self.p, generator=generator)
        kept = kept.movedim(tuple(range(1, parts.ndim)), tuple(order))
        scale = torch.div(kept, 1 - self.p, out=torch.empty_like(parts))
        return _side_by_side(parts * scale, self.seed_axis)


class _ChannelDropout(nn.Module):
    """Whole channels of (N, S·C, ...)."""

    def forward(self, x):
        if not self.training or self.p in (0, 1):
            return super().forward(x)  # draws nothing
        n_seeds = len(self.generators)
        kept = x.new_empty(n_seeds, len(x), x.shape[1] // n_seeds)
        for mask, generator in zip(kept, self.generators, strict=True):
            mask.bernoulli_(1 - self.p, generator=generator)
        scale = _side_by_side(kept.div_(1 - self.p), 1)
        return x * scale.reshape(*scale.shape, *[1] * (x.ndim - 2))


class _PReLU(nn.PReLU):
    def forward(self, x):
        repeats = x.shape[1] // self.weight.numel()
        return F.prelu(x, self.weight.repeat_interleave(repeats))


class _Flatten(nn.Flatten):
    def forward(self, x):
        parts = _seeds_first(x, len(self.generators), self.seed_axis)
        # a dimension counted from the front is one further back in the parts
        start, end = (d + (d >= 0) for d in (self.start_dim, self.end_dim))
        return _side_by_side(parts.flatten(start, end), self.seed_axis)


class _Unflatten(nn.Unflatten):
    def forward(self, x):
        parts = _seeds_first(x, len(self.generators), self.seed_axis)
        parts = parts.unflatten(self.dim + (self.dim >= 0), self.unflattened_size)
        return _side_by_side(parts, self.seed_axis)


class _Recurrent(nn.Module):
    """All seeds in each step of an explicit loop over time, in torch's equations."""

    def forward(self, x, state=None):
        if self.proj_size:
            raise _CannotJoinError(f"{self.mode} has options that are not batched")
        n_seeds = len(self.generators)
        if self.batch_first:
            x = x.transpose(0, 1)
        x = _seeds_first(x, n_seeds, -1)  # (S, T, N, C)
        initial = self._initial(x, state)
        finals = []
        for layer in range(self.num_layers):
            outputs = []
            for suffix in ("", "_reverse")[: 1 + self.bidirectional]:
                weights = [
                    self._weight(f"{name}_l{layer}{suffix}")
                    for name in ("weight_ih", "bias_ih", "weight_hh", "bias_hh")
                ]
                start = [part[len(finals)] for part in initial]
                y, final = self._scan(x.flip(1) if suffix else x, *weights, start)
                outputs.append(y.flip(1) if suffix else y)
                finals.append(final)
            x = torch.cat(outputs, dim=3)
            if self.training and 0 < self.dropout < 1 and layer + 1 < self.num_layers:
                kept = torch.empty_like(x)
                for mask, generator in zip(kept, self.generators, strict=True):
                    mask.bernoulli_(1 - self.dropout, generator=generator)
                x = x * kept.div_(1 - self.dropout)
        y = _side_by_side(x, -1)  # (T, N, S·H)
        last = [
            _side_by_side(torch.stack(part, dim=1), -1)  # (layers, N, S·H)
            for part in zip(*finals, strict=True)
        ]
        last = tuple(last) if len(last) == 2 else last[0]
        return (y.transpose(0, 1) if self.batch_first else y), last

    def _weight(self, name):
        """A weight as (S, in, out), a bias as (S, 1, out)."""
        value = getattr(self, name, None)
        if value is None:
            return value
        value = value.unflatten(0, (len(self.generators), -1))
        return value.transpose(1, 2) if value.ndim == 3 else value.unsqueeze(1)

    def _initial(self, x, state):
        """The parts of the state, h or h and c, each (layers, S, N, H)."""
        n_parts = 2 if self.mode == "LSTM" else 1
        if state is None:
            n_layers = self.num_layers * (1 + self.bidirectional)
            zeros = x.new_zeros(n_layers, len(x), x.shape[2], self.hidden_size)
            return [zeros] * n_parts
        parts = state if n_parts == 2 else [state]
        return [_seeds_first(part, len(x), -1).transpose(0, 1) for part in parts]

    def _state_mask(self, x):
        """What multiplies the state wherever it meets ``weight_h``, if anything."""
        return None

    def _scan(self, x, weight_x, bias_x, weight_h, bias_h, state):
        mask = self._state_mask(x)
        if self.bias:
            inputs = torch.baddbmm(bias_x, x.flatten(1, 2), weight_x)
        else:
            inputs = x.flatten(1, 2) @ weight_x
        outputs = []
        for step in inputs.unflatten(1, x.shape[1:3]).unbind(1):
            h = state[0] if mask is None else mask * state[0]
            if self.bias:
                recurrent = torch.baddbmm(bias_h, h, weight_h)
            else:
                recurrent = h @ weight_h
            state = self._cell(step, recurrent, state)
            outputs.append(state[0])
        return torch.stack(outputs, dim=1), state


class _RNN(_Recurrent, nn.RNN):
    def _cell(self, step, recurrent, state):
        function = torch.tanh if self.nonlinearity == "tanh" else torch.relu
        return [function(step + recurrent)]


class _GRU(_Recurrent, nn.GRU):
    def _cell(self, step, recurrent, state):
        size = [2 * self.hidden_size, self.hidden_size]
        step_rz, step_n = step.split(size, dim=2)
        recurrent_rz, recurrent_n = recurrent.split(size, dim=2)
        r, z = torch.sigmoid(step_rz + recurrent_rz).chunk(2, dim=2)
        n = torch.tanh(step_n + r * recurrent_n)
        return [n + z * (state[0] - n)]


class _LSTM(_Recurrent, nn.LSTM):
    def _cell(self, step, recurrent, state):
        i, f, g, o = (step + recurrent).chunk(4, dim=2)
        c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
        return [torch.sigmoid(o) * torch.tanh(c), c]


class _Variational(_Recurrent):
    def _state_mask(self, x):
        if not self.training or self.p == 0:
            return None
        if self.batch_first:
            x = x.transpose(1, 2)
        draws = zip(x, self.generators, strict=True)
        return torch.stack([self.sample(part, generator) for part, generator in draws])


class _VariationalGRU(_Variational, _GRU, dropnorm.nn.VariationalGRU):
    pass


class _VariationalLSTM(_Variational, _LSTM, dropnorm.nn.VariationalLSTM):
    pass


def _noise(kind):
    """A batched form of a layer that multiplies its input by what `sample` draws."""

    def sample(self, x, generator=None):
        parts = _seeds_first(x, len(self.generators), self.seed_axis)
        draws = zip(parts, self.generators, strict=True)
        masks = torch.stack([kind.sample(self, *draw) for draw in draws])
        return _side_by_side(masks.expand_as(parts), self.seed_axis)

    return type(f"_{kind.__name__}", (kind,), {"sample": sample})


def _in_turn(kind):
    """A batched form of any layer from one tensor to one, without layers inside it.

    Each seed in turn, with its parameters and buffers, and with PyTorch's global
    generator in its state. No faster than separate training, as the layers around
    it are.
    """

    def forward(self, x):
        n_seeds = len(self.generators)
        parameters, buffers = self._parameters, self._buffers
        outside, outputs = torch.get_rng_state(), []
        parts = _seeds_first(x, n_seeds, self.seed_axis)
        try:
            for s, (part, generator) in enumerate(
                zip(parts, self.generators, strict=True)
            ):
                self._parameters = _part_of(parameters, s, n_seeds)
                part_of = _part_of(buffers, s, n_seeds)
                # Copies: autograd may keep them, and the whole is written to below.
                self._buffers = {
                    k: None if v is None else v.clone() for k, v in part_of.items()
                }
                torch.set_rng_state(generator.get_state())
                outputs.append(kind.forward(self, part.contiguous()))
                generator.set_state(torch.get_rng_state())
                for name, value in self._buffers.items():
                    if value is not None and value.ndim:
                        whole = buffers[name].unflatten(0, (n_seeds, -1))
                        whole[s] = value.detach()
            counts = {k: v for k, v in self._buffers.items() if v is not None}
        finally:
            self._parameters, self._buffers = parameters, buffers
            torch.set_rng_state(outside)
        for name, value in counts.items():
            if not value.ndim:  # the same for all seeds
                buffers[name].copy_(value)
        return _side_by_side(torch.stack(outputs), self.seed_axis)

    return type(f"_{kind.__name__}", (kind,), {"forward": forward})


def _part_of(tensors, s, n_seeds):
    """Those of seed s: views, and copies of what has no dimension."""
    return {
        name: value
        if value is None
        else value.unflatten(0, (n_seeds, -1))[s]
        if value.ndim
        else value.clone()
        for name, value in tensors.items()
    }


def _by_channel(kind, *counts):
    """As it is, once what it has of these is counted for all seeds."""
    return type(f"_{kind.__name__}", (kind,), {"counts": counts})


# To batch another type of layer, add a subclass whose forward takes (N, S·C, ...),
# reads the joined parameters (dimension 0 is S times as long) and draws for seed s
# from self.generators[s]. Or, where that gains nothing, _in_turn(type).
_BATCHED = {
    nn.Linear: _Linear,
    nn.Embedding: _Embedding,
    nn.Conv1d: _by_channel(nn.Conv1d, "groups"),
    nn.Conv2d: _by_channel(nn.Conv2d, "groups"),
    nn.BatchNorm1d: _BatchNorm1d,
    nn.BatchNorm2d: _by_channel(nn.BatchNorm2d),
    nn.GroupNorm: _by_channel(nn.GroupNorm, "num_groups"),
    nn.InstanceNorm1d: _by_channel(nn.InstanceNorm1d, "num_features"),
    nn.InstanceNorm2d: _by_channel(nn.InstanceNorm2d, "num_features"),
    nn.LayerNorm: _LayerNorm,
    nn.PReLU: _PReLU,
    nn.Flatten: _Flatten,
    nn.Unflatten: _Unflatten,
    nn.RNN: _RNN,
    nn.GRU: _GRU,
    nn.LSTM: _LSTM,
    nn.Dropout: _Dropout,
    nn.Dropout1d: type("_Dropout1d", (_ChannelDropout, nn.Dropout1d), {}),
    nn.Dropout2d: type("_Dropout2d", (_ChannelDropout, nn.Dropout2d), {}),
    nn.AlphaDropout: _in_turn(nn.AlphaDropout),
    nn.FeatureAlphaDropout: _in_turn(nn.FeatureAlphaDropout),
    nn.RReLU: _in_turn(nn.RReLU),
    dropnorm.nn.BatchRenorm1d: _in_turn(dropnorm.nn.BatchRenorm1d),
    dropnorm.nn.BatchRenorm2d: _in_turn(dropnorm.nn.BatchRenorm2d),
    dropnorm.nn.DropBlock2d: _noise(dropnorm.nn.DropBlock2d),
    dropnorm.nn.DropConnectLinear: _in_turn(dropnorm.nn.DropConnectLinear),
    dropnorm.nn.GaussianDropout: _noise(dropnorm.nn.GaussianDropout),
    dropnorm.nn.GhostBatchNorm1d: _in_turn(dropnorm.nn.GhostBatchNorm1d),
    dropnorm.nn.GhostBatchNorm2d: _in_turn(dropnorm.nn.GhostBatchNorm2d),
    dropnorm.nn.OriginalDropout: _noise(dropnorm.nn.OriginalDropout),
    dropnorm.nn.StochasticDepth: _noise(dropnorm.nn.StochasticDepth),
    dropnorm.nn.VariationalDropout: _noise(dropnorm.nn.VariationalDropout),
    dropnorm.nn.VariationalGRU: _VariationalGRU,
    dropnorm.nn.VariationalLSTM: _VariationalLSTM,
}


def _join(models, states, seed_axis):
    """One network that does for all seeds what each of ``models`` does for one.

    A deep copy of the first model, with each parameter and buffer replaced by that
    of all models and each layer's class by its batched form. So modules used twice,
    tied parameters and a custom ``forward`` keep their meaning.
    """
    joined = {}
    for layers in zip(*(model.modules() for model in models), strict=True):
        first = layers[0]
        kind = type(first).__name__
        names = [*first._parameters, *first._buffers]
        tensors = {name: [getattr(layer, name) for layer in layers] for name in names}
        tensors = {k: v for k, v in tensors.items() if v[0] is not None}
        if tensors and type(first) not in _BATCHED:
            raise _CannotJoinError(f"{kind} has parameters or buffers of its own")
        if first._forward_hooks or first._forward_pre_hooks or first._backward_hooks:
            raise _CannotJoinError(f"{kind} has hooks")
        for values in tensors.values():
            # A count of batches (0-d) is the same for all seeds.
            whole = torch.cat(values) if values[0].ndim else values[0].clone()
            if isinstance(values[0], nn.Parameter):
                whole = nn.Parameter(whole.detach(), values[0].requires_grad)
            joined[id(values[0])] = whole
    network = copy.deepcopy(models[0], joined)  # takes `joined` for copies made
    network.seed_axis = seed_axis
    generators = [torch.Generator().set_state(state) for state in states]
    for layer in network.modules():
        if type(layer) in _BATCHED:
            layer.__class__ = _BATCHED[type(layer)]
            layer.generators, layer.seed_axis = generators, seed_axis
            for name in getattr(layer, "counts", ()):
                setattr(layer, name, getattr(layer, name) * len(states))
    return network


def _verify(trial, models, states, split, recipe, seeds):
    """Compute the first batch both ways; uses up ``trial`` and ``models``.

    Raises _CannotJoinError if anything differs.
    """
    kind = type(models[0]).__name__
    x, y = split.part("train")
    orders = [_batch_order(seed).permutation(len(y)) for seed in seeds]
    rows = torch.from_numpy(np.stack(orders, axis=1))[: recipe._batch_size(1)]
    x, y = _take(x, rows), _take(y, rows)
    alone = x.unbind(1), y.unbind(1)
    loss = _LOSSES[recipe.loss]
    before_step = recipe.before_step or (lambda step, network: None)

    undrawn = _random_states()
    before_step(0, trial.train())
    losses = loss.of_each(_outputs(trial, x), y)
    losses.sum().backward()
    if _random_states() != undrawn:
        raise _CannotJoinError(f"{kind} draws random numbers in a way of its own")
    losses_alone = []
    for model, state, *batch in zip(models, states, *alone, strict=True):
        torch.set_rng_state(state)
        before_step(0, model.train())
        losses_alone.append(loss.of_one(model(batch[0]), batch[1]))
        losses_alone[-1].backward()
    used, *used_alone = (
        [p for p in model.parameters() if p.grad is not None]
        for model in (trial, *models)
    )
    grads = [torch.cat([p.grad for p in ps]) for ps in zip(*used_alone, strict=True)]
    if not _close(
        [losses, *(p.grad for p in used)], [torch.stack(losses_alone), *grads]
    ):
        raise _CannotJoinError(f"{kind} then computes other losses or gradients")

    for parameter, grad in zip(used, grads, strict=True):
        parameter.grad = grad  # equal for all: noise in them is not the optimizer's
    _build_optimizer(recipe, trial, fused=True).step()
    for model in models:
        optimizer = _build_optimizer(recipe, model)
        optimizer.step()
    stepped = [torch.cat(parameters) for parameters in zip(*used_alone, strict=True)]
    if not all(_close([a], [b]) for a, b in zip(used, stepped, strict=True)):
        raise _CannotJoinError(f"{type(optimizer).__name__} then steps differently")

    # Buffers need no look of their own: evaluation uses them.
    with torch.no_grad():
        undrawn = _random_states()
        outputs = _outputs(trial.eval(), x)
        drawn = _random_states() != undrawn
        outputs_alone = [
            model.eval()(x) for model, x in zip(models, alone[0], strict=True)
        ]
    if drawn or not _close([outputs], [torch.stack(outputs_alone, dim=1)]):
        raise _CannotJoinError(f"{kind} then computes other outputs in evaluation mode")


def _close(values, references):
    """Equal up to rounding, measured by the largest entry of all."""
    largest = max(reference.abs().max().item() for reference in references)
    tolerance = torch.finfo(torch.get_default_dtype()).eps ** 0.7 * largest
    return all(
        torch.allclose(a, b, rtol=0, atol=tolerance, equal_nan=True)
        for a, b in zip(values, references, strict=True)
    )


# Scores ----------------------------------------------------------------------------


class _Split(NamedTuple):
    """Of all S seeds: inputs (n, S, C, ...), labels (n, S) or targets (n, S, K)."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_val: np.ndarray
    y_val: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray

    def part(self, name):
        x, y = getattr(self, f"x_{name}"), getattr(self, f"y_{name}")
        return torch.from_numpy(x), torch.from_numpy(y)

    def seed(self, s):
        return _Split(*(array[:, s] for array in self))


def _stack(splits, seeds, loss):
    """Check the splits of all seeds, and put them into one `_Split`."""
    default = torch.empty(0).numpy().dtype
    dtypes = {"x": default, "y": np.int64 if loss == "cross_entropy" else default}
    stacked = {}
    for name in _Split._fields:
        arrays = [np.asarray(getattr(split, name)) for split in splits]
        for seed, array in zip(seeds, arrays, strict=True):
            if array.shape != arrays[0].shape:
                raise ValueError(
                    f"all seeds need equal shapes, but {name} has {arrays[0].shape} "
                    f"for seed {seeds[0]} and {array.shape} for seed {seed}"
                )
        first = arrays[0]
        if name[0] == "x" and first.ndim < 2:
            raise ValueError(f"{name} must be of shape (N, C, ...), got {first.shape}")
        if name[0] == "y":
            n, regression = len(stacked["x" + name[1:]]), loss == "mse"
            if first.shape[:1] != (n,) or first.ndim > 1 + regression:
                shapes = f"({n},) or ({n}, K)" if regression else f"({n},)"
                raise ValueError(f"{name} must be of shape {shapes}, got {first.shape}")
            if regression and first.dtype.kind not in "iuf":
                raise ValueError(f"{name} must hold numbers, got {first.dtype}")
            if not regression and (
                first.dtype.kind not in "iu" or (first.size and first.min() < 0)
            ):
                raise ValueError(f"{name} must hold integers from 0, got {first.dtype}")
            if regression and first.ndim == 1:
                arrays = [array[:, np.newaxis] for array in arrays]
        if not len(first) and not name.endswith("val"):
            raise ValueError(f"{name} must have at least one row")
        stacked[name] = np.stack(arrays, axis=1).astype(dtypes[name[0]])
    return _Split(**stacked)


class _Log:
    """Collects what `Runs` holds, for a network of one or several seeds."""

    def __init__(self, recipe, split):
        self.recipe, self.split = recipe, split
        self.history = defaultdict(list)
        self.loss, self.examples, self.steps = 0.0, 0, 0

    def add(self, losses, examples):
        self.loss = self.loss + losses.detach() * examples
        self.examples += examples
        self.steps += 1

    def end_epoch(self, epoch, network):
        every = self.recipe.eval_every
        if epoch < self.recipe.epochs and not (every and epoch % every == 0):
            return
        self.history["epoch"].append(epoch)
        self.history["batch_loss"].append((self.loss / self.examples).reshape(-1))
        self.loss, self.examples = 0.0, 0
        for part in ("train", "val"):
            x, y = self.split.part(part)
            if len(y):
                for score, values in self._scores(network, x, y).items():
                    self.history[f"{part}_{score}"].append(values)

    def _scores(self, network, x, y, final=False):
        outputs = _evaluate(network, x)
        return _LOSSES[self.recipe.loss].scores(outputs, y, final)

    def runs(self, name, seeds, network, factory):
        x, y = self.split.part("test")
        scores = self._scores(network, x, y, final=True)
        test = {f"test_{score}": values for score, values in scores.items()}
        states = {
            key: value.unflatten(0, (len(seeds), -1)).numpy()
            if value.ndim
            else np.repeat(value.numpy(), len(seeds))
            for key, value in network.state_dict().items()
        }
        history = {key: np.array(values) for key, values in self.history.items()}
        dtype = torch.get_default_dtype()
        return Runs(name, seeds, history, "", test, states, dtype, factory)


@torch.no_grad()
def _evaluate(network, x):
    """Outputs (n, S, K) in evaluation mode for inputs (n, S, C, ...)."""
    network.eval()
    pieces = x.tensor_split(-(-len(x) // 128))
    return torch.cat([_outputs(network, piece) for piece in pieces])


def _cross_entropies(logits, y):
    return F.cross_entropy(logits.movedim(1, 2), y, reduction="none").mean(0)


def _classification_scores(logits, y, final):
    log_p = logits.log_softmax(2)
    nll = -log_p.gather(2, y.unsqueeze(2)).squeeze(2).mean(0)
    error = 100 * (log_p.argmax(2) != y).to(log_p.dtype).mean(0)
    scores = {"nll": nll.numpy(), "error": error.numpy()}
    if final:
        pairs = zip(log_p.exp().unbind(1), y.unbind(1), strict=True)
        scores["ece"] = np.array(
            [expected_calibration_error(p.numpy(), y.numpy()) for p, y in pairs]
        )
    return scores


def _squared_errors(outputs, targets):
    if outputs.shape != targets.shape:  # would broadcast
        raise ValueError(
            f"the network must map to (N, K) with K = {targets.shape[-1]} as the "
            f"targets have, but a batch of {len(targets)} became {(*outputs.shape,)}"
        )
    return (outputs - targets).square().mean((0, -1))


def _regression_scores(outputs, targets, final):
    return {"mse": _squared_errors(outputs, targets).numpy()}


class _Loss(NamedTuple):
    of_one: Callable  # the mean over a batch: outputs (N, K) to a number
    of_each: Callable  # the same for each seed: (N, S, K) to (S,)
    scores: Callable  # name -> (S,); after the last step, some more


_LOSSES = {
    "cross_entropy": _Loss(F.cross_entropy, _cross_entropies, _classification_scores),
    "mse": _Loss(_squared_errors, _squared_errors, _regression_scores),
}


def expected_calibration_error(probabilities, labels, bins=15):
    """How far confidence is from accuracy, on average, in per cent.

    ECE = Σ_b n_b/n · |accuracy_b − confidence_b| over bins b of equal width of the
    top probability; bin b holds confidences in (b/bins, (b+1)/bins].

    Parameters
    ----------
    probabilities : ndarray of shape (N, K)
    labels : ndarray of int of shape (N,)
    bins : int

    Returns
    -------
    float

    References
    ----------
    Guo, Pleiss, Sun and Weinberger (2017), On calibration of modern neural networks,
    equations 2, 3 and 5.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bin_of = np.digitize(confidence, np.arange(1, bins) / bins, right=True)
    # n_b · (accuracy_b − confidence_b) is the sum over the bin of correct − confidence
    gaps = np.bincount(bin_of, weights=correct - confidence, minlength=bins)
    return float(100 * np.abs(gaps).sum() / len(labels))


def _merge(name, runs, looped):
    """One `Runs` of all seeds from one of each seed."""

    def along(axis, dicts):
        names = dicts[0]
        return {n: np.concatenate([d[n] for d in dicts], axis=axis) for n in names}

    history = along(-1, [run.history for run in runs])
    return replace(
        runs[0],
        name=name,
        looped=looped,
        seeds=tuple(seed for run in runs for seed in run.seeds),
        history={**history, "epoch": runs[0].history["epoch"]},
        _test=along(0, [run._test for run in runs]),
        _states=along(0, [run._states for run in runs]),
        _factory=None,
    )


# Comparing -------------------------------------------------------------------------


@dataclass(frozen=True, repr=False, eq=False)
class Comparison:
    """Paired differences, treatment − control, one for each seed.

    Attributes
    ----------
    metric, treatment, control : str
        What was compared.
    treatment_values, control_values, differences : ndarray of shape (n,)
    mean, low, high : float
        The mean difference and its 99 % interval (Student's t on the differences).
    p_value : float
        Two-sided, of a mean difference of zero.
    verdict : str
        "lower" or "higher" exactly when the interval excludes zero, else
        "no clear difference".
    agreeing, n : int
        Seeds whose difference has the sign of the mean, and all seeds.
    """

    metric: str
    treatment: str
    control: str
    treatment_values: np.ndarray
    control_values: np.ndarray
    differences: np.ndarray
    mean: float
    low: float
    high: float
    p_value: float
    verdict: str
    agreeing: int
    n: int

    @property
    def label(self):
        """The metric in words, with its unit, as for an axis."""
        words = self.metric.replace("_", " ")
        for acronym in ("nll", "ece", "mse"):
            words = words.replace(acronym, acronym.upper())
        unit = _UNITS.get(self.metric)
        return f"{words} [{unit}]" if unit else words

    def __repr__(self):
        unit = _UNITS.get(self.metric)
        digits = {"%": ".2f", "nats": ".4f", None: ".3g"}[unit]
        # Adding 0.0 turns the -0.0 that rounding leaves into 0.0.
        mean, low, high = (
            format(float(format(value, digits)) + 0.0, digits)
            for value in (self.mean, self.low, self.high)
        )
        direction = {-1: "lower", 0: "equal", 1: "higher"}[int(np.sign(self.mean))]
        return (
            f"{self.label}, {self.treatment} - {self.control}: "
            f"{direction} in {self.agreeing} of {self.n} seeds\n"
            f"    {mean}, 99 % interval [{low}, {high}]: {self.verdict}"
        )


def compare(treatment, control, metric="difference", names=("treatment", "control")):
    """Compare two arms seed by seed.

    Parameters
    ----------
    treatment, control : Runs, or array_like of shape (n,)
        Of the same seeds, at least 8, in the same order.
    metric : str
        Of `Runs`: test_error, test_nll, test_ece, test_mse, and all but the third with
        train or val for test. Of arrays: any text that says what they hold.
    names : pair of str
        What to call two arrays; `Runs` have names.

    Returns
    -------
    Comparison
        Printed, it is two lines of text.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or a value is not finite.
    """
    if isinstance(treatment, Runs) != isinstance(control, Runs):
        raise TypeError("compare takes two Runs or two arrays, not one of each")
    seeds = range(np.size(treatment))
    if isinstance(treatment, Runs):
        if metric not in _UNITS:
            raise ValueError(f"metric must be one of {list(_UNITS)}, got {metric!r}")
        if treatment.seeds != control.seeds:
            raise ValueError(
                "both arms need the same seeds in the same order, "
                f"got {treatment.seeds} and {control.seeds}"
            )
        seeds, names = treatment.seeds, (treatment.name, control.name)
        treatment, control = getattr(treatment, metric), getattr(control, metric)
    treatment, control = np.asarray(treatment, float), np.asarray(control, float)
    if treatment.ndim != 1 or treatment.shape != control.shape:
        raise ValueError(
            "the arrays must have equal shapes (n,), one value for each seed, "
            f"got {treatment.shape} and {control.shape}"
        )
    n = len(treatment)
    if n < 8:
        raise ValueError(f"a comparison needs at least 8 seeds, got {n}")
    for name, values in zip(names, (treatment, control), strict=True):
        for seed, value in zip(seeds, values, strict=True):
            if not np.isfinite(value):
                raise ValueError(f"{metric} of {name!r} is {value} for seed {seed}")

    differences = treatment - control
    mean = differences.mean()
    # mean ± t · s/√n, with t the 99.5 % point of Student's t of n − 1 degrees
    standard_error = differences.std(ddof=1) / np.sqrt(n)
    half_width = stdtrit(n - 1, 0.995) * standard_error
    low, high = mean - half_width, mean + half_width
    if standard_error > 0:
        p_value = 2 * stdtr(n - 1, -abs(mean) / standard_error)
    else:
        p_value = 1.0 if mean == 0 else 0.0
    verdict = "lower" if high < 0 else "higher" if low > 0 else "no clear difference"
    agreeing = int((np.sign(differences) == np.sign(mean)).sum())
    return Comparison(
        metric,
        *names,
        treatment,
        control,
        differences,
        *(float(number) for number in (mean, low, high, p_value)),
        verdict,
        agreeing,
        n,
    )


# Small helpers ---------------------------------------------------------------------


@contextmanager
def _isolated(dtype):
    """One thread and this default dtype; afterwards everything is as it was."""
    before = random.getstate(), np.random.get_state()
    threads, default = torch.get_num_threads(), torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]):
        torch.set_num_threads(1)
        torch.set_default_dtype(dtype)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.set_default_dtype(default)
            random.setstate(before[0])
            np.random.set_state(before[1])


def _random_states():
    """Of the generators that a network might draw from; compare with ==."""
    return (
        torch.get_rng_state().tolist(),
        random.getstate(),
        np.random.get_state(legacy=False)["state"]["pos"],
        np.random.get_state(legacy=False)["state"]["key"].tolist(),
    )


def _set_seed(seed):
    """PyTorch's generator, and the others that a factory might draw from."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


def _check_integer(name, value, at_least):
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < at_least:
        raise ValueError(f"{name} must be at least {at_least}, got {value}")


def _jobs():
    value = os.environ.get("DROPNORM_JOBS") or str(joblib.cpu_count())
    if not value.isdecimal() or int(value) < 1:
        raise ValueError(f"DROPNORM_JOBS must be a positive integer, got {value!r}")
    return int(value)
