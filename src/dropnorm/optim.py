"""Optimizers for the NumPy layers."""

import numbers

import numpy as np


def _check_not_negative(name, value):
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not 0 <= value < float("inf"):
        raise ValueError(f"{name} must be finite and at least 0, got {value}")


class SGD:
    """Stochastic gradient descent with momentum, as ``torch.optim.SGD``.

    Parameters
    ----------
    model : dropnorm.layers.Layer
        Usually a `Sequential`; `step` reads its `grads` and changes its `params`.
    lr : float
        Learning rate.
    momentum, weight_decay : float
        Per step, with d = gradient + weight_decay · w:
        v ← momentum · v + d (v starts as the first d), then w ← w − lr · v.

    Raises
    ------
    TypeError, ValueError
        If a rate is not a finite number of at least 0.
    """

    def __init__(self, model, lr=1e-3, momentum=0.0, weight_decay=0.0):
        _check_not_negative("lr", lr)
        _check_not_negative("momentum", momentum)
        _check_not_negative("weight_decay", weight_decay)
        self.model = model
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay
        self.velocity = {name: np.zeros_like(w) for name, w in model.params.items()}

    def step(self):
        """One update of every parameter, in place.

        Raises ValueError if a parameter has no gradient: call ``backward`` first.
        """
        for name, weight in self.model.params.items():
            if name not in self.model.grads:
                raise ValueError(f"{name} has no gradient: call backward before step")
            d = self.model.grads[name] + self.weight_decay * weight
            v = self.velocity[name]
            v *= self.momentum
            v += d
            weight -= self.lr * v
