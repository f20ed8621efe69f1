"""Trainings: each seed as if alone, errors, processes, and what runs hold."""

import functools
import random
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from alone import (
    LABELS,
    PIXELS,
    SEEDS,
    ConvolvedSequence,
    Residual,
    adam,
    assert_as_alone,
    assert_batched,
    cnn,
    data,
    mlp,
    pixels_from_pixels,
    recipe,
    regressor,
    sgd,
    train,
)
from torch import nn

from dropnorm import replicates
from dropnorm.replicates import Recipe, training

# Each seed as if alone


@pytest.mark.parametrize("optimizer", [sgd, adam])
@pytest.mark.parametrize("depth, p", [(1, 0.0), (2, 0.3), (4, 0.6)])
def test_each_seed_is_trained_as_if_alone(optimizer, depth, p, capsys):
    def factory():
        return mlp(p, depth)

    runs = train(factory, recipe(optimizer))
    assert runs.looped == "" and capsys.readouterr().out == ""
    assert_as_alone(runs, factory, recipe(optimizer))


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda params: torch.optim.SGD(params, 0.1, momentum=0.9, nesterov=True),
        lambda params: torch.optim.AdamW(params, amsgrad=True),
        lambda params: torch.optim.RMSprop(params, 1e-3),
        lambda params: torch.optim.Adagrad(params, 1e-2),
        lambda params: torch.optim.SGD(
            [
                {"params": [p for p in params if p.ndim > 1], "weight_decay": 0.1},
                {"params": [p for p in params if p.ndim == 1], "weight_decay": 0.0},
            ],
            lr=0.1,
        ),
    ],
    ids=["nesterov", "amsgrad", "rmsprop", "adagrad", "groups by ndim"],
)
def test_other_elementwise_optimizers(optimizer):
    runs = train(mlp, recipe(optimizer))
    assert runs.looped == ""
    assert_as_alone(runs, mlp, recipe(optimizer))


def test_biases_that_batch_norm_cancels_are_exact_with_sgd():
    def factory():
        return mlp(bias=True)

    runs = train(factory, recipe(sgd))
    assert runs.looped == ""
    assert_as_alone(runs, factory, recipe(sgd))


def test_float32_is_batched_too():
    torch.set_default_dtype(torch.float32)
    runs = train(mlp, recipe())
    assert runs.looped == ""
    assert runs.model(0)[2].weight.dtype == torch.float32
    one = replicates.train_one(mlp, data(0), recipe(), 0)
    np.testing.assert_allclose(runs.test_nll[1], one.test_nll[0], rtol=1e-3)


def test_train_one_is_the_specification():
    runs = replicates.train_one(mlp, data(5), recipe(adam), 5)
    assert runs.seeds == (5,)
    assert_as_alone(runs, mlp, recipe(adam), tolerance=0)


class Wrong(nn.Module):
    """Right for one seed; each kind goes wrong in its own way for several."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.first, self.dropout = nn.Linear(64, 12), nn.Dropout(0.3)
        self.norm, self.head = nn.BatchNorm1d(12), nn.Linear(12, 10)
        if kind == "own parameter":
            self.scale = nn.Parameter(torch.rand(12))
        if kind == "hook":
            self.first.register_forward_hook(lambda module, args, y: 2 * y)
        if kind == "parametrized":
            nn.utils.parametrizations.weight_norm(self.first)
        if kind == "p by seed":
            self.dropout.p = torch.rand(()).item()
        if kind == "subclass":
            self.norm = type("OwnNorm", (nn.BatchNorm1d,), {})(12)
        if kind == "embedding":
            self.unused = nn.Embedding(17, 12, padding_idx=0)
        if kind == "projection":
            self.unused = nn.LSTM(12, 5, proj_size=3, batch_first=True)

    def forward(self, x):
        x = self.norm(F.relu(self.first(x)))
        if self.kind == "mean":
            x = x / x.abs().mean()
        if self.kind == "a little of the mean":
            x = x + 1e-6 * x.mean()
        if self.kind == "softmax":
            x = x.softmax(1)
        if self.kind == "own masks":
            x = F.dropout(x, 0.3, self.training)
        if self.kind == "rare masks" and self.training and torch.rand(()) < 1e-9:
            x = x * 0
        if self.kind == "rare NumPy" and self.training and np.random.rand() < 1e-9:
            x = x * 0
        if self.kind == "rare random" and self.training and random.random() < 1e-9:
            x = x * 0
        if self.kind == "evaluation draws" and not self.training:
            x = x * (np.random.rand() > 1e-9)
        if self.kind == "embedding":
            x = x + self.unused((x > 0).long()).mean(1)
        if self.kind == "projection":
            x = x + self.unused(x.unsqueeze(1))[0].mean()
        if self.kind == "own parameter":
            x = x * self.scale
        if self.kind == "numpy of the shape":
            x = x * torch.ones(12)
        if self.kind == "evaluation" and not self.training:
            x = x - x.mean()
        if self.kind == "detached" and x.shape[1] != 12:
            x = x.detach()
        return self.head(self.dropout(x))


@pytest.mark.parametrize(
    "kind, reason",
    [
        ("mean", "Wrong then computes other losses or gradients"),
        ("a little of the mean", "Wrong then computes other losses or gradients"),
        ("softmax", "Wrong then computes other losses or gradients"),
        ("own masks", "Wrong draws random numbers in a way of its own"),
        ("rare masks", "Wrong draws random numbers in a way of its own"),
        ("rare NumPy", "Wrong draws random numbers in a way of its own"),
        ("rare random", "Wrong draws random numbers in a way of its own"),
        ("evaluation draws", "Wrong then computes other outputs in evaluation mode"),
        ("embedding", "Embedding has options that are not batched"),
        ("projection", "LSTM has options that are not batched"),
        ("p by seed", "Wrong then computes other losses or gradients"),
        ("detached", "Wrong raises RuntimeError when the seeds are side by side"),
        ("numpy of the shape", "Wrong raises RuntimeError when the seeds are side"),
        ("evaluation", "Wrong then computes other outputs in evaluation mode"),
        ("own parameter", "Wrong has parameters or buffers of its own"),
        ("subclass", "OwnNorm has parameters or buffers of its own"),
        ("hook", "Linear has hooks"),
        ("parametrized", "has parameters or buffers of its own"),
    ],
)
def test_what_does_not_batch_loops_and_says_so(kind, reason, capsys):
    def factory():
        return Wrong(kind)

    runs = train(factory, recipe())
    assert reason in runs.looped
    assert (
        capsys.readouterr().out == f"arm: one seed after another, since {runs.looped}\n"
    )
    assert_as_alone(runs, factory, recipe())


class Centered(nn.Sequential):
    def forward(self, x):
        return super().forward(x - x.mean())


def test_the_reason_is_that_of_the_ordinary_layout():
    images = functools.partial(data, shape=(1, 8, 8))
    runs = train(lambda: Centered(*cnn()), recipe(), data=images)
    assert runs.looped == "Centered then computes other losses or gradients"


class Coupled(torch.optim.SGD):
    """Scales each step by the tensor's norm, as LARS does."""

    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                p.grad *= p.norm() / p.grad.norm().clamp(min=1e-9)
        super().step()


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda params: Coupled(params, lr=0.1),
        lambda params: torch.optim.Adafactor(params, lr=0.1),
    ],
)
def test_optimizers_that_couple_numbers_loop(optimizer, capsys):
    def factory():
        return mlp(bias=True)

    runs = train(factory, recipe(optimizer))
    assert "then steps differently" in capsys.readouterr().out
    assert_as_alone(runs, factory, recipe(optimizer))


def test_verification_draws_nothing(monkeypatch):
    with_it = train(mlp, recipe())
    monkeypatch.setattr(training, "_verify", lambda *args: None)
    without = train(mlp, recipe())
    assert (with_it.test_nll == without.test_nll).all()


# Regression


@pytest.mark.parametrize("columns, k", [(slice(60, 63), 3), (60, 1)])
def test_regression_is_trained_as_if_alone(columns, k, capsys):
    def factory():
        return regressor(k)

    rows = functools.partial(pixels_from_pixels, columns=columns)
    runs = train(factory, recipe(loss="mse"), data=rows)
    assert runs.looped == "" and capsys.readouterr().out == ""
    assert_as_alone(runs, factory, recipe(loss="mse"), data=rows)
    assert set(runs.history) == {"epoch", "batch_loss", "train_mse", "val_mse"}
    one = replicates.train_one(factory, rows(5), recipe(loss="mse"), 5)
    assert_as_alone(one, factory, recipe(loss="mse"), tolerance=1e-14, data=rows)


def test_regression_that_loops():
    def factory():
        return Centered(*regressor())

    runs = train(factory, recipe(loss="mse"), data=pixels_from_pixels)
    assert runs.looped.startswith("Centered then computes other")
    assert_as_alone(runs, factory, recipe(loss="mse"), data=pixels_from_pixels)


def test_metrics_of_the_other_loss_are_refused():
    runs = train(regressor, recipe(loss="mse"), data=pixels_from_pixels)
    for metric in ("test_error", "val_nll", "test_ece", "train_error"):
        message = f"no {metric}: .* loss gives train_mse, val_mse, test_mse$"
        with pytest.raises(ValueError, match=message):
            getattr(runs, metric)
    with pytest.raises(ValueError, match="no test_mse: .* gives train_nll, .*test_ece"):
        _ = train(mlp, recipe()).test_mse


@pytest.mark.parametrize("shape", [(-1,), (-1, 3, 1)])
def test_outputs_of_another_shape_are_refused(shape):
    # They would broadcast against the targets: (N,) against (N, 1) to (N, N).
    def factory():
        return nn.Sequential(regressor(1), Reshape(shape))

    rows = functools.partial(pixels_from_pixels, columns=60)
    with pytest.raises(ValueError, match=r"map to \(N, K\) with K = 1 .* of 16 became"):
        train(factory, recipe(loss="mse"), data=rows)


class Reshape(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape

    def forward(self, x):
        return x.repeat(1, 3).reshape(self.shape) if len(self.shape) > 1 else x[:, 0]


@pytest.mark.parametrize(
    "targets, message",
    [
        (PIXELS[:3], r"y_train must be of shape \(101,\) or \(101, K\), got \(3, 64\)"),
        (PIXELS[:101, None], r"or \(101, K\), got \(101, 1, 64\)"),
        (LABELS[:101] > 3, "y_train must hold numbers, got bool"),
    ],
)
def test_targets_refused(targets, message):
    with pytest.raises(ValueError, match=message):
        train(regressor, recipe(loss="mse"), data=changed(y_train=targets))


def test_no_validation_rows_in_regression():
    def rows(seed):
        split = data(seed, n_val=0)
        for part in ("train", "val", "test"):
            setattr(split, f"y_{part}", getattr(split, f"x_{part}")[:, 0])
        return split

    runs = train(lambda: nn.Linear(64, 1), recipe(loss="mse"), data=rows)
    with pytest.raises(ValueError, match="no val_mse: the validation part had no"):
        _ = runs.val_mse


# Schedules, changing layers, growing batches


@pytest.mark.parametrize("optimizer", [sgd, adam])
@pytest.mark.parametrize(
    "schedule",
    [
        lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 21),
        lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=0.02, total_steps=21
        ),
        lambda optimizer: torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min(1, step / 10)
        ),
    ],
    ids=["cosine", "one cycle", "warm-up from 0"],
)
def test_schedules_step_after_each_step(optimizer, schedule):
    with_schedule = recipe(optimizer, schedule=schedule)
    runs = train(mlp, with_schedule)
    assert runs.looped == ""
    assert_as_alone(runs, mlp, with_schedule)
    assert (runs.test_nll != train(mlp, recipe(optimizer)).test_nll).all()
    one = replicates.train_one(mlp, data(5), with_schedule, 5)
    assert_as_alone(one, mlp, with_schedule, tolerance=0)


def test_a_warm_up_does_not_hide_that_an_optimizer_couples_numbers():
    def factory():
        return mlp(bias=True)

    warm_up = recipe(
        lambda params: Coupled(params, lr=0.1),
        schedule=lambda optimizer: torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: step / 100
        ),
    )
    runs = train(factory, warm_up)
    assert "then steps differently" in runs.looped
    assert_as_alone(runs, factory, warm_up)


def early_dropout(step, network):
    for layer in network.modules():
        if isinstance(layer, nn.Dropout):
            assert layer.training
            layer.p = 0.3 if step < 9 else 0.0


def late_dropout(step, network):
    for layer in network.modules():
        if isinstance(layer, (nn.Dropout, nn.Dropout2d)):
            layer.p = 0.0 if step < 9 else 0.3


@pytest.mark.parametrize("optimizer", [sgd, adam])
@pytest.mark.parametrize("before_step", [early_dropout, late_dropout])
def test_layers_may_be_changed_before_a_step(optimizer, before_step, capsys):
    def factory():
        return mlp(0.5)

    changing = recipe(optimizer, before_step=before_step)
    runs = train(factory, changing)
    assert runs.looped == "" and capsys.readouterr().out == ""
    assert_as_alone(runs, factory, changing)
    assert (runs.test_nll != train(factory, recipe(optimizer)).test_nll).all()
    one = replicates.train_one(factory, data(5), changing, 5)
    assert_as_alone(one, factory, changing, tolerance=0)
    if optimizer is sgd:  # Adam's noise would show in the convolutions' biases
        assert_batched(cnn, changing, shape=(1, 8, 8))


def test_steps_are_counted_from_zero():
    steps = []
    counting = recipe(before_step=lambda step, network: steps.append(step))
    replicates.train_one(mlp, data(0), counting, 0)
    assert steps == list(range(21))
    steps.clear()
    assert train(mlp, counting).looped == ""
    assert steps[-21:] == list(range(21))


def draw(step, network):
    torch.rand(())


def scale_by_all(step, network):
    with torch.no_grad():
        network[2].weight /= network[2].weight.norm()


def absent(step, network):
    for layer in network.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0


@pytest.mark.parametrize(
    "before_step, factory, reason",
    [
        (draw, mlp, "Sequential draws random numbers in a way of its own"),
        (scale_by_all, mlp, "Sequential then computes other losses or gradients"),
        # verified as built too, since a later call may bring its dropout back
        (absent, lambda: ConvolvedSequence(nn.Dropout), "ConvolvedSequence raises"),
    ],
)
def test_changes_that_do_not_batch_loop(before_step, factory, reason):
    rows = data
    if before_step is absent:
        rows = functools.partial(data, shape=(8, 8))
    changing = recipe(before_step=before_step)
    runs = train(factory, changing, data=rows)
    assert runs.looped.startswith(reason)
    assert_as_alone(runs, factory, changing, data=rows)


def test_batches_may_grow():
    growing = recipe(batch_size=lambda epoch: 16 * 2 ** (epoch - 1), epochs=4)
    runs = train(mlp, growing)
    assert runs.looped == ""
    assert_as_alone(runs, mlp, growing)
    one = replicates.train_one(mlp, data(5), growing, 5)
    assert_as_alone(one, mlp, growing, tolerance=0)


# What runs hold


def test_history_and_final_values():
    runs = train(mlp, recipe(epochs=5, eval_every=2))
    assert runs.history["epoch"].tolist() == [2, 4, 5]
    assert set(runs.history) == {
        *("epoch", "batch_loss", "train_nll", "train_error", "val_nll", "val_error")
    }
    for name, values in runs.history.items():
        assert values.shape == ((3,) if name == "epoch" else (3, len(SEEDS)))
    assert (runs.train_nll == runs.history["train_nll"][-1]).all()
    assert (runs.val_error == runs.history["val_error"][-1]).all()
    assert repr(runs) == "<'arm', trained with seeds (3, 0, 11)>"
    for eval_every in (0, None):
        last = train(mlp, recipe(epochs=5, eval_every=eval_every))
        assert last.history["epoch"].tolist() == [5]
        assert (last.test_nll == runs.test_nll).all()


def test_test_part_is_evaluated_once_at_the_end(monkeypatch):
    calls = []
    evaluate = training._evaluate
    monkeypatch.setattr(
        training, "_evaluate", lambda n, x: calls.append(len(x)) or evaluate(n, x)
    )
    train(mlp, recipe(epochs=3, eval_every=1))
    assert calls == [101, 40] * 3 + [60]


def test_no_validation_rows():
    arms = {"arm": mlp}
    runs = replicates.train(arms, lambda seed: data(seed, n_val=0), recipe(), SEEDS)
    assert "val_nll" not in runs["arm"].history
    with pytest.raises(ValueError, match="no val_error: the validation part had no"):
        _ = runs["arm"].val_error


def test_model_is_new_and_in_evaluation_mode():
    runs = train(mlp, recipe())
    model = runs.model(11)
    assert not model.training and runs.model(11) is not model
    nn.init.zeros_(model[2].weight)
    assert (runs.model(11)[2].weight != 0).all()
    torch.set_default_dtype(torch.float32)
    assert runs.model(3)[2].weight.dtype == torch.float64
    assert torch.get_default_dtype() == torch.float32
    with pytest.raises(ValueError, match=r"seed must be one of \(3, 0, 11\), got 4"):
        runs.model(4)


# Processes, and the caller's state


def test_same_results_in_any_number_of_processes(monkeypatch, capsys):
    class Centered(nn.Sequential):
        """Side by side, the seeds share a mean. Workers get it whole, as a notebook's:
        they need not find this file, which IPython's `tests` can hide."""

        def forward(self, x):
            return super().forward(x - x.mean())

    arms = {
        "batched": mlp,
        "looped": lambda: Centered(mlp()),
        "by numpy": lambda: mlp(p=float(np.random.uniform(0.2, 0.2 + 1e-9))),
    }
    results = []
    for jobs in ("1", "2"):
        monkeypatch.setenv("DROPNORM_JOBS", jobs)
        results.append(replicates.train(arms, data, recipe(adam), SEEDS))
    printed = capsys.readouterr()
    assert printed.err == ""
    for arm in arms:
        one, two = (result[arm] for result in results)
        assert one.name == two.name == arm and one.looped == two.looped
        assert (one.test_nll == two.test_nll).all()
        assert (one.test_ece == two.test_ece).all()
        for name, values in one.history.items():
            assert (values == two.history[name]).all()
        for name, value in one.model(0).state_dict().items():
            assert (value == two.model(0).state_dict()[name]).all()
    lines = printed.out.splitlines()
    assert len(lines) == 4 and lines[:2] == lines[2:]


def test_backends_that_return_all_results_at_once():
    """As Ray's and multiprocessing's; with one job nothing is started."""
    alone = replicates.train({"a": mlp}, data, recipe(epochs=1), SEEDS)
    with joblib.parallel_config(backend="multiprocessing"):
        runs = replicates.train({"a": mlp}, data, recipe(epochs=1), SEEDS)
    assert (runs["a"].test_nll == alone["a"].test_nll).all()


def test_workers_take_the_default_dtype_and_large_data(monkeypatch, capsys):
    monkeypatch.setenv("DROPNORM_JOBS", "2")

    def large(seed):  # over 1 MB: shared with the workers by a file
        split = data(seed)
        split.x_train = np.tile(split.x_train, (1, 20))
        split.x_test, split.x_val = np.tile(split.x_test, 20), np.tile(split.x_val, 20)
        return split

    def factory():
        return nn.Sequential(nn.Linear(1280, 4), nn.Dropout(0.1), nn.Linear(4, 10))

    arms = {"a": factory, "b": factory}
    runs = replicates.train(arms, large, recipe(epochs=1), range(3))
    assert runs["a"].model(0)[0].weight.dtype == torch.float64
    assert (runs["a"].test_nll == runs["b"].test_nll).all()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_errors_reach_the_caller(jobs, monkeypatch):
    monkeypatch.setenv("DROPNORM_JOBS", jobs)

    def broken():
        raise ZeroDivisionError("no such width")

    with pytest.raises(ZeroDivisionError, match="no such width"):
        replicates.train({"fine": mlp, "broken": broken}, data, recipe(), SEEDS)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_everything_of_the_callers_is_as_before(jobs, monkeypatch):
    monkeypatch.setenv("DROPNORM_JOBS", jobs)
    torch.set_num_threads(2)
    torch.set_default_dtype(torch.float32)

    def careless(seed):
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        return data(seed)

    before = torch.get_rng_state(), np.random.get_state()[1:3], random.getstate()
    runs = replicates.train({"a": mlp, "b": Residual}, careless, recipe(), SEEDS)
    runs["a"].model(0)
    replicates.train_one(mlp, data(1), recipe(), 1)
    with pytest.raises(ValueError):
        replicates.train({"a": mlp}, careless, recipe(batch_size=50), SEEDS)
    after = torch.get_rng_state(), np.random.get_state()[1:3], random.getstate()
    assert (before[0] == after[0]).all()
    assert before[1][1] == after[1][1] and (before[1][0] == after[1][0]).all()
    assert before[2] == after[2]
    assert torch.get_num_threads() == 2
    assert torch.get_default_dtype() == torch.float32


def test_progress_bar_only_on_a_terminal(monkeypatch, capsys):
    train(mlp, recipe(epochs=1))
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    train(mlp, recipe(epochs=1))
    assert "arms" in capsys.readouterr().err


# Wrong arguments


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"epochs": 0}, ValueError, "epochs must be at least 1, got 0"),
        ({"epochs": 2.0}, TypeError, "epochs must be an integer, got 2.0"),
        ({"batch_size": -3}, ValueError, "batch_size must be at least 1, got -3"),
        ({"batch_size": True}, TypeError, "batch_size must be an integer, got True"),
        ({"eval_every": -1}, ValueError, "eval_every must be at least 0, got -1"),
        ({"optimizer": "adam"}, TypeError, "optimizer must be a function of a list"),
        ({"loss": "l1"}, ValueError, r"one of \['cross_entropy', 'mse'\], got 'l1'"),
        (
            {"schedule": 0.1},
            TypeError,
            "schedule must be a function or None, got float",
        ),
        ({"before_step": 1}, TypeError, "before_step must be a function or None, got"),
    ],
)
def test_recipe_refuses(change, error, message):
    arguments = {"epochs": 1, "batch_size": 16, "optimizer": sgd, **change}
    with pytest.raises(error, match=message):
        Recipe(**arguments)


SHARED = mlp()


def uneven(seed):
    return data(seed, n=100 + seed)


def changed(**changes):
    def split(seed):
        return SimpleNamespace(**{**vars(data(seed)), **changes})

    return split


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"arms": {}}, ValueError, "arms must be a dict with at least one arm"),
        ({"arms": [mlp]}, ValueError, "arms must be a dict with at least one arm"),
        ({"arms": {"a": SHARED}}, TypeError, "arm 'a' must be a function that builds"),
        ({"arms": {"a": lambda: SHARED}}, ValueError, "must build a new module"),
        ({"arms": {"a": lambda: 3}}, TypeError, "must build an nn.Module, got int"),
        ({"data": data(0)}, TypeError, "data must be a function of a seed"),
        ({"recipe": 5}, TypeError, "recipe must be a Recipe, got int"),
        ({"seeds": []}, ValueError, "seeds must be different and at least one"),
        ({"seeds": [1, 2, 1]}, ValueError, r"seeds must be .* got \(1, 2, 1\)"),
        ({"seeds": [1.5]}, TypeError, "each of the seeds must be an integer, got 1.5"),
        ({"seeds": [-1]}, ValueError, "each of the seeds must be at least 0, got -1"),
        (
            {"data": uneven},
            ValueError,
            r"x_train has \(100, 64\) for seed 0 and \(101, 64\) for seed 1",
        ),
        (
            {"data": changed(x_test=PIXELS[:3, 0])},
            ValueError,
            r"x_test must be of shape \(N, C, ...\), got \(3,\)",
        ),
        (
            {"data": changed(y_test=LABELS[:3])},
            ValueError,
            r"y_test must be of shape \(60,\), got \(3,\)",
        ),
        (
            {"data": changed(y_val=LABELS[:40] * 1.0)},
            ValueError,
            "y_val must hold integers from 0, got float64",
        ),
        (
            {"data": changed(y_val=LABELS[:40] - 100)},
            ValueError,
            "y_val must hold integers from 0",
        ),
        (
            {"data": changed(x_test=PIXELS[:0], y_test=LABELS[:0])},
            ValueError,
            "x_test must have at least one row",
        ),
        (
            {"recipe": recipe(torch.optim.LBFGS)},
            ValueError,
            "LBFGS needs a closure",
        ),
        (
            {"recipe": recipe(lambda params: None)},
            TypeError,
            "must return a torch.optim.Optimizer, got NoneType",
        ),
        (
            {"recipe": recipe(schedule=lambda optimizer: None)},
            TypeError,
            "schedule must return a torch.optim.lr_scheduler.LRScheduler, got NoneType",
        ),
        (
            {"recipe": recipe(schedule=torch.optim.lr_scheduler.ReduceLROnPlateau)},
            ValueError,
            "ReduceLROnPlateau needs a metric",
        ),
        (
            {"recipe": recipe(batch_size=lambda epoch: 2.5)},
            TypeError,
            "batch_size of epoch 1 must be an integer, got 2.5",
        ),
        (
            {"recipe": recipe(batch_size=lambda epoch: 18 + 16 * epoch)},
            ValueError,
            "batch norm met .* other than 50, which leaves 1 of 101 training examples",
        ),
        (
            {"recipe": recipe(batch_size=50)},
            ValueError,
            "batch norm met .* other than 50, which leaves 1 of 101 training examples",
        ),
    ],
)
def test_train_refuses(change, error, message):
    arguments = {"arms": {"a": mlp}, "data": data, "recipe": recipe(), "seeds": [0, 1]}
    with pytest.raises(error, match=message):
        replicates.train(**{**arguments, **change})


@pytest.mark.parametrize("jobs", ["0", "-1", "two", "1.5"])
def test_jobs_refused(jobs, monkeypatch):
    monkeypatch.setenv("DROPNORM_JOBS", jobs)
    with pytest.raises(ValueError, match=f"DROPNORM_JOBS must be .*, got '{jobs}'"):
        train(mlp, recipe())
