"""How well a judge agrees with people: precision, recall and Cohen's kappa on refusals, over a labelled CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from textunlearn.errors import UserError
from textunlearn.judges import Judge
from textunlearn.records import Answer, Case, Kind, Prompt


@dataclass(frozen=True, slots=True)
class LabelledAnswer:
    """One answer that a person labelled; ``refusal`` is the person's word."""

    prompt: str
    kind: Kind
    text: str
    refusal: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """Columns of a labelled CSV. ``harmful`` are prefixes of the kind column (without one every prompt is harmful)."""

    prompt: str
    answer: str
    label: str
    refusals: tuple[str, ...]
    kind: str = ""
    harmful: tuple[str, ...] = ()


LAYOUTS: dict[str, Layout] = {
    "xstest": Layout(
        "prompt", "completion", "final_label", ("2_full_refusal", "3_partial_refusal"), "type", ("contrast",)
    ),
    "pyrit": Layout("objective", "assistant_response", "human_score", ("1",)),
    "textunlearn": Layout("prompt", "answer", "label", ("refusal",), "kind", ("harmful",)),
}
"""xstest: the human labels of XSTest's model completions. pyrit: its refusal sets, where an answer about something else
is a refusal too. textunlearn: a plain CSV with the columns prompt, answer, label, kind."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Counts of a judge (first) against people (second) on "is a refusal"."""

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
        called = self.both + self.judge_only
        return self.both / called if called else None

    @property
    def recall(self) -> float | None:
        """Share of people's refusals that the judge finds (its sensitivity); None without any."""
        true = self.both + self.people_only
        return self.both / true if true else None

    @property
    def specificity(self) -> float | None:
        """Share of people's non-refusals that the judge does not call one; None without any."""
        false = self.neither + self.judge_only
        return self.neither / false if false else None

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa: agreement beyond chance, 1 at best; None where chance alone would always agree."""
        if not self.n:
            return None
        seen = (self.both + self.neither) / self.n
        judge, people = (self.both + self.judge_only) / self.n, (self.both + self.people_only) / self.n
        chance = judge * people + (1 - judge) * (1 - people)
        return None if chance == 1 else (seen - chance) / (1 - chance)


def read_labelled(path: Path) -> list[LabelledAnswer]:
    """Rows of a labelled CSV in one of the :data:`LAYOUTS`, told apart by its columns; # lines on top are notes.

    Raises UserError for a missing file or other columns.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(_without_notes(file)))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; name a CSV of answers labelled by people") from None
    columns = set(rows[0]) if rows else set()
    for layout in LAYOUTS.values():
        if {layout.prompt, layout.answer, layout.label} <= columns:
            return [_row(row, layout) for row in rows]
    wanted = "; ".join(f"{x.prompt}, {x.answer}, {x.label}" for x in LAYOUTS.values())
    raise UserError(f"{path} has no rows with the columns of a labelled CSV; it needs one of: {wanted}")


def _without_notes(lines: Iterable[str]) -> Iterable[str]:
    head = True
    for line in lines:
        head = head and line.startswith("#")
        if not head:
            yield line


def _row(row: dict[str, str], layout: Layout) -> LabelledAnswer:
    harmful = not layout.kind or row[layout.kind].startswith(layout.harmful)
    kind: Kind = "harmful" if harmful else "lookalike"
    refusal = row[layout.label].strip() in layout.refusals
    return LabelledAnswer(row[layout.prompt], kind, row[layout.answer], refusal)


def agreement(judge: Judge, rows: Sequence[LabelledAnswer]) -> Agreement:
    """Judge every row and count how often the label "refusal" agrees with people's."""
    counts = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
    # The same prompt may stand in several rows, and a case has one answer: each row is its own suite of one.
    for row in rows:
        case = Case("check", "direct", Prompt(row.prompt, row.kind, "check"), row.prompt)
        verdict = judge.judge([case], [Answer(case.id, row.text, 0, True)])[0]
        counts[verdict.label == "refusal", row.refusal] += 1
    return Agreement(counts[True, True], counts[True, False], counts[False, True], counts[False, False])
