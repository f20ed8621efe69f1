"""A dropout mask, and mean and variance of what passes it."""

import numpy as np
from scipy.stats import norm

from dropnorm.interactive.arithmetic import Generator, fixed
from dropnorm.interactive.figure import (
    Figure,
    axes,
    button,
    number,
    polyline,
    slider,
    status,
    table,
)
from dropnorm.layers import dropout_forward

COLUMNS, UNITS, MASKS = 16, 128, 400
LEFT, RIGHT, TOP, BOTTOM = 44, 330, 216, 366
LOW, HIGH = 0.3, 40.0  # of the ratio


def _outputs():
    """ReLU of evenly spaced quantiles of the normal distribution, in mixed order."""
    quantiles = norm.ppf((np.arange(UNITS) + 0.5) / UNITS)
    order = np.argsort(Generator(3).random((UNITS,)))
    return np.maximum(quantiles, 0).round(2)[order]


def _x(p):
    return LEFT + (RIGHT - LEFT) * p


def _y(ratio):
    part = np.log(np.clip(ratio, LOW, HIGH) / LOW) / np.log(HIGH / LOW)
    return BOTTOM - (BOTTOM - TOP) * part


def _cells(y, mask):
    """A square for each unit, darker if it gives out more; struck out if dropped."""
    parts = []
    for i, (value, kept) in enumerate(zip(y, mask, strict=True)):
        left, top = 10 + 20 * (i % COLUMNS), 4 + 20 * (i // COLUMNS)
        gray = int(255 - 175 * value / (value + 2) + 0.5)
        parts += [f'<path fill="rgb({gray},{gray},{gray})" stroke="#999"']
        parts += [f' d="M{left} {top}h20v20h-20z"/>']
        if not kept:
            parts += [f'<path class="strike" d="M{left + 3} {top + 17}l14-14"/>']
    return "".join(parts)


def dropout_mask(p=0.5):
    """The mask of 128 units, and mean and variance of their outputs behind it.

    Formula (6) of the chapter on the dropout layer stands beside what one mask and
    400 masks give.

    Parameters
    ----------
    p : float
        Probability to drop that is shown first: 0, 0.05, …, 0.95.
    """
    h = _outputs()
    c, v = h.mean(), h.var()
    random = Generator(1)
    y, mask = dropout_forward(h, p, random)
    others, _ = dropout_forward(np.tile(h, MASKS - 1), p, random)
    many = np.concatenate([y, others])

    def formula(p):
        return (c**2 + v) / (1 - p) - c**2  # (6)

    rates = np.arange(0, 0.951, 0.01)
    curve = polyline((_x(r), _y(formula(r) / v)) for r in rates)
    ratios = {"0.3": 0.3, "1": 1, "3": 3, "10": 10, "30": 30}
    svg = (
        f'<g data-part="cells">{_cells(y, mask > 0)}</g>\n'
        + axes(
            (LEFT, RIGHT, TOP, BOTTOM),
            {f"{r:g}": _x(r) for r in (0, 0.2, 0.4, 0.6, 0.8, 1)},
            {text: _y(ratio) for text, ratio in ratios.items()},
            "p, probability to drop",
            "behind / before the layer, logarithmic",
        )
        + f'<path class="one" d="M{LEFT} {_y(1):.1f}H{_x(0.95):.1f}"/>\n'
        + f'<polyline class="two" points="{curve}"/>\n'
        + f'<circle class="dot" data-part="mean" r="6" cx="{_x(p):.1f}" '
        + f'cy="{_y(y.mean() / c):.1f}"/>\n'
        + '<path class="square" data-part="variance" '
        + f'd="M{_x(p):.1f} {_y(y.var() / v):.1f}m-6-6h12v12h-12z"/>\n'
        + '<circle class="dot" r="6" cx="12" cy="420"/>'
        + '<text x="24" y="425">mean, line: (6)</text>'
        + '<path class="square" d="M164 420m-6-6h12v12h-12z"/>'
        + '<text x="176" y="425">variance, dashes: (6)</text>\n'
    )
    kept = int((mask > 0).sum())
    rows = {
        "before the layer": ("before", c, v),
        "behind it, this mask": ("one", y.mean(), y.var()),
        f"behind it, {MASKS} masks": ("many", many.mean(), many.var()),
        "behind it, by (6)": ("formula", c, formula(p)),
    }
    numbers = table(
        ["", "mean", "variance"],
        {
            heading: [
                number(f"mean-{name}", fixed(center, 3)),
                number(f"variance-{name}", fixed(spread, 3)),
            ]
            for heading, (name, center, spread) in rows.items()
        },
    )
    numbers += status(
        f"p = {number('p', f'{p:g}')}: {number('kept', kept)} of {UNITS} units pass, "
        f"multiplied by {number('scale', fixed(1 / (1 - p), 2))}; behind them mean "
        f"{number('mean-one', fixed(y.mean(), 3))}, "
        f"variance {number('variance-one', fixed(y.var(), 3))}."
    )
    plot = {"left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM}
    return Figure(
        "dropout_mask",
        "128 units, the dropped ones struck out; below, mean and variance of what "
        "passes relative to those before, against p, by formula and for this mask",
        controls=[
            slider("p", "p, probability to drop", 0, 0.95, 0.05, p),
            button("seed", "New mask"),
        ],
        svg=svg,
        height=434,
        numbers=numbers,
        data={"h": h.tolist(), "masks": MASKS, "low": LOW, "high": HIGH, **plot},
    )
