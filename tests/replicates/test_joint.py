"""Whatever the layers, all seeds at once compute what each computes alone."""

import functools
import warnings
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from alone import (
    SEEDS,
    ConvolvedSequence,
    Residual,
    adam,
    assert_as_alone,
    assert_batched,
    cnn,
    data,
    mlp,
    recipe,
    sgd,
    train,
)
from torch import nn

import dropnorm.nn
from dropnorm.replicates import joint

# Masks


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shape", [(1,), (7, 5), (64, 33), (2, 3, 4)])
@pytest.mark.parametrize("as_uniform", [True, False])
def test_masks_are_those_of_dropout(dtype, shape, as_uniform, monkeypatch):
    if not as_uniform:  # as on a CPU where PyTorch draws in MKL's way
        monkeypatch.setattr(joint, "_bernoulli_is_uniform", lambda: False)
    generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    x = torch.empty(0, dtype=dtype)
    masks = [joint.inverted_mask(x, shape, p, generators) for p in (0.3, 0.81)]
    for s, seed in enumerate(SEEDS):
        torch.manual_seed(seed)
        for p, mask in zip((0.3, 0.81), masks, strict=True):
            expected = F.dropout(torch.ones(shape, dtype=dtype), p)
            assert mask.dtype == dtype and torch.equal(mask[s], expected)
        assert torch.equal(torch.get_rng_state(), generators[s].get_state())


# Layers of matrices


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


@pytest.mark.parametrize("optimizer", [sgd, adam])
def test_custom_forward_is_batched(optimizer):
    runs = train(Residual, recipe(optimizer))
    assert runs.looped == ""
    assert_as_alone(runs, Residual, recipe(optimizer))
    model = runs.model(0)
    assert model.tied.weight is model.block.weight


# Convolutional networks


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
    monkeypatch.setitem(joint.BATCHED, Noisy, joint.in_turn(Noisy))
    assert_batched(factory, recipe())
    assert train(factory, recipe()).model(0)[1][3].count == 21
