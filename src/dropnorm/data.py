"""Real data without a download, split by seed."""

from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_digits


class Split(NamedTuple):
    """Arrays for training, for choosing (validation) and for the final count (test).

    Inputs are float64 of shape (N, ...), labels int64 of shape (N,).
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_val: np.ndarray
    y_val: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def _split(x, y, seed, n_train, n_val, n_test):
    """Three disjoint random parts; what is left over is unused."""
    for name, size in {"n_train": n_train, "n_val": n_val, "n_test": n_test}.items():
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)):
            raise TypeError(f"{name} must be an integer, got {size!r}")
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")
    total = n_train + n_val + n_test
    if total > len(x):
        raise ValueError(
            f"n_train + n_val + n_test must be at most {len(x)}, "
            f"got {n_train} + {n_val} + {n_test} = {total}"
        )
    order = np.random.default_rng(seed).permutation(len(x))
    train, val, test, _ = np.split(order, np.cumsum([n_train, n_val, n_test]))
    return Split(x[train], y[train], x[val], y[val], x[test], y[test])


def digits(seed, *, n_train=1000, n_val=297, n_test=500):
    """Handwritten digits of 8×8 pixels in ten classes, 1,797 in all.

    The inputs are standardized with **one** mean and **one** standard deviation,
    those of all pixels of the training part. (A deviation for each pixel would
    divide the border pixels, nearly always 0, by almost nothing.)

    Parameters
    ----------
    seed : int
        Decides which images fall into which part.
    n_train, n_val, n_test : int
        Sizes, at least 1 each and at most 1,797 together.

    Returns
    -------
    Split
        Inputs of shape (N, 64), row by row from the top left.

    Raises
    ------
    TypeError, ValueError
        If a size is not such an integer.

    References
    ----------
    Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI
    Machine Learning Repository, doi:10.24432/C50P49; as shipped by scikit-learn.
    """
    x, y = load_digits(return_X_y=True)
    split = _split(x, y.astype(np.int64), seed, n_train, n_val, n_test)
    mean, std = split.x_train.mean(), split.x_train.std()
    return split._replace(
        x_train=(split.x_train - mean) / std,
        x_val=(split.x_val - mean) / std,
        x_test=(split.x_test - mean) / std,
    )
