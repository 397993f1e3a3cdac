"""SVG files that stand on light and dark pages: a card of their own, colours by the reader's preference, nothing fetched."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

from textunlearn.files import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, MUTED, LINE = "#010101", "#010102", "#010103"
COLOURS = ("#020200", "#020201", "#020202", "#020203")
"""Stand-ins that matplotlib draws with; the file has CSS variables in their place."""
VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line"} | {c: f"--c{i}" for i, c in enumerate(COLOURS)}

STYLE = """<style>
svg { --paper: #ffffff; --ink: #1b1f24; --muted: #57606a; --line: #d0d7de; --c0: #00786c; --c1: #c2410c; --c2: #6d3fc0; --c3: #0a66c2;
      --soft0: #d9efec; --soft1: #fbe3d6; --soft2: #e9e0f8; font-family: system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { svg { --paper: #1f242b; --ink: #e6e9ee; --muted: #a4adb8; --line: #434b55; --c0: #4fc3b5;
      --c1: #ff9b66; --c2: #b79bf0; --c3: #6fb4f5; --soft0: #17403b; --soft1: #51311f; --soft2: #392d52; } }
</style>"""


def write(path: Path, width: float, height: float, label: str, inside: str) -> None:
    """An SVG of ``width`` x ``height`` units with the elements ``inside``; ``label`` is for readers who cannot see it."""
    write_text(
        path,
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{label}">{STYLE}\n'
        f'<rect width="{width:g}" height="{height:g}" rx="8" style="fill: var(--paper)"/>\n{inside}\n</svg>\n',
    )


def matplotlib_style() -> dict[str, object]:
    return {
        "svg.fonttype": "none", "svg.hashsalt": "textunlearn", "font.size": 10, "text.color": INK, "axes.labelcolor": MUTED,
        "axes.edgecolor": LINE, "xtick.color": LINE, "ytick.color": LINE, "xtick.labelcolor": MUTED, "ytick.labelcolor": MUTED,
        "axes.spines.top": False, "axes.spines.right": False, "grid.color": LINE, "grid.linewidth": 0.6, "axes.axisbelow": True,
        "axes.titlesize": 10, "axes.titlelocation": "left",
    }  # fmt: skip


def write_figure(path: Path, figure: Figure, label: str) -> None:
    """A matplotlib figure as such a file, its letters as text."""
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
    )
    text = buffer.getvalue()
    found = re.search(r'<svg [^>]*viewBox="0 0 ([\d.]+) ([\d.]+)"[^>]*>(.*)</svg>', text, re.S)
    assert found, "matplotlib writes a viewBox"
    inside = re.sub(r"<metadata>.*?</metadata>", "", found[3], flags=re.S)
    inside = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", inside)  # the reader's own letters
    for colour, variable in VARIABLES.items():
        inside = inside.replace(f": {colour}", f": var({variable})")
    write(path, float(found[1]), float(found[2]), label, re.sub(r"[ \t]+\n", "\n", inside.strip()))
