"""The steps that ours is timed against compute the same loss."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from textunlearn.methods import METHODS
from textunlearn.recipe import ModelSpec, TrainingSpec
from textunlearn.training.reference import reference_states
from textunlearn.training.trainer import UnlearningTrainer, add_lora
from textunlearn.vlm.load import load

SPEED = Path(__file__).parents[1] / "benchmarks/speed"
sys.path.insert(0, str(SPEED))
from baselines import BASELINES  # noqa: E402
from training_step import PUBLISHED, rows_of_steps  # noqa: E402


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Any, Any]:
    """A model with an adapter that does something, the original, rows, and our trainer."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("speed")
    vlm = load(ModelSpec(id=str(tiny.reader_vlm(folder / "model")), dtype="float32"))
    vlm.model.double()
    method = METHODS.get("textual_unlearning_published")()
    plan = rows_of_steps(vlm, 1, method, slots=0.5)
    original = copy.deepcopy(vlm.base)
    reference = reference_states(vlm, plan.rows(), folder / "states")
    add_lora(vlm, 2, 4)
    for name, weight in vlm.model.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.3)
    trainer = UnlearningTrainer(vlm, method, plan, reference, TrainingSpec(), folder / "checkpoints")
    return vlm, original, plan, trainer


@pytest.mark.parametrize("way", BASELINES)
def test_loss_and_gradients_are_ours(way: str, ready: tuple[Any, Any, Any, Any]) -> None:
    vlm, original, plan, trainer = ready
    assert {row.kind for row in plan[0].rows} == {"harmful", "lookalike", "ordinary"}
    assert any(row.slots for row in plan[0].rows)
    trained = [p for p in vlm.model.parameters() if p.requires_grad]
    ours = trainer.compute_loss(trainer.bare, {"micro": plan[0]})
    theirs = BASELINES[way](vlm, original, plan[0].rows, PUBLISHED)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    assert theirs.abs() > 0.1
    grads = [torch.autograd.grad(loss, trained) for loss in (ours, theirs)]
    # transformers' norms compute in float32 whatever the model's precision.
    for mine, other in zip(*grads, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)
