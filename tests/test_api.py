"""The reference of the package shows all that it offers."""

import inspect
import re
from pathlib import Path

import pytest

from dropnorm import (
    data,
    gradcheck,
    init,
    interactive,
    layers,
    nn,
    optim,
    plots,
    replicates,
)

REFERENCE = Path(__file__).parents[1] / "book" / "reference"
PAGES = [REFERENCE / "api.md", *sorted((REFERENCE / "api").glob("*.md"))]


def documented(module):
    """The names below each `currentmodule` of this module."""
    names = []
    for page in PAGES:
        for block in page.read_text().split(".. currentmodule:: ")[1:]:
            if block.split()[0] == module:
                names += re.findall(r"^\.\. auto\w+:: (\w+)$", block, re.M)
    return names


def public(module):
    """`__all__`, or else what the module defines without a leading underscore."""
    if hasattr(module, "__all__"):
        return module.__all__
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
    ]


@pytest.mark.parametrize(
    "module",
    [data, gradcheck, init, interactive, layers, nn, optim, plots, replicates],
)
def test_every_public_name_is_documented_once(module):
    assert sorted(documented(module.__name__)) == sorted(public(module))
