"""Training curves at several learning rates, of networks that were trained before."""

import numpy as np

from dropnorm.interactive.arithmetic import fixed
from dropnorm.interactive.figure import (
    Figure,
    axes,
    choice,
    number,
    polyline,
    status,
    steps,
    table,
)

LEFT, RIGHT, TOP, BOTTOM = 40, 322, 26, 226
CLASSES = "one", "two"  # of the lines: solid, dashed


def _text(value):
    return "-" if value is None else fixed(value, 1)


def learning_rates(curves, rate):
    """Test error against steps for each seed of two arms, at a rate of one's choice.

    Parameters
    ----------
    curves : dict of str to dict of float to tuple
        For both arms and each rate (the same in both) the steps at which the error was
        measured, (T,), and the errors in per cent, (T, S): a column for each seed. The
        figure keeps whole per cents.
    rate : float
        The learning rate that is shown first.

    Raises
    ------
    ValueError
        If there are not two arms, or their rates differ.
    """
    rates = [list(by_rate) for by_rate in curves.values()]
    if len(rates) != 2 or rates[0] != rates[1]:
        raise ValueError(f"curves must hold two arms with the same rates, got {rates}")
    runs = {
        arm: [
            {
                "steps": np.asarray(at).tolist(),
                "errors": np.floor(np.asarray(e) + 0.5).astype(int).T.tolist(),
            }
            for at, e in by_rate.values()
        ]
        for arm, by_rate in curves.items()
    }
    first = min(run["steps"][0] for arm in runs.values() for run in arm)
    last = max(run["steps"][-1] for arm in runs.values() for run in arm)
    looks = [int(last * part) for part in (0.05, 0.1, 0.25, 0.5, 1)]

    def place(step, error):
        x = LEFT + (RIGHT - LEFT) * np.log(step / first) / np.log(last / first)
        return x, BOTTOM - (BOTTOM - TOP) * error / 100

    def median(run, step):
        if step not in run["steps"]:
            return None
        at = run["steps"].index(step)
        return np.median([seed[at] for seed in run["errors"]])

    index = rates[0].index(rate)
    chosen = {arm: runs[arm][index] for arm in runs}
    lines = "".join(
        f'<polyline class="thin {kind}" points="'
        + polyline(map(place, run["steps"], seed))
        + '"/>'
        for kind, run in zip(CLASSES, chosen.values(), strict=True)
        for seed in run["errors"]
    )
    medians = "".join(
        f'<polyline class="{kind}" data-part="median-{kind}" points="'
        + polyline(place(step, median(run, step)) for step in run["steps"])
        + '"/>\n'
        for kind, run in zip(CLASSES, chosen.values(), strict=True)
    )
    key = "".join(
        f'<path class="{kind}" d="M{130 + 105 * i} 13h40"/>'
        f'<text x="{176 + 105 * i}" y="18">{arm}</text>\n'
        for i, (kind, arm) in enumerate(zip(CLASSES, chosen, strict=True))
    )
    svg = (
        axes(
            (LEFT, RIGHT, TOP, BOTTOM),
            {f"{s}": place(s, 0)[0] for s in (first, *looks)},
            {f"{e}": place(first, e)[1] for e in (0, 10, 50, 100)},
            "steps, logarithmic",
            "test error [%]",
        )
        + f'<g data-part="seeds">{lines}</g>\n{medians}{key}'
    )
    numbers = table(
        ["median error at step", *looks],
        {
            arm: [number(f"{kind}-{step}", _text(median(run, step))) for step in looks]
            for kind, (arm, run) in zip(CLASSES, chosen.items(), strict=True)
        },
    )
    ends = []
    for kind, (arm, run) in zip(CLASSES, chosen.items(), strict=True):
        end = run["steps"][-1]
        error = number(f"{kind}-last", _text(median(run, end)))
        ends += [
            f"{arm} at step {number(f'{kind}-end', end)}, median error {error}&#160;%"
        ]
    numbers += status(
        f"Rate {number('rate', f'{rate:g}')}, end of the curves: {', '.join(ends)}."
    )
    one, two = curves
    return Figure(
        "learning_rates",
        f"test error against steps, {one} solid and {two} dashed; a thin line for "
        "each seed and a thick one for their median",
        controls=[
            steps("rate", "learning rate", rates[0], rate),
            choice(
                "arms",
                "Show",
                {"both": "both", one: "one", two: "two"},
                "both",
            ),
        ],
        svg=svg,
        height=264,
        numbers=numbers,
        data={
            "rates": rates[0],
            "looks": looks,
            "runs": dict(zip(CLASSES, runs.values(), strict=True)),
            "first": first,
            "last": last,
            **{"left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM},
        },
    )
