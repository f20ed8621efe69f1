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
    """Paired differences of many comparisons: a row for each, with all its seeds.

    Panels with the same rows stand side by side and share them, others one below
    the other.

    Parameters
    ----------
    panels : dict of str to dict of str to dropnorm.replicates.Comparison
        For each panel the label of its axis, and the name and comparison of each row.
    title : str
    """
    rows = [list(panel) for panel in panels.values()]
    title = textwrap.fill(title, 66)
    if all(names == rows[0] for names in rows):
        height = 0.5 * len(rows[0]) + 1.3
        layout = {"nrows": 1, "ncols": len(panels), "sharey": True}
    else:
        sizes = [len(names) for names in rows]
        height = 0.4 * sum(sizes) + 0.6 * len(panels) + 0.4
        layout = {"nrows": len(panels), "ncols": 1, "height_ratios": sizes}
    figure, axes = plt.subplots(**layout, squeeze=False, figsize=(6.2, height))
    alt = []
    for ax, (label, panel) in zip(axes.flat, panels.items(), strict=True):
        ax.axvline(0, color="black", lw=1)
        for row, (name, c) in enumerate(panel.items()):
            spread = row - 0.12 + 0.05 * (np.arange(c.n) % 5 - 2)
            dots = {"color": COLORS[0], "alpha": 0.6, "linestyle": "", "marker": "o"}
            ax.plot(c.differences, spread, **dots)
            bar = {"color": "black", "linestyle": "-", "lw": 2.5}
            ax.plot([c.low, c.high], [row + 0.25] * 2, marker="", **bar)
            ax.plot(c.mean, row + 0.25, marker="D", **bar)
            alt.append(f"{label}, {name}: {c.mean:+.2g}, {c.verdict}")
        ax.set_xlabel(label)
        ax.set_yticks(range(len(panel)), list(panel))
        ax.set_ylim(len(panel) - 0.5, -0.5)
        ax.locator_params(axis="x", nbins=7 if axes.shape[1] == 1 else 5)
    figure.suptitle(title, x=0.01, ha="left")
    show(
        figure,
        "Paired differences: in each row a dot for each seed, their mean and its 99 % "
        f"interval. {'; '.join(alt)}.",
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
