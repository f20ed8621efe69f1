"""How much faster are replicates than the same runs in turn?

Two arms × ten seeds on digits, batch 64, SGD with momentum, float64:
`replicates.train` against an ordinary PyTorch loop over the same twenty runs on one
thread, taken in turns in one run. In two warm worker processes, by the clock; and in
one process, by its CPU time. The nets: 64-w-w-10 with batch norm and dropout for w = 64
and 128; a CNN of two 3×3 convolutions (8 and 16 channels) with batch norm, max pooling
and spatial dropout; a GRU of 32 units over the eight rows of an image. Prints a table
and writes it to book/reference/_tables/replicates.txt.

Usage: python benchmarks/replicates.py [rounds]
"""

import functools
import os
import statistics
import sys
import time

import torch
from tables import table
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


# name, network with that rate of dropout, epochs, goal for two processes
CASES = [
    ("MLP 64", functools.partial(make_mlp, 64), 20, 4),
    ("MLP 128", functools.partial(make_mlp, 128), 20, 3),
    ("CNN", make_cnn, 4, None),
    ("GRU", RowByRow, 4, None),
]


def measure(function):
    """Seconds by the clock, and of this process's CPU time."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - cpu


def row(name, how, pairs, goal=None):
    ratios = sorted(alone / joint for alone, joint in pairs)
    ratio = statistics.median(ratios)
    alone, joint = (statistics.median(column) for column in zip(*pairs, strict=True))
    line = f"{name:8} {how:17} {alone:7.2f} {joint:9.2f} {ratio:6.2f}"
    line += f"  ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    if goal is not None:
        line += f"  {goal}{'*' if ratio < goal else ''}"
    return line


def main(rounds=9):
    dropnorm.reproducible(0)
    with table("replicates") as add:
        add(f"Seconds for two arms of ten seeds: medians of {rounds} rounds (* missed)")
        add("net      processes         in turn  together  ratio  (range)       goal")
        for name, make, epochs, goal in CASES:
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
                alone_wall, alone_cpu = measure(in_turn)
                wall.append((alone_wall, measure(lambda: together(2))[0]))
                cpu.append((alone_cpu, measure(lambda: together(1))[1]))
            add(row(name, "two, by the clock", wall, goal))
            add(row(name, "one, CPU time", cpu))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
