"""What the checkers of this part share: tensors, and models that are left alone."""

import copy
import functools
import inspect

import numpy as np
import torch
from torch import nn

from dropnorm.checks import base
from dropnorm.checks.base import NotAttempted, Wrong, call


def checker(check):
    """As `base.checker`, with float64 as the default dtype meanwhile.

    What an answer raises outside of `call` becomes a diagnosis as well: in a backward
    pass, or where its result is used.
    """

    @functools.wraps(check)
    def in_float64(*answers, seed):
        dtype = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            check(*answers, seed=seed)
        except (Wrong, NotAttempted):
            raise
        except Exception as error:
            kind = type(error).__name__
            raise Wrong(f"using your answer raised {kind}: {error}") from None
        finally:
            torch.set_default_dtype(dtype)

    return base.checker(in_float64)


def array(value, shape, when=""):
    """`value`, a tensor or an array, as a finite float array of this shape."""
    when = f"{when} " if when else ""
    if isinstance(value, torch.Tensor):
        value = value.detach().numpy()
    if not isinstance(value, np.ndarray):
        raise Wrong(f"{when}expected a tensor or an array, got {value!r}")
    if value.shape != tuple(shape):
        raise Wrong(f"{when}the shape is {value.shape}, expected {tuple(shape)}")
    value = value.astype(float)
    if not np.isfinite(value).all():
        bad = value[~np.isfinite(value)][0]
        raise Wrong(f"{when}it holds {bad}: is there a division by zero?")
    return value


def build(cls, *args, when=""):
    """cls(*args), which has to be a torch module."""
    module = call(cls, *args, when=when)
    if not inspect.isclass(cls) and not isinstance(module, nn.Module):
        raise Wrong("expected a class, or a function that returns a module")
    if not isinstance(module, nn.Module):
        raise Wrong("expected a class derived from torch.nn.Module")
    return module


def state(model):
    """A copy of the parameters and buffers."""
    return copy.deepcopy(dict(model.state_dict()))
