"""The original model's hidden states at the answers, computed once and kept on disk.

With a frozen head they give the exact KL and log-ratios, and a hidden state is far smaller than the logits it stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from textunlearn.files import atomic, require_space
from textunlearn.training.packing import LAST, answer_states, lay_out
from textunlearn.training.rows import Role, Row
from textunlearn.vlm.load import Vlm


def state_key(row: str, role: Role, layer: int = LAST) -> str:
    """Where the states of one row's answers of ``role`` at ``layer`` are kept."""
    return f"{row}/{role}/{'last' if layer == LAST else layer}"


def reference_states(
    vlm: Vlm,
    rows: Sequence[Row],
    path: Path,
    progress: Callable[[int], None] | None = None,
    batch: int = 16,
    *,
    roles: Sequence[Role] = ("benign",),
    layers: Sequence[int] = (),
    features: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """`state_key` -> ``(answer tokens, hidden)`` for each row, role and layer, of the model as it is now (call before training).

    ``path`` keeps them under the model's hash; rows already there are not computed again, and a file of another model, or a
    damaged one, is replaced. ``progress(n)``: n more of the rows are there. ``features``: as in `pack`.
    """
    known: dict[str, Tensor] = {}
    mark = f"model:{vlm.hash}"
    if path.exists():
        try:
            known = load_file(path)
        except (SafetensorError, OSError):
            known = {}
        if mark not in known:
            known = {}
    depths = (LAST, *layers)

    def wanted(row: Row) -> set[str]:
        return {state_key(row.key, t.role, layer) for t in row.targets if t.role in roles for layer in depths}

    concerned = {row.key: row for row in rows if wanted(row)}
    missing = [row for row in concerned.values() if not wanted(row) <= known.keys()]
    missing.sort(key=lambda row: len(row.prompt))
    if missing:  # the file is written anew beside the old one
        width = int(vlm.base.config.get_text_config().hidden_size)
        size = width * vlm.embed.weight.element_size()  # type: ignore[operator, union-attr]
        tokens = sum(len(t.ids) for row in concerned.values() for t in row.targets if t.role in roles)
        require_space(path.parent, size * tokens * len(depths), "the cache of the original model's states")
    if progress is not None:
        progress(len(concerned) - len(missing))
    for start in range(0, len(missing), batch):
        some = missing[start : start + batch]
        packed = lay_out(vlm, some, features)
        with torch.inference_mode():
            states = answer_states(vlm.decoder, vlm.embed, packed, layers=layers)
        parts: dict[str, list[Tensor]] = {}
        for segment in packed.segments:
            if segment.role in roles:
                for layer in depths:
                    key = state_key(some[segment.row].key, segment.role, layer)
                    parts.setdefault(key, []).append(states[layer][segment.start : segment.stop])
        known.update({key: torch.cat(part).cpu() for key, part in parts.items()})
        if progress is not None:
            progress(len(some))
    if missing:
        known[mark] = torch.zeros(1)
        with atomic(path) as temporary:
            save_file(known, temporary)
    return known
