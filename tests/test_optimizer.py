"""MasterAdamW is AdamW without decay, and loses no small update to bfloat16."""

from __future__ import annotations

import io
from typing import Any

import torch

from textunlearn.training.optimizer import MasterAdamW


def _run(
    optimiser: torch.optim.Optimizer, parameter: torch.nn.Parameter, steps: int, seed: int = 0
) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    out = []
    for _ in range(steps):
        parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
        optimiser.step()
        out.append(parameter.detach().clone())
    return out


def test_equals_adamw_in_float32() -> None:
    start = torch.randn(5, 3)
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    mine = _run(MasterAdamW([ours], lr=0.01), ours, 20)
    reference = _run(torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.0, foreach=False), theirs, 20)
    for a, b in zip(mine, reference, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_small_updates_are_not_rounded_away() -> None:
    parameter = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    optimiser = MasterAdamW([parameter], lr=1e-4)
    for _ in range(100):
        parameter.grad = torch.ones(4, dtype=torch.bfloat16)
        optimiser.step()
    plain = torch.ones((), dtype=torch.bfloat16)
    assert plain - 1e-4 == plain  # one step alone is below bfloat16's resolution at 1
    torch.testing.assert_close(parameter.detach().float(), torch.full((4,), 0.99), rtol=0, atol=0.004)
    assert parameter.dtype == torch.bfloat16 and optimiser.state[parameter]["master"].dtype == torch.float32


def test_state_round_trip_goes_on_exactly() -> None:
    start = torch.randn(6, dtype=torch.bfloat16)
    whole = torch.nn.Parameter(start.clone())
    optimiser = MasterAdamW([whole], lr=3e-4)
    _run(optimiser, whole, 5)
    saved, kept = _file(optimiser.state_dict()), whole.detach().clone()
    expected = _run(optimiser, whole, 5, seed=1)

    fresh = torch.nn.Parameter(kept)
    other = MasterAdamW([fresh], lr=1.0)
    other.load_state_dict(torch.load(saved, weights_only=True))
    assert other.state[fresh]["master"].dtype == torch.float32 and other.param_groups[0]["lr"] == 3e-4
    assert all(torch.equal(a, b) for a, b in zip(_run(other, fresh, 5, seed=1), expected, strict=True))


def _file(state: dict[str, Any]) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return file
