"""Losses: the last step, from a network's output to one number."""

import numpy as np

from dropnorm.layers.base import check_float_array


def cross_entropy_forward(logits, target):
    """Mean cross-entropy of softmax(logits) against integer classes.

    Parameters
    ----------
    logits : (N, K)
    target : (N,) integers from 0 to K − 1

    Returns
    -------
    loss : float, in nats, averaged over the N examples
    cache : what `cross_entropy_backward` needs
    """
    rows = np.arange(len(target))
    # Subtracting the row's maximum changes no probability and keeps exp finite.
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    log_probability = shifted - log_sum  # log softmax(z)
    loss = -log_probability[rows, target].mean()  # L = -1/N Σ_n log q_n,t(n)
    return loss, (log_probability, target)


def cross_entropy_backward(cache):
    """dL/dlogits = (softmax(z) − one-hot(target)) / N, of shape (N, K)."""
    log_probability, target = cache
    dlogits = np.exp(log_probability)
    dlogits[np.arange(len(target)), target] -= 1
    return dlogits / len(target)


class CrossEntropyLoss:
    """Softmax and mean cross-entropy in one, as ``torch.nn.CrossEntropyLoss``.

    ``loss(logits, target)`` returns a float; ``loss.backward()`` returns dL/dlogits.

    Shapes
    ------
    logits (N, K) of float32 or float64, target (N,) integers from 0 to K − 1.

    Raises
    ------
    TypeError, ValueError
        If the arrays are not of these kinds, shapes and ranges, or `backward` comes
        before `forward`.
    """

    def __init__(self):
        self._cache = None

    def forward(self, logits, target):
        """The mean loss in nats."""
        check_float_array("logits", logits)
        if logits.ndim != 2 or 0 in logits.shape:
            raise ValueError(f"logits must have shape (N, K), got {logits.shape}")
        target = np.asarray(target)
        if not np.issubdtype(target.dtype, np.integer):
            raise TypeError(f"target must be an array of integers, got {target.dtype}")
        if target.shape != logits.shape[:1]:
            raise ValueError(
                f"target must have shape ({len(logits)},), got {target.shape}"
            )
        if target.min() < 0 or target.max() >= logits.shape[1]:
            raise ValueError(
                f"target must lie between 0 and {logits.shape[1] - 1}, "
                f"got {target.min()} to {target.max()}"
            )
        loss, self._cache = cross_entropy_forward(logits, target)
        return float(loss)

    __call__ = forward

    def backward(self):
        """The gradient of the last loss with respect to its logits."""
        if self._cache is None:
            raise ValueError("backward of CrossEntropyLoss needs a forward before it")
        return cross_entropy_backward(self._cache)


def mse_forward(prediction, target):
    """Mean squared error over all entries of two arrays of one shape.

    Returns
    -------
    loss : float
    cache : what `mse_backward` needs
    """
    error = prediction - target
    loss = (error * error).mean()  # L = 1/n Σ_i (y_i − t_i)²
    return loss, error


def mse_backward(cache):
    """dL/dprediction = 2 (y − t) / n, in the shape of the prediction."""
    error = cache
    return error * (2 / error.size)


class MSELoss:
    """Mean squared error, as ``torch.nn.MSELoss``.

    ``loss(prediction, target)`` returns a float; ``loss.backward()`` returns
    dL/dprediction. The mean goes over all entries, not over the examples only.

    Shapes
    ------
    prediction and target of any one shape, not empty, and of one dtype, float32 or
    float64. (N, 1) and (N,) are two shapes: to broadcast them would compare every
    prediction with every target.

    Raises
    ------
    TypeError, ValueError
        If the arrays are not of these kinds and shapes, or `backward` comes before
        `forward`.
    """

    def __init__(self):
        self._cache = None

    def forward(self, prediction, target):
        """The mean squared error."""
        check_float_array("prediction", prediction)
        check_float_array("target", target)
        if target.dtype != prediction.dtype:
            raise TypeError(
                "target must have the dtype of the prediction, "
                f"{prediction.dtype}, got {target.dtype}"
            )
        if target.shape != prediction.shape:
            raise ValueError(
                "target must have the shape of the prediction, "
                f"{prediction.shape}, got {target.shape}"
            )
        if prediction.size == 0:
            raise ValueError(
                f"prediction must not be empty, got shape {prediction.shape}"
            )
        loss, self._cache = mse_forward(prediction, target)
        return float(loss)

    __call__ = forward

    def backward(self):
        """The gradient of the last loss with respect to its prediction."""
        if self._cache is None:
            raise ValueError("backward of MSELoss needs a forward before it")
        return mse_backward(self._cache)
