"""The numbers of the figures as the browser has them: random ones and rounded ones."""

from decimal import ROUND_HALF_UP, Decimal

import numpy as np


class Generator:
    """mulberry32, the generator of shared.js: the same numbers for the same seed."""

    def __init__(self, seed):
        self._state = seed

    def random(self, size=None, dtype=float):
        """Numbers in [0, 1), as `numpy.random.Generator.random`."""
        n = int(np.prod(size)) if size is not None else 1
        mask = np.uint64(0xFFFFFFFF)
        steps = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x6D2B79F5)
        s = (np.uint64(self._state) + steps) & mask
        self._state = int(s[-1]) if n else self._state
        t = ((s ^ (s >> np.uint64(15))) * (s | np.uint64(1))) & mask
        mixed = ((t ^ (t >> np.uint64(7))) * (t | np.uint64(61))) & mask
        t ^= (t + mixed) & mask
        values = ((t ^ (t >> np.uint64(14))) & mask) / 2**32
        return values.reshape(size).astype(dtype) if size is not None else values[0]

    def normal(self, n):
        """Numbers from the standard normal distribution (Box and Muller)."""
        u = self.random((n, 2))
        return np.sqrt(-2 * np.log(1 - u[:, 0])) * np.cos(2 * np.pi * u[:, 1])


def fixed(value, digits):
    """The number as JavaScript's toFixed writes it, ties away from zero; never -0."""
    step = Decimal(1).scaleb(-digits)
    text = str(Decimal(float(value)).quantize(step, ROUND_HALF_UP))
    return text.lstrip("-") if float(text) == 0 else text
