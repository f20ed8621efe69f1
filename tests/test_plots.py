"""Figures: one style, shown once, with an alternative text that says what they show."""

from itertools import pairwise

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

from dropnorm import plots
from dropnorm.replicates import compare

matplotlib.use("agg")


@pytest.fixture
def shown(monkeypatch):
    """What `plots.show` hands to the notebook: figures and their alt texts."""
    seen = []

    def display(figure, metadata):
        figure.canvas.draw()
        seen.append((figure, metadata["image/png"]["alt"]))

    monkeypatch.setattr(plots, "display", display)
    plots.use_style()
    yield seen
    plt.close("all")
    plt.rcdefaults()


CONTROL = np.linspace(5, 6, 10)
LOWER = compare(
    CONTROL - 1 + 0.01 * np.arange(10) % 3, CONTROL, "test_error", ("with", "without")
)
UNCLEAR = compare(CONTROL[::-1], CONTROL, "test_error", ("reversed", "without"))


def test_show_displays_once_and_closes(shown):
    figure = plt.figure()
    plots.show(figure, "a figure")
    assert shown == [(figure, "a figure")]
    assert plt.get_fignums() == []


@pytest.mark.parametrize("alt", ["", "  \n"])
def test_a_figure_without_words_is_refused(alt):
    with pytest.raises(ValueError, match="alt must say what the figure shows"):
        plots.show(plt.figure(), alt)
    plt.close("all")


def test_figures_fit_a_page_and_have_an_opaque_light_ground(shown):
    plots.paired([LOWER, UNCLEAR])
    plots.curves(
        np.arange(3), {"a": np.ones((3, 8))}, title="t", xlabel="x", ylabel="y", alt="l"
    )
    plots.grids({"x": np.ones((2, 9))}, "t", alt="g")
    assert len(shown) == 3
    for figure, _ in shown:
        assert figure.get_figwidth() <= 6.2 and figure.dpi == 100
        assert matplotlib.colors.to_hex(figure.get_facecolor()) == "#ffffff"
        assert figure.get_facecolor()[3] == 1
        for text in figure.findobj(matplotlib.text.Text):
            assert not text.get_text() or text.get_fontsize() >= 10


def test_paired_shows_every_seed_interval_and_verdict(shown):
    plots.paired([LOWER, UNCLEAR])
    ((figure, alt),) = shown
    left, right = figure.axes
    lines = [line.get_ydata() for line in left.lines]
    for seed in range(10):  # one line joins a seed's three values
        joined = [CONTROL[seed], LOWER.treatment_values[seed], CONTROL[9 - seed]]
        assert any(np.array_equal(line, joined) for line in lines)
    drawn = [line.get_ydata() for line in right.lines]
    for c in (LOWER, UNCLEAR):
        for expected in (c.differences, [c.low, c.high], [c.mean]):
            assert any(np.array_equal(data, expected) for data in drawn)
    title = figure.get_suptitle().replace("\n", " ")
    assert "with: lower" in title and "reversed: no clear difference" in title
    assert f"with {LOWER.mean:+.3g}" in alt and "no clear difference" in alt


@pytest.mark.parametrize(
    "names",
    [
        ["p = 0.5"],
        ["on hidden units", "on logits, off at test", "on logits, left on"],
        ["0.1", "0.2", "0.3", "0.5", "0.7", "0.8", "0.9"],
        ["Gaussian dropout", "DropConnect", "SpatialDropout", "stochastic depth"],
    ],
)
def test_paired_finds_room_for_every_name(shown, names):
    plots.paired(
        [compare(CONTROL + 1, CONTROL, "test_error", (n, "no dropout")) for n in names]
    )
    figure = shown[0][0]
    title = figure.findobj(lambda a: getattr(a, "_text", "").startswith("test error,"))
    assert title[0].get_window_extent().x1 <= figure.bbox.x1
    for ax in figure.axes:
        labels = ax.get_xticklabels()
        upright = [t.get_window_extent() for t in labels if t.get_rotation() == 0]
        for one, other in pairwise(upright):
            assert one.x1 < other.x0
        assert len({t.get_rotation() for t in labels}) == 1


def test_paired_refuses_what_cannot_share_an_axis():
    other = compare(CONTROL, CONTROL, "test_nll", ("with", "without"))
    with pytest.raises(ValueError, match="must share measure and control"):
        plots.paired([LOWER, other])


@pytest.mark.parametrize("second", [("with", "without"), ("with", "again")])
def test_differences_show_every_seed_interval_and_verdict(shown, second):
    first = {"with": LOWER, "without": UNCLEAR}
    panels = {"error": first, "NLL": dict(zip(second, (LOWER, UNCLEAR), strict=True))}
    plots.differences(panels, "title")
    ((figure, alt),) = shown
    assert figure.get_suptitle() == "title"
    beside = {ax.get_position().y0 for ax in figure.axes}
    assert len(beside) == (1 if second == tuple(first) else 2)
    for ax, (label, panel) in zip(figure.axes, panels.items(), strict=True):
        assert ax.get_xlabel() == label
        if len(beside) == 2 or ax is figure.axes[0]:
            assert [tick.get_text() for tick in ax.get_yticklabels()] == list(panel)
        drawn = [line.get_xdata() for line in ax.lines]
        for name, c in panel.items():
            for expected in (c.differences, [c.low, c.high], [c.mean]):
                assert any(np.array_equal(data, expected) for data in drawn)
            assert f"{label}, {name}: {c.mean:+.2g}, {c.verdict}" in alt


def test_curves_show_every_seed_and_the_mean(shown):
    values = np.random.default_rng(0).random((4, 9))
    plots.curves(
        np.arange(4), {"loss": values}, title="t", xlabel="x", ylabel="y", alt="l"
    )
    drawn = [line.get_ydata() for line in shown[0][0].axes[0].lines]
    for seed in range(9):
        assert any(np.array_equal(data, values[:, seed]) for data in drawn)
    assert any(np.array_equal(data, values.mean(axis=1)) for data in drawn)


@pytest.mark.parametrize("x", [np.arange(1, 21), np.arange(1, 21) / 10])
def test_curves_over_integers_have_integer_ticks(shown, x):
    lines = {"loss": np.ones((20, 2))}
    plots.curves(x, lines, title="t", xlabel="epoch", ylabel="y", alt="l")
    ticks = shown[0][0].axes[0].get_xticks()
    assert (ticks % 1 == 0).all() == (x.dtype == int)


def test_grids_write_every_number_and_strike_zeros(shown):
    plots.grids({"x": np.array([[1.25, 0.0], [3.0, -0.5]])}, "title", alt="g", digits=2)
    (ax,) = shown[0][0].axes
    assert [t.get_text() for t in ax.texts] == ["1.25", "0", "3", "-0.5"]
    (strike,) = ax.lines
    assert strike.get_xdata().mean() == 1 and strike.get_ydata().mean() == 0
