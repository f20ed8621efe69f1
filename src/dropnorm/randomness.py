"""Explicit seeds: everything random in the package comes from here or from `rng=`."""

import random

import numpy as np

_generator = np.random.default_rng()


def default_generator():
    """The generator that layers use when they are given ``rng=None``.

    Returns
    -------
    numpy.random.Generator
        Always the same object; `reproducible` reseeds it in place.
    """
    return _generator


def reproducible(seed):
    """Make a chapter's numbers repeatable: call it before any model is built.

    PyTorch's default dtype becomes float64, since float32 results differ between
    CPUs by more than a printed digit; PyTorch gets one thread, since sums over
    several depend on their number; and the generators of PyTorch, of this package
    and (for code that draws from the global ones) of ``random`` and NumPy are seeded.

    Parameters
    ----------
    seed : int
        At least 0 and less than ``2**32``.

    Returns
    -------
    numpy.random.Generator
        The package's generator, freshly seeded: use it for a chapter's own draws.

    Raises
    ------
    TypeError, ValueError
        If `seed` is not such an integer.
    """
    import torch  # here, so that the NumPy layers load without it

    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise TypeError(f"seed must be an integer, got {seed!r}")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must lie between 0 and 2**32 - 1, got {seed}")
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    torch.manual_seed(int(seed))
    random.seed(int(seed))
    np.random.seed(int(seed))
    fresh = np.random.default_rng(int(seed))
    _generator.bit_generator.state = fresh.bit_generator.state
    return _generator
