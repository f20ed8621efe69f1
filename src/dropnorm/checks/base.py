"""What all checkers share: the result, and a safe way to run somebody's answer."""

import contextlib
import dis
import functools
import io
import random
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import rel_entr

from dropnorm.randomness import default_generator


@dataclass(frozen=True, repr=False)
class Result:
    """What a checker found; its ``repr`` is what a student reads.

    Attributes
    ----------
    status : str
        "passed", "failed" or "not attempted".
    message : str
        If it failed: what the answer does, and a question that leads to the cause.
    """

    status: str
    message: str

    def __repr__(self):
        if self.status == "failed":
            return f"Not yet: {self.message}"
        return f"{self.message.capitalize()}."

    def require(self):
        """Raise AssertionError(message) unless passed: for graded cells."""
        if self.status != "passed":
            raise AssertionError(self.message)


class Wrong(Exception):
    """The answer is wrong; the message is the diagnosis."""


class NotAttempted(Exception):
    """There is no answer yet."""


def checker(check):
    """Turn check(*answers, seed), which raises `Wrong`, into a checker."""

    @functools.wraps(check)
    def checked(*answers, seed=0):
        try:
            if any(answer is None or answer is ... for answer in answers):
                raise NotAttempted
            with _isolated(seed):
                check(*answers, seed=seed)
        except NotAttempted:
            return Result("not attempted", "not attempted")
        except Wrong as wrong:
            return Result("failed", str(wrong))
        return Result("passed", "passed")

    return checked


@contextlib.contextmanager
def _isolated(seed):
    """Seed every global generator for the time of a check, swallow what is printed."""
    package = default_generator().bit_generator
    saved = random.getstate(), np.random.get_state(), package.state
    random.seed(seed)
    np.random.seed(seed)
    package.state = np.random.default_rng(seed).bit_generator.state
    try:
        with (
            torch.random.fork_rng(devices=[]),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            torch.random.default_generator.manual_seed(seed)
            yield
    finally:
        random.setstate(saved[0])
        np.random.set_state(saved[1])
        package.state = saved[2]


def call(function, *args, when=""):
    """function(*args); what it raises becomes a diagnosis, a stub "not attempted".

    `when` names the situation, as in "at p = 1". NumPy's warnings of a division by
    zero or of NaN count as errors.
    """
    name = getattr(function, "__name__", "your answer")
    when = f"{when} " if when else ""
    if not callable(function):
        raise Wrong(f"expected a function or a class, got {function!r}")
    try:
        with warnings.catch_warnings(), np.errstate(divide="warn", invalid="warn"):
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", RuntimeWarning)
            result = function(*args)
    except (Wrong, NotAttempted):
        raise
    except (Exception, SystemExit) as error:
        # A stub says no more than its name; PyTorch's own errors carry a message.
        if isinstance(error, NotImplementedError) and not error.args:
            raise NotAttempted from None
        raise Wrong(f"{when}{name} raised {type(error).__name__}: {error}") from None
    if result is ... or (result is None and _is_blank(function)):
        raise NotAttempted
    if result is None:
        raise Wrong(f"{when}{name} returned None: is a `return` missing?")
    return result


def pure(function, arrays, *others, when=""):
    """function(*arrays.values(), *others), which must leave the arrays as they are.

    `arrays` maps the names of arguments to them.
    """
    given = [array.copy() for array in arrays.values()]
    result = call(function, *given, *others, when=when)
    for (name, array), after in zip(arrays.items(), given, strict=True):
        if not np.array_equal(array, after):
            raise Wrong(
                f"your code changes its input {name}, which its caller may still need: "
                f"is there a `*=` or an assignment to {name}[...]?"
            )
    return result


def unpack(result, names):
    """A tuple with one value for each of the names."""
    if isinstance(result, np.ndarray) and result.shape[:1] == (len(names),):
        return tuple(result)  # stacked
    if not isinstance(result, (tuple, list)) or len(result) != len(names):
        raise Wrong(
            f"expected {len(names)} things, {', '.join(names)}, "
            f"got {len(result) if isinstance(result, (tuple, list)) else 'one'}"
        )
    return tuple(result)


def _is_blank(function):
    """True if the body is `...`, `pass` or a docstring: load None, return it."""
    code = getattr(function, "__code__", None)
    return code is not None and len(list(dis.get_instructions(code))) <= 3


def check_array(y, like, when=""):
    """Raise `Wrong` unless y is a finite array of like's shape and float type."""
    when = f"{when} " if when else ""
    if not isinstance(y, np.ndarray):
        kind = type(y).__name__
        raise Wrong(f"{when}the result is a {kind}, expected one NumPy array")
    if y.dtype == bool:
        raise Wrong(
            f"{when}the result holds True and False, expected numbers of type "
            f"{like.dtype}: is the comparison the last thing computed? "
            "(`x * u > p` multiplies first, then compares)"
        )
    if y.shape != like.shape:
        raise Wrong(f"{when}the result has shape {y.shape}, expected {like.shape}")
    if y.dtype != like.dtype:
        raise Wrong(
            f"{when}an input of type {like.dtype} gives a result of type {y.dtype}: "
            "which of your arrays has that type?"
        )
    if not np.isfinite(y).all():
        bad = y[~np.isfinite(y)][0]
        raise Wrong(f"{when}the result holds {bad}: is there a division by zero?")


def number(value, name):
    """`value` as a float; raises `Wrong` if it is not a finite number."""
    try:
        if isinstance(value, (bool, str)) or np.ndim(value) > 0:
            raise TypeError
        value = float(value)
    except (TypeError, ValueError, OverflowError):
        raise Wrong(f"{name} is {value!r}, expected a number") from None
    if not np.isfinite(value):
        raise Wrong(f"{name} is {value}, expected a finite number")
    return value


def numbers(values, names):
    """A tuple of floats, one for each name."""
    several = isinstance(values, (tuple, list)) or (
        isinstance(values, np.ndarray) and values.ndim > 0
    )
    if not several or len(values) != len(names):
        raise Wrong(f"expected {' and '.join(names)}, got {values!r}")
    return tuple(number(v, name) for v, name in zip(values, names, strict=True))


def table(values, like, what):
    """`values` as an array of like's shape; `NotAttempted` if all are blank.

    `what` says what is expected, as in "four rows of two numbers".
    """
    rows = values if isinstance(values, (list, tuple, np.ndarray)) else [values]
    flat = [v for row in rows for v in (row if np.iterable(row) else [row])]
    if flat and all(v is None or v is ... for v in flat):
        raise NotAttempted
    try:
        values = np.array(values, float)
    except (TypeError, ValueError):
        raise Wrong(f"expected {what}, got {values!r}") from None
    check_array(values, like=like)
    return values


def prediction_items(predicted, keys):
    """Key and value of each prediction; `NotAttempted` if none is made yet."""
    if not isinstance(predicted, dict) or set(predicted) != set(keys):
        raise Wrong(f"expected a dict with the keys {', '.join(keys)}")
    blank = [key for key in keys if predicted[key] is None or predicted[key] is ...]
    if len(blank) == len(keys):
        raise NotAttempted
    if blank:
        raise Wrong(f"there is no prediction yet for {', '.join(blank)}")
    return [(key, predicted[key]) for key in keys]


def recognize(value, known, otherwise=None):
    """The words for the first of the `known` wrong values (words: value) that fits."""
    for words, wrong in known.items():
        fits = np.shape(wrong) in ((), np.shape(value))
        if fits and np.allclose(value, wrong, rtol=1e-5):
            return words
    return otherwise


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


def guesses(predicted, right, known, why, rtol=1e-3):
    """Compare numbers that were predicted, one for each key of `right`.

    `known` maps a key to the wrong values that have a diagnosis (words: value), `why`
    to the question for any other.
    """
    for key, value in prediction_items(predicted, right):
        got = number(value, f"{key!r}")
        if not np.isclose(got, right[key], rtol=rtol, atol=1e-9):
            words = recognize(got, known.get(key, {}), why[key])
            raise Wrong(f"{key!r}: you predict {got:g}, and that is not it: {words}")


def judgments(predicted, right):
    """Compare predictions of True or False; `right` maps a key to answer and hint."""
    for key, value in prediction_items(predicted, right):
        answer, hint = right[key]
        if not isinstance(value, (bool, np.bool_)):
            raise Wrong(f"{key!r}: expected True or False, got {value!r}")
        if value != answer:
            raise Wrong(f"{key!r}: you predict {value}, and that is not it: {hint}")


def plausible(count, n, q, alpha=1e-10):
    """Whether chance explains `count` of n independent events of probability q.

    By Chernoff's bound a right answer is turned away with probability at most
    `alpha`: P(n · KL(K/n ‖ q) > ln(2/alpha)) ≤ alpha for K ~ Binomial(n, q).
    """
    share = count / n
    divergence = rel_entr(share, q) + rel_entr(1 - share, 1 - q)
    return n * divergence <= np.log(2 / alpha)
