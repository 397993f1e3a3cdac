"""What transformers itself says of each row alone, for tests that hold batches against it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from textunlearn.evaluation.generation import Request, generate
from textunlearn.records import Case
from textunlearn.vlm.load import Vlm

TOKENS = 8


def row_by_row(vlm: Vlm, some: list[Case], folder: Path) -> tuple[list[str], list[torch.Tensor]]:
    """What transformers itself says of each case alone: the words, and the logits of the first token."""
    said, first = [], []
    for case in some:
        pictures = [Image.open(folder / image).convert("RGB") for image in case.images]
        text = vlm.text_of(case.text, images=len(pictures))
        if pictures:
            inputs = vlm.processor(images=[pictures], text=[text], return_tensors="pt")
            inputs.pop("labels", None)
        else:  # PaliGemma's processor wants a picture
            inputs = vlm.tokenizer([text], add_special_tokens=False, return_tensors="pt")
        with torch.no_grad():
            first.append(vlm.model(**inputs).logits[0, -1])
        ids = vlm.model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        end = next((i for i, token in enumerate(ids.tolist()) if token == 2), len(ids))
        said.append(vlm.tokenizer.decode(ids[:end], skip_special_tokens=True))
    return said, first


def first_logits(vlm: Vlm, asked: list[Request], monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """Logits of the first token of each request, generated in batches."""
    seen: dict[int, torch.Tensor] = {}
    order = sorted(range(len(asked)), key=lambda i: (len(asked[i].images), len(asked[i].ids)))
    original = vlm.model.generate

    def watched(**options: Any) -> torch.Tensor:
        out = original(**options, output_logits=True, return_dict_in_generate=True)
        start = len(seen)
        seen.update(zip(order[start : start + len(out.logits[0])], out.logits[0], strict=True))
        return out.sequences

    with monkeypatch.context() as patched:
        patched.setattr(vlm.model, "generate", watched)
        generate(vlm, asked, TOKENS)
    return torch.stack([seen[i] for i in range(len(asked))])
