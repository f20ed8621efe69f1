"""What a training leaves: the metrics and the weights of each seed."""

import random
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

# What `compare` accepts of two `Runs`, with units; the targets' unit is not known.
UNITS = {
    "test_error": "%",
    "test_nll": "nats",
    "test_ece": "%",
    "train_error": "%",
    "train_nll": "nats",
    "val_error": "%",
    "val_nll": "nats",
    "test_mse": None,
    "train_mse": None,
    "val_mse": None,
}


def _metric(name, text):
    return property(lambda runs: runs._value(name), doc=f"(S,) {text}.")


@dataclass(frozen=True, repr=False, eq=False)
class Runs:
    """The S trained seeds of one arm.

    Metrics are those of the evaluation mode after the last step. With
    ``loss="cross_entropy"`` they are the percentage of misclassified examples
    (``error``), the mean negative log-likelihood in nats (``nll``) and of the test part
    the expected calibration error in per cent (``ece``); with ``loss="mse"`` the mean
    squared error (``mse``).

    Attributes
    ----------
    name : str
        The arm's name.
    seeds : tuple of int
        In the order of all arrays below.
    history : dict of ndarray
        ``epoch`` (T,); ``batch_loss`` (T, S), the training-mode loss averaged over
        the examples seen since the previous entry; and in evaluation mode
        ``train_nll``, ``train_error``, ``val_nll``, ``val_error``, or ``train_mse``
        and ``val_mse`` (T, S). Without validation rows those are absent. The test part
        never is in here, so that nobody can choose by it.
    looped : str
        Why the seeds were trained one after another; empty if they were not.
    """

    name: str
    seeds: tuple
    history: dict
    looped: str
    _test: dict  # metric -> array (S,)
    _states: dict  # name in the state_dict -> array (S, ...)
    _dtype: torch.dtype
    _factory: Callable | None

    test_error = _metric("test_error", "misclassified test examples in per cent")
    test_nll = _metric("test_nll", "negative log-likelihood of the test part, in nats")
    test_ece = _metric("test_ece", "calibration error of the test part, in per cent")
    test_mse = _metric("test_mse", "mean squared error of the test part")
    train_error = _metric("train_error", "misclassified training examples in per cent")
    train_nll = _metric("train_nll", "negative log-likelihood of the training part")
    train_mse = _metric("train_mse", "mean squared error of the training part")
    val_error = _metric("val_error", "misclassified validation examples in per cent")
    val_nll = _metric("val_nll", "negative log-likelihood of the validation part")
    val_mse = _metric("val_mse", "mean squared error of the validation part")

    def _value(self, metric):
        last = {name: values[-1] for name, values in self.history.items()}
        values = {**last, **self._test}
        if metric in values:
            return values[metric]
        if metric.replace("val_", "train_") in values:
            raise ValueError(f"no {metric}: the validation part had no rows")
        names = ", ".join(name for name in values if name in UNITS)
        raise ValueError(f"no {metric}: the recipe's loss gives {names}")

    def model(self, seed):
        """A new ordinary module with that seed's weights, in evaluation mode."""
        if seed not in self.seeds:
            raise ValueError(f"seed must be one of {self.seeds}, got {seed!r}")
        s = self.seeds.index(seed)
        with isolated(self._dtype):
            set_seed(seed)
            model = self._factory()
        model.load_state_dict({k: torch.tensor(v[s]) for k, v in self._states.items()})
        return model.eval()

    def __repr__(self):
        return f"<{self.name!r}, trained with seeds {self.seeds}>"


@contextmanager
def isolated(dtype):
    """One thread and this default dtype; afterwards everything is as it was."""
    before = random.getstate(), np.random.get_state()
    threads, default = torch.get_num_threads(), torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]):
        torch.set_num_threads(1)
        torch.set_default_dtype(dtype)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.set_default_dtype(default)
            random.setstate(before[0])
            np.random.set_state(before[1])


def set_seed(seed):
    """PyTorch's generator, and the others that a factory might draw from."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)
