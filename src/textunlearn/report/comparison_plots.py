"""The comparison's figures, drawn as those of a run's report: inline SVG in the page's own colours and letters."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from textunlearn.comparison.pooled import Pooled
from textunlearn.report.plots import COLOURS, INK, MUTED, STYLE, WIDTH, inline_svg, shortened
from textunlearn.report.table import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FAMILY_COLOURS = {"": COLOURS[0], "text": COLOURS[1], "slots": COLOURS[2], "pictures": COLOURS[3]}
HIGHEST_RATIO = 1.5
"""Perplexity ratios beyond are drawn at the edge: collapsed models would press the others together."""
SHARES = (0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1)
"""Ticks of an axis of shares. It is a square-root axis, since most methods crowd near 0."""


@dataclass(frozen=True, slots=True)
class Point:
    """An entry in a scatter plot. ``x``: a share; ``y``: (value, low or None, high or None); ``hollow``: it broke."""

    mark: str
    x: Pooled
    y: tuple[float, float | None, float | None]
    family: str
    hollow: bool
    on_front: bool


def _percent_axis(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter

    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %" if value >= 0 else ""))


def _share_axis(axes: Axes, which: Literal["x", "y"], highest: float) -> None:
    """A square-root axis of shares from 0 to beyond ``highest``."""
    limit = next(tick for tick in (0.1, 0.2, 0.4, 0.6, 0.8, 1) if highest <= tick or tick == 1)
    set_scale, set_limits = (axes.set_xscale, axes.set_xlim) if which == "x" else (axes.set_yscale, axes.set_ylim)
    set_scale("function", functions=(_root, _square))
    set_limits(-0.0012 * limit / 0.4, limit * 1.03)
    axis = axes.xaxis if which == "x" else axes.yaxis
    ticks = [tick for tick in SHARES if tick <= limit]
    axis.set_ticks(ticks, [f"{100 * tick:g} %" for tick in ticks])


def _root(values: Any) -> Any:
    import numpy as np

    return np.sign(values) * np.sqrt(np.abs(values))


def _square(values: Any) -> Any:
    import numpy as np

    return np.sign(values) * np.square(values)


def scatter(points: Sequence[Point], name: str, label: str, axes_titles: tuple[str, str], *, share: bool) -> str:
    """Points with 95 % intervals; those on the Pareto front joined by a line. "" without points.

    Args:
        share: the y values are fractions, shown in per cent; otherwise ratios.
    """
    points = [point for point in points if math.isfinite(point.y[0])]
    if not points:
        return ""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.4))
        axes = figure.add_axes((0.15, 0.13, 0.82, 0.82))
        cap = math.inf if share else HIGHEST_RATIO
        for point in points:
            colour = FAMILY_COLOURS.get(point.family, COLOURS[0])
            y, low, high = point.y
            axes.plot([point.x.low, point.x.high], [min(y, cap)] * 2, color=colour, linewidth=0.7, alpha=0.45)
            if low is not None and high is not None and y < cap:
                axes.plot([point.x.rate] * 2, [max(low, 0.0), min(high, cap)], color=colour, linewidth=0.7, alpha=0.45)
            axes.plot(
                [point.x.rate], [min(y, cap)], "^" if y > cap else "o" if point.family else "D", color=colour, markersize=6,
                markerfacecolor="none" if point.hollow else colour, markeredgewidth=1.2, clip_on=False,
            )  # fmt: skip
        line = sorted((point.x.rate, min(point.y[0], cap)) for point in points if point.on_front)
        axes.plot([x for x, _ in line], [y for _, y in line], color=INK, linewidth=1, linestyle=(0, (3, 2)), zorder=1)
        _share_axis(axes, "x", max(point.x.high for point in points))
        ends = [end for point in points for end in point.y if end is not None and end <= cap]
        if share:
            _share_axis(axes, "y", max(ends))
        else:
            top = max([1.1, *ends]) if all(point.y[0] <= cap for point in points) else cap
            axes.set_ylim(min([0.99, *ends]) - 0.01, top + 0.02)
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2f} ×"))
        axes.grid()
        axes.tick_params(length=0, labelsize=8)
        axes.set_xlabel(axes_titles[0], fontsize=8, labelpad=1)
        axes.set_ylabel(axes_titles[1], fontsize=8, labelpad=2)
        _marks(axes, points, cap)
        return inline_svg(figure, name, label)


def _marks(axes: Axes, points: Sequence[Point], cap: float) -> None:
    """Each point's number beside it, where it is farthest from other points and numbers."""
    figure = axes.figure
    assert figure is not None
    where = [axes.transData.transform((point.x.rate, min(point.y[0], cap))) for point in points]
    # A display unit is 1/100 inch here, 0.72 points.
    taken = [(float(x), float(y)) for x, y in where]
    box = axes.get_window_extent()
    for point, (x, y) in zip(points, where, strict=True):
        offers = []
        for reach in (11, 20, 30):
            for turn in range(12):
                a, b = x + reach * math.cos(turn * math.pi / 6), y + reach * math.sin(turn * math.pi / 6)
                inside = box.x0 + 6 < a < box.x1 - 6 and box.y0 + 4 < b < box.y1 - 4
                gap = min((math.hypot(a - u, b - v) for u, v in taken if (u, v) != (x, y)), default=99.0)
                offers.append((not inside, gap < 12, reach, -gap, a, b))
        *_, a, b = min(offers)
        taken.append((a, b))
        beyond = f" ({number(point.y[0], 1)} ×)" if point.y[0] > cap else ""
        axes.annotate(
            point.mark + beyond, (point.x.rate, min(point.y[0], cap)), ((a - x) * 0.72, (b - y) * 0.72),
            textcoords="offset points", fontsize=8, ha="left" if beyond else "center", va="center",
        )  # fmt: skip


def over_x(lines: Sequence[tuple[str, Sequence[tuple[float, Pooled]]]], name: str, label: str, x_title: str) -> str:
    """Shares with intervals over a setting, one line a measure; "" if none has two points."""
    lines = [(title, points) for title, points in lines if len(points) > 1]
    if not lines:
        return ""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    order = (3, 2, 1, 0, 4, 5)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 2.7))
        axes = figure.add_axes((0.1, 0.15, 0.87, 0.68))
        xs = sorted({x for _, points in lines for x, _ in points})
        for i, (title, points) in enumerate(lines):
            colour = COLOURS[order[i % len(order)]]
            places = [x for x, _ in points]
            axes.plot(
                places,
                [rate.rate for _, rate in points],
                "o-",
                color=colour,
                markersize=3.2,
                linewidth=1.5,
                label=title,
            )
            for x, rate in points:
                axes.plot([x, x], [rate.low, rate.high], color=colour, linewidth=0.8, alpha=0.5)
        if xs[0] > 0 and xs[-1] / xs[0] >= 8:
            axes.set_xscale("log")
        axes.minorticks_off()
        axes.set_xticks(xs, [f"{x:g}" for x in xs])
        axes.set_ylim(-0.02, max(0.1, axes.get_ylim()[1]))
        _percent_axis(axes)
        axes.grid(axis="y")
        axes.tick_params(length=0, labelsize=8)
        axes.set_xlabel(shortened(x_title), fontsize=8, labelpad=1)
        axes.legend(
            loc="lower left", bbox_to_anchor=(-0.1, 1.0), ncols=min(3, len(lines)), frameon=False, fontsize=8,
            handlelength=1.1, columnspacing=1.2, borderpad=0.1, borderaxespad=0.2, handletextpad=0.5, labelspacing=0.3,
        )  # fmt: skip
        return inline_svg(figure, name, label)


@dataclass(frozen=True, slots=True)
class Bar:
    """One method's cost: ``parts`` are the training and, apart, the vision encoding; None where not measured."""

    title: str
    parts: tuple[float | None, float | None]
    family: str


def cost_bars(bars: Sequence[Bar], name: str, label: str, show: Callable[[float], str]) -> str:
    """Bars of two parts; "" if nothing was measured. ``show``: a value as text."""
    known = [bar for bar in bars if any(part is not None for part in bar.parts)]
    if not known:
        return ""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    thick, head, gap = 0.15, 0.2, 0.1  # inches
    group = thick + head + gap
    height = group * len(bars)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height))
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        limit = max(sum(part or 0.0 for part in bar.parts) for bar in known) * 1.55  # room for the words
        for place, bar in enumerate(bars):
            top = place * group
            axes.text(0, top + head - 0.05, shortened(bar.title), fontsize=9, va="baseline")
            y = top + head + thick / 2
            train, vision = bar.parts
            if train is None and vision is None:
                axes.text(limit * 0.01, y, "not measured", fontsize=7.5, color=MUTED, va="center_baseline")
                continue
            axes.barh(y, train or 0.0, thick * 0.86, color=FAMILY_COLOURS.get(bar.family, COLOURS[0]))
            if vision:
                axes.barh(y, vision, thick * 0.86, left=train or 0.0, color=COLOURS[4])
            words = show(train) if train is not None else "training not measured"
            words += f" + vision {show(vision)}" if vision else ""
            axes.annotate(
                words, ((train or 0.0) + (vision or 0.0), y), (4, 0), textcoords="offset points", fontsize=8,
                va="center_baseline", color=MUTED,
            )  # fmt: skip
        axes.set_ylim(height, 0)
        axes.set_xlim(0, limit)
        axes.set_yticks([])
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        return inline_svg(figure, name, label)
