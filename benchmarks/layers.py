"""How long do the NumPy layers take, measured by PyTorch's time?

Forward and backward of each layer, and a training step on digits, in float32 and
float64: both libraries on one thread, in turns in one run, CPU time of the thread.
A ratio below 1 means that NumPy is faster. Prints a table and writes it to
book/reference/_tables/layers.txt.

Usage: python benchmarks/layers.py [rounds]
"""

import statistics
import sys
import time
from typing import NamedTuple

import numpy as np
import threadpoolctl
import torch
from tables import table
from torch import nn

import dropnorm
from dropnorm import data, layers, optim

DTYPES = {np.float32: torch.float32, np.float64: torch.float64}


class Layer(NamedTuple):
    """A layer beside its module, on input of one shape: forward and backward."""

    name: str
    goals: tuple  # ratios to stay below in float32 and float64
    shape: tuple
    ours: object  # made for a NumPy dtype
    theirs: object

    def prepare(self, dtype):
        rng = np.random.default_rng(0)
        layer, module = self.ours(dtype), self.theirs().to(DTYPES[dtype])
        x = rng.standard_normal(self.shape).astype(dtype)
        dy = rng.standard_normal(layer(x).shape).astype(dtype)
        x_torch = torch.tensor(x, requires_grad=True)
        dy_torch = torch.tensor(dy)

        def ours():
            layer.forward(x)
            layer.backward(dy)

        def theirs():
            module.zero_grad()
            x_torch.grad = None
            module(x_torch).backward(dy_torch)

        return ours, theirs


class Step(NamedTuple):
    """A training step of two networks on digits: loss, gradients, SGD, batch 64."""

    name: str
    goals: tuple
    shape: tuple  # of an example
    ours: object
    theirs: object

    def prepare(self, dtype):
        net, module = self.ours(dtype), self.theirs().to(DTYPES[dtype])
        split = data.digits(0)
        x = split.x_train[:64].reshape(64, *self.shape).astype(dtype)
        target = split.y_train[:64]
        x_torch, target_torch = torch.tensor(x), torch.tensor(target)
        loss = layers.CrossEntropyLoss()
        # So slow that however often a step is repeated the weights stay ordinary
        sgd = optim.SGD(net, lr=1e-6, momentum=0.9)
        sgd_torch = torch.optim.SGD(module.parameters(), lr=1e-6, momentum=0.9)

        def ours():
            loss(net(x), target)
            net.backward(loss.backward())
            sgd.step()

        def theirs():
            sgd_torch.zero_grad()
            nn.functional.cross_entropy(module(x_torch), target_torch).backward()
            sgd_torch.step()

        return ours, theirs


def conv(name, goals, shape, out):
    return Layer(
        f"conv {name} {shape} to {out}",
        goals,
        shape,
        lambda dtype: layers.Conv2d(shape[1], out, 3, padding=1, dtype=dtype),
        lambda: nn.Conv2d(shape[1], out, 3, padding=1),
    )


def plain(name, goals, shape, ours, theirs):
    """A layer without parameters, which takes its input's dtype."""
    return Layer(f"{name} {shape}", goals, shape, lambda dtype: ours, lambda: theirs)


def mlp(dtype):
    return layers.Sequential(
        layers.Linear(64, 128, dtype=dtype),
        layers.ReLU(),
        layers.Linear(128, 128, dtype=dtype),
        layers.ReLU(),
        layers.Linear(128, 10, dtype=dtype),
    )


def mlp_torch():
    return nn.Sequential(
        nn.Linear(64, 128),
        nn.ReLU(),
        nn.Linear(128, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def mlp_both(dtype):
    return layers.Sequential(
        layers.Linear(64, 128, dtype=dtype),
        layers.BatchNorm1d(128, dtype=dtype),
        layers.ReLU(),
        layers.Dropout(),
        layers.Linear(128, 128, dtype=dtype),
        layers.BatchNorm1d(128, dtype=dtype),
        layers.ReLU(),
        layers.Dropout(),
        layers.Linear(128, 10, dtype=dtype),
    )


def mlp_both_torch():
    return nn.Sequential(
        nn.Linear(64, 128),
        nn.BatchNorm1d(128),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(128, 128),
        nn.BatchNorm1d(128),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(128, 10),
    )


def cnn(dtype, both=False):
    norm = [layers.BatchNorm2d(16, dtype=dtype)] if both else []
    dropout = [layers.Dropout()] if both else []
    return layers.Sequential(
        layers.Conv2d(1, 16, 3, padding=1, dtype=dtype),
        *norm,
        layers.ReLU(),
        layers.MaxPool2d(2),
        layers.Flatten(),
        *dropout,
        layers.Linear(256, 10, dtype=dtype),
    )


def cnn_torch(both=False):
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        *([nn.BatchNorm2d(16)] if both else []),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        *([nn.Dropout()] if both else []),
        nn.Linear(256, 10),
    )


MAPS = (64, 32, 16, 16)
IMAGE = (1, 8, 8)
ROWS = [
    conv("A", (1.0, 1.3), (64, 3, 32, 32), 32),
    conv("B", (2.4, 1.3), (64, 32, 16, 16), 64),
    conv("C", (0.5, 1.0), (64, 1, 8, 8), 32),
    plain("max pool 2×2", (1.0, 1.5), MAPS, layers.MaxPool2d(2), nn.MaxPool2d(2)),
    plain("average pool 2×2", (0.5, 0.8), MAPS, layers.AvgPool2d(2), nn.AvgPool2d(2)),
    Layer(
        "batch norm (256, 512)",
        (1.3, 2.0),
        (256, 512),
        lambda dtype: layers.BatchNorm1d(512, dtype=dtype),
        lambda: nn.BatchNorm1d(512),
    ),
    Layer(
        f"batch norm {MAPS}",
        (1.6, 2.4),
        MAPS,
        lambda dtype: layers.BatchNorm2d(32, dtype=dtype),
        lambda: nn.BatchNorm2d(32),
    ),
    plain("dropout", (0.25, 0.5), (256, 4096), layers.Dropout(), nn.Dropout()),
    Step("step of an MLP", (0.7, 0.9), (64,), mlp, mlp_torch),
    Step("MLP + BN + dropout", (0.6, 0.8), (64,), mlp_both, mlp_both_torch),
    Step("step of a CNN", (1.3, 1.2), IMAGE, cnn, cnn_torch),
    Step(
        "CNN + BN + dropout",
        (1.1, 1.2),
        IMAGE,
        lambda dtype: cnn(dtype, both=True),
        lambda: cnn_torch(both=True),
    ),
]


def ratios(row, dtype, rounds, least=0.005):
    """Of NumPy's time to PyTorch's, in each of `rounds` turns of both."""
    ours, theirs = row.prepare(dtype)

    def seconds(function, repeats):
        start = time.thread_time()
        for _ in range(repeats):
            function()
        return time.thread_time() - start

    seconds(ours, 3), seconds(theirs, 3)  # warms caches and allocators up
    # Often enough that a turn is long against the clock's resolution
    repeats = 1 + int(least / max(seconds(theirs, 1), 1e-6))
    return [seconds(ours, repeats) / seconds(theirs, repeats) for _ in range(rounds)]


def main(rounds=9):
    dropnorm.reproducible(0)  # one thread for PyTorch ...
    # ... and one for NumPy
    with threadpoolctl.threadpool_limits(1), table("layers") as add:
        add("NumPy's time / PyTorch's, one thread")
        add(f"Medians of {rounds} ratios (and goals, * missed)")
        add(f"{'':34} float32        float64")
        for row in ROWS:
            line = f"{row.name:34}"
            for dtype, goal in zip(DTYPES, row.goals, strict=True):
                found = statistics.median(ratios(row, dtype, rounds))
                line += f" {found:5.2f} ({goal:4}){'*' if found > goal else ' '} "
            add(line.rstrip())


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
