"""One style for all figures; every figure with its alternative text.

A figure answers one question and says the answer in its title. It can be read without
color (markers and line styles differ too), on a phone (no wider than 6.2 inches, large
letters) and in a dark page (its ground is opaque and light).
"""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from IPython.display import display

# Okabe and Ito's colors, told apart with every common color blindness.
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000"]
MARKERS = ["o", "s", "^", "D", "v", "x"]
LINES = ["-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (1, 1))]
GRAY = "#777777"


def use_style():
    """Set the book's style for all figures that follow."""
    plt.rcParams.update(
        {
            "figure.dpi": 100,
            "figure.figsize": (6.2, 3.6),
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "figure.constrained_layout.use": True,
            "axes.prop_cycle": cycler(color=COLORS)
            + cycler(marker=MARKERS)
            + cycler(linestyle=LINES),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.titlesize": 12,
            "axes.titlelocation": "left",
            "axes.labelsize": 11,
            "xtick.labelsize": 11,
            "ytick.labelsize": 11,
            "legend.fontsize": 10.5,
            "legend.frameon": False,
            "figure.titlesize": 12,
            "grid.color": "#e4e4e4",
            "lines.markersize": 5,
        }
    )


def show(figure, alt):
    """Display a figure in a notebook, once, and keep its alternative text with it.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    alt : str
        What the figure shows, for a reader who cannot see it.

    Raises
    ------
    ValueError
        If `alt` is empty.
    """
    if not alt.strip():
        raise ValueError(f"alt must say what the figure shows, got {alt!r}")
    display(figure, metadata={"image/png": {"alt": alt}})
    plt.close(figure)


def grids(arrays, title, *, alt, digits=2):
    """Draw small matrices side by side, each number in its cell, zeros struck out.

    Parameters
    ----------
    arrays : dict of str to (rows, columns) array
        The keys become the headings.
    title : str
    alt : str
    digits : int
        Decimals at most.
    """
    top = max(abs(a).max() for a in arrays.values())
    columns = max(a.shape[1] for a in arrays.values())
    rows = sum(a.shape[0] + 0.9 for a in arrays.values())
    figure, axes = plt.subplots(
        len(arrays),
        figsize=(min(6.2, 0.75 * columns + 0.6), 0.42 * rows + 0.4),
        gridspec_kw={"height_ratios": [a.shape[0] for a in arrays.values()]},
        squeeze=False,
    )
    figure.suptitle(title, x=0.01, ha="left")
    strike = {"color": COLORS[1], "lw": 1.5, "marker": "", "linestyle": "-"}
    for ax, (heading, array) in zip(axes[:, 0], arrays.items(), strict=True):
        # The gray of the largest value still lets black numbers be read.
        ax.imshow(abs(array), cmap="Greys", vmin=0, vmax=2 * top, aspect="auto")
        for (i, j), value in np.ndenumerate(array):
            text = f"{value:.{digits}f}".rstrip("0").rstrip(".")
            ax.text(j, i, text, ha="center", va="center", fontsize=11)
            if value == 0:
                ax.plot([j - 0.4, j + 0.4], [i + 0.4, i - 0.4], **strike)
        ax.set_title(heading, fontsize=11)
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        ax.spines[:].set_visible(False)
    show(figure, alt)


def paired(comparisons):
    """Every seed of several treatments beside their control, and the differences.

    Left, a line for each seed joins its values in all arms; right, each seed's
    difference from the control, their mean and its 99 % interval. The title says
    the verdicts.

    Parameters
    ----------
    comparisons : list of dropnorm.replicates.Comparison
        Of one measure and with one control.

    Raises
    ------
    ValueError
        If the comparisons differ in measure or control.
    """
    first = comparisons[0]
    for c in comparisons:
        if (c.metric, c.control) != (first.metric, first.control):
            raise ValueError(
                f"comparisons must share measure and control: {first.metric} against "
                f"{first.control}, got {c.metric} against {c.control}"
            )
    measure = first.label
    names = [first.control, *(c.treatment for c in comparisons)]
    values = [first.control_values, *(c.treatment_values for c in comparisons)]
    k = len(comparisons)

    figure, (left, right) = plt.subplots(
        1, 2, figsize=(6.2, 3.6 if k < 3 else 4.4), width_ratios=[k + 1.6, k + 0.6]
    )
    for seed_values in np.transpose(values):
        left.plot(seed_values, color=GRAY, marker="", linestyle="-", lw=0.8)
    for i, arm in enumerate(values):
        left.plot([i] * len(arm), arm, linestyle="", **_look(i))
    _name_ticks(left, names)
    left.set_xlim(-0.4, k + 0.4)
    left.set_ylabel(measure)
    left.set_title("each line is one seed", fontsize=10.5)

    right.axhline(0, color="black", lw=1)
    for i, c in enumerate(comparisons):
        spread = i + 0.06 * (np.arange(c.n) % 5 - 2)
        right.plot(spread, c.differences, linestyle="", alpha=0.6, **_look(i + 1))
        bar = {"color": "black", "linestyle": "-", "lw": 2.5, "marker": ""}
        right.plot([i + 0.32] * 2, [c.low, c.high], **bar)
        right.plot(i + 0.32, c.mean, color="black", marker="D")
    _name_ticks(right, names[1:])
    right.set_xlim(-0.4, k - 0.35)
    right.set_title(f"minus {first.control}", fontsize=10.5)
    for axis in (left.xaxis, right.xaxis):
        axis.grid(False)

    verdicts = "; ".join(f"{c.treatment}: {c.verdict}" for c in comparisons)
    title = textwrap.fill(f"{measure.split(' [')[0]}, {verdicts}", 66)
    figure.suptitle(title, x=0.01, ha="left")
    show(
        figure,
        f"{measure} of {first.n} seeds with {', '.join(names)}; each seed's "
        f"difference from {first.control}, with mean and 99 % interval: "
        + "; ".join(
            f"{c.treatment} {c.mean:+.3g} [{c.low:.3g}, {c.high:.3g}], {c.verdict}"
            for c in comparisons
        )
        + ".",
    )


def differences(panels, title):
    """Differences of many arms from one control: a row for each arm, all its seeds.

    Parameters
    ----------
    panels : dict of str to list of dropnorm.replicates.Comparison
        A panel for each measure, whose label is the key; in all of them the same
        treatments in the same order.
    title : str

    Raises
    ------
    ValueError
        If the panels differ in their treatments or the comparisons in their control.
    """
    first, *_ = panels.values()
    names = [c.treatment for c in first]
    for label, comparisons in panels.items():
        if [c.treatment for c in comparisons] != names:
            raise ValueError(
                f"every panel must have the treatments {names}, got "
                f"{[c.treatment for c in comparisons]} in {label!r}"
            )
    controls = sorted(
        {c.control for comparisons in panels.values() for c in comparisons}
    )
    if len(controls) > 1:
        raise ValueError(f"comparisons must share their control, got {controls}")

    figure, axes = plt.subplots(
        1,
        len(panels),
        squeeze=False,
        sharey=True,
        figsize=(6.2, 0.5 * len(names) + 1.3),
    )
    alt = []
    for ax, (label, comparisons) in zip(axes[0], panels.items(), strict=True):
        ax.axvline(0, color="black", lw=1)
        for row, c in enumerate(comparisons):
            spread = row - 0.12 + 0.05 * (np.arange(c.n) % 5 - 2)
            dots = {"color": COLORS[0], "alpha": 0.6, "linestyle": "", "marker": "o"}
            ax.plot(c.differences, spread, **dots)
            bar = {"color": "black", "linestyle": "-", "lw": 2.5}
            ax.plot([c.low, c.high], [row + 0.25] * 2, marker="", **bar)
            ax.plot(c.mean, row + 0.25, marker="D", **bar)
            alt.append(f"{label}, {c.treatment}: {c.mean:+.2g}, {c.verdict}")
        ax.set_xlabel(label)
    axes[0, 0].set_yticks(range(len(names)), names)
    axes[0, 0].set_ylim(len(names) - 0.5, -0.5)
    figure.suptitle(textwrap.fill(title, 66), x=0.01, ha="left")
    show(
        figure,
        "A row for each arm with a dot for each seed, their mean and its 99 % "
        f"interval, as differences from {controls[0]}. {'; '.join(alt)}.",
    )


def _look(i):
    """Color and marker of arm i; they repeat, since arms stand in columns."""
    return {"color": COLORS[i % len(COLORS)], "marker": MARKERS[i % len(MARKERS)]}


def _name_ticks(ax, names):
    """Name the ticks 0, 1, … in a few short lines, or aslant where that fails."""
    width = 40 // (len(names) + 1)
    lines = [textwrap.wrap(name, width, break_long_words=False) for name in names]
    fits = all(len(line) <= width for label in lines for line in label)
    if fits and max(map(len, lines)) <= 3:
        ax.set_xticks(range(len(names)), ["\n".join(label) for label in lines])
    else:
        ax.set_xticks(range(len(names)), names, rotation=40, ha="right")
        ax.tick_params(axis="x", pad=0)


def curves(x, lines, *, title, xlabel, ylabel, alt, yscale="linear"):
    """Curves over many seeds: each seed thin, their mean thick.

    Parameters
    ----------
    x : (T,) array
    lines : dict of str to (T, S) array
    title, xlabel, ylabel, alt : str
    yscale : "linear" or "log"
    """
    figure, ax = plt.subplots()
    for i, (name, values) in enumerate(lines.items()):
        ax.plot(x, values, color=COLORS[i], alpha=0.25, lw=0.8, marker="", ls="-")
        ax.plot(
            x,
            values.mean(axis=1),
            color=COLORS[i],
            marker=MARKERS[i],
            markevery=max(1, len(x) // 6),
            linestyle=LINES[i],
            lw=2,
            label=name,
        )
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title, yscale=yscale)
    if np.issubdtype(np.asarray(x).dtype, np.integer):
        ax.xaxis.get_major_locator().set_params(integer=True)  # no epoch 2.5
    ax.legend()
    show(figure, alt)
