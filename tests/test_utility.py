"""Usefulness in numbers, against transformers' own arithmetic."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

import tiny
from textunlearn.evaluation.utility import HUMAN_TOKENS, OWN_TOKENS, utility
from textunlearn.records import Prompt
from textunlearn.vlm.load import Vlm

PROMPTS = [
    Prompt("how do i bake bread", "ordinary", "test", reference="first, take some flour; then add water"),
    Prompt("tell me why birds sing in spring at home", "ordinary", "test", reference="a note " * 60),
    Prompt("list ideas", "ordinary", "test"),
]
OWN = ["take good flour and bake", "birds like the spring " * 20, "a fox; a dog"]


def logits(vlm: Vlm, prompt: Prompt, answer: str, limit: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits at each answer token, and the tokens, from a plain forward of the whole model."""
    asked = vlm.prompt_ids(prompt.text)
    said = vlm.tokenizer.encode(answer, add_special_tokens=False)[:limit]
    with torch.no_grad():
        out = vlm.model(input_ids=torch.tensor([[*asked, *said]])).logits[0]
    return out[len(asked) - 1 : -1], torch.tensor(said)


def change(vlm: Vlm, by: float) -> Vlm:
    torch.manual_seed(1)
    with torch.no_grad():
        for layer in vlm.decoder.layers:
            layer.mlp.up_proj.weight.add_(torch.randn_like(layer.mlp.up_proj.weight), alpha=by)
    return vlm


@pytest.mark.parametrize("kind", ["clip", "granite"])
def test_perplexity_is_that_of_transformers(kind: str, clip_folder: Path, tmp_path: Path) -> None:
    vlm = tiny.loaded(clip_folder) if kind == "clip" else tiny.scaled(kind)
    seen: list[int] = []
    measured = utility(vlm, PROMPTS, OWN, tmp_path / "reference", seen.append)
    nll, tokens = 0.0, 0
    for prompt in PROMPTS[:2]:
        scores, said = logits(vlm, prompt, prompt.reference, HUMAN_TOKENS)
        nll -= scores.log_softmax(-1).gather(1, said[:, None]).sum().item()
        tokens += len(said)
    assert measured.tokens == tokens and tokens > HUMAN_TOKENS, "one answer was cut"
    assert measured.perplexity == pytest.approx(math.exp(nll / tokens), rel=1e-4)
    assert sum(seen) == len(PROMPTS)


@pytest.mark.parametrize("kind, by", [("clip", 0.05), ("granite", 0.5)])
def test_kl_runs_from_the_original_to_the_model(kind: str, by: float, clip_folder: Path, tmp_path: Path) -> None:
    original, other = (tiny.loaded(clip_folder) if kind == "clip" else tiny.scaled(kind) for _ in range(2))
    changed = change(other, by)
    first = utility(original, PROMPTS, OWN, tmp_path / "reference")
    assert first.kl_per_token == 0
    assert utility(original, PROMPTS, OWN, tmp_path / "reference").kl_per_token == pytest.approx(0, abs=1e-6)
    kept = (tmp_path / "reference").read_bytes()
    measured = utility(changed, PROMPTS, OWN, tmp_path / "reference")
    forth, back, tokens = 0.0, 0.0, 0
    for prompt, answer in zip(PROMPTS, OWN, strict=True):
        p, q = (logits(vlm, prompt, answer, OWN_TOKENS)[0].log_softmax(-1) for vlm in (original, changed))
        forth += (p.exp() * (p - q)).sum().item()
        back += (q.exp() * (q - p)).sum().item()
        tokens += len(p)
    assert measured.kl_tokens == first.kl_tokens == tokens
    assert measured.kl_per_token == pytest.approx(forth / tokens, rel=1e-3)
    if kind == "clip":  # Granite's logits are too flat for it
        assert abs(forth - back) > 0.02 * forth, "the two directions can be told apart here"
    assert (tmp_path / "reference").read_bytes() == kept, "the original's states stay"


def test_more_change_is_more_kl(clip_folder: Path, tmp_path: Path) -> None:
    utility(tiny.loaded(clip_folder), PROMPTS, OWN, tmp_path / "reference")
    small, large = (
        utility(change(tiny.loaded(clip_folder), by), PROMPTS, OWN, tmp_path / "reference").kl_per_token
        for by in (0.01, 0.1)
    )
    assert 0 < small < large
