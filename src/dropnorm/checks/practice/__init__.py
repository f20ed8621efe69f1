"""Checkers of book/practice/exercises.ipynb, one module for each chapter."""

from dropnorm.checks.practice.bug_clinic import (
    best_epoch,
    decay_groups,
    doctor,
    layers,
    visible,
)
from dropnorm.checks.practice.distributed import accumulate, accuracy, shards, streams
from dropnorm.checks.practice.frameworks import conversion, keras_norm, same_padding
from dropnorm.checks.practice.imperfect_data import fill, moved, spread, weighted
from dropnorm.checks.practice.sequences import causal, reach, step_norm, summary
from dropnorm.checks.practice.without_batchnorm import clip, mixup, residual, smoothing

__all__ = [
    "accumulate",
    "accuracy",
    "best_epoch",
    "causal",
    "clip",
    "conversion",
    "decay_groups",
    "doctor",
    "fill",
    "keras_norm",
    "layers",
    "mixup",
    "moved",
    "reach",
    "residual",
    "same_padding",
    "shards",
    "smoothing",
    "spread",
    "step_norm",
    "streams",
    "summary",
    "visible",
    "weighted",
]
