"""A batch through batch normalization, in training and in evaluation."""

import numpy as np

from dropnorm.interactive.arithmetic import Generator, fixed
from dropnorm.interactive.figure import (
    Figure,
    button,
    choice,
    number,
    slider,
    status,
    table,
)

FIRST, MEAN, SD = 7.0, 4.0, 3.0  # the first example; what the others are drawn from
MOST = 16
SIZES = {"1e-5": "0.00001", "0.001": "0.001", "0.1": "0.1", "1": "1", "10": "10"}


def _across(value, low):
    return 10 + 16 * (min(max(value, low), low + 20) - low)


def _axis(low, y, side):
    """A number line of 20 units, with its ticks above (-1) or below (1)."""
    parts = [f'<path class="axis" d="M10 {y}H330"/>\n']
    for value in range(low + 2, low + 20, 4):
        x = _across(value, low)
        parts += [f'<path class="axis" d="M{x} {y}v{5 * side}"/>']
        at = y + (20 if side > 0 else -10)
        parts += [f'<text class="middle" x="{x}" y="{at}">{value}</text>\n']
    return "".join(parts)


def _spread(values, low, y):
    """Mean and standard deviation as a bar with a mark in its middle."""
    center, sd = np.mean(values), np.std(values)
    start, end = _across(center - sd, low), _across(center + sd, low)
    return f"M{start:.1f} {y}H{end:.1f}M{_across(center, low):.1f} {y - 6}v12"


def batch_norm(m=4, gamma=1.0, beta=0.0, eps="0.00001"):
    """One feature of a batch, before and behind batch normalization.

    The first example is the same in every batch. In evaluation the running
    statistics are those of the source, mean 4 and variance 9.

    Parameters
    ----------
    m : int
        Size of the batch that is shown first: 2, …, 16.
    gamma, beta : float
        Scale and shift, from -3 to 3.
    eps : str
        "0.00001", "0.001", "0.1", "1" or "10".
    """
    x = np.concatenate([[FIRST], MEAN + SD * Generator(1).normal(MOST - 1)])[:m]
    mu, var = x.mean(), x.var()  # (1), (2)
    x_hat = (x - mu) / np.sqrt(var + float(eps))  # (3)
    y = gamma * x_hat + beta  # (4)

    lines = "".join(
        f"M{_across(a, -6):.1f} 58L{_across(b, -10):.1f} 178"
        for a, b in zip(x[1:], y[1:], strict=True)
    )
    dots = "".join(
        f'<circle class="dot" r="5" cx="{_across(value, low):.1f}" cy="{at}"/>'
        for a, b in zip(x[1:], y[1:], strict=True)
        for value, low, at in ((a, -6, 58), (b, -10, 178))
    )
    top, bottom = _across(FIRST, -6), _across(y[0], -10)
    svg = (
        '<text x="4" y="16">x, before the layer</text>\n'
        + '<text x="4" y="232">y, behind it. Square: the first example.</text>\n'
        + '<text x="4" y="252">Bars: mean ± standard deviation</text>\n'
        + _axis(-6, 58, -1)
        + _axis(-10, 178, 1)
        + f'<path class="axis" data-part="lines" d="{lines}"/>\n'
        + f'<path class="two" data-part="first" d="M{top} 58L{bottom:.1f} 178"/>\n'
        + f'<g data-part="dots">{dots}</g>\n'
        + '<path class="square" data-part="squares" '
        + f'd="M{top} 58m-6-6h12v12h-12zM{bottom:.1f} 178m-6-6h12v12h-12z"/>\n'
        + '<path class="bar" data-part="spread" '
        + f'd="{_spread(x, -6, 78)}{_spread(y, -10, 158)}"/>\n'
    )
    rows = {
        "batch x": ("x", x.mean(), x.var()),
        "used for x̂": ("used", mu, var),
        "output y": ("y", y.mean(), y.var()),
    }
    numbers = table(
        ["", "mean", "variance"],
        {
            heading: [
                number(f"{name}-mean", fixed(center, 3)),
                number(f"{name}-variance", fixed(variance, 3)),
            ]
            for heading, (name, center, variance) in rows.items()
        },
    )
    numbers += status(
        f"First example: x = {FIRST:g}, x̂ = {number('first-hat', fixed(x_hat[0], 3))}, "
        f"y = {number('first-y', fixed(y[0], 3))}. Batch behind the layer: mean "
        f"{number('y-mean', fixed(y.mean(), 3))}, "
        f"variance {number('y-variance', fixed(y.var(), 3))}."
    )
    return Figure(
        "batch_norm",
        "the values of a batch on a line, and below, joined to them, what batch "
        "normalization makes of them, with mean and standard deviation of both",
        controls=[
            choice(
                "mode",
                "Mode",
                {"training": "training", "evaluation": "evaluation"},
                "training",
            ),
            slider("m", "m, size of the batch", 2, MOST, 1, m),
            slider("gamma", "γ", -3, 3, 0.25, gamma),
            slider("beta", "β", -3, 3, 0.25, beta),
            choice("eps", "ε", SIZES, eps),
            button("seed", "New batch"),
        ],
        svg=svg,
        height=260,
        numbers=numbers,
        data={"first": FIRST, "mean": MEAN, "sd": SD, "most": MOST},
    )
