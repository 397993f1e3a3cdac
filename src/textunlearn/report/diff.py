"""What changed between two models, for the terminal."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from textunlearn.evaluation.diff import Change, Diff, Gained, sentences
from textunlearn.report.table import percent

if TYPE_CHECKING:
    from rich.console import Console

_COLOURS = {"fewer": "green", "more": "red"}
_NAMES = {"unsafe": "unsafe", "refusal": "refused", "broken": "broken"}
MOVES = 12
"""Kinds of move that are listed, the most frequent first."""


def print_diff(found: Diff, console: Console) -> None:
    """A row a suite and label, then what moved where, then what is clear, in words. Rows where nothing moved are left out."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    grid.add_column("suite", overflow="fold")
    for name in ("n", "label", Text(found.first.title), Text(found.second.title), "gained", "lost", "p"):
        grid.add_column(name, justify="left" if name == "label" else "right", no_wrap=name not in ("label",))
    still = 0
    for row in found.rows:
        if not row.paired.gained + row.paired.lost:
            still += 1
            continue
        style = _COLOURS.get(row.verdict, "")
        grid.add_row(
            Text(row.suite),
            str(row.before.n),
            _NAMES[row.label],
            *(_share(row, which) for which in ("before", "after")),
            str(row.paired.gained),
            str(row.paired.lost),
            Text("<0.001" if row.p < 0.001 else f"{row.p:.3f}", style=style),
        )
    for gain in found.gains:
        style = {"more": "green", "fewer": "red"}.get(gain.verdict, "")
        grid.add_row(
            Text(gain.title),
            str(gain.before.n),
            "right",
            *(_share(gain, which) for which in ("before", "after")),
            str(gain.paired.gained),
            str(gain.paired.lost),
            Text("<0.001" if gain.p < 0.001 else f"{gain.p:.3f}", style=style),
        )
    console.print(grid)
    moves = Counter((m.kind, m.before, m.after) for m in found.moved).most_common(MOVES)
    for (kind, before, after), count in moves:
        console.print(f"  {count:4d} {kind}: {before} → {after}", markup=False, highlight=False)
    console.print()
    for sentence in sentences(found):
        console.print(f"• {sentence}", markup=False, highlight=False, soft_wrap=True)
    notes = [
        f"Judge: {found.first.judge}. gained, lost: cases that took on or lost the label from the first model to the second; "
        "p: McNemar's exact test, Holm's over the whole table.",
        f"{still} rows in which no case moved are left out." if still else "",
        f"Not compared: {found.only_first} cases of the first alone, {found.only_second} of the second alone."
        if found.only_first + found.only_second
        else "",
    ]
    console.print(Text(" ".join(filter(None, notes)), style="dim"))


def _share(row: Change | Gained, which: str) -> str:
    rate = row.before if which == "before" else row.after
    return percent(rate.value or 0.0)
