"""How well a judge agrees with labels given by reading: precision, recall, specificity and Cohen's kappa, over sets of labelled answers.

Sets: the built-in one (`data/labelled`), pyrit's refusal sets (169 rows labelled by people, out of the pinned package), and files such as
XSTest's human labels. Each set says what its "refusal" means: for pyrit an answer about something else is one too.

Intervals: Wilson for the shares, the percentile bootstrap over rows for kappa (a table of four counts is resampled as a multinomial).
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textunlearn.data.rows import CELL
from textunlearn.errors import UserError
from textunlearn.evaluation.statistics import Rate, kappa, kappa_interval
from textunlearn.judges import Judge
from textunlearn.records import LABELS, Answer, Case, Kind, Label, Prompt

BUILT_IN, PYRIT = "built-in", "pyrit"


@dataclass(frozen=True, slots=True)
class LabelledAnswer:
    """One answer that was labelled; ``refusal`` is the reader's word, ``label`` all of it where the set has four labels."""

    prompt: str
    kind: Kind
    text: str
    refusal: bool
    label: Label | None = None
    group: str = ""
    split: str = ""
    """``tuning`` or ``held-out`` where the set says so; otherwise a hash of the prompt does."""
    unsure: bool = False
    stand_in: bool = False
    """The request is harmless and called harmful."""

    @property
    def tuning(self) -> bool:
        """Whether rules and thresholds may be tuned on it."""
        if self.split:
            return self.split == "tuning"
        return int(hashlib.sha256(self.prompt.encode()).hexdigest(), 16) % 2 == 0


@dataclass(frozen=True, slots=True)
class Layout:
    """Columns of a labelled file. ``harmful`` are prefixes of the kind column (without one every prompt is harmful).

    ``means``: the judge's labels that agree with people's "refusal".
    """

    prompt: str
    answer: str
    label: str
    refusals: tuple[str, ...]
    kind: str = ""
    harmful: tuple[str, ...] = ()
    means: tuple[Label, ...] = ("refusal",)


LAYOUTS: dict[str, Layout] = {
    "xstest": Layout(
        "prompt", "completion", "final_label", ("2_full_refusal", "3_partial_refusal"), "type", ("contrast",)
    ),
    "pyrit": Layout("objective", "assistant_response", "human_score", ("1",), means=("refusal", "other", "broken")),
    "textunlearn": Layout("prompt", "answer", "label", ("refusal",), "kind", ("harmful",)),
}
"""xstest: the human labels of XSTest's model completions. pyrit: its refusal sets, where whatever does not do what was asked is a
refusal, an answer about something else too. textunlearn: a file with the columns prompt, answer, label, kind."""


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """``rows`` under a name; ``means``: see Layout."""

    name: str
    rows: tuple[LabelledAnswer, ...]
    means: tuple[Label, ...] = ("refusal",)


@dataclass(frozen=True, slots=True)
class Agreement:
    """Counts of a judge (first) against a reader (second) on one yes or no, such as "is a refusal"."""

    both: int
    judge_only: int
    people_only: int
    neither: int

    @property
    def n(self) -> int:
        return self.both + self.judge_only + self.people_only + self.neither

    @property
    def precision(self) -> float | None:
        """Share of the judge's refusals that people call one; None without any."""
        return Rate(self.both, self.both + self.judge_only).value

    @property
    def recall(self) -> float | None:
        """Share of people's refusals that the judge finds (its sensitivity); None without any."""
        return self.sensitivity.value

    @property
    def sensitivity(self) -> Rate:
        """The recall with its interval."""
        return Rate(self.both, self.both + self.people_only)

    @property
    def specificity_rate(self) -> Rate:
        """The specificity with its interval."""
        return Rate(self.neither, self.neither + self.judge_only)

    @property
    def specificity(self) -> float | None:
        """Share of people's non-refusals that the judge does not call one; None without any."""
        return self.specificity_rate.value

    @property
    def _counts(self) -> dict[tuple[str, str], int]:
        return {
            ("yes", "yes"): self.both,
            ("yes", "no"): self.judge_only,
            ("no", "yes"): self.people_only,
            ("no", "no"): self.neither,
        }

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa: agreement beyond chance, 1 at best; None where chance alone would always agree."""
        return kappa(self._counts)

    def kappa_interval(self) -> tuple[float, float] | None:
        """95 % percentile bootstrap of kappa (seeded); None where kappa is, or where most draws have none."""
        return kappa_interval(self._counts)

    def to_json(self) -> dict[str, Any]:
        """Counts, and each figure with its interval."""
        interval = self.kappa_interval()
        return {
            "n": self.n,
            "counts": {name: getattr(self, name) for name in ("both", "judge_only", "people_only", "neither")},
            "precision": Rate(self.both, self.both + self.judge_only).to_json(),
            "recall": self.sensitivity.to_json(),
            "specificity": self.specificity_rate.to_json(),
            "kappa": self.kappa,
            "kappa_low": interval[0] if interval else None,
            "kappa_high": interval[1] if interval else None,
        }


# -- sets -------------------------------------------------------------------------------------------------------------


def built_in() -> LabelledSet:
    """The answers of the built-in model that ship with their labels; see their README."""
    import textunlearn

    path = Path(textunlearn.__file__).parent / "data/labelled/judge_answers.jsonl"
    return LabelledSet(BUILT_IN, tuple(read_labelled(path)))


def pyrit() -> LabelledSet:
    """pyrit's two refusal sets; fetched (and checked against its hash) on first use."""
    from textunlearn.data.packages import fetch
    from textunlearn.data.pins import PYRIT_REFUSALS

    folder = fetch(PYRIT_REFUSALS)
    rows = [row for member in PYRIT_REFUSALS.members for row in read_labelled(folder / member)]
    return LabelledSet(PYRIT, tuple(rows), LAYOUTS["pyrit"].means)


def labelled_file(path: Path) -> LabelledSet:
    """A file in one of the :data:`LAYOUTS`."""
    rows, layout = _read(path)
    return LabelledSet(path.stem, tuple(rows), layout.means)


def read_labelled(path: Path) -> list[LabelledAnswer]:
    """Rows of a labelled CSV or JSON-lines file in one of the :data:`LAYOUTS`, told apart by its columns; # lines on top (JSON lines: a
    first object "about") are notes.

    Raises UserError for a missing file or other columns.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[list[LabelledAnswer], Layout]:
    csv.field_size_limit(CELL)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = _json_rows(file) if path.suffix == ".jsonl" else list(csv.DictReader(_without_notes(file)))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; name a CSV of answers labelled by people") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; name a CSV of answers labelled by people") from None
    except (ValueError, RecursionError, csv.Error) as error:  # not UTF-8, not JSON, not CSV
        raise UserError(f"{path} cannot be read: {error}; correct it, or save it anew as UTF-8") from None
    columns = set(rows[0]) if rows else set()
    for layout in LAYOUTS.values():
        needed = [layout.prompt, layout.answer, layout.label, *filter(None, [layout.kind])]
        if set(needed[:3]) <= columns:
            for number, row in enumerate(rows, start=1):
                _require_complete(row, needed, layout, f"{path} row {number}")
            return [_row(row, layout) for row in rows], layout
    wanted = "; ".join(f"{x.prompt}, {x.answer}, {x.label}" for x in LAYOUTS.values())
    raise UserError(f"{path} has no rows with the columns of a labelled CSV; it needs one of: {wanted}")


def _json_rows(lines: Iterable[str]) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in lines if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a line is not a JSON object")
    return [row for row in rows if set(row) != {"about"}]


def _without_notes(lines: Iterable[str]) -> Iterable[str]:
    head = True
    for line in lines:
        head = head and line.startswith("#")
        if not head:
            yield line


def _require_complete(row: dict[str, Any], needed: Sequence[str], layout: Layout, where: str) -> None:
    """A label that is none would count as "no refusal", without a word."""
    if lacking := [name for name in (*needed[:2], *needed[3:]) if not isinstance(row.get(name), str)]:
        raise UserError(f"{where} has no text in the column {lacking[0]!r}; fill it, or delete the row")
    if layout is LAYOUTS["textunlearn"] and row[layout.label] not in LABELS:
        raise UserError(f"{where} has the label {row[layout.label]!r}; use one of {', '.join(LABELS)}")


def _row(row: dict[str, Any], layout: Layout) -> LabelledAnswer:
    harmful = not layout.kind or row[layout.kind].startswith(layout.harmful)
    kind: Kind = "harmful" if harmful else "lookalike"
    said = str(row[layout.label]).strip()
    four = next((label for label in LABELS if label == said), None) if layout is LAYOUTS["textunlearn"] else None
    return LabelledAnswer(
        row[layout.prompt],
        kind,
        row[layout.answer],
        said in layout.refusals,
        four,
        str(row.get("group", "")),
        str(row.get("split", "")),
        row.get("unsure") is True,
        row.get("stand_in") is True,
    )


# -- agreement ------------------------------------------------------------------------------------------------------------


def judged(judge: Judge, rows: Sequence[LabelledAnswer]) -> list[Label]:
    """The judge's label of every row."""
    # Rows may share a prompt, and a case has one answer: its number stands where an attack's text would, so each has a case of its own.
    cases = [
        Case("check", "direct", Prompt(row.prompt, row.kind, "check"), str(number)) for number, row in enumerate(rows)
    ]
    answers = [Answer(case.id, row.text, 0, True) for case, row in zip(cases, rows, strict=True)]
    return [verdict.label for verdict in judge.judge(cases, answers)]


def agreement(judge: Judge, rows: Sequence[LabelledAnswer], means: Sequence[Label] = ("refusal",)) -> Agreement:
    """Judge every row and count how often the judge's ``means`` agree with people's "refusal"."""
    return compare(judged(judge, rows), rows, lambda label: label in means, lambda row: row.refusal)


def compare(
    labels: Sequence[Label],
    rows: Sequence[LabelledAnswer],
    judge_says: Callable[[Label], bool],
    people_say: Callable[[LabelledAnswer], bool],
) -> Agreement:
    """Count agreement on one yes or no."""
    counts = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
    for label, row in zip(labels, rows, strict=True):
        counts[judge_says(label), people_say(row)] += 1
    return Agreement(counts[True, True], counts[True, False], counts[False, True], counts[False, False])


QUESTIONS: dict[str, tuple[Label, Callable[[LabelledAnswer], bool]]] = {
    "unsafe": ("unsafe", lambda row: row.kind == "harmful" and (row.stand_in or row.label == "unsafe")),
    "unsafe, as drawn": ("unsafe", lambda row: row.kind == "harmful" and (not row.stand_in or row.label == "unsafe")),
    "broken": ("broken", lambda row: True),
    "refused": ("refusal", lambda row: row.kind != "harmful"),
}
"""Asked of sets with four labels, beside "refusal" over all rows: which label, and over which rows. unsafe: what an attack's success rate
counts, among answers to requests that the judge sees (many evasions); as drawn: against the answers
to really harmful requests, in the mix in which aligned models give them. refused: what a rate of refusals of harmless requests counts."""


def measure(judge: Judge, labelled: LabelledSet) -> dict[str, dict[str, Agreement]]:
    """half (``held-out``, ``tuning``, ``all``) -> question -> agreement, for the questions that the set can answer."""
    labels = judged(judge, labelled.rows)
    pairs = list(zip(labels, labelled.rows, strict=True))
    halves = {
        "held-out": [pair for pair in pairs if not pair[1].tuning],
        "tuning": [pair for pair in pairs if pair[1].tuning],
        "all": pairs,
    }
    return {name: _questions(half, labelled.means) for name, half in halves.items() if half}


def _questions(pairs: Sequence[tuple[Label, LabelledAnswer]], means: Sequence[Label]) -> dict[str, Agreement]:
    def ask(says: Callable[[Label], bool], true: Callable[[LabelledAnswer], bool], asked: Callable[[Any], bool]) -> Any:
        some = [pair for pair in pairs if asked(pair[1])]
        return compare([label for label, _ in some], [row for _, row in some], says, true)

    found = {"refusal": ask(lambda label: label in means, lambda row: row.refusal, lambda row: True)}
    if all(row.label for _, row in pairs):
        for name, (wanted, asked) in QUESTIONS.items():
            found[name] = ask(
                lambda label, w=wanted: label == w,  # type: ignore[misc]
                lambda row, w=wanted: row.label == w,  # type: ignore[misc]
                asked,
            )
    return found


def by_group(judge: Judge, labelled: LabelledSet) -> dict[str, dict[str, int]]:
    """Held-out half: group -> how many, and how many of them got the reader's label."""
    rows = [row for row in labelled.rows if not row.tuning and row.label]
    out: dict[str, dict[str, int]] = {}
    for label, row in zip(judged(judge, rows), rows, strict=True):
        counts = out.setdefault(f"{row.label}: {row.group}", {"n": 0, "right": 0})
        counts["n"] += 1
        counts["right"] += label == row.label
    return dict(sorted(out.items()))
