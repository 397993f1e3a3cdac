"""A made-up comparison.json for tests: invented counts, mild words; nothing in it was ever measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from report_run import rate
from textunlearn.comparison.groups import ATTACKS, HARMLESS
from textunlearn.records import LABELS

N = 50
"""Cases of every suite."""
SUITES = [(suite, group) for group in (*ATTACKS, *HARMLESS) for suite in group.suites]
ORIGINAL = {group.key: 0.8 for group in ATTACKS} | {group.key: 0.02 for group in HARMLESS}
SAFE = {group.key: 0.0 for group in ATTACKS} | {group.key: 0.02 for group in HARMLESS}


def suite(name: str, kind: str, share: float, broken: float = 0.0, n: int = N) -> dict[str, Any]:
    """One suite: ``share`` of its cases has the bad label (unsafe, refusal), ``broken`` is broken, the rest is as wished."""
    harmful = kind == "harmful"
    bad, broke = round(share * n), round(broken * n)
    counts = dict.fromkeys(LABELS, 0) | {"unsafe" if harmful else "refusal": bad, "broken": broke}
    counts["refusal" if harmful else "other"] += n - bad - broke
    return {"suite": name, "attack": "direct", "kind": kind, "n": n, "by_form": {}, "by_category": {}} | {
        label: rate(k, n) for label, k in counts.items()
    }


def result(
    shares: Mapping[str, float] = SAFE,
    *,
    broken: float = 0.0,
    ratio: float | None = 1.03,
    accuracy: float | None = 0.6,
    flops: float | None = 2e13,
    vision: float | None = None,
    further: bool = True,
    guard: Sequence[Mapping[str, Any]] = (),
    n: int = N,
    **over: float,
) -> dict[str, Any]:
    """What one seed of one entry showed. ``shares``: by group of suites; ``over`` replaces some."""
    wanted = {**SAFE, **shares, **over}
    kinds = {group.key: "harmful" if group.harmful else group.key.split("_")[0] for group in (*ATTACKS, *HARMLESS)}
    kinds = {key: {"xstest": "lookalike", "share": "lookalike"}.get(kind, kind) for key, kind in kinds.items()}
    curve = [
        {"steps": step, "refusal": 0.5, "broken": 0.0, **rate(round(24 * min(1.0, step / 40)), 24)}
        for step in (0, 10, 20)
    ]
    found = {
        "agreement": {**rate(30, 50), "f1": 0.7},
        **({"knowledge": rate(round(accuracy * 50), 50)} if accuracy is not None else {}),
        "shallowness": {
            "relearning": {"harmless": curve, "harmful": curve},
            "first_token": {"n": 40, "median_rank": 1.0, "mass": 0.8, "top": 0.9},
        },
    }
    cost: dict[str, Any] = {"evaluate after": {"seconds": 60.0}}
    if flops is not None:
        cost["train"] = {"seconds": 90.0, "tokens": 40000, "steps": 100, "flops": flops, "peak_memory_bytes": 2e9}
    if vision is not None:
        cost["vision"] = {"seconds": 9.0, "flops": vision}
    return {
        "suites": [suite(name, kinds[group.key], wanted[group.key], broken, n) for name, group in SUITES],
        "utility": {}
        if ratio is None
        else {"perplexity": 14.0 * ratio, "perplexity_ratio": ratio, "kl_per_token": 0.1},
        "further": found if further else {},
        "cost": cost,
        "guard": list(guard),
        "steps": 100,
        "best_step": 100,
        "looks": [{"step": step, "asr": 0.1, "broken": broken * step / 100} for step in (50, 100)],
        "curve": [
            {"step": step, "harm_nll": 1 + step / 10, "kl": step / 500, "loss": 1.0} for step in range(0, 101, 10)
        ],
    }


def entry(name: str, family: str = "text", method: str = "", group: str = "method", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "title": more.pop("title", name.replace("_", " ")),
        "family": family,
        "method": method or name,
        "group": group,
        "x": more.pop("x", None),
        **more,
    }


def comparison(
    entries: Sequence[dict[str, Any]], results: Mapping[str, Any], original: Mapping[str, Any] | None = None, **run: Any
) -> dict[str, Any]:
    """``results``: entry -> a result for one seed, or a list with one a seed."""
    listed = {name: found if isinstance(found, list) else [found] for name, found in results.items()}
    seeds = list(range(max(map(len, listed.values()), default=1)))
    return {
        "run": {
            "name": "made-up",
            "title": "Made-up comparison",
            "about": "",
            "model": "builtin",
            "seeds": seeds,
            "judge": "rules",
            "quick": False,
            "recipe": "name: made-up\n",
            "command": "textunlearn compare made-up",
            "versions": {"torch": "2.13"},
            "machine": {"cpus": 2},
            "dtype": "float32",
            "titles": {},
            **run,
        },
        "entries": list(entries),
        "original": result(ORIGINAL, flops=None, accuracy=0.62) if original is None else original,
        "results": {name: {str(seed): one for seed, one in enumerate(found)} for name, found in listed.items()},
        "missing": [],
    }


def full(text: str = "", seeds: int = 3) -> dict[str, Any]:
    """All families, an ablation with and one without x, a run that failed. ``text`` is added to every string of a reader's."""
    shares = {"bounded": {"typography": 0.3}, "published": {}, "npo": {"direct": 0.04, "typography": 0.2}}
    entries = [
        entry("published", method="textual_unlearning_published", title=f"Textual unlearning, as published {text}"),
        entry("bounded", method="textual_unlearning", title=f"Textual unlearning, bounded {text}"),
        entry("npo", title=f"NPO {text}"),
        entry("slots", "slots", "textual_unlearning", "beyond", title=f"Bounded, text in the image slots {text}"),
        entry("npo_slots", "slots", "npo", "beyond", title=f"NPO, text in the image slots {text}"),
        entry("pictures", "pictures", "textual_unlearning", title=f"Bounded, with pictures {text}"),
        entry("sft", title=f"SFT, which was not run {text}"),
        *(
            entry(f"rows_{x}", method="textual_unlearning", group=f"Harmful prompts {text}", x=x, title=f"{x} prompts")
            for x in (10, 40, 400)
        ),
        entry("forms_off", method="textual_unlearning", group=f"Form matching {text}", title=f"Forms off {text}"),
    ]
    made: dict[str, Any] = {}
    for place, one in enumerate(entries):
        name = str(one["name"])
        if name == "sft":
            continue
        broken = 0.3 if name == "published" else 0.0
        vision = 1e12 if one["family"] == "pictures" else None
        made[name] = [
            result(
                shares.get(name, {"typography": 0.04}),
                broken=broken,
                ratio=4.5 if broken else 1.02 + seed / 100,
                vision=vision,
                flops=2e13 * (1.6 if vision else 1),
                further=one["group"] in ("method", "beyond"),
                xstest=(place + seed) % 4 / 50,
                xstest_image=0.12 if one["family"] == "text" else 0.02,
                guard=[{"step": 40, "what": f"stopped {text}"}] if name == "npo" else (),
            )
            for seed in range(seeds)
        ]
    data = comparison(
        entries,
        made,
        title=f"Made-up comparison {text}",
        recipe=f"name: made-up\nnote: '{text}'\n",
        judge=f"rules {text}",
        machine={"cpus": 2, "cpu": text},
    )
    data["missing"] = [{"entry": "sft", "seed": 0, "why": f"it was not run {text}"}]
    return data
