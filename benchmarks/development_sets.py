"""Where a recipe's settings are compared: sets that are neither trained on nor among the tests of the bars.

    python benchmarks/development_sets.py runs/a runs/b [--factors 0.8 1 1.25] [--data ../shared/data]

For each run folder (and factor on its adapter, see `training.interpolate`): the share of answers that are unsafe on held-out
harmful requests (HarmBench's behaviours for adversarial training, MaliciousInstruct), typed and as bare typographic images, and
the share of refusals of harmless ones (Alpaca, Dolly, the run's own held-out look-alikes). The sets stay with their publishers:
DATA is a folder with copies of them.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import tempfile
from pathlib import Path

from peft import PeftModel

from textunlearn.data.filters import drop_minors, sample
from textunlearn.data.forms import classify_form
from textunlearn.data.training_set import make_splits
from textunlearn.evaluation.generation import generate, requests
from textunlearn.evaluation.suites import READABLE, Suite, build_cases
from textunlearn.judges import JUDGES
from textunlearn.records import Case, Kind, Prompt
from textunlearn.result import adapter_of, stored_recipe
from textunlearn.training.interpolate import scaled
from textunlearn.vlm.load import Vlm, load


def development_sets(data: Path, seed: int, limit: int) -> dict[str, list[Prompt]]:
    """Name -> prompts, at most ``limit`` each."""

    def made(name: str, kind: Kind, texts: list[str]) -> list[Prompt]:
        prompts = [Prompt(text.strip(), kind, name, classify_form(text.strip())) for text in texts if text.strip()]
        return sample(drop_minors(prompts).prompts, limit)

    with (data / "harmbench/adv_training_behaviors.csv").open(encoding="utf-8", newline="") as file:
        behaviours = [row["Behavior"] for row in csv.DictReader(file)]
    malicious = (data / "malicious_instruct/MaliciousInstruct.txt").read_text(encoding="utf-8").splitlines()
    alpaca = [json.loads(line) for line in (data / "alpaca/harmless_instructions_1000.jsonl").open(encoding="utf-8")]
    dolly = [json.loads(line) for line in (data / "dolly/dolly_sample.jsonl").open(encoding="utf-8")]
    asked = [f"{row['instruction']}\n{row['context']}".strip() for row in dolly]
    return {
        "hb_train": made("hb_train", "harmful", behaviours),
        "malicious": made("malicious", "harmful", malicious),
        "alpaca": made("alpaca", "ordinary", [row["instruction"] for row in alpaca]),
        "dolly": made("dolly", "ordinary", [text for text in asked if len(text) < 400]),
        "lookalike": sample(make_splits(seed=seed).lookalike_validation, limit),
    }


def cases(sets: dict[str, list[Prompt]], folder: Path) -> list[Case]:
    """Every prompt typed; those short enough to be drawn as bare images too."""
    out = []
    for name, prompts in sets.items():
        typed = Suite(name=name, source=name, attack="direct", limit=len(prompts), title=name)
        drawn = {"name": f"{name}_image", "attack": "typography_bare", "max_chars": READABLE}
        for suite in (typed, typed.model_copy(update=drawn)):
            out += build_cases(suite, prompts, folder)
    return out


def measure(vlm: Vlm, asked: list[Case], folder: Path) -> dict[str, tuple[float, float, int]]:
    """Suite -> (share that is bad: unsafe or refused, share broken, number of cases)."""
    answers = generate(vlm, requests(vlm, asked, folder), 16)
    named = [dataclasses.replace(a, case=c.id) for c, a in zip(asked, answers, strict=True)]
    found: dict[str, list[tuple[bool, bool]]] = {}
    for case, verdict in zip(asked, JUDGES.get("rules")().judge(asked, named), strict=True):
        bad = verdict.label in ("unsafe", "other") if case.prompt.kind == "harmful" else verdict.label == "refusal"
        found.setdefault(case.suite, []).append((bad, verdict.label == "broken"))
    return {
        suite: (sum(b for b, _ in some) / len(some), sum(x for _, x in some) / len(some), len(some))
        for suite, some in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--factors", nargs="+", type=float, default=[1.0])
    parser.add_argument("--limit", type=int, default=60, help="prompts a set, at most")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    for run in arguments.runs:
        recipe = stored_recipe(run)
        vlm = load(recipe.model)
        vlm.model = PeftModel.from_pretrained(vlm.base, str(adapter_of(run))).eval()
        with tempfile.TemporaryDirectory() as folder:
            asked = cases(development_sets(arguments.data, recipe.seed, arguments.limit), Path(folder))
            for factor in arguments.factors:
                with scaled(vlm, factor):
                    found = measure(vlm, asked, Path(folder))
                rates = "  ".join(f"{suite} {bad:.0%}" for suite, (bad, _, _) in found.items())
                broken = sum(x * n for _, x, n in found.values()) / sum(n for _, _, n in found.values())
                print(f"{run.name} x {factor:g}:  {rates}  broken {broken:.1%}  (n <= {arguments.limit})", flush=True)


if __name__ == "__main__":
    main()
