"""How an answer has to leave the model that it is given."""

import contextlib
import functools
import inspect

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from dropnorm.checks.base import call


def act(function, *args, when=""):
    """As `call`, for a function whose result does not count."""

    @functools.wraps(function)
    def action(*args):
        function(*args)
        return True

    call(action, *args, when=when)


def listed(function, *args, when=""):
    """As `call`, for a function that may also be a generator."""

    @functools.wraps(function)
    def action(*args):
        result = function(*args)
        return list(result) if inspect.isgenerator(result) else result

    return call(action, *args, when=when)


@contextlib.contextmanager
def watched(model, forward_pre_hook):
    """Every module calls forward_pre_hook(module, args) meanwhile."""
    hooks = [m.register_forward_pre_hook(forward_pre_hook) for m in model.modules()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def settings(model):
    """What an answer may change by mistake: words for a diagnosis, and values."""
    modules = list(model.modules())
    norms = [module for module in modules if isinstance(module, _BatchNorm)]
    return {
        "a parameter": [p.detach().clone() for p in model.parameters()],
        "the mode of a module": [module.training for module in modules],
        "the momentum of a batch norm": [norm.momentum for norm in norms],
        "the rate of a dropout": [getattr(module, "p", None) for module in modules],
        "whether a parameter is trained": [p.requires_grad for p in model.parameters()],
    }


def changed(before, model):
    """The words for the first thing that is another than in `before`, or None."""
    for words, now in settings(model).items():
        if len(before[words]) != len(now) or not all(
            torch.equal(a, b) if torch.is_tensor(a) else a == b
            for a, b in zip(before[words], now, strict=True)
        ):
            return words
    return None


def leftover_hook(model):
    """Whether a hook is still registered on one of the model's modules."""
    return any(
        module._forward_pre_hooks or module._forward_hooks for module in model.modules()
    )
