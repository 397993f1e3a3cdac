"""Training steps as they are commonly written, on the same rows and for the same loss as ours; what differs is what is computed for it.

Each takes rows of one step and gives the loss of textual unlearning as published (arXiv 2406.02575):

    - w_harm CE(harmful answers)  +  w_safe CE(safe answers)  +  w_utility KL(original || current on harmless answers)

`benchmarks/speed/training_step.py` times them beside ours, and its test holds all of them to the same value in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div

from textunlearn.training.rows import Role, Row
from textunlearn.vlm.load import Vlm

IGNORED = -100
"""The label of what no loss is taken at, as in transformers."""


@dataclass(frozen=True)
class Weights:
    """Of the three terms."""

    harm: float
    safe: float
    utility: float


@dataclass(frozen=True)
class Batch:
    """Answers behind their prompts, padded on the right: all three ``(rows, length)``."""

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor


def batch(vlm: Vlm, rows: Sequence[Row], *roles: Role) -> Batch:
    """One row for each answer of ``roles``: the prompt is there as often as it has answers."""
    pairs = [
        (row.prompt, target.ids) for role in roles for row in rows for target in row.targets if target.role == role
    ]
    length = max(len(prompt) + len(ids) for prompt, ids in pairs)
    ids = torch.full((len(pairs), length), vlm.blank_id)
    mask = torch.zeros(len(pairs), length, dtype=torch.long)
    labels = torch.full((len(pairs), length), IGNORED)
    for i, (prompt, answer) in enumerate(pairs):
        end = len(prompt) + len(answer)
        ids[i, :end] = torch.tensor([*prompt, *answer])
        mask[i, :end] = 1
        labels[i, len(prompt) : end] = torch.tensor(answer)
    return Batch(ids.to(vlm.device), mask.to(vlm.device), labels.to(vlm.device))


def logits_of(model: Any, rows: Batch) -> Tensor:
    """At every position, as a causal model gives them."""
    out: Tensor = model(input_ids=rows.input_ids, attention_mask=rows.attention_mask, use_cache=False).logits
    return out


def nll(logits: Tensor, labels: Tensor) -> Tensor:
    """transformers' loss of a causal model: logits of every position in (at least) float32, the mean over those with a label."""
    wide = logits[:, :-1].to(torch.promote_types(logits.dtype, torch.float32))
    return cross_entropy(wide.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)


def kl(current: Tensor, original: Tensor, labels: Tensor) -> Tensor:
    """Over the whole vocabulary at every position, the mean over those with a label."""
    width = torch.promote_types(current.dtype, torch.float32)
    p = original[:, :-1].to(width).log_softmax(-1)
    q = current[:, :-1].to(width).log_softmax(-1)
    each = kl_div(q, p, reduction="none", log_target=True).sum(-1)
    return each[labels[:, 1:] != IGNORED].mean()


def separate(vlm: Vlm, original: Any, rows: Sequence[Row], w: Weights) -> Tensor:
    """Three forwards, each padded to its longest row; logits everywhere; a second full model for the KL.

    The pattern of llm_unlearn (Yao et al. 2023, arXiv 2310.10683), which published textual unlearning builds on.
    """
    harmful, safe, benign = (batch(vlm, rows, role) for role in ("harmful", "safe", "benign"))  # type: ignore[arg-type]
    loss = -w.harm * nll(logits_of(vlm.model, harmful), harmful.labels)
    loss = loss + w.safe * nll(logits_of(vlm.model, safe), safe.labels)
    with torch.no_grad():
        reference = logits_of(original, benign)
    return loss + w.utility * kl(logits_of(vlm.model, benign), reference, benign.labels)


def retain_twice(vlm: Vlm, original: Any, rows: Sequence[Row], w: Weights) -> Tensor:
    """Forget set once, the retain set once for its likelihood and once for the KL, and once by the reference model.

    The pattern of open-unlearning's GradDiff with a KL (Dorna et al. 2025, arXiv 2506.12618): what is kept, safe answers and harmless
    ones, is one padded batch.
    """
    forget, retain = batch(vlm, rows, "harmful"), batch(vlm, rows, "safe", "benign")
    safe_rows = sum(target.role == "safe" for row in rows for target in row.targets)
    safe, benign = retain.labels.clone(), retain.labels.clone()
    safe[safe_rows:], benign[:safe_rows] = IGNORED, IGNORED
    loss = -w.harm * nll(logits_of(vlm.model, forget), forget.labels)
    loss = loss + w.safe * nll(logits_of(vlm.model, retain), safe)
    with torch.no_grad():
        reference = logits_of(original, retain)
    return loss + w.utility * kl(logits_of(vlm.model, retain), reference, benign)


def concatenated(vlm: Vlm, original: Any, rows: Sequence[Row], w: Weights) -> Tensor:
    """One padded forward of all rows, the head at label positions only, the reference by the same model with its adapter off.

    The pattern of TRL's trainers. They would run all rows through the reference; here only those whose KL is wanted, in their favour.
    """
    every, benign = batch(vlm, rows, "harmful", "safe", "benign"), batch(vlm, rows, "benign")
    hidden = _states(vlm, every)
    counts = [
        sum(target.role == role for row in rows for target in row.targets) for role in ("harmful", "safe", "benign")
    ]
    ends = torch.tensor(counts).cumsum(0).tolist()
    parts = [slice(0, ends[0]), slice(ends[0], ends[1]), slice(ends[1], ends[2])]
    logits = [_at_labels(vlm, hidden[part], every.labels[part]) for part in parts]
    labels = [every.labels[part][every.labels[part] != IGNORED] for part in parts]
    with torch.no_grad(), vlm.model.disable_adapter():
        reference = _at_labels(vlm, _states(vlm, benign), benign.labels)
    each = kl_div(logits[2].log_softmax(-1), reference.log_softmax(-1), reduction="none", log_target=True).sum(-1)
    return (
        -w.harm * cross_entropy(logits[0], labels[0])
        + w.safe * cross_entropy(logits[1], labels[1])
        + w.utility * each.mean()
    )


def _states(vlm: Vlm, rows: Batch) -> Tensor:
    out = vlm.decoder(
        inputs_embeds=vlm.embed(rows.input_ids), attention_mask=rows.attention_mask, use_cache=False
    ).last_hidden_state
    return out  # type: ignore[no-any-return]


def _at_labels(vlm: Vlm, hidden: Tensor, labels: Tensor) -> Tensor:
    logits = vlm.logits(hidden[:, :-1][labels[:, 1:] != IGNORED])
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


BASELINES: dict[str, Callable[[Vlm, Any, Sequence[Row], Weights], Tensor]] = {
    "separate forwards, second model": separate,
    "retain twice, second model": retain_twice,
    "concatenated rows, adapter off": concatenated,
}
"""By the name that tables give them."""
NEEDS_SECOND_MODEL = ("separate forwards, second model", "retain twice, second model")
