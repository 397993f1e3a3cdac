"""The language model's weights in four bits (NF4), as QLoRA holds them (Dettmers et al. 2023, arXiv 2305.14314), by bitsandbytes.

A quarter of the memory of bfloat16 for what is frozen anyway; the adapter is trained in the model's own precision. Everything outside the
language model, its head and the routers of experts stay as they are.
"""

from __future__ import annotations

import importlib.util
import re
from typing import TYPE_CHECKING, Any

from textunlearn.errors import UserError

if TYPE_CHECKING:
    import torch

DEVICES = ("cuda", "cpu")
"""Where bitsandbytes computes with four bits. On a CPU it is for trying things out."""


def loading(config: Any, kind: Any, device: str, dtype: torch.dtype) -> dict[str, Any]:
    """What ``from_pretrained`` of a model of ``config`` and Auto class ``kind`` is told. UserError where it cannot be."""
    if device.partition(":")[0] not in DEVICES:
        raise UserError(
            f"model.quantize holds weights in four bits on an NVIDIA GPU, or for a try on a CPU, and this run is on {device!r}; "
            "leave model.quantize out, or set model.device"
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(
            'model.quantize needs bitsandbytes; run `pip install "textunlearn[quantized]"`, or leave model.quantize out'
        )
    from transformers import BitsAndBytesConfig

    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=[re.escape(name) + "$" for name in kept_whole(config, kind)],
    )
    return {"quantization_config": settings, "device_map": {"": device}}


def kept_whole(config: Any, kind: Any) -> list[str]:
    """Names of the linear layers that are not quantized. Only the model's shape is made for that, without weights."""
    import torch
    from torch import nn

    from textunlearn.training.soundness import NOT_TRAINED
    from textunlearn.vlm.model import Vlm, decoder_path

    with torch.device("meta"):
        model = kind.from_config(config)
    vlm = Vlm("", model, None, decoder_path(model))
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and (not vlm.in_language(name) or name.rsplit(".", 1)[-1] in NOT_TRAINED)
    ]


def quantized(model: Any) -> bool:
    """Whether a transformers model holds quantized weights, into which nothing can be merged without rounding it."""
    return bool(getattr(model, "is_quantized", False))
