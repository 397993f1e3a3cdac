"""Usefulness in numbers: perplexity on human answers, and how far the model moved from the original on its own answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from textunlearn.records import Prompt

if TYPE_CHECKING:
    from textunlearn.vlm.load import Vlm

HUMAN_TOKENS, OWN_TOKENS, BATCH = 64, 32, 8


@dataclass(frozen=True, slots=True)
class Utility:
    """``perplexity`` of the human answers over ``tokens`` tokens; mean ``KL(original || model)`` in nats over ``kl_tokens`` tokens."""

    perplexity: float
    tokens: int
    kl_per_token: float
    kl_tokens: int


def utility(
    vlm: Vlm, prompts: Sequence[Prompt], own: Sequence[str], path: Path, progress: Callable[[int], None] | None = None
) -> Utility:
    """Measure ``vlm`` on ``prompts`` with a human ``reference`` each; ``own`` are the original model's answers to the same prompts.

    The first call (of the original model) writes its hidden states to ``path``; later ones measure the KL against them.
    Answers are cut at 64 (human) and 32 (own) tokens.
    """
    import torch
    from safetensors.torch import load_file, save_file
    from torch.nn.functional import cross_entropy, kl_div

    from textunlearn.files import atomic
    from textunlearn.training.packing import LAST, answer_states, lay_out
    from textunlearn.training.rows import Row, Target

    def ids(text: str, limit: int) -> tuple[int, ...]:
        return tuple(vlm.word_ids(text)[:limit])

    rows = []
    for prompt, answer in zip(prompts, own, strict=True):
        human, mine = ids(prompt.reference, HUMAN_TOKENS), ids(answer, OWN_TOKENS)
        targets = ([Target("safe", human)] if human else []) + ([Target("benign", mine)] if mine else [])
        if targets:
            rows.append(Row("ordinary", tuple(vlm.prompt_ids(prompt.text)), tuple(targets)))
    original = load_file(path) if path.exists() else {}
    fresh: dict[str, torch.Tensor] = {}
    nll = kl = 0.0
    tokens = kl_tokens = 0
    for start in range(0, len(rows), BATCH):
        some = rows[start : start + BATCH]
        packed = lay_out(vlm, some)
        with torch.inference_mode():
            states = answer_states(vlm.decoder, vlm.embed, packed)[LAST]
            for segment in packed.segments:
                span = slice(segment.start, segment.stop)
                logits = vlm.logits(states[span]).float()
                if segment.role == "safe":
                    nll += cross_entropy(logits, packed.targets[span], reduction="sum").item()
                    tokens += segment.stop - segment.start
                    continue
                key = some[segment.row].key
                if key in original:
                    reference = vlm.logits(original[key].to(states)).float().log_softmax(-1)
                    kl += kl_div(logits.log_softmax(-1), reference, reduction="sum", log_target=True).item()
                else:
                    fresh[key] = states[span].cpu().clone()
                kl_tokens += segment.stop - segment.start
        if progress is not None:
            progress(len(some))
    if fresh:
        with atomic(path) as temporary:
            save_file({**original, **fresh}, temporary)
    return Utility(math.exp(min(nll / max(tokens, 1), 700.0)), tokens, kl / max(kl_tokens, 1), kl_tokens)
