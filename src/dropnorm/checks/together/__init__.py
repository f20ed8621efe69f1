"""Checkers of book/together/exercises.ipynb, one module for each chapter."""

from dropnorm.checks.together.order import (
    correlation,
    falsified,
    fit,
    network,
    reestimate,
    reorder,
    temperature,
    upstream,
)
from dropnorm.checks.together.tuning import (
    grow,
    large_batch,
    momentum,
    nested,
    optimism,
    schedule,
    tune,
    zeros,
)
from dropnorm.checks.together.variance_shift import (
    by_hand,
    groups,
    meter,
    relu,
    units,
)

__all__ = [
    "by_hand",
    "correlation",
    "falsified",
    "fit",
    "groups",
    "grow",
    "large_batch",
    "meter",
    "momentum",
    "nested",
    "network",
    "optimism",
    "reestimate",
    "relu",
    "reorder",
    "schedule",
    "temperature",
    "tune",
    "units",
    "upstream",
    "zeros",
]
