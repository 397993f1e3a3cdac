"""What the vision side makes of each picture, computed once and kept: the model before and after training see the same.

Vision tower and projector are frozen, so a second model of the same family (an adapter on the language model, another
checkpoint of it) needs no vision encoding at all. transformers' ``generate`` takes what an encoder gave in place of pixels.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textunlearn.files import atomic, cache_dir
from textunlearn.pictures import open_picture
from textunlearn.records import digest

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from textunlearn.vlm.load import Vlm

WHOLE, PARTS, DEEP, DEEP_PARTS = "whole", "part", "deep", "deep_part"
"""Names inside a picture's file. Encoders give one tensor whose rows are pictures (or parts of them), or a list of tensors
(``part.0`` ...), and Qwen3-VL's first layers take more (``deep_part.0`` ... where it is apart for each picture, else ``deep.0`` ...)."""
LIMIT = 8 << 30
"""Bytes of the cache; the pictures that were wanted longest ago go first."""


def cached(vlm: Vlm) -> ImageFeatures | None:
    """Features in the user's cache, shared by all runs; None for a model whose ``generate`` takes none."""
    features = ImageFeatures(vlm, cache_dir("image_features"))
    return features if features.works else None


@dataclass
class ImageFeatures:
    """Features of pictures by the hash of their pixels, one small file a picture below ``folder``.

    Attributes:
        limit: bytes that the files of the folder may take; those that were wanted longest ago go first.
        encoded: pictures that the vision side has looked at since this object was made.
    """

    vlm: Vlm
    folder: Path
    limit: int = LIMIT
    encoded: int = 0
    _held: int = field(default=-1, repr=False)

    @cached_property
    def works(self) -> bool:
        """Whether this model's ``generate`` takes features in place of pixels."""
        base = self.vlm.base
        asked = getattr(base, "_supports_mm_encoder_outputs", None)
        return bool(asked is not None and asked() and self._encoder is not None)

    @property
    def _encoder(self) -> Any:
        return getattr(self.vlm.base.base_model, "get_image_features", None)

    @cached_property
    def _vision(self) -> str:
        """Everything that a picture's features depend on but the picture."""
        processor = getattr(self.vlm.processor, "image_processor", None)
        settings = processor.to_dict() if processor is not None else {}
        return digest(self.vlm.vision_hash(), str(self.vlm.embed.weight.dtype), settings, length=32)

    def without_pixels(self, inputs: Mapping[str, Any], images: Sequence[tuple[str, Path]]) -> dict[str, Any]:
        """The processor's ``inputs`` of a batch with the features of its pictures in place of their pixels.

        Args:
            images: hash of its pixels and the file of each picture, in the order in which the batch shows them. Only those of which
                nothing is kept are opened.
        """
        import torch
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        device = self.vlm.device
        found = [{name: value.to(device) for name, value in self._of(sha256, path).items()} for sha256, path in images]
        output = BaseModelOutputWithPooling()
        if WHOLE in found[0]:
            output["pooler_output"] = torch.cat([one[WHOLE] for one in found])
        else:
            output["pooler_output"] = [value for one in found for value in _numbered(one, PARTS)]
        for kind, join in ((DEEP, torch.cat), (DEEP_PARTS, tuple)):
            if deep := list(zip(*(_numbered(one, kind) for one in found), strict=True)):
                output["deepstack_features"] = [join(layer) for layer in deep]
        kept = {name: value for name, value in inputs.items() if not name.startswith("pixel_values")}
        return {**kept, "mm_encoder_outputs": {"image": output}}

    def _of(self, sha256: str, picture: Path) -> dict[str, Tensor]:
        from safetensors import SafetensorError
        from safetensors.torch import load_file, save_file

        path = self.folder / f"{digest(self._vision, sha256, length=32)}.safetensors"
        if path.exists():
            try:
                features = load_file(path)
                path.touch()
                return features
            except (SafetensorError, OSError):
                path.unlink(missing_ok=True)  # damaged: made anew
        features = self._encode(open_picture(picture))
        size = sum(value.nbytes for value in features.values())
        if self._room(size):
            with atomic(path) as temporary:
                save_file(features, temporary)
        return features

    def _room(self, size: int) -> bool:
        """Make room for ``size`` bytes; False where the limit is smaller than that."""
        if self._held < 0:
            self._held = sum(file.stat().st_size for file in self.folder.glob("*.safetensors"))
        if self._held + size > self.limit:
            files = sorted(self.folder.glob("*.safetensors"), key=lambda file: file.stat().st_mtime)
            self._held = sum(file.stat().st_size for file in files)
            for file in files:
                if self._held + size <= self.limit:
                    break
                self._held -= file.stat().st_size
                file.unlink(missing_ok=True)
        self._held += size
        return self._held <= self.limit

    def _encode(self, image: Image.Image) -> dict[str, Tensor]:
        import torch

        vlm = self.vlm
        given = vlm.processor(images=[[image]], text=[vlm.text_of("", images=1)], return_tensors="pt")
        wanted = inspect.signature(self._encoder).parameters
        weight: Any = vlm.embed.weight
        dtype = weight.dtype
        arguments = {
            name: value.to(vlm.device, dtype) if value.is_floating_point() else value.to(vlm.device)
            for name, value in given.items()
            if name in wanted and isinstance(value, torch.Tensor)
        }
        with torch.inference_mode():
            output = self._encoder(**arguments, return_dict=True)
        self.encoded += 1
        pooled = output.pooler_output
        named = {WHOLE: pooled} if isinstance(pooled, torch.Tensor) else _names(PARTS, pooled)
        for layer, deep in enumerate(getattr(output, "deepstack_features", None) or ()):
            apart = not isinstance(deep, torch.Tensor)
            named[f"{DEEP_PARTS if apart else DEEP}.{layer}"] = torch.cat(tuple(deep)) if apart else deep
        return {name: value.cpu().contiguous().clone() for name, value in named.items()}


def _names(kind: str, values: Sequence[Tensor]) -> dict[str, Tensor]:
    return {f"{kind}.{number}": value for number, value in enumerate(values)}


def _numbered(features: Mapping[str, Tensor], kind: str) -> list[Tensor]:
    count = sum(name.startswith(f"{kind}.") for name in features)
    return [features[f"{kind}.{number}"] for number in range(count)]
