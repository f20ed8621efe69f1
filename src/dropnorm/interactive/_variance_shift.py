"""The variance shift against p and against the input's mean-to-deviation ratio."""

import numpy as np

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

SAMPLE = 20_000
LEFT, RIGHT, TOP, BOTTOM = 44, 330, 26, 226


def _x(p):
    return LEFT + (RIGHT - LEFT) * p


def _y(delta):
    return BOTTOM - (BOTTOM - TOP) * delta


def _cross(p, delta):
    return f"M{_x(p) - 5:.1f} {_y(delta) - 5:.1f}l10 10m0-10l-10 10"


def variance_shift(p=0.5, ratio=0.7):
    """Variance in evaluation over variance in training, formula and simulation.

    Formula (2) of the chapter on why dropout and batch norm disagree, for a unit
    with standard deviation 1, beside 20,000 masked values.

    Parameters
    ----------
    p : float
        Probability to drop that is shown first: 0, 0.05, …, 0.95.
    ratio : float
        The unit's mean over its standard deviation: 0, 0.1, …, 3.
    """
    random = Generator(1)
    x = ratio + random.normal(SAMPLE)
    u = random.random((SAMPLE,))

    def formula(p):
        return (1 - p) / (1 + p * ratio**2)  # (2)

    def simulated(p):
        return x.var() / ((u >= p) / (1 - p) * x).var()

    curve = polyline((_x(r), _y(formula(r))) for r in np.arange(0, 1.001, 0.01))
    crosses = "".join(_cross(r, simulated(r)) for r in np.arange(1, 10) / 10)
    svg = (
        axes(
            (LEFT, RIGHT, TOP, BOTTOM),
            {f"{r:g}": _x(r) for r in (0, 0.2, 0.4, 0.6, 0.8, 1)},
            {f"{d:g}": _y(d) for d in (0, 0.25, 0.5, 0.75, 1)},
            "p, probability to drop",
            "Δ, evaluation / training variance",
        )
        + f'<path class="gray" d="M{_x(0)} {_y(1)}L{_x(1)} {_y(0)}"/>\n'
        + f'<text x="{_x(0.56)}" y="{_y(0.52)}">1 − p (dotted)</text>\n'
        + f'<polyline class="one" data-part="curve" points="{curve}"/>\n'
        + f'<path class="strike" data-part="crosses" d="{crosses}"/>\n'
        + f'<circle class="dot" data-part="here" r="7" cx="{_x(p):.1f}" '
        + f'cy="{_y(formula(p)):.1f}"/>\n'
        + f'<text x="{_x(0.42)}" y="{_y(0.93)}">line: (2), × simulation</text>\n'
    )
    masked = (u >= p) / (1 - p) * x
    numbers = table(
        ["", "formula", "simulation"],
        {
            "variance, evaluation": [
                number("evaluation-formula", "1.000"),
                number("evaluation-simulation", fixed(x.var(), 3)),
            ],
            "variance, training": [
                number("training-formula", fixed(1 / formula(p), 3)),
                number("training-simulation", fixed(masked.var(), 3)),
            ],
            "Δ": [
                number("delta-formula", fixed(formula(p), 3)),
                number("delta-simulation", fixed(simulated(p), 3)),
            ],
        },
    )
    numbers += status(
        f"p = {number('p', f'{p:g}')}, mean / standard deviation = "
        f"{number('ratio', f'{ratio:g}')}: Δ = "
        f"{number('delta-formula', fixed(formula(p), 3))} by formula, "
        f"{number('delta-simulation', fixed(simulated(p), 3))} in the simulation."
    )
    return Figure(
        "variance_shift",
        "the ratio of the variance in evaluation to that in training against p, by "
        "formula (2) and by simulation, below the bound 1 − p",
        controls=[
            slider("p", "p, probability to drop", 0, 0.95, 0.05, p),
            slider("ratio", "mean / standard deviation", 0, 3, 0.1, ratio),
            button("seed", "New sample"),
        ],
        svg=svg,
        height=264,
        numbers=numbers,
        data={
            "sample": SAMPLE,
            **{"left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM},
        },
    )
