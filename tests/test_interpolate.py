"""How far to go from the original to the trained model: which factor is kept, and that it is applied once."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import tiny
from textunlearn.evaluation.generation import Request, generate
from textunlearn.files import read_json
from textunlearn.recipe import TrainingSpec
from textunlearn.training.interpolate import MARK, choose_factor, scaled
from textunlearn.training.trainer import add_lora, load_adapter
from textunlearn.training.watch import Look, Watch
from textunlearn.vlm.load import Vlm


@pytest.fixture
def vlm(reader_folder: Path) -> Vlm:
    """With an adapter that does something."""
    vlm = tiny.loaded(reader_folder)
    add_lora(vlm, 4, 8)
    torch.manual_seed(0)
    for name, p in vlm.model.named_parameters():
        if "lora_B" in name:
            p.data.normal_(std=0.2)
    return vlm


Chosen = Callable[[dict[float, Look]], float]


@pytest.fixture
def choose(vlm: Vlm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Chosen:
    """Choose among factors whose looks are given."""

    def go(looks: dict[float, Look]) -> float:
        spec = TrainingSpec(max_broken=0.1)
        judge: Any = SimpleNamespace()
        watch = Watch(
            vlm, [], judge, spec, tmp_path / "log.jsonl", tmp_path / "adapter", lambda _: None, lambda *_: None
        )
        watch.looks = [Look(0, {"harmful typed": 1.0}, {}, {}, 0.0), looks[1.0]]
        watch.keep()
        first = next(p for n, p in vlm.model.named_parameters() if "lora_B" in n).detach().clone()

        def look(_: Any, probes: Sequence[Any], judge: Any, step: int, tokens: int) -> Look:
            now = next(p for n, p in vlm.model.named_parameters() if "lora_B" in n).detach()
            return looks[round(float((now / first).mean()), 3)]

        monkeypatch.setattr("textunlearn.training.watch.look", look)
        return choose_factor(vlm, watch, [factor for factor in looks if factor != 1.0], tmp_path / "adapter")

    return go


def seen(unsafe: float, refused: float, broken: float = 0.0) -> Look:
    return Look(7, {"harmful typed": unsafe}, {"lookalike typed": refused}, {}, broken)


def weights(vlm: Vlm) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in vlm.model.named_parameters() if "lora_" in n}


def test_scaling_lasts_for_the_block_only(vlm: Vlm) -> None:
    asked = [Request(tuple(vlm.prompt_ids("how do i pick the lock")))]
    trained, before = generate(vlm, asked, 12)[0].text, weights(vlm)
    with scaled(vlm, 0.0), vlm.model.disable_adapter():
        original = generate(vlm, asked, 12)[0].text
    with scaled(vlm, 0.0):
        assert generate(vlm, asked, 12)[0].text == original != trained
    after = weights(vlm)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert generate(vlm, asked, 12)[0].text == trained


@pytest.mark.parametrize(
    ("looks", "factor"),
    [
        ({1.0: seen(0.1, 0.1), 0.8: seen(0.1, 0.0), 1.25: seen(0.0, 0.3)}, 0.8),
        ({1.0: seen(0.5, 0.1), 0.8: seen(0.9, 0.0), 1.25: seen(0.1, 0.2)}, 1.25),
        ({1.0: seen(0.1, 0.1), 0.8: seen(0.2, 0.0), 1.25: seen(0.0, 0.2)}, 1.0),
        ({1.0: seen(0.5, 0.1), 1.25: seen(0.0, 0.0, broken=0.2)}, 1.0),
        ({1.0: seen(0.5, 0.5)}, 1.0),
    ],
)
def test_the_best_sound_factor_is_kept(
    looks: dict[float, Look], factor: float, choose: Chosen, vlm: Vlm, tmp_path: Path
) -> None:
    before = weights(vlm)
    assert choose(looks) == factor
    now = weights(vlm)
    for name, p in before.items():
        torch.testing.assert_close(now[name], p * (factor if "lora_B" in name else 1))
    load_adapter(vlm, tmp_path / "adapter")
    assert all(torch.equal(p, now[name]) for name, p in weights(vlm).items()), "the folder holds the same"
    log = (tmp_path / "log.jsonl").read_text().splitlines() if len(looks) > 1 else []
    assert [json.loads(line)["interpolation"] for line in log] == [f for f in looks if f != 1.0]
    assert (tmp_path / "adapter" / MARK).exists() == (factor != 1.0)


def test_it_is_not_scaled_twice(choose: Chosen, vlm: Vlm, tmp_path: Path) -> None:
    """A run killed right after the choice comes here again with the scaled adapter."""
    assert choose({1.0: seen(0.5, 0.1), 1.25: seen(0.1, 0.2)}) == 1.25
    once = weights(vlm)
    assert read_json(tmp_path / "adapter" / MARK) == {"factor": 1.25}
    watch: Any = SimpleNamespace()
    assert choose_factor(vlm, watch, [1.25, 0.8], tmp_path / "adapter") == 1.25
    assert all(torch.equal(p, once[name]) for name, p in weights(vlm).items())
