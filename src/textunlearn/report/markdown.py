"""The before/after table in Markdown, for model cards and the README."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from textunlearn.errors import UserError
from textunlearn.files import write_text
from textunlearn.report.table import GROUPS, Row, Table, label_name, number, percent

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~$])")


def plain(text: object) -> str:
    """``text`` as one line that Markdown and HTML leave as it is."""
    return _MARKUP.sub(r"\\\1", " ".join(str(text).split())).replace("\\<", "&lt;").replace("\\>", "&gt;")


def _cell(row: Row, index: int) -> str:
    cell = row.cells[index]
    if cell is None or not cell.parts:
        return "not measured"
    head = cell.rates[row.headline]
    first = f"**{percent(head.rate)}** [{head.interval}]" if head else "not measured"
    others = [(label, rate) for label, rate in cell.parts if label != row.headline and (rate.k or label != "unsafe")]
    return first + "".join(f", {label_name(label, row.kind)} {percent(rate.rate)}" for label, rate in others)


def markdown_table(table: Table) -> list[str]:
    """Lines of a table: a column a model, a row a suite or measure; no rate stands without the broken answers beside it."""
    if not table.rows and not table.benchmarks:
        return ["Not measured."]
    lines = ["| | n | " + " | ".join(map(plain, table.models)) + " |", "|---|---|" + "---|" * len(table.models)]
    for group in dict.fromkeys(GROUPS.values()):
        lines.append(f"| **{group}** | |" + (" |" if table.group(group) else " not measured |") * len(table.models))
        for row in table.group(group):
            cells = " | ".join(_cell(row, index) for index in range(len(table.models)))
            lines.append(f"| {plain(row.title)} | {row.n} | {cells} |")
    for measure in table.measures:
        values = " | ".join(number(value, measure.digits) for value in measure.values)
        lines.append(f"| {plain(measure.title)} | | {values} |")
    for one in table.benchmarks:
        guess = f" ({one.guessing})" if one.guessing else ""
        rates = " | ".join(f"**{percent(r.rate)}** [{r.interval}]" if r else "not measured" for r in one.rates)
        lines.append(f"| {plain(one.title)}{guess} | {one.n} | {rates} |")
    return lines


def put_between_marks(path: Path, name: str, lines: Sequence[str]) -> None:
    """Put ``lines`` between the marks ``name`` of a Markdown file. UserError where it lacks them."""
    start, stop = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    before, mark, rest = path.read_text(encoding="utf-8").partition(start)
    _, other, after = rest.partition(stop)
    if not mark or not other:
        raise UserError(f"{path} lacks the marks {start} and {stop}; put them where the figures shall stand")
    write_text(path, "\n".join([before + start, *lines, stop + after]))
