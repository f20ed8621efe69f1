"""Central differences against ``backward``."""

import copy
from dataclasses import dataclass

import numpy as np


def numerical_gradient(f, x, eps=1e-5):
    """dF/dx by central differences, one entry of `x` at a time.

    Parameters
    ----------
    f : callable
        f() returns a float that depends on the array `x`.
    x : numpy.ndarray of float64
        Changed in place while it runs and restored afterwards.
    eps : float
        Half the distance between the two evaluations. The error is of order eps².

    Returns
    -------
    numpy.ndarray like x
    """
    if x.dtype != np.float64:
        raise TypeError(f"x must be float64 for differences, got {x.dtype}")
    gradient = np.empty_like(x)
    for index in np.ndindex(x.shape):
        here = x[index]
        x[index] = here + eps
        above = f()
        x[index] = here - eps
        below = f()
        x[index] = here
        gradient[index] = (above - below) / (2 * eps)
    return gradient


@dataclass(frozen=True)
class GradcheckReport:
    """What `gradcheck` found; its ``repr`` names the worst entry.

    Attributes
    ----------
    errors : dict of str to float
        For ``"x"`` and each parameter, the largest difference between the two
        gradients, relative to the largest entry of either.
    name, index : str, tuple of int
        Where the worst error stands.
    analytic, numerical : float
        The two gradients there.
    tol : float
    """

    errors: dict
    name: str
    index: tuple
    analytic: float
    numerical: float
    tol: float

    @property
    def passed(self):
        """True if no error exceeds `tol`."""
        return max(self.errors.values()) <= self.tol

    def __repr__(self):
        verdict = "passed" if self.passed else "FAILED"
        where = f"{self.name}[{', '.join(map(str, self.index))}]"
        return (
            f"gradcheck {verdict} for {', '.join(self.errors)} "
            f"(relative error at most {self.tol:g} allowed); worst {where}: "
            f"backward {self.analytic:.6g}, differences {self.numerical:.6g}"
        )


def gradcheck(layer, x, *, eps=1e-5, tol=1e-7):
    """Compare a layer's `backward` with central differences of its `forward`.

    The loss is L = Σ c ⊙ forward(x) with fixed random coefficients c. Each forward
    runs on a fresh copy of the layer, so a random layer draws the same mask every
    time, and `layer` itself is left as it was.

    Parameters
    ----------
    layer : dropnorm.layers.Layer
        With float64 parameters; in the mode that it is in.
    x : numpy.ndarray of float64
        Away from points without a derivative (for ReLU: from 0).
    eps, tol : float
        Step of the differences; largest relative error that passes.

    Returns
    -------
    GradcheckReport

    Raises
    ------
    TypeError
        If `x` is not a float64 array.
    """
    if not isinstance(x, np.ndarray) or x.dtype != np.float64:
        raise TypeError(f"x must be a float64 array, got {getattr(x, 'dtype', x)!r}")
    x = x.copy()
    once = copy.deepcopy(layer)
    y = once.forward(x)
    # Seed 0 would repeat an x drawn with it, and c = x hides what a batch norm does.
    c = np.random.default_rng(2015).standard_normal(y.shape)
    analytic = {"x": once.backward(c), **once.grads}

    trial = copy.deepcopy(layer)  # its parameters are the ones that move

    def loss():
        return float((c * copy.deepcopy(trial).forward(x)).sum())

    numerical = {"x": numerical_gradient(loss, x, eps)}
    for name, param in trial.params.items():
        numerical[name] = numerical_gradient(loss, param, eps)

    errors, worst = {}, None
    for name, expected in numerical.items():
        got = np.broadcast_to(analytic.get(name, np.nan), expected.shape)
        scale = max(abs(expected).max(), np.nan_to_num(abs(got)).max(), 1e-3)
        error = np.nan_to_num(abs(got - expected) / scale, nan=np.inf)
        index = np.unravel_index(error.argmax(), error.shape)
        errors[name] = float(error[index])
        if worst is None or errors[name] > errors[worst[0]]:
            place = tuple(int(i) for i in index)
            worst = name, place, float(got[index]), float(expected[index])
    return GradcheckReport(errors, *worst, tol)
