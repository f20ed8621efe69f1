"""Replicates: each seed as if trained alone, whatever the network; honest verdicts."""

import functools
import random
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.datasets import load_digits
from torch import nn

import dropnorm.nn
from dropnorm import replicates
from dropnorm.replicates import Recipe, compare, expected_calibration_error

PIXELS, LABELS = load_digits(return_X_y=True)
PIXELS = PIXELS / 16
SEEDS = (3, 0, 11)


@pytest.fixture(autouse=True)
def float64_in_one_process(monkeypatch):
    monkeypatch.setenv("DROPNORM_JOBS", "1")
    torch.set_default_dtype(torch.float64)


def data(seed, n=101, n_val=40, shape=(64,)):
    """101 training rows: with batches of 16 or 32 the last one has 5."""
    pixels = PIXELS.reshape(-1, *shape)
    order = np.random.default_rng(seed).permutation(len(LABELS))
    train, val, test, _ = np.split(order, np.cumsum([n, n_val, 60]))
    return SimpleNamespace(
        x_train=pixels[train],
        y_train=LABELS[train],
        x_val=pixels[val],
        y_val=LABELS[val],
        x_test=pixels[test],
        y_test=LABELS[test],
    )


def sgd(params):
    return torch.optim.SGD(params, lr=0.05, momentum=0.9, weight_decay=1e-3)


def adam(params):
    return torch.optim.Adam(params, lr=3e-3)


def recipe(optimizer=sgd, epochs=3, batch_size=16, eval_every=2, **more):
    return Recipe(epochs, batch_size, optimizer, eval_every, **more)


def mlp(p=0.3, depth=2, bias=False, activation=nn.ReLU):
    layers = [nn.Flatten()]
    for n_in in [64, 12, 12, 12][:depth]:
        layers += [nn.Linear(n_in, 12, bias=bias), nn.BatchNorm1d(12), activation()]
        layers += [nn.Dropout(p)]
    return nn.Sequential(nn.Identity(), nn.Sequential(*layers), nn.Linear(12, 10))


def train_plainly(factory, recipe, seed, data=data):
    """The specification, written out without any of the package's code."""
    split = data(seed)
    torch.manual_seed(seed)
    model = factory()
    optimizer = recipe.optimizer(list(model.parameters()))
    schedule = recipe.schedule(optimizer) if recipe.schedule else None
    order = np.random.default_rng([seed, 1])
    x, y = torch.tensor(split.x_train), torch.tensor(split.y_train)
    losses, batch_loss, step = [], [], 0
    for epoch in range(1, recipe.epochs + 1):
        model.train()
        permutation = order.permutation(len(y))
        size = recipe.batch_size
        size = size(epoch) if callable(size) else size
        for start in range(0, len(y), size):
            rows = permutation[start : start + size]
            if recipe.before_step:
                recipe.before_step(step, model)
            step += 1
            if recipe.loss == "mse":
                loss = nn.MSELoss()(model(x[rows]), y[rows].reshape(len(rows), -1))
            else:
                loss = nn.CrossEntropyLoss()(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if schedule:
                schedule.step()
            losses += [loss.item()] * len(rows)
        if epoch % recipe.eval_every == 0 or epoch == recipe.epochs:
            batch_loss.append(np.mean(losses))
            losses = []
    return model.eval(), batch_loss


def assert_as_alone(runs, factory, recipe, tolerance=1e-10, data=data):
    for s, seed in enumerate(runs.seeds):
        alone, batch_loss = train_plainly(factory, recipe, seed, data)
        np.testing.assert_allclose(runs.history["batch_loss"][:, s], batch_loss)
        states = runs.model(seed).state_dict()
        assert states.keys() == alone.state_dict().keys()
        for name, value in alone.state_dict().items():
            assert (
                states[name].shape == value.shape and states[name].dtype == value.dtype
            )
            assert (states[name] - value).abs().max() <= tolerance, name
        split = data(seed)
        for part in ("train", "val", "test"):
            x, y = getattr(split, f"x_{part}"), getattr(split, f"y_{part}")
            logits = alone(torch.tensor(x)).detach()
            if recipe.loss == "mse":
                mse = np.mean((logits.numpy() - y.reshape(len(y), -1)) ** 2)
                assert getattr(runs, f"{part}_mse")[s] == pytest.approx(mse)
                continue
            nll = F.cross_entropy(logits, torch.tensor(y)).item()
            error = 100 * np.mean(logits.argmax(1).numpy() != y)
            assert getattr(runs, f"{part}_nll")[s] == pytest.approx(nll, abs=1e-9)
            assert getattr(runs, f"{part}_error")[s] == pytest.approx(error)
        if recipe.loss == "cross_entropy":
            ece = expected_calibration_error(logits.softmax(1).numpy(), y)
            assert runs.test_ece[s] == pytest.approx(ece, abs=1e-8)


def train(factory, recipe, seeds=SEEDS, data=data):
    return replicates.train({"arm": factory}, data, recipe, seeds)["arm"]


def assert_batched(factory, recipe, shape=(64,)):
    """Side by side, and each seed as alone."""
    shaped = functools.partial(data, shape=shape)
    runs = train(factory, recipe, data=shaped)
    assert runs.looped == ""
    assert_as_alone(runs, factory, recipe, data=shaped)


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


@pytest.mark.parametrize(
    "layer",
    [
        nn.Tanh,
        nn.GELU,
        nn.LeakyReLU,
        nn.SiLU,
        nn.PReLU,
        lambda: nn.PReLU(12),
        lambda: nn.ReLU(inplace=True),
        lambda: nn.Dropout(1.0),
        lambda: nn.AlphaDropout(0.2),
        nn.RReLU,
        lambda: nn.LayerNorm(12),
        lambda: nn.LayerNorm(12, eps=0.1, bias=False),
        lambda: nn.LayerNorm(12, elementwise_affine=False),
        lambda: nn.GroupNorm(3, 12),
        lambda: nn.Sequential(
            nn.Linear(12, 12), nn.Unflatten(1, (3, 4)), nn.Dropout(0.4), nn.Flatten()
        ),
        lambda: dropnorm.nn.OriginalDropout(0.3),
        lambda: dropnorm.nn.GaussianDropout(0.3),
        lambda: dropnorm.nn.DropConnectLinear(12, 12, p=0.3),
        lambda: dropnorm.nn.StochasticDepth(0.3),
        lambda: dropnorm.nn.StochasticDepth(0.3, mode="batch"),
        lambda: dropnorm.nn.GhostBatchNorm1d(12, 6),
        lambda: dropnorm.nn.BatchRenorm1d(12),
        lambda: nn.BatchNorm1d(12, affine=False),
        lambda: nn.BatchNorm1d(12, momentum=None),
        lambda: nn.BatchNorm1d(12, momentum=0.3, eps=0.1),
        lambda: nn.BatchNorm1d(12, track_running_stats=False),
        lambda: nn.Sequential(
            nn.Unflatten(1, (-1, 4)), nn.BatchNorm1d(3), nn.Dropout(0.4), nn.Flatten()
        ),
    ],
)
def test_layers_alone(layer):
    def factory():
        return mlp(activation=layer)

    runs = train(factory, recipe())
    assert runs.looped == ""
    assert_as_alone(runs, factory, recipe())


# Convolutional networks


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout2d(0.3),
        nn.Conv2d(6, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(32, 10),
    )


@pytest.mark.parametrize("optimizer", [sgd, adam])
def test_a_convolutional_network_is_trained_as_if_alone(optimizer, capsys):
    def factory():  # the bias is one that Adam's noise would show in: see DESIGN
        net = cnn()
        if optimizer is adam:
            net[5] = nn.Conv2d(6, 8, 3, bias=False)
        return net

    assert_batched(factory, recipe(optimizer, epochs=6), shape=(1, 8, 8))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.Conv2d(6, 6, 3, groups=2),
        lambda: nn.Conv2d(6, 12, (1, 3), stride=2, padding=1, groups=6, bias=False),
        lambda: nn.Conv2d(6, 4, 3, padding="same", padding_mode="circular"),
        lambda: nn.Conv2d(6, 4, 3, dilation=2, padding=1, padding_mode="reflect"),
        lambda: nn.BatchNorm2d(6, eps=0.1, momentum=0.3),
        lambda: nn.BatchNorm2d(6, affine=False, momentum=None),
        lambda: nn.BatchNorm2d(6, track_running_stats=False),
        lambda: nn.GroupNorm(2, 6),
        lambda: nn.GroupNorm(6, 6, affine=False, eps=0.1),
        lambda: nn.GroupNorm(1, 6),
        lambda: nn.LayerNorm([6, 8, 8]),
        lambda: nn.InstanceNorm2d(6),
        lambda: nn.InstanceNorm2d(6, affine=True, track_running_stats=True),
        lambda: nn.MaxPool2d(3, stride=2, padding=1),
        lambda: nn.AvgPool2d(2, padding=1, count_include_pad=False),
        lambda: nn.AdaptiveMaxPool2d(3),
        lambda: nn.PReLU(6),
        lambda: nn.Dropout(0.3),
        lambda: nn.Dropout2d(0.3),
        lambda: nn.Dropout2d(1.0),
        lambda: dropnorm.nn.DropBlock2d(0.2, 3),
        lambda: dropnorm.nn.GaussianDropout(0.2),
        lambda: dropnorm.nn.StochasticDepth(0.4),
        lambda: dropnorm.nn.StochasticDepth(0.4, mode="batch"),
        lambda: dropnorm.nn.GhostBatchNorm2d(6, 7),
        lambda: dropnorm.nn.BatchRenorm2d(6),
        lambda: nn.AlphaDropout(0.3),
        lambda: nn.FeatureAlphaDropout(0.3),
        lambda: nn.Flatten(2),
        lambda: nn.Sequential(nn.Flatten(-2), nn.Unflatten(2, (4, 16)), nn.ReLU()),
        lambda: nn.Sequential(nn.Flatten(), nn.Unflatten(1, (12, 32))),
    ],
)
def test_layers_of_images(layer):
    def factory():
        example = layer()(torch.zeros(2, 6, 8, 8))
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1),
            layer(),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(example[0].numel(), 10),
        )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lazily initialized statistics of two images
        assert_batched(factory, recipe(), shape=(1, 8, 8))


def test_layers_of_signals():
    def factory():
        return nn.Sequential(
            nn.Unflatten(1, (1, 64)),
            nn.Conv1d(1, 6, 5, stride=2, padding=2, padding_mode="replicate"),
            nn.BatchNorm1d(6),
            nn.ReLU(),
            nn.Dropout1d(0.3),
            nn.Conv1d(6, 6, 3, groups=3),
            nn.InstanceNorm1d(6, affine=True),
            nn.AvgPool1d(2),
            nn.Dropout(0.1),
            nn.AdaptiveAvgPool1d(4),
            nn.Flatten(),
            nn.Linear(24, 10),
        )

    assert_batched(factory, recipe())


# Sequences: features last


class Sequence(nn.Module):
    """A recurrent layer, what follows it, and how to make one vector of it."""

    def __init__(self, layer, then=None, reduce="last", transposed=False):
        super().__init__()
        self.layer, self.then = layer(), then() if then else nn.Identity()
        self.reduce, self.transposed = reduce, transposed
        width = layer().hidden_size * (1 + layer().bidirectional)
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        if self.transposed:  # the layer takes (T, N, C)
            y, state = self.layer(x.transpose(0, 1))
            y = y.transpose(0, 1)
        else:
            y, state = self.layer(x)
        if self.reduce == "state":
            state = state[0] if isinstance(state, tuple) else state
            return self.head(self.then(state[-1]))
        y = self.then(y)
        return self.head(y[:, -1] if self.reduce == "last" else y.mean(1))


def gru(**kwargs):
    return nn.GRU(8, 9, batch_first=True, **kwargs)


@pytest.mark.parametrize("optimizer", [sgd, adam])
def test_a_recurrent_network_is_trained_as_if_alone(optimizer, capsys):
    def factory():
        layer = functools.partial(gru, num_layers=2, dropout=0.3)
        return Sequence(layer, lambda: nn.Dropout(0.4))

    assert_batched(factory, recipe(optimizer, epochs=6), shape=(8, 8))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("cell", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize(
    "options",
    [
        {"bidirectional": True, "num_layers": 2, "dropout": 0.3},
        {"bias": False, "num_layers": 3},
    ],
)
@pytest.mark.parametrize("reduce", ["last", "mean"])
def test_recurrent_layers(cell, options, reduce):
    def factory():
        layer = functools.partial(cell, 8, 5, batch_first=True, **options)
        return Sequence(layer, reduce=reduce)

    assert_batched(factory, recipe(epochs=2), shape=(8, 8))


@pytest.mark.parametrize(
    "factory",
    [
        lambda: Sequence(gru, reduce="state"),
        lambda: Sequence(
            gru, lambda: nn.Sequential(nn.Linear(9, 9), nn.Dropout(0.3)), "state"
        ),
        lambda: Sequence(lambda: nn.LSTM(8, 9, 2, batch_first=True), reduce="state"),
        lambda: Sequence(lambda: nn.RNN(8, 9, nonlinearity="relu", batch_first=True)),
        lambda: Sequence(lambda: nn.GRU(8, 9, 2, dropout=0.3), transposed=True),
        lambda: Sequence(lambda: nn.GRU(8, 9), lambda: nn.Dropout(0.4), "mean", True),
        lambda: Sequence(gru, lambda: nn.LayerNorm(9), "mean"),
        lambda: Sequence(
            gru,
            lambda: nn.Sequential(
                nn.Dropout(0.1), nn.Linear(9, 9), nn.Dropout(0.2), nn.ReLU()
            ),
            "mean",
        ),
        lambda: nn.Sequential(
            nn.Linear(8, 6), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(48, 10)
        ),
        lambda: nn.Sequential(
            nn.Flatten(), nn.Unflatten(1, (4, 16)), nn.Linear(16, 5), nn.Flatten(),
            nn.Linear(20, 10),
        ),
    ],
)  # fmt: skip
def test_layers_of_sequences(factory):
    assert_batched(factory, recipe(), shape=(8, 8))


@pytest.mark.parametrize(
    "cell", [dropnorm.nn.VariationalGRU, dropnorm.nn.VariationalLSTM]
)
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("options", [{"p": 0.4}, {"p": 0.0, "bias": False}, {"p": 1}])
def test_variational_layers(cell, batch_first, options):
    def factory():
        return Sequence(
            lambda: cell(8, 9, batch_first=batch_first, **options),
            lambda: dropnorm.nn.VariationalDropout(0.3),
            transposed=not batch_first,
        )

    assert_batched(factory, recipe(), shape=(8, 8))


def test_variational_dropout_with_time_first():
    class TimeFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.dropout = dropnorm.nn.VariationalDropout(0.4, batch_first=False)
            self.layer = dropnorm.nn.VariationalGRU(8, 9, batch_first=False)
            self.head = nn.Linear(9, 10)

        def forward(self, x):
            return self.head(self.layer(self.dropout(x.transpose(0, 1)))[1][0])

    assert_batched(TimeFirst, recipe(), shape=(8, 8))


class ConvolvedSequence(nn.Module):
    """Channels in dimension 1 for a while, in a network with features last."""

    def __init__(self, dropout):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv1d(8, 6, 3), nn.BatchNorm1d(6), nn.ReLU(), dropout(0.3)
        )
        self.gru = nn.GRU(6, 9, batch_first=True)
        self.head = nn.Linear(9, 10)

    def forward(self, x):
        x = self.conv(x.transpose(1, 2)).transpose(1, 2)
        return self.head(self.gru(x)[0][:, -1])


def test_convolutions_before_a_recurrent_layer():
    def factory(dropout=nn.Dropout1d):
        return ConvolvedSequence(dropout)

    assert_batched(factory, recipe(), shape=(8, 8))
    # Dropout cannot know that the features are not last here.
    factory = functools.partial(factory, nn.Dropout)
    rows = functools.partial(data, shape=(8, 8))
    runs = train(factory, recipe(), data=rows)
    assert runs.looped.startswith("ConvolvedSequence raises")
    assert_as_alone(runs, factory, recipe(), data=rows)


class Texts(nn.Module):
    """Tokens, an encoder, and a decoder that starts from the encoder's state."""

    def __init__(self, cell, **options):
        super().__init__()
        self.embedding = nn.Embedding(17, 5, **options)
        self.encoder = cell(5, 6, 2, batch_first=True)
        self.decoder = cell(5, 6, 2, batch_first=True)
        self.head = nn.Linear(6, 10)

    def forward(self, x):
        x = self.embedding((16 * x).long())
        _, state = self.encoder(x[:, :4])
        return self.head(self.decoder(x[:, 4:], state)[0].mean(1))


@pytest.mark.parametrize("cell", [nn.GRU, nn.LSTM])
def test_tokens_and_states(cell):
    def eight(seed):
        split = data(seed)
        return SimpleNamespace(
            **{k: v[:, 18:26] if k[0] == "x" else v for k, v in vars(split).items()}
        )

    def factory():
        return Texts(cell)

    runs = train(factory, recipe(), data=eight)
    assert runs.looped == ""
    assert_as_alone(runs, factory, recipe(), data=eight)


class ResidualBlocks(nn.Module):
    """Stochastic depth around blocks, with batch norm and dropout inside."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout2d(0.2)
            )
            for _ in range(3)
        )
        self.depths = nn.ModuleList(
            dropnorm.nn.StochasticDepth(p) for p in (0.0, 0.25, 0.5)
        )
        self.head = nn.Linear(256, 10)

    def forward(self, x):
        x = self.stem(x)
        for block, depth in zip(self.blocks, self.depths, strict=True):
            x = torch.relu(x + depth(block(x)))
        return self.head(x.flatten(1))


def test_stochastic_depth_around_blocks():
    assert_batched(ResidualBlocks, recipe(), shape=(1, 8, 8))


# Layers in turn


class Noisy(nn.Module):
    """Parameters, buffers of both kinds, and random numbers of its own."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(12))
        self.register_buffer("running", torch.zeros(12))
        self.register_buffer("moving", torch.zeros(12))
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("nothing", None)

    def forward(self, x):
        if not self.training:
            return x * self.weight + self.running - self.moving
        self.running = 0.9 * self.running + 0.1 * x.detach().mean(0)
        self.moving.mul_(0.5).add_(x.detach()[0])
        self.count += 1
        return x * self.weight * torch.empty_like(x).uniform_() / self.count.sqrt()


def test_layers_in_turn(monkeypatch):
    def factory():
        return mlp(activation=Noisy)

    looped = train(factory, recipe())
    assert looped.looped == "Noisy has parameters or buffers of its own"
    assert_as_alone(looped, factory, recipe())
    monkeypatch.setitem(replicates._BATCHED, Noisy, replicates._in_turn(Noisy))
    assert_batched(factory, recipe())
    assert train(factory, recipe()).model(0)[1][3].count == 21


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


class Residual(nn.Module):
    """A custom forward: a layer used twice, tied weights, an alias, images."""

    def __init__(self, p=0.4):
        super().__init__()
        self.stem = nn.Linear(64, 12)
        self.block = nn.Linear(12, 12, bias=False)
        self.tied = nn.Linear(12, 12, bias=False)
        self.tied.weight = self.block.weight
        self.norm = nn.BatchNorm1d(12)
        self.frozen = nn.Linear(12, 12).requires_grad_(False)
        self.unused = nn.Linear(2, 2)
        self.dropout = nn.Dropout(p)
        self.head = nn.Linear(12, 10)
        self.steps = [self.block, self.norm, self.tied]

    def forward(self, x):
        x = torch.tanh(self.stem(x.view(x.shape[0], -1)))
        x = x + self.dropout(F.relu(self.block(x)))
        for step in self.steps:
            x = step(x)
        x = self.norm(self.dropout(x) + self.frozen(x))
        return self.head(x.flatten(1))


@pytest.mark.parametrize("optimizer", [sgd, adam])
def test_custom_forward_is_batched(optimizer):
    runs = train(Residual, recipe(optimizer))
    assert runs.looped == ""
    assert_as_alone(runs, Residual, recipe(optimizer))
    model = runs.model(0)
    assert model.tied.weight is model.block.weight


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
    monkeypatch.setattr(replicates, "_verify", lambda *args: None)
    without = train(mlp, recipe())
    assert (with_it.test_nll == without.test_nll).all()


# Regression


def pixels_from_pixels(seed, columns=slice(60, 63)):
    """Targets: the last pixels of an image; inputs: the others."""
    split = data(seed)
    for part in ("train", "val", "test"):
        x = getattr(split, f"x_{part}")
        setattr(split, f"y_{part}", x[:, columns])
        setattr(split, f"x_{part}", x[:, :60])
    return split


def regressor(k=3):
    return nn.Sequential(
        nn.Linear(60, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(12, k),
    )  # fmt: skip


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


def test_comparison_of_regressions():
    arms = {
        "wide": regressor,
        "narrow": lambda: regressor(3)[:1].append(nn.Linear(12, 3)),
    }
    runs = replicates.train(
        arms, pixels_from_pixels, recipe(loss="mse", epochs=1), range(8)
    )
    c = compare(runs["wide"], runs["narrow"], "test_mse")
    assert c.label == "test MSE"
    assert str(c).startswith("test MSE, wide - narrow: ")
    np.testing.assert_array_equal(c.treatment_values, runs["wide"].test_mse)


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
    evaluate = replicates._evaluate
    monkeypatch.setattr(
        replicates, "_evaluate", lambda n, x: calls.append(len(x)) or evaluate(n, x)
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
    arms = {
        "batched": mlp,
        "looped": lambda: Wrong("mean"),
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


# Calibration


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(2, 4))
@settings(max_examples=60, deadline=None)
def test_calibration_error_against_a_loop(seed, n, k):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(k, 0.3), n)
    p[::3] = np.eye(k)[rng.integers(k, size=len(p[::3]))]  # certain: the last bin
    p[1::5] = 1 / k  # k = 3: on the edge of a bin
    y = rng.integers(k, size=n)
    expected = 0.0
    for b in range(15):
        inside = [i for i in range(n) if b / 15 < p[i].max() <= (b + 1) / 15]
        if inside:
            accuracy = np.mean([p[i].argmax() == y[i] for i in inside])
            confidence = np.mean([p[i].max() for i in inside])
            expected += len(inside) / n * abs(accuracy - confidence)
    assert expected_calibration_error(p, y) == pytest.approx(100 * expected)


def test_calibration_error_by_hand():
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.5, 0.5]])
    y = np.array([0, 1, 1, 0])
    # bins of .9 (two: half right), .6 (right) and .5 (right): (.8 + .4 + .5) / 4
    assert expected_calibration_error(p, y) == pytest.approx(42.5)
    # 1/3 ends one bin, .35 is in the next: not one bin of both
    p = np.array([[1 / 3, 1 / 3, 1 / 3], [0.35, 0.35, 0.3]])
    by_hand = 100 * ((1 - 1 / 3) + 0.35) / 2
    assert expected_calibration_error(p, np.array([0, 2])) == pytest.approx(by_hand)


# Comparing


EIGHT = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])


@given(
    st.lists(st.floats(-100, 100), min_size=8, max_size=30),
    st.floats(-100, 100),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=200, deadline=None)
def test_comparison_against_scipy(values, shift, seed):
    a = np.array(values)
    b = a + shift + np.random.default_rng(seed).normal(size=len(a))
    c, oracle = compare(a, b), stats.ttest_rel(a, b)
    interval = oracle.confidence_interval(0.99)
    assert c.n == len(a)
    assert c.mean == pytest.approx(np.mean(a - b))
    assert c.p_value == pytest.approx(oracle.pvalue, abs=1e-12)
    assert (c.low, c.high) == pytest.approx((interval.low, interval.high))
    # the verdict is the interval's, and the test's
    assert (c.verdict == "lower") == (c.high < 0)
    assert (c.verdict == "higher") == (c.low > 0)
    if abs(c.p_value - 0.01) > 1e-9:
        assert (c.verdict == "no clear difference") == (c.p_value > 0.01)
    assert c.agreeing == sum((a - b) * c.mean > 0)
    # exchanging the arms exchanges the verdict
    back = compare(b, a)
    turned = {"lower": "higher", "higher": "lower"}
    assert back.verdict == turned.get(c.verdict, c.verdict)
    assert back.mean == -c.mean and back.low == -c.high
    assert "-0.00" not in f"{compare(a, a + 1e-9)} {compare(a + 1e-9, a)}"


def test_comparison_by_hand():
    # differences 1 to 8: mean 4.5, s² = 6, t(.995, 7) = 3.4995
    c = compare(10 + EIGHT, np.full(8, 10.0), "flips", names=("a", "b"))
    half = 3.4994833 * np.sqrt(6 / 8)
    assert (c.mean, c.low, c.high) == pytest.approx((4.5, 4.5 - half, 4.5 + half))
    assert (c.verdict, c.agreeing, c.n) == ("higher", 8, 8)
    assert str(c) == (
        "flips, a - b: higher in 8 of 8 seeds\n"
        "    4.5, 99 % interval [1.47, 7.53]: higher"
    )
    # at 95 % this would be clear: mean 1, t = 2.65
    c = compare([0, 0, 0, 2, 2, 1, 3, 0], np.zeros(8))
    assert c.verdict == "no clear difference" and c.agreeing == 4


def test_equal_arms_and_constant_differences():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = compare(EIGHT, EIGHT)
        less = compare(EIGHT - 0.5, EIGHT)
    assert (same.mean, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    assert same.verdict == "no clear difference" and same.agreeing == 8
    assert str(same).endswith(
        ": equal in 8 of 8 seeds\n    0, 99 % interval [0, 0]: no clear difference"
    )
    assert (less.low, less.high, less.p_value) == (-0.5, -0.5, 0)
    assert less.verdict == "lower" and less.agreeing == 8


def make_runs(name, values, seeds=range(8)):
    return replicates.Runs(
        name=name,
        seeds=tuple(seeds),
        history={"train_nll": EIGHT[np.newaxis]},
        looped="",
        _test={"test_error": np.array(values), "test_nll": np.array(values)},
        _states={},
        _dtype=torch.float64,
        _factory=None,
    )


def test_comparison_of_runs():
    control = make_runs("no dropout", EIGHT)
    c = compare(make_runs("dropout", EIGHT - EIGHT / 10), control, "test_error")
    assert (c.metric, c.label) == ("test_error", "test error [%]")
    assert (c.treatment, c.control) == ("dropout", "no dropout")
    assert (c.treatment_values == EIGHT - EIGHT / 10).all()
    assert (c.control_values == EIGHT).all()
    assert str(c) == repr(c)
    assert str(c) == (
        "test error [%], dropout - no dropout: lower in 8 of 8 seeds\n"
        "    -0.45, 99 % interval [-0.75, -0.15]: lower"
    )
    c = compare(make_runs("dropout", EIGHT - 1e-4 * np.sin(EIGHT)), control, "test_nll")
    assert str(c).startswith("test NLL [nats], dropout - no dropout: ")
    assert "\n    0.0000, 99 %" in str(c)
    c = compare(make_runs("d", EIGHT - 1e-4 * np.sin(EIGHT)), control, "test_error")
    assert "0.00, 99 % interval [0.00, 0.00]: " in str(c)


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ((EIGHT[:7], EIGHT[:7]), ValueError, "needs at least 8 seeds, got 7"),
        ((EIGHT, EIGHT[:7]), ValueError, r"equal shapes .* got \(8,\) and \(7,\)"),
        ((np.ones((8, 2)),) * 2, ValueError, r"got \(8, 2\) and \(8, 2\)"),
        ((1.0, 2.0), ValueError, r"got \(\) and \(\)"),
        (
            (EIGHT, make_runs("a", EIGHT)),
            TypeError,
            "two Runs or two arrays, not one of each",
        ),
        (
            (EIGHT, np.where(EIGHT == 3, np.nan, EIGHT)),
            ValueError,
            "difference of 'control' is nan for seed 2",
        ),
        (
            (make_runs("a", np.where(EIGHT == 3, np.inf, EIGHT), range(20, 28)),)
            + (make_runs("b", EIGHT, range(20, 28)), "test_error"),
            ValueError,
            "test_error of 'a' is inf for seed 22",
        ),
        (
            (make_runs("a", EIGHT), make_runs("b", EIGHT, range(1, 9)), "test_error"),
            ValueError,
            r"same seeds in the same order, got \(0, 1, .* and \(1, 2,",
        ),
        (
            (make_runs("a", EIGHT), make_runs("b", EIGHT), "accuracy"),
            ValueError,
            r"metric must be one of \['test_error', .* got 'accuracy'",
        ),
        (
            (make_runs("a", EIGHT), make_runs("b", EIGHT), "val_nll"),
            ValueError,
            "no val_nll: the validation part had no rows",
        ),
    ],
)
def test_compare_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        compare(*arguments)
