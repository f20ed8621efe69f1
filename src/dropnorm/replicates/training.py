"""Train arms: all seeds at once, or in turn, with equal results."""

import os
import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import joblib
import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from tqdm import tqdm

from dropnorm.layers.base import check_integer
from dropnorm.replicates.joint import CannotJoinError, join, side_by_side
from dropnorm.replicates.losses import LOSSES
from dropnorm.replicates.runs import Runs, isolated, set_seed


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
        ``network.modules()``. The network may be that of all seeds at once (see
        `dropnorm.replicates`), so leave alone what differs between seeds. What the
        first call does is verified, what later ones do is not.

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
        check_integer("epochs", self.epochs, at_least=1)
        if not callable(self.batch_size):
            check_integer("batch_size", self.batch_size, at_least=1)
        if self.eval_every is not None:
            check_integer("eval_every", self.eval_every, at_least=0)
        if not callable(self.optimizer):
            raise TypeError(
                "optimizer must be a function of a list of parameters, "
                f"got {type(self.optimizer).__name__}"
            )
        if self.loss not in LOSSES:
            raise ValueError(f"loss must be one of {[*LOSSES]}, got {self.loss!r}")
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
        check_integer(f"batch_size of epoch {epoch}", size, at_least=1)
        return int(size)


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
        check_integer("each of the seeds", seed, at_least=0)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be different and at least one, got {seeds}")
    jobs = min(_jobs(), len(arms))

    dtype = torch.get_default_dtype()
    with isolated(dtype):
        split = _stack([data(seed) for seed in seeds], seeds, recipe.loss)
    # Some backends, as Ray's, hand over all results at the end only.
    backend, _ = joblib.parallel.get_active_backend()
    as_done = "generator" if backend.supports_return_generator else "list"
    # "c": workers share large arrays instead of receiving copies.
    parallel = joblib.Parallel(jobs, mmap_mode="c", return_as=as_done)
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
    with isolated(torch.get_default_dtype()):
        set_seed(seed)
        model = factory()
        optimizer = _build_optimizer(recipe, model)
        schedule = _build_schedule(recipe, optimizer)
        loss_of_one = LOSSES[recipe.loss].of_one
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
    loss_of_each = LOSSES[recipe.loss].of_each
    orders = [_batch_order(seed) for seed in seeds]
    log = _Log(recipe, split)
    x, y = split.part("train")
    for epoch in range(1, recipe.epochs + 1):
        network.train()
        for batch in _shuffled(len(y), orders).split(recipe._batch_size(epoch)):
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
    with isolated(dtype):
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
                trial = join(models, states, seed_axis)
                _verify(trial, models, states, split, as_built, seeds)
                models, states = _build_models(factory, seeds)
            network = join(models, states, seed_axis)
            trial = join(models, states, seed_axis)
            _verify(trial, models, states, split, recipe, seeds)
        except CannotJoinError as reason:
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
        set_seed(seed)
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


def _shuffled(n, orders):
    """(n, S): the rows of each seed in its next order, counted in (n·S, ...)."""
    rows = np.stack([order.permutation(n) for order in orders], axis=1)
    return torch.from_numpy(rows * len(orders) + np.arange(len(orders)))


def _take(x, rows):
    """What `_shuffled` says of (n, S, C, ...): for rows (N, S), (N, S, C, ...)."""
    return x.flatten(0, 1).index_select(0, rows.flatten()).unflatten(0, rows.shape)


def _outputs(network, x):
    """(N, S, C, ...) to (N, S, K), by the network of S seeds or, if S = 1, of one."""
    joint = side_by_side(x.movedim(1, 0), getattr(network, "seed_axis", 1))
    return network(joint).unflatten(1, (x.shape[1], -1))


# The joint network -----------------------------------------------------------------


def _verify(trial, models, states, split, recipe, seeds):
    """Compute the first batch both ways; uses up ``trial`` and ``models``.

    Raises CannotJoinError if anything differs.
    """
    kind = type(models[0]).__name__
    x, y = split.part("train")
    rows = _shuffled(len(y), [_batch_order(seed) for seed in seeds])
    rows = rows[: recipe._batch_size(1)]
    x, y = _take(x, rows), _take(y, rows)
    alone = x.unbind(1), y.unbind(1)
    loss = LOSSES[recipe.loss]
    before_step = recipe.before_step or (lambda step, network: None)

    undrawn = _random_states()
    before_step(0, trial.train())
    losses = loss.of_each(_outputs(trial, x), y)
    losses.sum().backward()
    if _random_states() != undrawn:
        raise CannotJoinError(f"{kind} draws random numbers in a way of its own")
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
        raise CannotJoinError(f"{kind} then computes other losses or gradients")

    for parameter, grad in zip(used, grads, strict=True):
        parameter.grad = grad  # equal for all: noise in them is not the optimizer's
    _build_optimizer(recipe, trial, fused=True).step()
    for model in models:
        optimizer = _build_optimizer(recipe, model)
        optimizer.step()
    stepped = [torch.cat(parameters) for parameters in zip(*used_alone, strict=True)]
    if not all(_close([a], [b]) for a, b in zip(used, stepped, strict=True)):
        raise CannotJoinError(f"{type(optimizer).__name__} then steps differently")

    # Buffers need no look of their own: evaluation uses them.
    with torch.no_grad():
        undrawn = _random_states()
        outputs = _outputs(trial.eval(), x)
        drawn = _random_states() != undrawn
        outputs_alone = [
            model.eval()(x) for model, x in zip(models, alone[0], strict=True)
        ]
    if drawn or not _close([outputs], [torch.stack(outputs_alone, dim=1)]):
        raise CannotJoinError(f"{kind} then computes other outputs in evaluation mode")


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
    stacked = {}
    for name in _Split._fields:
        arrays = [np.asarray(getattr(split, name)) for split in splits]
        first = arrays[0]
        for seed, array in zip(seeds, arrays, strict=True):
            if array.shape != first.shape:
                raise ValueError(
                    f"all seeds need equal shapes, but {name} has {first.shape} "
                    f"for seed {seeds[0]} and {array.shape} for seed {seed}"
                )
        if name[0] == "x" and first.ndim < 2:
            raise ValueError(f"{name} must be of shape (N, C, ...), got {first.shape}")
        if name[0] == "y":
            n = len(stacked["x" + name[1:]])
            (_check_targets if loss == "mse" else _check_labels)(name, first, n)
        if not len(first) and not name.endswith("val"):
            raise ValueError(f"{name} must have at least one row")
        whole = np.stack(arrays, axis=1)
        if name[0] == "y" and loss == "cross_entropy":
            stacked[name] = whole.astype(np.int64)
        else:
            stacked[name] = whole.astype(torch.empty(0).numpy().dtype)
            if whole.ndim == 2:  # targets (N,) of a network that maps to (N, 1)
                stacked[name] = stacked[name][..., np.newaxis]
    return _Split(**stacked)


def _check_labels(name, labels, n):
    if labels.shape != (n,):
        raise ValueError(f"{name} must be of shape ({n},), got {labels.shape}")
    if labels.dtype.kind not in "iu" or (n and labels.min() < 0):
        raise ValueError(f"{name} must hold integers from 0, got {labels.dtype}")


def _check_targets(name, targets, n):
    if targets.shape[:1] != (n,) or targets.ndim > 2:
        raise ValueError(
            f"{name} must be of shape ({n},) or ({n}, K), got {targets.shape}"
        )
    if targets.dtype.kind not in "iuf":
        raise ValueError(f"{name} must hold numbers, got {targets.dtype}")


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
        return LOSSES[self.recipe.loss].scores(outputs, y, final)

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


# Small helpers ---------------------------------------------------------------------


def _random_states():
    """Of the generators that a network might draw from; compare with ==."""
    return (
        torch.get_rng_state().tolist(),
        random.getstate(),
        np.random.get_state(legacy=False)["state"]["pos"],
        np.random.get_state(legacy=False)["state"]["key"].tolist(),
    )


def _jobs():
    value = os.environ.get("DROPNORM_JOBS") or str(joblib.cpu_count())
    if not value.isdecimal() or int(value) < 1:
        raise ValueError(f"DROPNORM_JOBS must be a positive integer, got {value!r}")
    return int(value)
