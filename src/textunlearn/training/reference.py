"""The original model's hidden states at the benign answers, computed once and kept on disk.

With a frozen head they give the exact KL, and a hidden state is far smaller than the logits it stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from textunlearn.files import atomic
from textunlearn.training.packing import answer_states, pack
from textunlearn.training.rows import Row
from textunlearn.vlm.load import Vlm


def reference_states(
    vlm: Vlm, rows: Sequence[Row], path: Path, progress: Callable[[int], None] | None = None, batch: int = 16
) -> dict[str, Tensor]:
    """``row key -> (benign answer tokens, hidden)`` for each row, of the model as it is now (call before training).

    ``path`` keeps them under the model's hash; rows already there are not computed again, and a file of another model, or a
    damaged one, is replaced. ``progress(n)``: n more of the rows are there.
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
    benign = {row.key: row for row in rows if any(target.role == "benign" for target in row.targets)}
    missing = [row for key, row in benign.items() if key not in known]
    missing.sort(key=lambda row: len(row.prompt))
    if progress is not None:
        progress(len(benign) - len(missing))
    for start in range(0, len(missing), batch):
        some = missing[start : start + batch]
        packed = pack(some, vlm.blank_id).to(vlm.device)
        with torch.inference_mode():
            states = answer_states(vlm.decoder, vlm.embed, packed)
        parts: dict[str, list[Tensor]] = {}
        for segment in packed.segments:
            if segment.role == "benign":
                parts.setdefault(some[segment.row].key, []).append(states[segment.start : segment.stop])
        known.update({key: torch.cat(part).cpu() for key, part in parts.items()})
        if progress is not None:
            progress(len(some))
    if missing:
        known[mark] = torch.zeros(1)
        with atomic(path) as temporary:
            save_file(known, temporary)
    return known
