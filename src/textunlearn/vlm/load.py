"""Load any Hugging Face vision-language model and say which part of it is the language model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textunlearn.errors import UserError, no_memory
from textunlearn.vlm.checks import attach_adapter, cannot_load, merge_adapter, require_numbers, require_own_tokenizer
from textunlearn.vlm.model import Vlm, decoder_path

if TYPE_CHECKING:
    import torch

    from textunlearn.recipe import ModelSpec

__all__ = [
    "BUILTIN",
    "Vlm",
    "attach_adapter",
    "auto_class",
    "check",
    "choose",
    "config_of",
    "fast_bf16",
    "load",
    "merge_adapter",
    "wrap",
]
BUILTIN = "builtin"


def fast_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 faster than float32 (AVX-512 BF16 or AMX); without, it is many times slower."""
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def choose(spec: ModelSpec) -> tuple[str, torch.dtype]:
    """``(device, dtype)`` for a model on this machine."""
    import torch

    from textunlearn.processes import local_device

    device = spec.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    device = local_device(device)
    if spec.dtype != "auto":
        return device, getattr(torch, spec.dtype)
    if device.startswith("cuda"):
        # Older GPUs (before Ampere) only imitate bfloat16, many times slower than they compute in float16.
        return device, torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return device, torch.bfloat16 if device == "cpu" and fast_bf16() else torch.float32


def check(spec: ModelSpec) -> bool:
    """Whether the model a recipe names takes images (code of its own may). UserError if it cannot be found or has no language
    model; looks at its config only."""
    return spec.id == BUILTIN or spec.trust_remote_code or _takes_images(config_of(spec))


def _where(spec: ModelSpec) -> str:
    """Where transformers finds the model: a folder, or a hub id."""
    if spec.id != BUILTIN:
        return spec.id
    from textunlearn.vlm.builtin.build import path

    return str(path())


def config_of(spec: ModelSpec) -> Any:
    """The config of the model a recipe names; UserError if it cannot be found or is of a kind without a language model."""
    return _config(spec, _where(spec))


def _config(spec: ModelSpec, where: str) -> Any:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(where, trust_remote_code=spec.trust_remote_code, revision=spec.revision)
    except Exception as error:  # a config may hold anything, and transformers trips over it wherever it comes to it
        if no_memory(error):
            raise
        raise UserError(cannot_load(spec.id, error)) from error
    remote = bool(getattr(config, "auto_map", None)) and spec.trust_remote_code
    if _kind_of(config) is None and not remote:
        raise UserError(
            f"{spec.id} is a {config.model_type} model, which has no language model that could unlearn; name a VLM or LLM"
        )
    return config


def _kinds() -> tuple[Any, ...]:
    """transformers' Auto classes for models with a language model: what takes pictures, sound and the like, words alone."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoModelForMultimodalLM

    return AutoModelForImageTextToText, AutoModelForMultimodalLM, AutoModelForCausalLM


def auto_class(config: Any) -> Any:
    """The Auto class that loads a model of that ``config``; code of its own is a language model's."""
    return _kind_of(config) or _kinds()[-1]


def _kind_of(config: Any) -> Any:
    """The Auto class that knows models of that ``config``; None if it is none of those with a language model."""
    from transformers import AutoModelForSeq2SeqLM

    found = next((kind for kind in _kinds() if type(config) in kind._model_mapping), None)
    # Audio Flamingo 3 stands among the models of an encoder and a decoder only, though its language model is a decoder alone.
    hears = getattr(config, "audio_config", None) is not None and not config.is_encoder_decoder
    return (
        AutoModelForSeq2SeqLM
        if found is None and hears and type(config) in AutoModelForSeq2SeqLM._model_mapping
        else found
    )


def _takes_images(config: Any) -> bool:
    return type(config) in _kinds()[0]._model_mapping or getattr(config, "vision_config", None) is not None


def load(spec: ModelSpec) -> Vlm:
    """The model a recipe names, in evaluation mode, all weights frozen."""
    from textunlearn.vlm.processor import load_processor

    where = _where(spec)
    device, dtype = choose(spec)
    config = _config(spec, where)
    options: dict[str, Any] = {"trust_remote_code": spec.trust_remote_code, "revision": spec.revision}
    kind, held = auto_class(config), {}
    try:
        if spec.quantize is not None:
            from textunlearn.vlm.quantize import loading

            held = loading(config, kind, device, dtype)
        model, found = kind.from_pretrained(
            where, dtype=dtype, use_safetensors=True, output_loading_info=True, **held, **options
        )
        processor = load_processor(where, config, **options)
    except UserError:
        raise
    except Exception as error:  # of every kind, from five libraries; tokenizers raises no other than Exception itself
        if no_memory(error):
            raise
        raise UserError(cannot_load(spec.id, error)) from error
    if found["missing_keys"]:  # transformers would go on with random ones
        first = min(found["missing_keys"])
        raise UserError(
            f"{spec.id} lacks weights that its config asks for (first: {first}); get a complete copy of the model"
        )
    require_numbers(model, spec.id)
    if spec.adapter is not None:
        model = merge_adapter(model, spec.adapter)
    try:
        if not held:  # else it is there already
            model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"the model cannot be put on model.device {device!r}: {' '.join(str(error).split())[:200]}"
        ) from error
    model.eval().requires_grad_(False)
    return wrap(model, processor, spec.id)


def wrap(model: Any, processor: Any, name: str) -> Vlm:
    """Find the parts of a loaded model."""
    tokenizer = getattr(processor, "tokenizer", processor)
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if getattr(processor, "chat_template", None) is None and getattr(tokenizer, "chat_template", None) is None:
        raise UserError(
            f"{name} has no chat template, so requests cannot be put to it as a user would; use an instruction-tuned model"
        )
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    path = decoder_path(base)
    if not path or base.get_output_embeddings() is None:
        raise UserError(f"{name} ({type(base).__name__}) has no language model part that textunlearn can find")
    vlm = Vlm(name, model, processor, path)
    require_own_tokenizer(vlm)
    return vlm
