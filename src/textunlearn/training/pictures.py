"""Rows with real pictures: the paper's multi-modal baselines, through the same training path as text.

A request is drawn as a typographic image and stands under a neutral typed prompt. Vision tower and projector are frozen, so the
features of a picture never change: they are computed once, before training, and put where the image tokens stand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textunlearn.errors import UserError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from textunlearn.vlm.load import Vlm

LAYOUTS = ("figstep", "plain")
"""How requests are drawn: as the attacks do. The baselines train on the very look that they are tested with."""
READABLE = 100
"""Longest request that is drawn; longer ones are typed."""
BATCH = 8


def picture_of(text: str, layout: str) -> str:
    """Key of a picture, from which it can be drawn: the layout's name and the words."""
    return f"{layout}\n{text}"


def draw(key: str) -> Image.Image:
    """The picture of a key."""
    from textunlearn.attacks.typography import LAYOUTS as ALL
    from textunlearn.attacks.typography import render

    layout, _, text = key.partition("\n")
    return render(text, ALL[layout])


def drawable(text: str) -> bool:
    """Whether a request can be read when it is drawn."""
    from textunlearn.attacks.typography import undrawable

    return len(text) <= READABLE and not undrawable(text)


def picture_request(vlm: Vlm, key: str, prompt: str) -> tuple[list[int], list[int]]:
    """``prompt`` under the picture: token ids, and where its image tokens stand."""
    ids = vlm.encode_with_images(vlm.text_of(prompt, images=1), [draw(key)])
    return ids, [i for i, token in enumerate(ids) if token == vlm.image_token_id]


def picture_features(
    vlm: Vlm, keys: Iterable[str], path: Path, progress: Callable[[int], None] | None = None
) -> dict[str, Tensor]:
    """key -> ``(image tokens, hidden)``: what the language model is given for each picture, from ``path`` where it is there.

    UserError for a model that gives its language model more of a picture than embeddings in a row.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    from textunlearn.files import atomic
    from textunlearn.records import digest

    wanted = {digest(vlm.hash, key, length=32): key for key in dict.fromkeys(keys)}
    known: dict[str, Tensor] = {}
    if path.exists():
        try:
            known = {name: value for name, value in load_file(path).items() if name in wanted}
        except (SafetensorError, OSError):
            known = {}
    missing = [name for name in wanted if name not in known]
    if progress is not None:
        progress(len(wanted) - len(missing))
    for start in range(0, len(missing), BATCH):
        some = missing[start : start + BATCH]
        inputs = vlm.processor(
            images=[[draw(wanted[name])] for name in some],
            text=[vlm.text_of("", images=1)] * len(some),
            return_tensors="pt",
            padding=True,
        )
        embeds = _given_to_decoder(vlm, dict(inputs))
        where = inputs["input_ids"] == vlm.image_token_id
        known |= {name: row[spots].cpu() for name, row, spots in zip(some, embeds, where, strict=True)}
        if progress is not None:
            progress(len(some))
    if missing:
        with atomic(path) as temporary:
            save_file({name: value.contiguous() for name, value in known.items()}, temporary)
    like: Any = vlm.embed.weight
    return {wanted[name]: value.to(like.dtype) for name, value in known.items()}


class _Enough(Exception):
    """The language model's input is known; it need not run."""


def _given_to_decoder(vlm: Vlm, inputs: dict[str, Any]) -> Tensor:
    """The embeddings ``(pictures, length, hidden)`` that the whole model hands to its language model."""
    import torch

    found: list[Tensor] = []

    def look(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        position = kwargs.get("position_ids")
        extra = [name for name in ("deepstack_visual_embeds", "cross_attention_states") if kwargs.get(name) is not None]
        if (position is not None and position.dim() > 2) or extra or kwargs.get("inputs_embeds") is None:
            raise UserError(
                f"{vlm.name} gives its language model more of a picture than embeddings in a row, which training rows with "
                "pictures cannot say; set pictures.share to 0 (text in the image slots works)"
            )
        found.append(kwargs["inputs_embeds"].detach())
        raise _Enough

    dtype = vlm.embed.weight.dtype
    moved = {k: v.to(vlm.device, dtype) if v.is_floating_point() else v.to(vlm.device) for k, v in inputs.items()}
    handle = vlm.decoder.register_forward_pre_hook(look, with_kwargs=True)
    try:
        with torch.inference_mode():
            vlm.model(**moved, use_cache=False)
    except _Enough:
        pass
    finally:
        handle.remove()
    return found[0]
