"""Checkers of book/batchnorm/exercises.ipynb, one module for each chapter."""

from dropnorm.checks.batchnorm.backward import (
    along,
    closed,
    evaluation,
    gradient_by_hand,
    gradient_test,
    graph,
)
from dropnorm.checks.batchnorm.layer import (
    by_hand,
    forward,
    layouts,
    module,
    on_value,
    peeks,
    steps,
    variance,
)
from dropnorm.checks.batchnorm.practice import (
    build,
    depends,
    evaluate,
    fine_tuning,
    floor,
    fold,
    groupnorm,
    merged,
)
from dropnorm.checks.batchnorm.why import companions, equilibrium, growth, rescaled

__all__ = [
    "along",
    "build",
    "by_hand",
    "closed",
    "companions",
    "depends",
    "equilibrium",
    "evaluate",
    "evaluation",
    "fine_tuning",
    "floor",
    "fold",
    "forward",
    "gradient_by_hand",
    "gradient_test",
    "graph",
    "groupnorm",
    "growth",
    "layouts",
    "merged",
    "module",
    "on_value",
    "peeks",
    "rescaled",
    "steps",
    "variance",
]
