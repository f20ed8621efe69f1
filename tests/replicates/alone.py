"""What replicates are held against: each seed trained alone, in plain PyTorch."""

import functools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

from dropnorm import replicates
from dropnorm.replicates import Recipe, expected_calibration_error

PIXELS, LABELS = load_digits(return_X_y=True)
PIXELS = PIXELS / 16
SEEDS = (3, 0, 11)


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


# Networks


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
