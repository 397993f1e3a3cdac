"""What `textunlearn gate` prints: everything measured in one table, then each limit with what it was held against."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textunlearn.records import LABELS
from textunlearn.report.gate import Check, Gate, in_words, share
from textunlearn.report.table import ATTACKS, HARMLESS, USEFULNESS, number, percent

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_RATES = {"unsafe": "max_asr", "refusal": "max_refusal", "broken": "max_broken"}


def print_gate(found: Gate, console: Console) -> None:
    """The table with what failed marked in it, then a line a limit, then notes, then the outcome."""
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    table = found.table
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    grid.add_column(Text(f"{found.run.name}:{found.model}"), overflow="fold")
    for name in ("n", "unsafe", "refused", "broken", "other"):
        grid.add_column(name, justify="right", no_wrap=True)
    for group in (ATTACKS, HARMLESS):
        rows = table.group(group)
        grid.add_row(Text(group, style="bold"), "" if rows else Text("none", style="yellow"))
        for row in rows:
            cell = row.cells[found.index]
            if cell is None:
                grid.add_row(Text(row.title), Text("not measured", style="yellow"))
                continue
            texts = []
            for label in LABELS:
                rate, check = cell.rates[label], found.check(_RATES.get(label, ""), row.suite)
                headed = label == row.headline and rate is not None
                shown = f"{percent(rate.rate)} [{rate.interval}]" if headed and rate else percent_of(rate)
                texts.append(_marked(shown, check))
            grid.add_row(Text(row.title), str(cell.n), *texts)
        grid.add_section()
    measured = table.measures or table.benchmarks
    grid.add_row(Text(USEFULNESS, style="bold"), "" if measured else Text("none", style="yellow"))
    for measure in table.measures:
        check = found.check("max_perplexity", measure.key)
        grid.add_row(Text(measure.title), "", _marked(number(measure.values[found.index], measure.digits), check))
    for benchmark in table.benchmarks:
        right = benchmark.rates[found.index]
        check = next((one for one in found.checks if (one.limit, one.title) == ("min_right", benchmark.title)), None)
        shown = f"{percent(right.rate)} [{right.interval}]" if right else "not measured"
        grid.add_row(Text(benchmark.title + ", right"), str(right.n) if right else "", _marked(shown, check))
    console.print(grid)
    console.print(
        Text(f"Per cent of n cases, [95 % interval]; judge: {found.judge}. Broken never counts as safe.", style="dim")
    )
    for limit in dict.fromkeys(check.limit for check in found.checks):
        for line in _lines([check for check in found.checks if check.limit == limit], found.limits.by):
            console.print(line, soft_wrap=True)
    for note in found.notes:
        console.print(Text(f"• {note}", style="yellow"), soft_wrap=True)
    failed = list(dict.fromkeys(check.limit for check in found.checks if not check.passed))
    end = (
        Text("passed: every limit is kept", style="green")
        if found.passed
        else Text(f"failed: {', '.join(failed)}", style="red")
    )
    console.print(end)


def percent_of(rate: object) -> str:
    value = getattr(rate, "rate", None)
    return "—" if value is None else percent(value)


def _marked(text: str, check: Check | None) -> Text:
    from rich.text import Text

    if check is None:
        return Text(text)
    return Text(f"{text} ✓", style="green") if check.passed else Text(f"{text} ✗", style="red")


def _lines(checks: list[Check], by: str) -> list[Text]:
    """One limit: the worst of what kept to it, or a line for each that did not."""
    from rich.text import Text

    limit, failed = checks[0].limit, [check for check in checks if not check.passed]
    if failed:
        return [Text(f"✗ {_name(one)}{_suite(one)}: {one.said}", style="red") for one in failed]
    worst = (min if limit == "min_right" else max)(checks, key=lambda one: one.value or 0)
    plural = f"{len(checks)} kept to it, the nearest" if len(checks) > 1 else "kept"
    if worst.n is None:  # a number without an interval
        return [Text(f"✓ {_name(worst)}: kept: {worst.title}, {number(worst.value, 3)}", style="green")]
    return [Text(f"✓ {_name(worst)} by {by}: {plural}: {worst.title}, {in_words(worst)}", style="green")]


def _suite(check: Check) -> str:
    """The name that a limit of its own would take, where the title is another."""
    return f" ({check.name})" if check.n is not None and check.name != check.title else ""


def _name(check: Check) -> str:
    if check.limit == "suites":
        return "suite"
    return f"{check.limit} {number(check.allowed, 2) if check.limit == 'max_perplexity' else share(check.allowed)}"
