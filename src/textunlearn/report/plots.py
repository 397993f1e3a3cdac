"""Figures as inline SVG. Colours are CSS variables of the page, so that one figure serves light, dark and print.

Letters stay text, in the page's own font. Figures are about a phone wide; the page lays several side by side.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from textunlearn.report.run_folder import Series
from textunlearn.report.table import Row, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, LINE = "#010101", "#010102", "#010103"
COLOURS = tuple(f"#0201{i:02x}" for i in range(6))
"""Stand-ins that matplotlib draws with; :func:`inline_svg` puts the page's variables in their place."""
CURVE_ORDER = (3, 2, 4, 5, 1, 0)
"""Curves start with the colours that bars, which show models, reach last."""
VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line"} | {c: f"--c{i}" for i, c in enumerate(COLOURS)}

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "textunlearn",
    "text.parse_math": False,  # a title with "$" is a title
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "path.simplify": True,
}
WIDTH = 4.5
TITLE_LENGTH = 50


def inline_svg(figure: Figure, name: str, label: str) -> str:
    """``figure`` as one <svg> element: no XML head, no metadata, ids and colours made the page's own."""
    import matplotlib as mpl
    from markupsafe import escape

    buffer = io.StringIO()
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        # Only widths are reckoned with matplotlib's font; the page draws the letters with the reader's own.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    for colour, variable in VARIABLES.items():
        text = text.replace(f": {colour}", f": var({variable})")
    # ids must not clash between the figures of one page
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    view = re.search(r'viewBox="[\d. ]+"', text)
    head = f'<svg {view.group() if view else ""} role="img" aria-label="{escape(label)}" '
    namespaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    return re.sub(r"<svg [^>]*>", lambda _: head + namespaces, text, count=1)


def shortened(text: str) -> str:
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= TITLE_LENGTH else text[: TITLE_LENGTH - 1] + "…"


def bars(rows: Sequence[Row], models: Sequence[str], name: str, label: str) -> str:
    """Bars of the headline rate with 95 % intervals: one group a suite, one bar a model. "" without rates.

    Args:
        name: prefix of the element ids, unique in the page.
        label: what the figure shows, for readers who cannot see it.
    """
    rows = [row for row in rows if any(row.rate(i) for i in range(len(models)))]
    if not rows:
        return ""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    thick, head, gap = 0.15, 0.21, 0.13  # inches
    group = head + thick * len(models) + gap
    height = group * len(rows)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height + 0.25))
        axes = figure.add_axes((0.0, 0.23 / (height + 0.25), 0.9, height / (height + 0.25)))
        highest = max(rate.high for row in rows for i in range(len(models)) if (rate := row.rate(i)))
        limit = next(bound for bound in (0.1, 0.2, 0.4, 1.0) if highest <= bound or bound == 1)
        for place, row in enumerate(rows):
            top = place * group
            axes.text(0, top + head - 0.055, shortened(row.title), fontsize=9, va="baseline")
            for i in range(len(models)):
                rate, y = row.rate(i), top + head + thick * (i + 0.5)
                if rate is None:
                    axes.text(limit * 0.01, y, "not measured", fontsize=7.5, color=MUTED, va="center_baseline")
                    continue
                axes.barh(y, rate.rate, thick * 0.86, color=COLOURS[i % len(COLOURS)])
                axes.plot([rate.low, rate.high], [y, y], color=INK, linewidth=0.9, solid_capstyle="butt")
                axes.plot([rate.low, rate.high], [y, y], "|", color=INK, markersize=3.6, markeredgewidth=0.9)
                axes.annotate(
                    percent(rate.rate), (max(rate.high, rate.rate), y), (4, 0), textcoords="offset points",
                    fontsize=8, va="center_baseline", color=MUTED,
                )  # fmt: skip
        axes.set_ylim(height, 0)
        axes.set_xlim(0, limit)
        axes.set_yticks([])
        ticks = [limit * i / 4 for i in range(5)] if limit > 0.1 else [0, 0.05, 0.1]
        axes.set_xticks(ticks, [f"{100 * tick:g}" for tick in ticks[:-1]] + [f"{100 * ticks[-1]:g} %"], fontsize=8)
        axes.get_xticklabels()[0].set_horizontalalignment("left")  # the axis starts at the figure's edge
        axes.grid(axis="x")
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(length=0, pad=2)
        return inline_svg(figure, name, label)


def _finish(axes: Axes, share: bool) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.grid(axis="y")
    axes.tick_params(length=0, labelsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel("step", fontsize=8, labelpad=1)
    if share:
        axes.set_ylim(-0.02, max(0.1, axes.get_ylim()[1]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    else:
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))


def curves(series: Sequence[Series], name: str, label: str, *, share: bool = False) -> str:
    """Curves over training steps; "" if none has a point. ``share``: values are fractions, shown in per cent."""
    drawn = [one for one in series if one.steps]
    if not drawn:
        return ""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 2.5))
        axes = figure.add_axes((0.1, 0.16, 0.87, 0.7))
        for i, one in enumerate(drawn):
            stride = max(1, len(one.steps) // 400)
            marker = "o" if len(one.steps) <= 12 else None
            axes.plot(
                one.steps[::stride], one.values[::stride], color=COLOURS[CURVE_ORDER[i % len(COLOURS)]], linewidth=1.6,
                linestyle="-" if i < len(COLOURS) else "--", marker=marker, markersize=3.2, label=shortened(one.name),
            )  # fmt: skip
        _finish(axes, share)
        axes.legend(
            loc="lower left", bbox_to_anchor=(-0.1, 1.0), ncols=min(3, len(drawn)), frameon=False, fontsize=8,
            handlelength=1.1, columnspacing=1.2, borderpad=0.1, borderaxespad=0.2, handletextpad=0.5, labelspacing=0.3,
        )  # fmt: skip
        return inline_svg(figure, name, label)
