"""How much faster are replicates than the same runs in turn?

Two arms × ten seeds of 64-w-w-10 with batch norm and dropout on digits, batch 64, SGD
with momentum, float64: `replicates.train` in warm worker processes against an ordinary
PyTorch loop over the same twenty runs on one thread, taken in turns in one run.

Usage: python benchmarks/replicates.py [rounds]
"""

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
RECIPE = replicates.Recipe(
    epochs=20,
    batch_size=64,
    optimizer=lambda params: torch.optim.SGD(params, lr=0.05, momentum=0.9),
)


def make_net(width, p):
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


def measure(function, clock=time.perf_counter):
    start = clock()
    function()
    return clock() - start


def report(width, how, pairs):
    ratios = sorted(alone / joint for alone, joint in pairs)
    alone, joint = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"{width:5}  {how:28} {alone:8.2f} {joint:9.2f} "
        f"{statistics.median(ratios):6.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f})",
        flush=True,
    )


def main(rounds=9):
    dropnorm.reproducible(0)
    print(f"{joblib.cpu_count()} cores; medians of {rounds} rounds")
    print("width  measured                      in turn  together  ratio (range)")
    for width in (64, 128):
        arms = {
            "p = 0.2": lambda width=width: make_net(width, 0.2),
            "p = 0.5": lambda width=width: make_net(width, 0.5),
        }

        def together(jobs, arms=arms):
            os.environ["DROPNORM_JOBS"] = str(jobs)
            replicates.train(arms, data.digits, RECIPE, SEEDS)

        def in_turn(arms=arms):
            for factory in arms.values():
                for seed in SEEDS:
                    replicates.train_one(factory, data.digits(seed), RECIPE, seed)

        together(2)  # warms the workers up
        wall, cpu = [], []
        for _ in range(rounds):
            wall.append((measure(in_turn), measure(lambda: together(2))))
            # CPU time of one thread: hardly disturbed by what else the machine does
            clock = time.thread_time
            cpu.append((measure(in_turn, clock), measure(lambda: together(1), clock)))
        report(width, "two processes, seconds", wall)
        report(width, "one process, CPU seconds", cpu)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
