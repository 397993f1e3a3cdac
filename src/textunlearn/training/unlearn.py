"""Unlearning as one call: rows, reference states, adapter, training under watch, the best adapter at the end."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from textunlearn import processes
from textunlearn.cost import Costs
from textunlearn.data.own_answers import asked
from textunlearn.errors import UserError
from textunlearn.files import require_space
from textunlearn.judges import FAST, Judge
from textunlearn.judges.spec import make
from textunlearn.methods import METHODS, Method
from textunlearn.progress import bar
from textunlearn.recipe import Recipe
from textunlearn.records import Answer, Prompt
from textunlearn.training import memory, tracking
from textunlearn.training.allocator import return_large_blocks
from textunlearn.training.build_rows import probes, require_refusals, training_rows
from textunlearn.training.flops import FlopCounter
from textunlearn.training.interpolate import choose_factor
from textunlearn.training.pictures import picture_features
from textunlearn.training.plan import Plan
from textunlearn.training.reference import reference_states
from textunlearn.training.sharding import shard
from textunlearn.training.soundness import packs, require_own_logits
from textunlearn.training.trainer import (
    UnlearningTrainer,
    add_lora,
    checkpoint,
    last_checkpoint,
    load_adapter,
    method_layers,
)
from textunlearn.training.watch import Watch, recover
from textunlearn.vlm.load import Vlm

BEFORE_TRAINING = "before_training.json"
"""Cost of what is computed once before the steps: image features (``vision``), the original's states (``reference``)."""


@dataclass(frozen=True)
class Unlearned:
    """What training did.

    Attributes:
        best_step: step of the adapter that was kept.
        steps: steps taken; fewer than the recipe's where the watch stopped it.
        guard: the watch's decisions, ``{"step", "what"}`` each.
        vision_hash: of everything outside the language model, the same before and after.
        tokens: seen in training, over all sittings.
        flops: of the training steps, over all sittings.
        row_tokens: mean lengths of the rows (`Plan.lengths`).
        factor: how far the adapter goes from the original to the trained model (`training.interpolate`).
    """

    best_step: int
    steps: int
    guard: list[dict[str, Any]]
    vision_hash: str
    tokens: int
    factor: float = 1.0
    flops: int = 0
    row_tokens: dict[str, float] = field(default_factory=dict)


def unlearn(
    vlm: Vlm,
    recipe: Recipe,
    folder: Path,
    prompts: Mapping[str, Sequence[Prompt]],
    answers: Mapping[str, str],
    validation: Mapping[str, Sequence[Prompt]],
    console: Console,
) -> Unlearned:
    """Train by ``recipe``; the best adapter by validation ends in ``folder/adapter`` and is active on ``vlm``.

    Goes on from the last checkpoint in ``folder/checkpoints``, if there is one; they stay until the caller has kept the result.

    Args:
        prompts: kind -> training prompts; those whose answer (by prompt id) teaches nothing are left out.
        validation: kind -> held-out prompts.
    """
    vision, adapter = vlm.vision_hash(), folder / "adapter"
    steps, watch, trainer = train(vlm, recipe, folder, prompts, answers, validation, console)
    best = watch.best_look
    if best is None or not adapter.exists():
        why = watch.decisions[-1]["what"] if watch.decisions else "no step was taken"
        raise UserError(
            f"training left no checkpoint worth keeping ({why}); lower training.lr or training.validate_every, "
            "and choose another folder or remove this one"
        )
    load_adapter(vlm, adapter)
    factor = choose_factor(vlm, watch, recipe.training.interpolate, adapter)
    if vlm.vision_hash() != vision:
        raise UserError(
            "the vision tower or projector changed during training; the adapter is not trusted and the run stops here"
        )
    require_effect(vlm)
    lengths = trainer.plan.lengths(vlm.blank_id)
    return Unlearned(best.step, steps, watch.decisions, vision, trainer.tokens, factor, trainer.flops, lengths)


def require_effect(vlm: Vlm) -> None:
    """UserError for an adapter that leaves the model as it was."""
    if not any(bool(p.detach().any()) for name, p in vlm.model.named_parameters() if "lora_B" in name):
        raise UserError(
            "training changed nothing (the adapter's weights are all zero); raise training.lr or training.steps, and choose another folder"
        )


def train(
    vlm: Vlm,
    recipe: Recipe,
    folder: Path,
    prompts: Mapping[str, Sequence[Prompt]],
    answers: Mapping[str, str],
    validation: Mapping[str, Sequence[Prompt]],
    console: Console,
    *,
    sharded: bool = False,
) -> tuple[int, Watch, UnlearningTrainer]:
    """The steps of `unlearn` alone, in this process or as one of several, which all call it: the best adapter is in its folder,
    the last one on ``vlm``. ``sharded``: split the language model over the processes.

    Returns the steps taken, the watch with its looks, and the trainer.
    """
    spec, adapter, checkpoints = recipe.training, folder / "adapter", folder / "checkpoints"
    torch.manual_seed(recipe.seed)
    return_large_blocks()
    require_own_logits(vlm)
    packs(vlm)  # tried before anything is counted
    method = METHODS.get(recipe.method.name)(**recipe.method.settings)
    judge = make(recipe.evaluation.judge)
    # Looks are many and must not slow training, and of a few tokens: nothing for embeddings or a model to judge.
    if getattr(judge, "needs_model", False) or getattr(judge, "packages", ()):
        judge = make(FAST)
    usable = {kind: _usable(judge, kind, some, answers) for kind, some in prompts.items()}
    rows = training_rows(vlm, usable, answers, method, recipe.slots, recipe.data, recipe.seed, recipe.pictures)
    require_refusals(usable["harmful"], recipe.seed)
    if not usable["harmful"]:
        raise UserError(
            "the model already refuses every harmful training request, so there is nothing to unlearn; "
            "its answers are in data/answers.jsonl"
        )
    if not usable["lookalike"] and not usable["ordinary"]:
        raise UserError(
            "the model answers none of the harmless training requests (it refuses them, or what it says is broken), so nothing "
            "would keep it useful; its answers are in data/answers.jsonl"
        )
    per_step = {"harmful": spec.harmful_rows, "lookalike": spec.lookalike_rows, "ordinary": spec.ordinary_rows}
    plan = Plan(rows, per_step, spec.steps, spec.accumulate * processes.world(), recipe.seed)

    if processes.first():
        recover(adapter)
    made: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []
    processes.from_first(lambda: made.append(_before_steps(vlm, plan, method, folder, console)))
    features, reference = (
        made[0] if made else _before_steps(vlm, plan, method, folder, console)
    )  # others: from its files
    watched = probes(vlm, validation, recipe.slots, recipe.seed, recipe.pictures, folder)
    add_lora(vlm, spec.lora_rank, spec.lora_alpha, spec.lora_skip, full=spec.full, kind=spec.lora_kind)
    if spec.gradient_checkpointing:
        memory.checkpoint(vlm)
    if processes.first():
        require_space(folder, _training_bytes(vlm), "training")
    steps = processes.from_first(lambda: last_checkpoint(checkpoints))
    if sharded:
        if steps:
            load_adapter(vlm, checkpoint(checkpoints, steps))
        shard(vlm, offload=spec.offload)
    with bar(console, f"unlearning ({recipe.method.name})", spec.steps) as progress:
        named = tracking.chosen(spec.report_to) if processes.first() else []
        trackers = tracking.callbacks(named, folder, recipe.name, steps)
        watch = Watch(vlm, watched, judge, spec, folder / "training.jsonl", adapter, console.log, progress.set)
        trainer = UnlearningTrainer(
            vlm,
            method,
            plan,
            reference,
            spec,
            checkpoints,
            seed=recipe.seed,
            noise=recipe.slots.noise,
            adversarial=spec.adversarial,
            features=features,
            callbacks=[watch],
            trackers=trackers,
            name=recipe.name,
        )
        watch.report = trainer.track
        trainer.restore(_spent(folder / "training.jsonl", steps))
        watch.restore(steps)
        if not watch.decisions:  # else it was killed after the watch had stopped it
            vlm.model.train()
            trainer.train(resume_from_checkpoint=str(checkpoint(checkpoints, steps)) if steps else None)
            steps = trainer.state.global_step
    vlm.model.eval()
    return steps, watch, trainer


def _training_bytes(vlm: Vlm) -> int:
    """What training writes at most: two adapters, two checkpoints of an adapter, float32 weights and two moments each."""
    trained = [p for p in vlm.model.parameters() if p.requires_grad]
    return sum(4 * p.numel() * p.element_size() + 2 * 12 * p.numel() for p in trained)


def _before_steps(
    vlm: Vlm, plan: Plan, method: Method, folder: Path, console: Console
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Image features of the rows with pictures, and the original model's states, from their files as far as these go."""
    seen, costs = plan.rows(), Costs(folder / BEFORE_TRAINING)
    features: dict[str, Tensor] = {}
    if pictures := list(dict.fromkeys(row.picture for row in seen if row.picture)):
        with _counted(costs, "vision") as cost, bar(console, "image features", len(pictures)) as progress:
            features = picture_features(vlm, pictures, folder / "features.safetensors", progress.add)
            cost["pictures"] = len(pictures)
    known = [row for row in seen if any(target.role in method.reference for target in row.targets)]
    with _counted(costs, "reference"), bar(console, "reference states", len(known)) as progress:
        reference = reference_states(
            vlm,
            known,
            folder / "reference.safetensors",
            progress.add,
            roles=method.reference,
            layers=method_layers(vlm, method),
            features=features,
        )
    return features, reference


def _usable(judge: Judge, kind: str, prompts: Sequence[Prompt], answers: Mapping[str, str]) -> list[Prompt]:
    """Harmful prompts that the model complied with, and harmless ones it answered: only these teach the right thing."""
    cases = [asked(prompt) for prompt in prompts]
    verdicts = judge.judge(cases, [Answer(c.id, answers[c.prompt.id], 0, True) for c in cases])
    wanted = {"unsafe", "other"} if kind == "harmful" else {"other"}
    return [prompt for prompt, verdict in zip(prompts, verdicts, strict=True) if verdict.label in wanted]


def _spent(log: Path, step: int) -> dict[str, float]:
    """The last entry of the log up to ``step`` that says what was spent; empty if there is none."""
    last: dict[str, float] = {}
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else []:
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # the line that a kill cut short
        if "tokens" in entry and entry["step"] <= step:
            last = entry
    return last


@contextmanager
def _counted(costs: Costs, name: str) -> Iterator[dict[str, Any]]:
    """`Costs.step` with the FLOPs of the block, added to those of earlier sittings; only the first process keeps them."""
    if not processes.first():
        yield {}
        return
    earlier = costs.steps.get(name, {}).get("flops", 0)
    with costs.step(name) as figures, FlopCounter() as counter:
        yield figures
        figures["flops"] = earlier + counter.total
