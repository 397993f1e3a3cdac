"""Sound for models that take it: which token stands for it, and what the processor makes of recordings."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from textunlearn.errors import UserError

if TYPE_CHECKING:
    from textunlearn.recipe import ModelSpec
    from textunlearn.records import Case
    from textunlearn.sounds import Sound
    from textunlearn.vlm.model import Vlm

SLOT_SECONDS = 4
"""Of the silence whose slots text is trained in: about what a spoken request of ten words takes."""


def token_of(config: Any) -> int | None:
    """The token that stands for sound in models of that ``config``; None for those that take none."""
    for place in (config, getattr(config, "audio_config", None)):  # Phi-4-multimodal has it in the latter
        for key in ("audio_token_id", "audio_token_index"):
            if isinstance(getattr(place, key, None), int):
                return int(getattr(place, key))
    return None


def extractor(processor: Any) -> Any:
    """The part of ``processor`` that takes sound; None if there is none."""
    return getattr(processor, "feature_extractor", None) or getattr(processor, "audio_processor", None)


def hears(spec: ModelSpec) -> bool:
    """Whether the model a recipe names takes sound (code of its own may). UserError if it cannot be found; looks at its config only."""
    from textunlearn.vlm.load import BUILTIN, config_of

    return spec.id != BUILTIN and (spec.trust_remote_code or token_of(config_of(spec)) is not None)


def require_hearing(spec: ModelSpec, cases: Sequence[Case]) -> None:
    """UserError for suites with sounds that the model a recipe names does not take."""
    suites = dict.fromkeys(case.suite for case in cases if case.sounds)
    if suites and not hears(spec):
        raise UserError(f"{spec.id} takes no sound; leave the suites {', '.join(suites)} out of evaluation.suites")


def prepared(vlm: Vlm, texts: Sequence[str], sounds: Sequence[Sequence[Sound]], **more: Any) -> dict[str, Any]:
    """What the processor gives for a batch of rendered chats: ids, masks and features, as tensors.

    Args:
        sounds: of each row, in the order of their tokens in its text.
        more: further inputs of the processor's, such as ``images``.

    UserError for a recording longer than the model hears.
    """
    hears = extractor(vlm.processor)
    rate = int(getattr(hears, "sampling_rate", 16_000))
    flat = [sound.at(rate).values for row in sounds for sound in row]
    if "audio" not in inspect.signature(vlm.processor.__call__).parameters:
        return _without_chat(vlm, texts, flat)
    # Whisper's features end after half a minute, whatever is said then; some processors cut into several windows themselves.
    longest = getattr(vlm.processor, "max_audio_len", None) or getattr(hears, "n_samples", 0) / rate
    for values in flat:
        if longest and len(values) > longest * rate:
            raise UserError(
                f"{vlm.name} hears {longest:g} seconds at once, and a request takes {len(values) / rate:.1f}; leave long requests out "
                "(max_chars of the suite), or speak faster (speed of spoken)"
            )
    given = vlm.processor(
        text=list(texts),
        audio=flat,
        return_tensors="pt",
        text_kwargs={"padding": True},
        audio_kwargs={"sampling_rate": rate},
        **more,
    )
    return dict(given)


def _without_chat(vlm: Vlm, texts: Sequence[str], flat: Sequence[Any]) -> dict[str, Any]:
    """For Voxtral, whose processor prepares sound only in a chat that another package lays out: its features of each sound, and as many
    tokens for it as the model makes embeddings of them."""
    import torch

    processor = vlm.processor
    if not hasattr(processor, "_retrieve_input_features"):
        raise UserError(f"the processor of {vlm.name} takes no sound with a rendered chat; leave spoken suites out")
    options = dict(processor.audio_kwargs)
    length = options.pop("max_source_positions")
    windows = [processor._retrieve_input_features([values], length, **options) for values in flat]
    counts = iter([len(one) * _embeddings(vlm, one[:1]) for one in windows])
    rows = []
    for text in texts:
        ids = vlm.tokenizer.encode(text, add_special_tokens=False)
        rows.append([token for one in ids for token in [one] * (next(counts) if one == vlm.audio_token_id else 1)])
    pad, longest = vlm.tokenizer.pad_token_id, max(map(len, rows))
    ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows])
    return {"input_ids": ids, "input_features": torch.cat(windows)}


def _embeddings(vlm: Vlm, window: Any) -> int:
    """How many embeddings the model makes of one window of features (all windows are of one length)."""
    import torch

    known = vlm.__dict__
    if "_window" not in known:
        with torch.inference_mode():
            features = window.to(vlm.device, vlm.embed.weight.dtype)
            known["_window"] = int(vlm.base.get_audio_features(features, return_dict=True).pooler_output.shape[0])
    return int(known["_window"])
