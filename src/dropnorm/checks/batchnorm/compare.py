"""How the checkers of this part compare an answer with the right one."""

import numpy as np

from dropnorm.checks.base import Wrong, number, prediction_items, recognize


def agree(what, got, right, known, hint, rtol=1e-6):
    """Raise `Wrong` unless `got` equals `right`, numbers or arrays of one shape.

    The diagnosis is the first of `known` (words: wrong value) that fits, or `hint`.
    """
    atol = rtol * np.abs(right).max()
    if np.allclose(got, right, rtol=rtol, atol=atol):
        return
    words = recognize(got, known, hint)
    if np.ndim(right) == 0:
        raise Wrong(f"{what} is {got:.4g}, expected {right:.4g}: {words}")
    far = np.abs(got - right)
    index = np.unravel_index(far.argmax(), far.shape)
    place = ", ".join(map(str, index))
    raise Wrong(
        f"{what}[{place}] is {got[index]:.4g}, expected {right[index]:.4g}: {words}"
    )


def guesses(predicted, right, known, why):
    """Compare numbers that were predicted, one for each key of `right`.

    `known` maps a key to the wrong values that have a diagnosis (words: value), `why`
    to the question for any other.
    """
    for key, value in prediction_items(predicted, right):
        got = number(value, f"{key!r}")
        if not np.isclose(got, right[key], rtol=1e-3, atol=1e-9):
            words = recognize(got, known.get(key, {}), why[key])
            raise Wrong(f"{key!r}: you predict {got:g}, and that is not it: {words}")
