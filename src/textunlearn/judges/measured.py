"""All that is measured of judges, in one go: agreement on every set, flips by injected strings, answers a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from textunlearn.judges import Judge
from textunlearn.judges.check import Agreement, LabelledAnswer, LabelledSet, by_group, judged, measure
from textunlearn.judges.injection import attack


def offline() -> list[str]:
    """Names of the judges that need no model or endpoint of the user's."""
    from textunlearn.judges import JUDGES

    return [name for name in JUDGES.names() if not getattr(JUDGES.get(name), "needs_model", False)]


def measure_all(judge: Judge, sets: Sequence[LabelledSet], done: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Measurements of one judge.

    Returns:
        ``sets``: name -> half -> question -> figures with intervals; ``groups``: set -> group of answers -> n, right (held-out half);
        ``flips``: per kind of injected string; ``answers_per_second``: on this machine, over the first set.

    ``done`` is called after each set and after the injections.
    """
    out: dict[str, Any] = {"sets": {}, "groups": {}}
    for labelled in sets:
        found: dict[str, dict[str, Agreement]] = measure(judge, labelled)
        out["sets"][labelled.name] = {
            half: {question: agreed.to_json() for question, agreed in asked.items()} for half, asked in found.items()
        }
        if groups := by_group(judge, labelled):
            out["groups"][labelled.name] = groups
        done()
    rows = [row for labelled in sets for row in labelled.rows if row.label and not row.tuning]
    compliant, refused = (_attacked(rows, label) for label in ("unsafe", "refusal"))
    out["flips"] = [
        {"what": f.name, "strings": f.strings, "tried": f.tried, "flipped": f.flipped, "by_string": f.by_string}
        for f in attack(judge, compliant, refused)
    ]
    done()
    some = list(sets[0].rows)
    start = time.perf_counter()
    judged(judge, some)
    out["answers_per_second"] = round(len(some) / (time.perf_counter() - start))
    return out


def _attacked(rows: Sequence[LabelledAnswer], label: str) -> list[tuple[str, str]]:
    """Answers to requests called harmful, without those that hold an injected string already."""
    return [
        (row.prompt, row.text)
        for row in rows
        if row.label == label and row.kind == "harmful" and row.group != "injection"
    ]
