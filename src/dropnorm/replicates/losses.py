"""What networks are trained on, for one seed and for several, and their scores."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch.nn.functional as F

from dropnorm.replicates.comparison import expected_calibration_error


def _cross_entropies(logits, y):
    # As (S, K, N), the memory order in which a last linear layer leaves them.
    logits = logits.permute(1, 2, 0)
    return F.cross_entropy(logits, y.t(), reduction="none").mean(1)


def _classification_scores(logits, y, final):
    log_p = logits.log_softmax(2)
    nll = -log_p.gather(2, y.unsqueeze(2)).squeeze(2).mean(0)
    error = 100 * (log_p.argmax(2) != y).to(log_p.dtype).mean(0)
    scores = {"nll": nll.numpy(), "error": error.numpy()}
    if final:
        pairs = zip(log_p.exp().unbind(1), y.unbind(1), strict=True)
        scores["ece"] = np.array(
            [expected_calibration_error(p.numpy(), y.numpy()) for p, y in pairs]
        )
    return scores


def _squared_errors(outputs, targets):
    if outputs.shape != targets.shape:  # would broadcast
        raise ValueError(
            f"the network must map to (N, K) with K = {targets.shape[-1]} as the "
            f"targets have, but a batch of {len(targets)} became {(*outputs.shape,)}"
        )
    return (outputs - targets).square().mean((0, -1))


def _regression_scores(outputs, targets, final):
    return {"mse": _squared_errors(outputs, targets).numpy()}


class Loss(NamedTuple):
    of_one: Callable  # the mean over a batch: outputs (N, K) to a number
    of_each: Callable  # the same for each seed: (N, S, K) to (S,)
    scores: Callable  # name -> (S,); after the last step, some more


LOSSES = {
    "cross_entropy": Loss(F.cross_entropy, _cross_entropies, _classification_scores),
    "mse": Loss(_squared_errors, _squared_errors, _regression_scores),
}
