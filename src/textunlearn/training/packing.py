"""Pack many rows into one forward: each prompt is encoded once and all its answers hang on it as branches.

A packed sequence is: a prefix that all its prompts share (system text), then for every row the rest of its prompt, then its
answers. The mask lets a token see the prefix, its own prompt and its own answer, so the result equals separate forwards
(tested). Attention is quadratic in the sequence, so rows are spread over several sequences of similar length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from textunlearn.errors import UserError
from textunlearn.training.rows import Role, Row
from textunlearn.vlm.attention import GROUPED, quick_attention

if TYPE_CHECKING:
    from textunlearn.vlm.model import Vlm


@dataclass(frozen=True)
class Segment:
    """Where one answer lies in the packed answer tokens: ``[start, stop)``."""

    role: Role
    row: int
    start: int
    stop: int


@dataclass
class Packed:
    """One forward's input and where its answers are.

    Attributes:
        input_ids, position_ids: ``(sequences, length)``.
        mask: ``(sequences, 1, length, length)`` bool, True where attention is allowed; None: each token sees all before it.
        slots: ``(sequences, length)`` bool, True where a token stands for an image slot.
        pictured: flat positions of the slots that hold image features, ``(slots,)``, and
        features: those features, ``(slots, hidden)``; both None where no row has a picture.
        row: ``(sequences, length)``, number of the row whose prompt stands there; -1 elsewhere.
        index: ``(answer tokens,)`` flat positions whose hidden state predicts `targets`.
        segments: one entry an answer, in the order of the rows given.
        tokens: real (not padding) tokens.
    """

    input_ids: Tensor
    position_ids: Tensor
    mask: Tensor | None
    slots: Tensor
    row: Tensor
    index: Tensor
    targets: Tensor
    segments: list[Segment]
    tokens: int
    pictured: Tensor | None = None
    features: Tensor | None = None

    def to(self, device: torch.device, **_: object) -> Packed:
        moved: dict[str, Any] = {k: v.to(device) for k, v in self.__dict__.items() if isinstance(v, Tensor)}
        return replace(self, **moved)


def shared_prefix(rows: Sequence[Row]) -> int:
    """Length of the tokens all prompts begin with; at least one token of each, and every image slot, is left out of it."""
    columns = zip(*(row.prompt[: min((len(row.prompt) - 1, *row.slots))] for row in rows), strict=False)
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))


def pack(
    rows: Sequence[Row],
    pad: int,
    sequences: int | None = None,
    features: Mapping[str, Tensor] | None = None,
    prefix: int | None = None,
) -> Packed:
    """Pack ``rows`` (at least one), in ``sequences`` sequences or as many as keep each near 256 tokens.

    Args:
        features: image features by `Row.picture`, ``(slots, hidden)`` each, for rows that have one.
        prefix: how many tokens all prompts are known to share; None: as many as these rows do.
    """
    prefix = shared_prefix(rows) if prefix is None else prefix
    sizes = [len(row.prompt) - prefix + sum(len(t.ids) - 1 for t in row.targets) for row in rows]
    count = min(len(rows), sequences or max(1, round(sum(sizes) / 256)))
    bins: list[list[int]] = [[] for _ in range(count)]
    for i in sorted(range(len(rows)), key=lambda i: -sizes[i]):  # longest first into the emptiest: near-equal lengths
        min(bins, key=lambda b: sum(sizes[j] for j in b)).append(i)
    length = max(prefix + sum(sizes[i] for i in b) for b in bins)

    input_ids = torch.full((count, length), pad)
    position_ids = torch.zeros(count, length, dtype=torch.long)
    mask = torch.eye(length, dtype=torch.bool).repeat(count, 1, 1)  # padding sees itself, so that softmax stays finite
    slots = torch.zeros(count, length, dtype=torch.bool)
    number = torch.full((count, length), -1)
    where: dict[int, list[list[int]]] = {}
    pictured: list[int] = []
    pictures: list[Tensor] = []
    tokens = 0
    for b, members in enumerate(bins):
        input_ids[b, :prefix] = torch.tensor(rows[0].prompt[:prefix])
        position_ids[b, :prefix] = torch.arange(prefix)
        mask[b, :prefix, :prefix] = True
        at = prefix
        for i in members:
            row = rows[i]
            rest = len(row.prompt) - prefix
            prompt = slice(at, at + rest)
            input_ids[b, prompt] = torch.tensor(row.prompt[prefix:])
            position_ids[b, prompt] = torch.arange(prefix, len(row.prompt))
            mask[b, prompt, :prefix] = True
            mask[b, prompt, prompt] = True
            number[b, prompt] = i
            for position in row.slots:
                slots[b, at + position - prefix] = True
            if row.picture:
                assert features is not None, "rows with pictures need their features"
                pictured += [b * length + at + position - prefix for position in row.slots]
                pictures.append(features[row.picture])
            last, at = at + rest - 1, at + rest
            where[i] = []
            for target in row.targets:
                branch = slice(at, at + len(target.ids) - 1)
                input_ids[b, branch] = torch.tensor(target.ids[:-1], dtype=torch.long)
                position_ids[b, branch] = torch.arange(len(row.prompt), len(row.prompt) + len(target.ids) - 1)
                mask[b, branch, :prefix] = True
                mask[b, branch, prompt] = True
                mask[b, branch, branch] = True
                where[i].append([b * length + p for p in (last, *range(branch.start, branch.stop))])
                at = branch.stop
        tokens += at
    mask &= torch.ones(length, length, dtype=torch.bool).tril()

    index: list[int] = []
    targets: list[int] = []
    segments: list[Segment] = []
    for i, row in enumerate(rows):
        for target, positions in zip(row.targets, where[i], strict=True):
            segments.append(Segment(target.role, i, len(index), len(index) + len(positions)))
            index += positions
            targets += target.ids
    return Packed(
        input_ids,
        position_ids,
        mask.unsqueeze(1),
        slots,
        number,
        torch.tensor(index),
        torch.tensor(targets),
        segments,
        tokens,
        torch.tensor(pictured) if pictured else None,
        torch.cat(pictures) if pictures else None,
    )


def apart(rows: Sequence[Row], pad: int, features: Mapping[str, Tensor] | None = None) -> Packed:
    """As `pack`, with each answer in a sequence of its own, behind its prompt: what every causal model takes, and dearer."""
    owner, single = zip(
        *((i, replace(row, targets=(target,))) for i, row in enumerate(rows) for target in row.targets), strict=True
    )
    packed = pack(single, pad, len(single), features, prefix=0)
    number = packed.row.clone()
    for i, row in enumerate(owner):
        number[packed.row == i] = row
    return replace(
        packed,
        # What pads stands behind everything that counts; numbered on, so that no library takes it for another sequence.
        position_ids=torch.arange(packed.input_ids.shape[1]).expand_as(packed.input_ids).contiguous(),
        mask=None,
        row=number,
        segments=[replace(segment, row=owner[segment.row]) for segment in packed.segments],
    )


def lay_out(
    vlm: Vlm, rows: Sequence[Row], features: Mapping[str, Tensor] | None = None, prefix: int | None = None
) -> Packed:
    """`pack` for ``vlm``, on its device; `apart` for a model that would mix packed rows up (`soundness.packs`), and for rows that
    are longer than a window of its attention, since a given mask stands in the window's place."""
    from textunlearn.training.soundness import packs

    longest = max(len(row.prompt) + len(target.ids) for row in rows for target in row.targets)
    if packs(vlm) and longest <= _window(vlm):
        packed = pack(rows, vlm.blank_id, features=features, prefix=prefix)
    else:
        packed = apart(rows, vlm.blank_id, features)
    return packed.to(vlm.device)


def _window(vlm: Vlm) -> float:
    """How many tokens the narrowest attention of the language model reaches back."""
    config = vlm.base.config.get_text_config()
    found = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    return min((size for size in found if size), default=float("inf"))


LAST = -1
"""The key of the last hidden state, the one that the head takes."""


def answer_states(
    decoder: torch.nn.Module,
    embed: torch.nn.Module,
    packed: Packed,
    noise: float = 0.0,
    layers: Sequence[int] = (),
    shift: Tensor | None = None,
) -> dict[int, Tensor]:
    """Hidden states ``(answer tokens, hidden)`` that predict the answers, from one forward of the language model.

    Args:
        noise: Gaussian noise on the embeddings in image slots, in units of their mean norm.
        layers: layers, from 1, whose outputs are wanted too; with `LAST` they are the keys of the result.
        shift: ``(sequences, length, hidden)`` added to the embeddings (latent adversarial noise).
    """
    embeds = embed(packed.input_ids)
    if packed.pictured is not None and packed.features is not None:
        flat = embeds.reshape(-1, embeds.shape[-1])
        embeds = flat.index_copy(0, packed.pictured, packed.features.to(flat)).view_as(embeds)
    if noise and bool(packed.slots.any()):
        chosen = embeds[packed.slots]
        scale = noise * chosen.detach().norm(dim=-1).mean() / chosen.shape[-1] ** 0.5
        embeds = embeds.index_put((packed.slots,), chosen + scale * torch.randn_like(chosen))
    if shift is not None:
        embeds = embeds + shift.to(embeds)
    with quick_attention(decoder):
        out = decoder(
            inputs_embeds=embeds,
            position_ids=packed.position_ids,
            attention_mask=_attention_mask(decoder, packed.mask, embeds.dtype),
            use_cache=False,
            **({"output_hidden_states": True} if layers else {}),
        )
    wanted = {LAST: out.last_hidden_state, **{layer: out.hidden_states[layer] for layer in layers}}
    return {layer: states.reshape(-1, states.shape[-1])[packed.index] for layer, states in wanted.items()}


def _attention_mask(decoder: torch.nn.Module, allowed: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """The mask as this model's attention takes it: eager attention adds its mask, and would add True as 1."""
    if allowed is None:
        return None
    kind = getattr(decoder.config, "_attn_implementation", None)
    if kind == "sdpa":
        return allowed
    if kind in ("eager", GROUPED):
        return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(
            ~allowed, torch.finfo(dtype).min
        )
    raise UserError(
        f"packed rows need sdpa or eager attention, and this model uses {kind}; load it with one of the two"
    )
