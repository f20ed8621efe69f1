"""Checkers of book/dropout/exercises.ipynb, one module for each chapter."""

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

__all__ = [
    "backward",
    "convert",
    "covariance",
    "detector",
    "forward",
    "left_on",
    "module",
    "original",
    "predictions",
]
