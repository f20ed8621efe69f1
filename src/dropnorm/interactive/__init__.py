"""Figures that readers can move: complete without a script, redrawn by one if it runs.

Each function returns a `Figure`, which a notebook displays as the last value of a cell.
Nothing is loaded from elsewhere, and the same setting shows the same numbers, also the
random ones.
"""

from dropnorm.interactive._batch_norm import batch_norm
from dropnorm.interactive._convolution import convolution
from dropnorm.interactive._dropout_mask import dropout_mask
from dropnorm.interactive._learning_rates import learning_rates
from dropnorm.interactive._variance_shift import variance_shift

__all__ = [
    "batch_norm",
    "convolution",
    "dropout_mask",
    "learning_rates",
    "variance_shift",
]
