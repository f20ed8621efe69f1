"""Checkers of book/dropout/exercises.ipynb, one module for each chapter."""

from dropnorm.checks.dropout.evidence import interval, leak, misleading, optimism
from dropnorm.checks.dropout.layer import (
    backward,
    convert,
    covariance,
    detector,
    forward,
    left_on,
    module,
    original,
    predictions,
)
from dropnorm.checks.dropout.networks import cross_entropy, linear_backward, loop

__all__ = [
    "backward",
    "convert",
    "covariance",
    "cross_entropy",
    "detector",
    "forward",
    "interval",
    "leak",
    "left_on",
    "linear_backward",
    "loop",
    "misleading",
    "module",
    "optimism",
    "original",
    "predictions",
]
