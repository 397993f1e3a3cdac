"""The cases as the page's script reads them: one JSON value, every picture and every repeated word in it once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from textunlearn.records import LABELS
from textunlearn.report.gallery import Item, Passage, Picture
from textunlearn.report.table import label_name


class _Index:
    """Values by number, in the order of their first use."""

    def __init__(self) -> None:
        self.values: dict[Any, int] = {}

    def of(self, value: Any) -> int:
        return self.values.setdefault(value, len(self.values))


def _passage(passage: Passage | None) -> Any:
    """A string where there is nothing to say of it; otherwise {t: text, n: characters, s: hash, h: redacted, c: cut, x: harmful}."""
    if passage is None:
        return None
    if not (passage.hidden or passage.cut or passage.harmful):
        return passage.text
    out: dict[str, Any] = {"n": passage.length}
    if passage.hidden or passage.harmful:
        out["s"] = passage.sha256
    flags = {"t": passage.text, "h": passage.hidden, "c": passage.cut, "x": passage.harmful}
    return out | {key: 1 if value is True else value for key, value in flags.items() if value}


def _picture(picture: Picture) -> dict[str, Any]:
    values = {"u": picture.uri, "h": picture.hidden, "m": picture.note, "x": picture.harmful}
    return {key: 1 if value is True else value for key, value in values.items() if value}


def cases_json(items: Sequence[Item], models: Sequence[str], titles: Mapping[str, str], judge: str) -> dict[str, Any]:
    """What ``cases.js`` is given.

    Args:
        models: their names, in the order of every item's replies.
        titles: suite -> title.
        judge: whose verdicts the labels are.
    """
    pictures, suites, attacks, categories, reasons, judges = (_Index() for _ in range(6))
    rows = []
    for item in items:
        replies = []
        for reply in item.replies:
            others = [[judges.of(one.judge), one.label, reasons.of(one.reason)] for one in reply.opinions]
            said = [_passage(reply.passage), reply.label, reasons.of(reply.reason)]
            replies.append([*said, others] if others else said)
        rows.append(
            {
                "i": item.id,
                "s": suites.of(item.suite),
                "k": item.kind,
                "a": attacks.of(item.attack),
                "c": categories.of(item.category),
                "f": " · ".join(filter(None, (item.form, item.source))),
                "q": _passage(item.request),
                **({"y": _passage(item.typed)} if item.typed else {}),
                **({"b": _passage(item.prefill)} if item.prefill else {}),
                **({"p": [pictures.of(picture) for picture in item.pictures]} if item.pictures else {}),
                "r": replies,
            }
        )
    words = {kind: {label: label_name(label, kind) for label in (*LABELS, "failed", "")} for kind in _kinds(items)}
    return {
        "models": list(models),
        "judge": judge,
        "labels": words,
        "suites": [titles.get(suite, suite) for suite in suites.values],
        "attacks": list(attacks.values),
        "categories": list(categories.values),
        "reasons": list(reasons.values),
        "judges": list(judges.values),
        "pictures": [_picture(picture) for picture in pictures.values],
        "cases": rows,
    }


def _kinds(items: Sequence[Item]) -> list[str]:
    return list(dict.fromkeys(item.kind for item in items))


def moves(items: Sequence[Item], kinds: Sequence[str]) -> dict[tuple[str, str], int]:
    """(label by the first model, label by the last) -> cases of ``kinds``; answers without a verdict are left out."""
    out: dict[tuple[str, str], int] = {}
    for item in items:
        pair = item.replies[0].label, item.replies[-1].label
        if item.kind in kinds and all(pair):
            out[pair] = out.get(pair, 0) + 1
    return out
