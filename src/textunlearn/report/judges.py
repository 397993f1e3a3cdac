"""What was measured of judges, as tables for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

COLUMNS = ("judge", "set", "asked", "n", "precision", "recall", "specificity", "kappa [95 %]")
HALF = "held-out"


def rows(measured: Mapping[str, Any], half: str = HALF) -> list[tuple[str, ...]]:
    """A row a judge, set and question, in the order of COLUMNS."""
    out = []
    for judge, data in measured.items():
        for name, halves in data["sets"].items():
            for question, found in halves.get(half, {}).items():
                shares = [_share(found[key]) for key in ("precision", "recall", "specificity")]
                out.append((judge, name, question, str(found["n"]), *shares, _kappa(found)))
    return out


def flips(measured: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """judge, kind of string, strings, answers tried, flipped."""
    return [
        (judge, f["what"], str(f["strings"]), f"{f['tried']:,}", str(f["flipped"]))
        for judge, data in measured.items()
        for f in data["flips"]
    ]


FLIPS = ("judge", "string in the answer", "strings", "answers tried", "flipped")


def _share(rate: Mapping[str, Any]) -> str:
    if rate["rate"] is None:
        return "—"
    return f"{rate['rate']:.3f} [{rate['low']:.2f}–{rate['high']:.2f}]"


def _kappa(found: Mapping[str, Any]) -> str:
    if found["kappa"] is None:
        return "—"
    low, high = found["kappa_low"], found["kappa_high"]
    return f"{found['kappa']:.3f}" + ("" if low is None else f" [{low:.2f}–{high:.2f}]")


def print_check(measured: Mapping[str, Any], console: Console) -> None:
    """The tables and what they mean."""
    from textunlearn.catalogue import as_table

    console.print(as_table("Judges against labels given by reading, held-out halves", COLUMNS, rows(measured)))
    console.print(as_table("Injected strings: answers that got another label", FLIPS, flips(measured)))
    for judge, data in measured.items():
        console.print(f"{judge}: {data['answers_per_second']:,} answers a second here", highlight=False)
    console.print(
        "Intervals: Wilson for shares, bootstrap over rows for kappa. built-in: labelled by one reader, a language model; pyrit, XSTest: "
        "by people. pyrit calls whatever does not do what was asked a refusal. --json has the tuning halves, all rows and groups as well.",
        markup=False,
        highlight=False,
        style="dim",
    )


def markdown(measured: Mapping[str, Any]) -> list[str]:
    """The same as Markdown lines."""
    lines = _markdown(COLUMNS, rows(measured))
    lines += ["", *_markdown(FLIPS, flips(measured)), ""]
    for judge, data in measured.items():
        for name, groups in data["groups"].items():
            lines += [f"{judge}, held-out half of {name}, label and sort of answer:", ""]
            shown = [
                (group, str(found["n"]), f"{100 * found['right'] / found['n']:.0f} %")
                for group, found in groups.items()
            ]
            lines += [*_markdown(("answer", "n", "labelled as by the reader"), shown), ""]
    speeds = ", ".join(f"{judge} {data['answers_per_second']:,}" for judge, data in measured.items())
    return [*lines, f"Answers a second, one thread: {speeds}."]


def _markdown(columns: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(row) + " |" for row in (columns, *body)]
    return [lines[0], "|" + "---|" * len(columns), *lines[1:]]
