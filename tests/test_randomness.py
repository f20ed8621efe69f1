"""`reproducible` seeds everything, and what it changes is what it says."""

import random

import numpy as np
import pytest
import torch

from dropnorm import reproducible
from dropnorm.randomness import default_generator


def test_the_same_seed_gives_the_same_draws():
    def draws(seed):
        rng = reproducible(seed)
        return rng.random(), torch.rand(1).item(), random.random(), np.random.rand()

    assert draws(1) == draws(1)
    assert all(a != b for a, b in zip(draws(1), draws(2), strict=True))


def test_it_returns_the_packages_generator_and_sets_torch():
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(2)
    assert reproducible(0) is default_generator()
    assert torch.get_default_dtype() is torch.float64
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("seed", [-1, 2**32, 0.5, "7", True, None])
def test_a_bad_seed_is_named(seed):
    with pytest.raises((TypeError, ValueError), match=f"seed must .* got {seed!r}"):
        reproducible(seed)
