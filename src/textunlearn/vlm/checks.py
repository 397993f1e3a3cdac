"""What must be true of a model's parts before they are used, each said in one sentence: weights that are no pickles, the model's own
tokenizer, an adapter that was made for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from textunlearn.errors import UserError, no_memory

if TYPE_CHECKING:
    from textunlearn.vlm.load import Vlm

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
"""Weights as Python objects. Reading one can run code of whoever made it, so none is read, whatever a library would do to be safe."""
WHY_NO_PICKLES = "reading a pickle can run code of whoever made it"


def pickles_only(folder: Path) -> str:
    """The name of a pickle of weights in ``folder`` if there are no safetensors beside it; "" otherwise."""
    if next(folder.glob("*.safetensors"), None) is not None:
        return ""
    return next((path.name for pattern in PICKLES for path in sorted(folder.glob(pattern))), "")


def cannot_load(name: str, error: Exception) -> str:
    """One sentence for why the model ``name`` cannot be loaded."""
    text = " ".join(str(error).split()) or type(error).__name__
    if "torchvision" in text.lower():  # some processors (Qwen2-VL's) are made with it only
        return f"{name} needs torchvision to prepare its pictures; run `pip install torchvision` and start again ({text[:200]})"
    if isinstance(error, ImportError):  # SmolVLM2's processor wants num2words; transformers names the package
        return f"{name} needs a package that is not installed; install it and start again: {text[:300]}"
    if "ignore_mismatched_sizes" in text:  # transformers' words end in that
        text = "its weights have other shapes than its config says"
    if Path(name).is_dir():
        if pickle := pickles_only(Path(name)):
            return (
                f"the folder {name} holds its weights as a pickle ({pickle}), and {WHY_NO_PICKLES}; get them as safetensors, or "
                "convert them with code that you trust"
            )
        return f"the folder {name} cannot be loaded as a model: {text[:300]}; get a complete copy of it"
    if why := _hub_says(error):
        return f"{name} {why}"
    return f"{name} cannot be loaded; check the spelling, your network and your hub login, or give a local folder ({text[:300]})"


def _hub_says(error: BaseException) -> str:
    """What the hub, or the way to it, has against a model or adapter; "" if the error says nothing of that."""
    from huggingface_hub import errors

    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        seen.append(cause)
        cause = cause.__cause__ or cause.__context__
    text = " ".join(str(one) for one in seen).lower()
    gated = "is gated: accept its licence on the hub, then log in with `hf auth login`"
    if any(isinstance(one, errors.GatedRepoError) for one in seen):
        return gated
    # RepositoryNotFoundError is what the hub says of private ones as well.
    if any(isinstance(one, errors.RepositoryNotFoundError) for one in seen) or "not a valid model identifier" in text:
        return (
            "is not on the hub, or is private: check the spelling, log in with `hf auth login`, or give a local folder"
        )
    away = (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError)
    if any(isinstance(one, away) or _unanswered(one) for one in seen) or "couldn't connect" in text:
        return "is not on this machine, and the hub is not reached: check the network (HF_HUB_OFFLINE, HF_ENDPOINT), or give a local folder"
    return gated if "gated" in text else ""


def _unanswered(error: BaseException) -> bool:
    """Whether a request ended without an answer, or with one that tells only of the server's own trouble."""
    from huggingface_hub.errors import HTTPError

    answer = getattr(error, "response", None)
    return isinstance(error, HTTPError) and getattr(answer, "status_code", 500) >= 500


def require_own_tokenizer(vlm: Vlm) -> None:
    """UserError for a tokenizer that says what the model has no embedding for, or does not know the model's image token."""
    rows = int(vlm.embed.weight.shape[0])  # type: ignore[arg-type, index, union-attr]
    if len(vlm.tokenizer) > rows:
        # A few added tokens beyond the embeddings are common (Gemma 3 1B has its elder sisters' image token) and never said.
        added = set(vlm.tokenizer.added_tokens_decoder)
        beyond = sorted(
            number for number in vlm.tokenizer.get_vocab().values() if number >= rows and number not in added
        )
        if beyond:
            raise UserError(
                f"the tokenizer beside {vlm.name} is another model's: it has {len(vlm.tokenizer):,} tokens where the model has {rows:,}; "
                "get the model's own tokenizer files"
            )
    image = vlm.image_token_id
    if image is not None and vlm.tokenizer.convert_ids_to_tokens(image) is None:
        raise UserError(
            f"the tokenizer beside {vlm.name} is another model's: it has no token {image}, which stands for pictures in the model; "
            "get the model's own tokenizer files"
        )
    if vlm.base.generation_config.eos_token_id is None and vlm.tokenizer.eos_token_id is None:
        raise UserError(
            f"neither {vlm.name} nor its tokenizer says which token ends an answer; set eos_token_id in its generation_config.json"
        )


def require_numbers(model: Any, name: str) -> None:
    """UserError where a weight of ``model`` is NaN or infinite: every answer would be noise, and training would spread it."""
    import torch

    usual = (torch.float32, torch.float64, torch.float16, torch.bfloat16)  # smaller ones (FP8) have no such pass
    for weight, values in model.named_parameters():
        # Both ends in one pass and without a copy; a NaN anywhere makes them NaN.
        if values.dtype in usual and values.numel() and not all(map(torch.isfinite, torch.aminmax(values.detach()))):
            raise UserError(
                f"{name} holds weights that are no numbers (NaN or infinite; first: {weight}); get a complete copy of the model, or "
                "choose another model.dtype if its numbers are too large for this one"
            )


def merge_adapter(model: Any, adapter: str) -> Any:
    """The model with a peft adapter merged in, or on it where its weights are quantized and would round it; UserError as
    `attach_adapter`."""
    from textunlearn.vlm.quantize import quantized

    wrapped = attach_adapter(model, adapter)
    return wrapped if quantized(model) else wrapped.merge_and_unload()


def attach_adapter(model: Any, adapter: str) -> Any:
    """The model with a peft adapter on it, as peft's model; UserError if the adapter is a pickle, does not belong to the model or does
    nothing."""
    from peft import PeftConfig, PeftModel

    if Path(adapter).is_dir() and (pickle := pickles_only(Path(adapter))):
        raise UserError(
            f"the adapter {adapter} holds its weights as a pickle ({pickle}), and {WHY_NO_PICKLES}; save it as safetensors (peft's default)"
        )
    try:
        if not Path(adapter).is_dir():
            _require_safetensors_on_hub(adapter)
        # What `PeftModel.from_pretrained` does, which says in a warning only which weights found no place, and which places got none.
        config = PeftConfig.from_pretrained(adapter)
        config.inference_mode = True
        wrapped = PeftModel(model, config)
        found = wrapped.load_adapter(
            adapter, "default", key_mapping=getattr(model, "_checkpoint_conversion_mapping", None)
        )
    except UserError:
        raise
    except Exception as error:  # peft, the hub and safetensors each raise their own
        if no_memory(error):
            raise
        if not Path(adapter).is_dir() and (why := _hub_says(error)):
            raise UserError(f"the adapter {adapter} {why}") from error
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(
            f"the adapter {adapter} cannot be loaded onto this model: {said}; name one that was made for it"
        ) from error
    require_numbers(wrapped, f"the model with the adapter {adapter}")
    updates = [p for name, p in wrapped.named_parameters() if "lora_B" in name]
    if not updates or not any(bool(p.abs().max() > 0) for p in updates):
        raise UserError(
            f"the adapter {adapter} changes nothing in this model: its keys do not match, or it was never trained; name another"
        )
    if strange := [*found.unexpected_keys, *found.missing_keys]:
        raise UserError(
            f"the adapter {adapter} was made for another model, or for its language model alone: {len(found.unexpected_keys)} "
            f"of its weights have no place in this one, and {len(found.missing_keys)} places get none (first: {strange[0]}); "
            "name one that was made for it"
        )
    return wrapped


def _require_safetensors_on_hub(adapter: str) -> None:
    """UserError for an adapter on the hub, or in the hub's cache, that is there as a pickle only."""
    from huggingface_hub import file_exists, model_info, try_to_load_from_cache
    from huggingface_hub.constants import HF_HUB_OFFLINE

    weights = "adapter_model.safetensors"
    if isinstance(try_to_load_from_cache(adapter, weights), str):
        return
    if HF_HUB_OFFLINE:
        raise UserError(
            f"the adapter {adapter} is not on this machine, and HF_HUB_OFFLINE keeps from the hub; give a local folder"
        )
    if not file_exists(adapter, weights):
        model_info(adapter)  # raises where there is no such adapter at all
        raise UserError(
            f"the adapter {adapter} has no {weights}; if its weights are a pickle, {WHY_NO_PICKLES}: name one with safetensors"
        )
