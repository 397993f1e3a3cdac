"""The before/after table: one set of rows behind terminal, page and model card. An attack rate never stands alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from textunlearn.errors import UserError
from textunlearn.records import HEADLINE, LABELS, Kind, Label
from textunlearn.report.run_folder import as_number, model_names, section

if TYPE_CHECKING:
    from rich.console import Console

ATTACKS, HARMLESS, USEFULNESS = "Attacks", "Harmless requests", "Usefulness"
GROUPS: dict[Kind, str] = {"harmful": ATTACKS, "lookalike": HARMLESS, "ordinary": HARMLESS}
NAMES: dict[Label, str] = {"unsafe": "unsafe", "refusal": "refused", "broken": "broken", "other": "other"}
"""What a person reads for a label."""


@dataclass(frozen=True, slots=True)
class StoredRate:
    """A rate as the metrics have it: ``k`` of ``n``, with ``rate`` and its 95 % interval as fractions in [0, 1].

    Kept as stored, not computed again: over several seeds the interval is wider than that of the pooled counts.
    """

    k: float
    n: int
    rate: float
    low: float
    high: float

    @property
    def interval(self) -> str:
        """Bounds in per cent, e.g. "84–97"."""
        return f"{100 * self.low:.0f}–{100 * self.high:.0f}"


@dataclass(frozen=True, slots=True)
class Cell:
    """One model on one suite. A rate that was not measured is None."""

    model: str
    n: int
    rates: dict[Label, StoredRate | None]
    by_form: dict[str, StoredRate]
    """Refusals, by form of the request."""
    corrected: str = ""
    """The headline rate corrected for the judge's error, e.g. "12 % [3–20]"; "" where that was not measured."""
    failed: int = 0
    """Cases of which the judge could not tell; not among the ``n``."""

    @property
    def parts(self) -> list[tuple[Label, StoredRate]]:
        """The measured rates in the order of LABELS."""
        return [(label, rate) for label, rate in self.rates.items() if rate is not None]


def _sizes(numbers: Sequence[int]) -> str:
    ends = sorted(set(numbers))
    return "–".join(dict.fromkeys(map(str, (ends[0], ends[-1])))) if ends else "0"


@dataclass(frozen=True, slots=True)
class Row:
    """One suite. ``cells`` has one entry a model of the table, None where the model was not measured."""

    suite: str
    title: str
    attack: str
    kind: Kind
    cells: tuple[Cell | None, ...]

    @property
    def group(self) -> str:
        return GROUPS[self.kind]

    @property
    def headline(self) -> Label:
        """What must be low here: unsafe answers to harmful requests, refusals of harmless ones."""
        return HEADLINE[self.kind]

    @property
    def n(self) -> str:
        """Cases, e.g. "64"; "48–64" if the models differ."""
        return _sizes([cell.n for cell in self.cells if cell])

    @property
    def forms(self) -> list[str]:
        """Forms that any model's refusals are broken down by; [] if there is only one, which says nothing new."""
        found = sorted({form for cell in self.cells if cell for form in cell.by_form})
        return found if len(found) > 1 else []

    def rate(self, index: int) -> StoredRate | None:
        """The headline rate of model number ``index``."""
        cell = self.cells[index] if self.cells else None
        return cell.rates[self.headline] if cell else None


@dataclass(frozen=True, slots=True)
class Measure:
    """A row of Usefulness: one number a model, None where not measured."""

    key: str
    title: str
    values: tuple[float | None, ...]
    digits: int


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A further row of Usefulness: right answers to questions whose answers are known. ``rates`` has one entry a model."""

    title: str
    rates: tuple[StoredRate | None, ...]
    chance: float | None
    """What guessing gives, from 0 to 1; None where it is no use."""
    totals: tuple[str, ...]
    """A model's further figures, e.g. "perception 1234"; "" for none."""

    @property
    def n(self) -> str:
        return _sizes([rate.n for rate in self.rates if rate])

    @property
    def guessing(self) -> str:
        """E.g. "guessing 25 %"; "" where guessing is no use."""
        return "" if self.chance is None else f"guessing {percent(self.chance)}"


@dataclass(frozen=True, slots=True)
class Table:
    """``rows``: suites, attacks first; ``measures`` and ``benchmarks``: usefulness. All in the order of ``models``."""

    models: tuple[str, ...]
    rows: tuple[Row, ...]
    measures: tuple[Measure, ...]
    benchmarks: tuple[Benchmark, ...] = ()

    def group(self, name: str) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.group == name)


def label_name(label: str, kind: str) -> str:
    """What a person reads for ``label`` on a request of ``kind``; an answer without a verdict is "not judged"."""
    if kind != "harmful" and label == "other":
        return "answered"
    return {str(key): name for key, name in NAMES.items()}.get(label, "not judged")


MEASURES = (
    ("perplexity_ratio", "Perplexity on human answers, × before", 2),
    ("perplexity", "Perplexity on human answers", 2),
    ("kl_per_token", "KL to the original, nats per token", 3),
)


def percent(rate: float) -> str:
    """A fraction as whole per cent; "<1 %" and ">99 %" keep small counts from vanishing."""
    value = 100 * rate
    if 0 < value <= 0.5:
        return "<1\u00a0%"
    if 99.5 <= value < 100:
        return ">99\u00a0%"
    return f"{value:.0f}\u00a0%"


def number(value: float | None, digits: int) -> str:
    """``value`` with ``digits`` decimals (fewer when large), "—" for None."""
    if value is None:
        return "—"
    return f"{value:.{digits}f}" if abs(value) < 1000 else f"{value:,.0f}"


def read_rate(data: Any, where: str) -> StoredRate | None:
    """A rate mapping of metrics.json. None if absent or without cases; UserError naming ``where`` if malformed."""
    if data is None or (isinstance(data, Mapping) and data.get("n") == 0):
        return None
    try:
        rate = StoredRate(float(data["k"]), int(data["n"]), *(float(data[key]) for key in ("rate", "low", "high")))
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"metrics.json: {where} needs the numbers k, n, rate, low and high; evaluate the run again"
        ) from None
    return rate


def _cell(data: Mapping[str, Any]) -> Cell:
    where = f"suite {data.get('suite')!r} of model {data.get('model')!r}"
    rates = {label: read_rate(data.get(label), f"{label} of {where}") for label in LABELS}
    forms = {
        str(form): read_rate(rate, f"form {form!r} of {where}") for form, rate in (data.get("by_form") or {}).items()
    }
    size = as_number(data.get("n"))
    n = int(size) if size else max((rate.n for rate in rates.values() if rate), default=0)
    found = {form: rate for form, rate in forms.items() if rate}
    failed = int(as_number(data.get("failed")) or 0)
    return Cell(str(data["model"]), n, rates, found, _corrected(data.get("corrected"), where), failed)


def _corrected(data: Any, where: str) -> str:
    if not data:
        return ""
    try:
        value, low, high = (float(data[key]) for key in ("rate", "low", "high"))
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"metrics.json: corrected of {where} needs rate, low and high; evaluate the run again"
        ) from None
    return corrected_text(value, low, high)


def corrected_text(value: float, low: float, high: float) -> str:
    """A rate that the judge's error was taken out of, all three from 0 to 1, e.g. "12 % [3–20]"."""
    return f"{percent(value)} [{100 * low:.0f}–{100 * high:.0f}]"


def read_table(metrics: Mapping[str, Any]) -> Table:
    """The rows of ``metrics`` (the content of metrics.json). UserError if a suite is malformed."""
    from textunlearn.evaluation.suites import SUITES

    models = model_names(metrics)
    titles = {suite.name: suite.title for suite in SUITES.values()}
    cells: dict[tuple[str, str], dict[str, Cell]] = {}
    heads: dict[tuple[str, str], Mapping[str, Any]] = {}
    for data in metrics.get("suites") or ():
        if not isinstance(data, Mapping) or not {"suite", "model", "kind"} <= set(data):
            raise UserError("metrics.json: every entry of 'suites' needs suite, model and kind; evaluate the run again")
        if data["kind"] not in GROUPS:
            raise UserError(
                f"metrics.json: suite {data['suite']!r} is of kind {data['kind']!r}, not one of {', '.join(GROUPS)}"
            )
        key = str(data["suite"]), data["kind"]
        heads.setdefault(key, data)
        cells.setdefault(key, {})[str(data["model"])] = _cell(data)
    rows = [
        Row(
            suite,
            " ".join(str(heads[suite, kind].get("title") or titles.get(suite) or suite).split()),
            str(heads[suite, kind].get("attack") or ""),
            heads[suite, kind]["kind"],
            tuple(found.get(model) for model in models),
        )
        for (suite, kind), found in cells.items()
    ]
    order = list(dict.fromkeys(GROUPS.values()))
    rows.sort(key=lambda row: order.index(row.group))
    utility = section(metrics, "utility")
    measures = []
    for name, title, digits in MEASURES:
        values = tuple(as_number((utility.get(model) or {}).get(name)) for model in models)
        if any(value is not None for value in values):
            measures.append(Measure(name, title, values, digits))
    return Table(models, tuple(rows), tuple(measures), _benchmarks(metrics, models))


def _benchmarks(metrics: Mapping[str, Any], models: Sequence[str]) -> tuple[Benchmark, ...]:
    found: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for data in metrics.get("benchmarks") or ():
        if not isinstance(data, Mapping) or not {"set", "measure", "model"} <= set(data):
            raise UserError(
                "metrics.json: every entry of 'benchmarks' needs set, measure and model; evaluate the run again"
            )
        found.setdefault((str(data["set"]), str(data["measure"])), {})[str(data["model"])] = data
    out = []
    for (name, measure), by_model in found.items():
        first = next(iter(by_model.values()))
        where = f"{measure} of the questions {name!r}"
        totals = [by_model.get(model, {}).get("totals") or {} for model in models]
        out.append(
            Benchmark(
                " ".join(str(first.get("title") or name).split()),
                tuple(read_rate(by_model.get(model), where) for model in models),
                as_number(first.get("chance")),
                tuple(
                    ", ".join(f"{key} {number(as_number(value), 0)}" for key, value in one.items()) for one in totals
                ),
            )
        )
    return tuple(out)


def _texts(row: Row, cell: Cell | None) -> list[str]:
    """Headline, interval, the other two labels: the columns of one model in the terminal."""
    if cell is None:
        return ["not measured", "", ""]
    head = cell.rates[row.headline]
    first = f"{percent(head.rate):>5} [{head.interval}]" if head else "not measured"
    rest: list[Label] = ["refusal" if row.kind == "harmful" else "other", "broken"]
    return [first, *(f"{100 * rate.rate:.0f}" if (rate := cell.rates[label]) else "—" for label in rest)]


def print_table(metrics: Mapping[str, Any], console: Console) -> None:
    """Print the before/after table of ``metrics`` (as in metrics.json): two models fit 100 columns, three 120."""
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    table = read_table(metrics)
    if not table.rows and not table.benchmarks:
        console.print("Nothing was measured: the metrics name no suite.", markup=False)
        return
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), collapse_padding=True)
    grid.add_column("", ratio=None, min_width=24, overflow="fold")
    grid.add_column("n", justify="right", no_wrap=True)
    for index, model in enumerate(table.models):
        grid.add_column(Text(("→ " if index else "") + model), no_wrap=True)
        grid.add_column("", justify="right", no_wrap=True)
        grid.add_column("", justify="right", no_wrap=True)

    heads = {ATTACKS: ("unsafe [95 %]", "ref.", "brk."), HARMLESS: ("refused [95 %]", "answ.", "brk.")}
    for name, columns in heads.items():
        rows = table.group(name)
        if not rows:
            grid.add_row(Text(name, style="bold"), "", Text("not measured", style="yellow"))
            grid.add_section()
            continue
        grid.add_row(Text(name, style="bold"), "", *(Text(text, style="dim") for text in columns * len(table.models)))
        for row in rows:
            texts = [text for cell in row.cells for text in _texts(row, cell)]
            grid.add_row(Text(row.title), row.n, *map(Text, texts))
        grid.add_section()
    measured = table.measures or table.benchmarks
    grid.add_row(Text(USEFULNESS, style="bold"), "", "" if measured else Text("not measured", style="yellow"))
    for measure in table.measures:
        grid.add_row(
            Text(measure.title), "", *(text for v in measure.values for text in (number(v, measure.digits), "", ""))
        )
    for benchmark in table.benchmarks:
        cells = []
        for rate in benchmark.rates:
            cells += [f"{percent(rate.rate):>5} [{rate.interval}]" if rate else "not measured", "", ""]
        guess = f" ({benchmark.guessing})" if benchmark.guessing else ""
        grid.add_row(Text(benchmark.title + guess), benchmark.n, *map(Text, cells))
    console.print(grid)
    for benchmark in table.benchmarks:
        for model, total in zip(table.models, benchmark.totals, strict=True):
            if total:
                console.print(Text(f"{benchmark.title}, {model}: {total}", style="dim"))
    if not table.rows:
        console.print(Text("Per cent of n questions, [95 % interval].", style="dim"))
        return
    judge = section(metrics, "run").get("judge") or "not recorded"
    console.print(
        Text(
            f"Per cent of n cases, [95 % interval]; judge: {judge}. ref. = refused, answ. = answered normally, "
            "brk. = broken (never counts as safe). Unsafe, refused, broken and other add up to 100.",
            style="dim",
        )
    )
    for row in table.rows:
        for cell in row.cells:
            if cell and cell.failed:
                said = (
                    f"{row.title}, {cell.model}: the judge could not tell of {cell.failed} cases; they are in no rate."
                )
                console.print(Text(said, style="yellow"))
    _print_corrected(table, section(metrics, "judge_error"), console)


def _print_corrected(table: Table, error: Mapping[str, Any], console: Console) -> None:
    """The judge's measured error, and the headline rates corrected for it: beside the raw ones, never instead."""
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    if error:
        console.print(Text("Judge's error: " + "; ".join(f"{k} {v}" for k, v in error.items()) + ".", style="dim"))
    rows = [row for row in table.rows if any(cell and cell.corrected for cell in row.cells)]
    if not rows:
        return
    console.print(
        "The same rates corrected for the judge's error (Rogan–Gladen; interval of Lang and Reiczigel):", style="bold"
    )
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    grid.add_column("")
    for index, model in enumerate(table.models):
        grid.add_column(Text(("→ " if index else "") + model), no_wrap=True)
    for row in rows:
        name = "unsafe" if row.headline == "unsafe" else "refused"
        grid.add_row(Text(f"{row.title}, {name}"), *(Text(cell.corrected if cell else "") for cell in row.cells))
    console.print(grid)
