"""`textunlearn plan`: a step on meta tensors against the same step with numbers, and what is said of machines that are not here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import tiny
from terminal import Terminal
from textunlearn import recipes
from textunlearn.errors import UserError
from textunlearn.methods import METHODS
from textunlearn.planning.live import LiveBytes
from textunlearn.planning.machines import CONTEXT, GPUS, Gpu, Machine, machine
from textunlearn.planning.plan import Estimate, Planned, plan
from textunlearn.planning.rows import stand_in_rows
from textunlearn.planning.step import empty_model, footprint, meta_reference
from textunlearn.recipe import Recipe
from textunlearn.training.memory import checkpoint
from textunlearn.training.plan import Plan
from textunlearn.training.reference import reference_states
from textunlearn.training.trainer import UnlearningTrainer, add_lora, method_layers
from textunlearn.vlm.load import config_of, wrap


def recipe(model: Path, *changes: str) -> Recipe:
    return recipes.read(
        None, ["model.dtype=float32", "model.device=cpu", "training.steps=2", *changes], model__id=str(model)
    )


def rows_of(vlm: Any, wanted: Recipe) -> tuple[Any, Plan]:
    method, spec = METHODS.get(wanted.method.name)(), wanted.training
    counts = {"harmful": spec.harmful_rows, "lookalike": spec.lookalike_rows, "ordinary": spec.ordinary_rows}
    return method, Plan(stand_in_rows(vlm, wanted, method), counts, spec.steps, spec.accumulate, wanted.seed)


@pytest.mark.parametrize(
    "changes",
    [
        (),
        ("training.full=true",),
        ("training.gradient_checkpointing=true",),
        ("method.name=dpo", "training.accumulate=2", "model.dtype=bfloat16"),
        ("method.name=rmu", "training.adversarial=0.1", "slots.noise=0.1"),
    ],
    ids=["lora", "full", "again", "dpo", "rmu"],
)
def test_a_step_without_numbers_holds_and_multiplies_what_one_with_numbers_does(
    changes: tuple[str, ...], clip_folder: Path, tmp_path: Path
) -> None:
    wanted = recipe(clip_folder, *changes)
    real = tiny.loaded(clip_folder)
    if wanted.model.dtype == "bfloat16":
        import torch

        real.model.to(torch.bfloat16)
    model = empty_model(config_of(wanted.model), real.model.dtype)
    vlm = wrap(model, real.processor, "empty")
    vlm.__dict__["_packs"] = True
    method, plan_of_rows = rows_of(vlm, wanted)
    found = footprint(vlm, wanted, method, plan_of_rows, meta_reference(vlm, plan_of_rows, method), gpu=False)

    spec = wanted.training
    known = reference_states(
        real,
        plan_of_rows.rows(),
        tmp_path / "r.safetensors",
        roles=method.reference,
        layers=method_layers(real, method),
    )
    add_lora(real, spec.lora_rank, spec.lora_alpha, full=spec.full)
    if spec.gradient_checkpointing:
        checkpoint(real)
    noise = {"noise": wanted.slots.noise, "adversarial": spec.adversarial}
    trainer = UnlearningTrainer(real, method, plan_of_rows, known, spec, tmp_path, **noise)  # type: ignore[arg-type]
    trainer.args.save_strategy = "no"
    real.model.train()
    with LiveBytes("cpu") as live:
        live.add([*real.model.parameters(), *real.model.buffers()])
        trainer.train()
    # The largest micro-batch is planned at the worst time; in a run it may come before the optimizer has its state.
    assert 0.97 * live.peak < found.peak < (1.03 if spec.accumulate == 1 else 1.07) * live.peak
    # The trainer counts the first micro-batch of a run, the plan the largest: they differ in what else they hold.
    assert found.flops * spec.steps == pytest.approx(trainer.flops, rel=0.03 if spec.accumulate == 1 else 0.07)


def test_what_splits_and_what_stays(clip_folder: Path) -> None:
    """The parts of a footprint, counted another way."""
    wanted = recipe(clip_folder)
    real = tiny.loaded(clip_folder)
    vlm = wrap(empty_model(config_of(wanted.model), real.model.dtype), real.processor, "empty")
    vlm.__dict__["_packs"] = True
    method, plan_of_rows = rows_of(vlm, wanted)
    found = footprint(vlm, wanted, method, plan_of_rows, meta_reference(vlm, plan_of_rows, method), gpu=True)
    layers = [p for n, p in real.model.named_parameters() if ".language_model.layers." in n]
    matrices = [p for n, p in real.model.named_parameters() if ".language_model.layers." in n and "proj" in n]
    assert found.linear == sum(4 * p.numel() for p in matrices)
    assert found.split == sum(4 * p.numel() for p in layers) + found.trained, "LoRA lies in the layers"
    assert found.optimizer == 3 * found.gradients == 3 * found.trained, (
        "master weights and two moments, float32 as well"
    )


def by_title(found: Planned) -> dict[str, Estimate]:
    return {one.way.title: one for one in found.estimates}


def test_ways_on_several_gpus(clip_folder: Path) -> None:
    wanted = recipes.read(None, ["training.steps=10", "model.dtype=bfloat16"], model__id=str(clip_folder))
    found = by_title(plan(wanted, machine("2xA100"), price=4.0))
    one, copies, split = (found[f"LoRA, bfloat16{how}"] for how in ("", ", 2 copies", ", split over 2"))
    assert one.fits and one.has == 80e9 and one.memory > CONTEXT
    assert copies.activations < one.activations, "each has half of the rows"
    assert copies.seconds < one.seconds and one.cost == pytest.approx(4.0 * one.seconds / 3600)
    assert split.state < one.state and split.command(wanted, "mine").endswith("--processes 2 --shard")
    four = found["LoRA, bfloat16 on four bits"]
    assert four.weights < one.weights and "--set model.quantize=4bit" in four.command(wanted, "mine")
    assert not [title for title in found if "four bits" in title and ("split" in title or "all" in title)]
    assert found["all weights, bfloat16"].state > 3 * one.state
    (eight,) = plan(
        wanted, machine("8xH100"), only=lambda way: way.spread == "copies" and not (way.full or way.quantized)
    ).estimates
    assert not eight.fits and "a step has 7 rows, and 8 are needed" in eight.why


def test_what_does_not_fit_is_cut_smaller_and_then_computed_again(clip_folder: Path) -> None:
    wanted = recipes.read(None, ["training.steps=2", "model.dtype=bfloat16"], model__id=str(clip_folder))

    def on(memory: float, *changes: str) -> Estimate:
        chosen = recipes.changed(wanted.model_dump(mode="json", exclude_unset=True), changes, "test")
        found = plan(
            chosen, Machine(1, Gpu("small", memory, 1e12, 1e12)), only=lambda way: not (way.full or way.quantized)
        )
        return found.estimates[0]

    whole = on(80e9)
    assert (whole.accumulate, whole.checkpointing) == (1, False)
    cut = on(whole.memory - 0.2 * whole.activations)
    assert cut.fits and cut.accumulate > 1 and not cut.checkpointing
    assert f"--set training.accumulate={cut.accumulate}" in cut.command(wanted, "")
    rows = "training.accumulate=7"  # each alone
    apart, again = on(80e9, rows), on(80e9, rows, "training.gradient_checkpointing=true")
    small = on((apart.memory + again.memory) / 2, "training.accumulate=4")
    assert small.fits and small.checkpointing and again.step_flops > 1.15 * apart.step_flops
    nothing = on(CONTEXT)
    assert not nothing.fits and not nothing.why


@pytest.mark.parametrize(
    ("text", "name", "half"),
    [
        ("cpu", "this machine's processor", 0),
        ("24GB", "1 × 24 GB", 121e12),
        ("2x80GB", "2 × 80 GB", 312e12),
        ("8xH100", "8 × H100", 989e12),
        ("1xa100-40gb", "1 × A100-40GB", 312e12),
        ("4 x RTX 4090", "4 × RTX4090", 165e12),
        ("1x15GB", "1 × 15 GB", 65e12),
    ],
)
def test_machines_by_name(text: str, name: str, half: float) -> None:
    found = machine(text)
    assert found.name == name and (found.gpu.half if found.gpu else 0) == half


@pytest.mark.parametrize("text", ["", "0x24GB", "2xcpu", "8xABACUS", "24", "1x0GB", "x24GB"])
def test_machines_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match="--gpus"):
        machine(text)


def test_half_precision_follows_the_gpu(clip_folder: Path) -> None:
    wanted = recipes.read(None, ["training.steps=1"], model__id=str(clip_folder))
    assert "LoRA, float16" in by_title(plan(wanted, machine("1xT4"), only=lambda way: not (way.full or way.quantized)))
    assert all(gpu.half > gpu.single and gpu.memory >= 16e9 for gpu in GPUS)


def test_the_verb(terminal: Terminal, llm_folder: Path) -> None:
    """A language model alone has no slots; the command that is printed says so too."""
    shutil.copytree(llm_folder, "mine")
    half = ("--set", "model.dtype=bfloat16")
    said = terminal("plan", "mine", "--gpus", "1x24GB", "--price-per-hour", "3", "--method", "npo", *half)
    assert said.code == 0, said.err
    assert "npo" in said.out and "on 1 × 24 GB" in said.out and "cost" in said.out
    assert "--model mine --set slots.share=0 --set method.name=npo" in said.out
    found = json.loads(terminal("plan", "mine", "--gpus", "cpu", "--json", *half).out)
    assert found["machine"] == "this machine's processor" and found["command"].startswith("textunlearn run quickstart")
    assert {"memory", "has", "seconds", "fits", "way"} <= set(found["ways"][0])


def test_a_config_alone_is_enough_and_lengths_are_then_assumed(clip_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    shutil.copy(clip_folder / "config.json", tmp_path / "bare")
    found = plan(recipe(tmp_path / "bare"), machine("1x24GB"), only=lambda way: not way.full)
    assert found.estimates[0].fits and "lengths of rows are assumed" in found.notes[0]
    whole = plan(recipe(clip_folder), machine("1x24GB"), only=lambda way: not way.full)
    assert not whole.notes and whole.parameters == found.parameters
    assert found.estimates[0].way == whole.estimates[0].way


def test_models_that_cannot_be_planned(terminal: Terminal, clip_folder: Path) -> None:
    terminal("plan", "./nowhere", "--gpus", "1x24GB").says("./nowhere")
    terminal("plan", str(clip_folder), "--gpus", "abacus").says("--gpus abacus names no machine")
    terminal("plan", str(clip_folder), "--method", "wish").says("no method called 'wish'")
    terminal("plan", str(clip_folder), "--set", "model.trust_remote_code=true").says("code of its own")
