"""What was looked at before, during and after a training, and what was found: for the report (docs/reliability.md has all guards)."""

from __future__ import annotations

from pathlib import Path

from textunlearn.files import read_json
from textunlearn.recipe import TrainingSpec


def checked(folder: Path, spec: TrainingSpec) -> list[dict[str, str]]:
    """``{"what", "found"}`` each, of a trained run; a training that fails one of them leaves no result. [] before training."""
    if not (folder / "trained.json").exists():
        return []
    trained = read_json(folder / "trained.json")
    near = _cut(folder / "environment.json", "near a test set")
    stops = [f"step {event['step']}: {event['what']}" for event in trained["guard"]]
    limits = (
        f"KL {spec.max_kl:g} a token, NLL of harmful answers {spec.max_harm_nll:g} a token, {spec.max_broken:.0%} more broken answers"
        if spec.guard
        else "off (training.guard)"
    )
    return [
        {"what": "Limits in training", "found": limits},
        {"what": "Stopped by a guard", "found": "; ".join(stops) or "no"},
        {"what": "Loss, gradients and weights that are no numbers", "found": "none in the adapter that was kept"},
        {
            "what": "Vision tower and projector",
            "found": f"the same before and after (SHA-256 {trained['vision_hash'][:16]}…)",
        },
        {"what": "The adapter", "found": f"changes the model; of step {trained['best_step']} of {trained['steps']}"},
        {
            "what": "Training requests near a set that is tested on",
            "found": "not recorded" if near is None else f"{near} found and left out",
        },
        {"what": "Safe answers that comply", "found": "none among those trained on"},
    ]


def _cut(environment: Path, reason: str) -> int | None:
    """Prompts that were left out of training for ``reason``; None where the file that says so is gone."""
    if not environment.exists():
        return None
    data = read_json(environment)["data"]
    return sum(part.get("cut", {}).get(reason, 0) for name, part in data.items() if name.endswith("_train"))
