"""Initial values for weights, in place, under the names of ``torch.nn.init``.

Each function fills a float array, ``init.kaiming_normal_(layer.weight)``, and
returns it. `rng` is a numpy.random.Generator, by default the package's. The fans of
a weight (out, in) or (out, in, K_h, K_w) are the numbers of inputs of an output and
of outputs of an input: fan_in = in · K_h K_w, fan_out = out · K_h K_w.
"""

import math

from dropnorm.layers.base import check_float_array
from dropnorm.randomness import default_generator


def _fans(weight):
    check_float_array("weight", weight)
    if weight.ndim < 2 or weight.size == 0:
        raise ValueError(
            f"weight must have shape (out, in) or (out, in, K_h, K_w), "
            f"got {weight.shape}"
        )
    window = math.prod(weight.shape[2:])
    return weight.shape[1] * window, weight.shape[0] * window


def zeros_(weight):
    """All 0: right for biases; in a hidden layer's weights all units stay equal."""
    check_float_array("weight", weight)
    weight[...] = 0
    return weight


def normal_(weight, mean=0.0, std=1.0, *, rng=None):
    """Independent draws from the normal distribution with this mean and deviation.

    Raises TypeError if `weight` is not a float array, ValueError if `std` < 0.
    """
    check_float_array("weight", weight)
    if not std >= 0:
        raise ValueError(f"std must be at least 0, got {std}")
    rng = default_generator() if rng is None else rng
    weight[...] = rng.normal(mean, std, weight.shape)
    return weight


def _uniform_(weight, bound, rng):
    rng = default_generator() if rng is None else rng
    weight[...] = rng.uniform(-bound, bound, weight.shape)
    return weight


def xavier_uniform_(weight, gain=1.0, *, rng=None):
    """Uniform with variance gain² · 2/(fan_in + fan_out).

    Keeps the variance of a linear layer's signal about the same forward and backward.

    Raises TypeError or ValueError unless `weight` is a float array of two or more axes.

    References
    ----------
    Glorot and Bengio (2010), Understanding the Difficulty of Training Deep Feedforward
    Neural Networks, equation 16.
    """
    # A uniform draw on ±b has variance b²/3.
    return _uniform_(weight, gain * math.sqrt(6 / sum(_fans(weight))), rng)


def xavier_normal_(weight, gain=1.0, *, rng=None):
    """Normal with variance gain² · 2/(fan_in + fan_out); see `xavier_uniform_`."""
    return normal_(weight, std=gain * math.sqrt(2 / sum(_fans(weight))), rng=rng)


def kaiming_uniform_(weight, *, rng=None):
    """Uniform with variance 2/fan_in ("He"): the gain √2 is ReLU's.

    Keeps the mean square of the signal through layers of ReLU, which zeroes half of
    it. ``torch.nn.init`` has more modes and gains; its defaults give this.

    Raises TypeError or ValueError unless `weight` is a float array of two or more axes.

    References
    ----------
    He et al. (2015), Delving Deep into Rectifiers, equation 10.
    """
    return _uniform_(weight, math.sqrt(6 / _fans(weight)[0]), rng)


def kaiming_normal_(weight, *, rng=None):
    """Normal with variance 2/fan_in ("He"); see `kaiming_uniform_`."""
    return normal_(weight, std=math.sqrt(2 / _fans(weight)[0]), rng=rng)
