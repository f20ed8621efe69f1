"""Checkers of book/dropout/exercises.ipynb, one module for each chapter."""

from dropnorm.checks.dropout.ensemble import (
    mask_counts,
    mc_predict,
    two_means,
    uncertainty,
)
from dropnorm.checks.dropout.evidence import interval, leak, misleading, optimism
from dropnorm.checks.dropout.layer import (
    backward,
    convert,
    covariance,
    detector,
    forward,
    left_on,
    module,
    network,
    original,
    predictions,
)
from dropnorm.checks.dropout.networks import cross_entropy, linear_backward, loop
from dropnorm.checks.dropout.regularizer import deleted, minimizer, poisson
from dropnorm.checks.dropout.relatives import exactly_k, recurrent, spans, uniform

__all__ = [
    "backward",
    "convert",
    "covariance",
    "cross_entropy",
    "deleted",
    "detector",
    "exactly_k",
    "forward",
    "interval",
    "leak",
    "left_on",
    "linear_backward",
    "loop",
    "mask_counts",
    "mc_predict",
    "minimizer",
    "misleading",
    "module",
    "network",
    "optimism",
    "original",
    "poisson",
    "predictions",
    "recurrent",
    "spans",
    "two_means",
    "uncertainty",
    "uniform",
]
