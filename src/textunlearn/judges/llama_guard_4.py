"""Llama Guard 4 (12B, multimodal): as Llama Guard 3, with Llama 4's chat tokens; it is shown the texts, not the pictures.

Prompt: the model's own chat template where the tokenizer brings it, otherwise the same text as published (Meta, Llama Guard 4 model card).
"""

from __future__ import annotations

from textunlearn.judges import JUDGES
from textunlearn.judges.llama_guard_3 import LlamaGuard3


@JUDGES.register("llama_guard_4")
class LlamaGuard4(LlamaGuard3):
    """See the module's text."""

    title = "llama_guard_4-1"
    default = "meta-llama/Llama-Guard-4-12B"
    wrap = (
        "<|begin_of_text|><|header_start|>user<|header_end|>\n\n{task}<|eot|>"
        "<|header_start|>assistant<|header_end|>\n\n"
    )
