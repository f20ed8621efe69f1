"""How much faster are replicates than the same runs in turn?

Two arms × ten seeds on digits, batch 64, SGD with momentum, float64:
`replicates.train` in warm worker processes against an ordinary PyTorch loop over the
same twenty runs on one thread, taken in turns in one run. The nets: 64-w-w-10 with
batch norm and dropout for w = 64 and 128; a CNN of two 3×3 convolutions (8 and 16
channels) with batch norm, max pooling and spatial dropout; a GRU of 32 units over the
eight rows of an image.

Usage: python benchmarks/replicates.py [rounds]
"""

import functools
import os
import statistics
import sys
import time

import joblib
import torch
from torch import nn

import dropnorm
from dropnorm import data, replicates

SEEDS = range(10)


def recipe(epochs):
    return replicates.Recipe(
        epochs,
        batch_size=64,
        optimizer=lambda params: torch.optim.SGD(params, lr=0.05, momentum=0.9),
    )


def make_mlp(width, p):
    return nn.Sequential(
        nn.Linear(64, width),
        nn.BatchNorm1d(width),
        nn.ReLU(),
        nn.Dropout(p),
        nn.Linear(width, width),
        nn.BatchNorm1d(width),
        nn.ReLU(),
        nn.Dropout(p),
        nn.Linear(width, 10),
    )


def make_cnn(p):
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout2d(p),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Dropout2d(p),
        nn.Flatten(),
        nn.Linear(256, 10),
    )


class RowByRow(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.rows = nn.Unflatten(1, (8, 8))
        self.gru = nn.GRU(8, 32, batch_first=True)
        self.head = nn.Sequential(nn.Dropout(p), nn.Linear(32, 10))

    def forward(self, x):
        return self.head(self.gru(self.rows(x))[0][:, -1])


# name, network with that rate of dropout, epochs
CASES = [
    ("MLP 64", functools.partial(make_mlp, 64), 20),
    ("MLP 128", functools.partial(make_mlp, 128), 20),
    ("CNN", make_cnn, 4),
    ("GRU", RowByRow, 4),
]


def measure(function, clock=time.perf_counter):
    start = clock()
    function()
    return clock() - start


def report(name, how, pairs):
    ratios = sorted(alone / joint for alone, joint in pairs)
    alone, joint = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"{name:8} {how:28} {alone:8.2f} {joint:9.2f} "
        f"{statistics.median(ratios):6.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f})",
        flush=True,
    )


def main(rounds=9):
    dropnorm.reproducible(0)
    print(f"{joblib.cpu_count()} cores; medians of {rounds} rounds")
    print("net      measured                      in turn  together  ratio (range)")
    for name, make, epochs in CASES:
        arms = {
            f"p = {p}": functools.partial(make, p)  # a function of no arguments
            for p in (0.2, 0.5)
        }
        settings = recipe(epochs)

        def together(jobs, arms=arms, settings=settings):
            os.environ["DROPNORM_JOBS"] = str(jobs)
            runs = replicates.train(arms, data.digits, settings, SEEDS)
            assert not any(run.looped for run in runs.values())

        def in_turn(arms=arms, settings=settings):
            for factory in arms.values():
                for seed in SEEDS:
                    replicates.train_one(factory, data.digits(seed), settings, seed)

        together(2)  # warms the workers up
        wall, cpu = [], []
        for _ in range(rounds):
            wall.append((measure(in_turn), measure(lambda: together(2))))
            # CPU time of one thread: hardly disturbed by what else the machine does
            clock = time.thread_time
            cpu.append((measure(in_turn, clock), measure(lambda: together(1), clock)))
        report(name, "two processes, seconds", wall)
        report(name, "one process, CPU seconds", cpu)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
