"""LoRA layers in fewer passes, against peft's own."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from textunlearn.training.flops import FlopCounter
from textunlearn.training.fused_lora import _LoraLinear, fuse_lora


class Two(nn.Module):
    """Two linear layers, one with a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 10, bias=False), nn.Linear(10, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.two(torch.tanh(self.one(x)))
        return out


def pair(dtype: torch.dtype = torch.float64, **settings: Any) -> tuple[Any, Any]:
    """The same adapted model, as peft computes it and fused."""
    torch.manual_seed(0)
    config = LoraConfig(r=3, lora_alpha=6, target_modules=["one", "two"], **settings)
    theirs = get_peft_model(Two().to(dtype), config, autocast_adapter_dtype=False)
    for name, weight in theirs.named_parameters():
        if "lora_B" in name:  # else the adapter would do nothing
            weight.data.normal_()
    mine = copy.deepcopy(theirs)
    assert fuse_lora(mine) == 2
    return theirs, mine


def learned(model: Any, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Gradients of everything trained, and of the input."""
    x = x.clone().requires_grad_()
    model(x).square().sum().backward()
    assert x.grad is not None
    return {"x": x.grad} | {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every layer that is computed in one."""
    made: list[int] = []
    apply = _LoraLinear.apply
    monkeypatch.setattr(_LoraLinear, "apply", lambda *given: made.append(1) or apply(*given))
    return made


def test_the_output_and_all_gradients_are_pefts(calls: list[int]) -> None:
    theirs, mine = pair()
    x = torch.randn(2, 4, 6, dtype=torch.float64)
    torch.testing.assert_close(mine(x), theirs(x))
    assert len(calls) == 2
    mine_grads, their_grads = learned(mine, x), learned(theirs, x)
    assert len(mine_grads) == 5
    torch.testing.assert_close(mine_grads, their_grads)


def test_an_input_without_gradient_is_given_none() -> None:
    _, mine = pair()
    mine(torch.randn(4, 6, dtype=torch.float64)).sum().backward()
    assert all(p.grad is not None for p in mine.parameters() if p.requires_grad)


def test_it_rounds_no_worse_than_peft() -> None:
    theirs, mine = pair(torch.bfloat16)
    x = torch.randn(64, 6).bfloat16()
    exact = copy.deepcopy(theirs).double()(x.double())
    assert (mine(x) - exact).abs().mean() <= 1.05 * (theirs(x) - exact).abs().mean()


@pytest.mark.parametrize(
    "settings", [{"use_dora": True}, {"lora_dropout": 0.5}, {"lora_bias": True}], ids=["DoRA", "dropout", "bias"]
)
def test_other_kinds_of_adapters_are_left_to_peft(settings: dict[str, Any], calls: list[int]) -> None:
    theirs, mine = pair(**settings)
    x = torch.randn(3, 6, dtype=torch.float64)
    torch.manual_seed(1)
    wanted = theirs.train()(x)
    torch.manual_seed(1)
    torch.testing.assert_close(mine.train()(x), wanted)
    assert not calls


def test_so_are_an_adapter_that_is_off_or_merged_and_autocast(calls: list[int]) -> None:
    theirs, mine = pair()
    x = torch.randn(3, 6, dtype=torch.float64)
    adapted = theirs(x)
    with mine.disable_adapter(), theirs.disable_adapter():
        torch.testing.assert_close(mine(x), theirs(x))
        assert (theirs(x) - adapted).abs().max() > 1e-3
    mine.merge_adapter()
    torch.testing.assert_close(mine(x), adapted)
    mine.unmerge_adapter()
    with torch.autocast("cpu", torch.bfloat16):
        mine.float()(x.float())
    assert not calls
    torch.testing.assert_close(mine.double().merge_and_unload()(x), adapted, rtol=1e-4, atol=1e-4)


def test_its_operations_are_counted_as_pefts_are() -> None:
    counts = []
    for model in pair():
        with FlopCounter() as counter:
            learned(model, torch.randn(4, 6, dtype=torch.float64))
        counts.append(counter.total)
    assert counts[0] == counts[1] > 0
