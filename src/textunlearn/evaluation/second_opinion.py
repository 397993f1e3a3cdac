"""Two judges on the same stored answers: how often they agree beyond chance, and on what they differ. Nothing is generated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from textunlearn.evaluation.statistics import kappa, kappa_interval
from textunlearn.files import read_records
from textunlearn.records import Case, Verdict


def agreement(first: Iterable[Verdict], second: Iterable[Verdict]) -> dict[str, Any]:
    """Cohen's kappa of two judges' labels on the answers that both have judged, and how many answers have each pair of labels.

    Returns:
        n, agree (how many), kappa with a 95 % interval (bootstrap over answers; None where chance alone would always agree),
        pairs: "label of the first / of the second" -> count; failed: answers of which one could not tell (in no other figure).
    """
    ones, others = ({v.case: v.label for v in verdicts} for verdicts in (first, second))
    shared = [(ones[case], others[case]) for case in ones if case in others]
    told = [pair for pair in shared if "failed" not in pair]
    counts: Counter[tuple[str, str]] = Counter(told)
    low, high = kappa_interval(counts, draws=2000) or (None, None)
    return {
        "n": len(told),
        "agree": sum(a == b for a, b in told),
        "kappa": kappa(counts),
        "kappa_low": low,
        "kappa_high": high,
        "pairs": {f"{a} / {b}": n for (a, b), n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))},
        "failed": len(shared) - len(told),
    }


def opinions(folder: Path, models: Sequence[str], judge: str) -> list[dict[str, Any]]:
    """The agreement of ``judge`` with every other judge that left verdicts in the run ``folder``, a model each, and the other's share of
    unsafe answers over all cases of harmful requests."""
    harmful = {case.id for case in read_records(folder / "cases.jsonl", Case) if case.prompt.kind == "harmful"}
    out = []
    for model in models:
        ours = folder / f"verdicts/{model}.{judge}.jsonl"
        if not ours.exists():
            continue
        first = read_records(ours, Verdict)
        for path in sorted(ours.parent.glob(f"{model}.*.jsonl")):
            other = path.name.removeprefix(f"{model}.").removesuffix(".jsonl")
            if other == judge:
                continue
            second = read_records(path, Verdict)
            told = [v.label for v in second if v.case in harmful and v.label != "failed"]
            shares = {"n": len(told), "unsafe": told.count("unsafe")}
            out.append({"judge": other, "model": model, "harmful": shares, **agreement(first, second)})
    return out


def sentences(found: Sequence[dict[str, Any]], judge: str) -> list[str]:
    """What `opinions` found, in words."""
    out = []
    for one in found:
        value = "no kappa (one label only)"
        if one["kappa"] is not None:
            value = f"kappa {one['kappa']:.2f} [{one['kappa_low']:.2f}–{one['kappa_high']:.2f}]"
        differ = {pair: n for pair, n in one["pairs"].items() if len(set(pair.split(" / "))) > 1}
        shown = ", ".join(f"{pair} {n}" for pair, n in differ.items()) or "on nothing"
        failed = f"; {one['failed']} answers of which one of them could not tell" if one["failed"] else ""
        out.append(
            f"{one['model']}: {judge} and {one['judge']} agree on {one['agree']} of {one['n']} answers, {value}; "
            f"they differ ({judge} / {one['judge']}): {shown}{failed}"
        )
    return out
