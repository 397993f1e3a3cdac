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

from textunlearn.files import atomic
from textunlearn.records import digest

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from textunlearn.vlm.load import Vlm

POOLED, DEEP = "pooled", "deep"
"""Names inside a picture's file: its features, and those that Qwen3-VL's first layers take (``deep.0``, ``deep.1`` ...)."""


@dataclass
class ImageFeatures:
    """Features of pictures by the hash of their pixels, one small file a picture below ``folder``.

    Attributes:
        limit: bytes; once the files of this folder hold more, further pictures are encoded and not kept.
        encoded: pictures that the vision side has looked at since this object was made.
    """

    vlm: Vlm
    folder: Path
    limit: int = 8 << 30
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

    def without_pixels(self, inputs: Mapping[str, Any], images: Sequence[tuple[str, Image.Image]]) -> dict[str, Any]:
        """The processor's ``inputs`` of a batch with the features of its pictures in place of their pixels.

        Args:
            images: hash of its pixels and the picture, in the order in which the batch shows them.
        """
        found = [self._of(sha256, image) for sha256, image in images]
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        device = self.vlm.device
        output = BaseModelOutputWithPooling()
        output["pooler_output"] = [one[POOLED].to(device) for one in found]
        deep = sum(name.startswith(DEEP) for name in found[0])
        if deep:
            import torch

            output["deepstack_features"] = [
                torch.cat([one[f"{DEEP}.{layer}"] for one in found]).to(device) for layer in range(deep)
            ]
        kept = {name: value for name, value in inputs.items() if not name.startswith("pixel_values")}
        return {**kept, "mm_encoder_outputs": {"image": output}}

    def _of(self, sha256: str, image: Image.Image) -> dict[str, Tensor]:
        from safetensors import SafetensorError
        from safetensors.torch import load_file, save_file

        path = self.folder / f"{digest(self._vision, sha256, length=32)}.safetensors"
        if path.exists():
            try:
                return load_file(path)
            except (SafetensorError, OSError):
                path.unlink(missing_ok=True)  # damaged: made anew
        features = self._encode(image)
        size = sum(value.nbytes for value in features.values())
        if self._room(size):
            with atomic(path) as temporary:
                save_file(features, temporary)
        return features

    def _room(self, size: int) -> bool:
        if self._held < 0:
            self._held = sum(file.stat().st_size for file in self.folder.glob("*.safetensors"))
        if self._held + size > self.limit:
            return False
        self._held += size
        return True

    def _encode(self, image: Image.Image) -> dict[str, Tensor]:
        import torch

        vlm = self.vlm
        given = vlm.processor(images=[[image]], text=[vlm.text_of("", images=1)], return_tensors="pt")
        wanted = inspect.signature(self._encoder).parameters
        dtype = vlm.embed.weight.dtype
        arguments = {
            name: value.to(vlm.device, dtype) if value.is_floating_point() else value.to(vlm.device)
            for name, value in given.items()
            if name in wanted and isinstance(value, torch.Tensor)
        }
        with torch.inference_mode():
            output = self._encoder(**arguments, return_dict=True)
        self.encoded += 1
        features = {POOLED: torch.cat(list(output.pooler_output)).cpu().contiguous().clone()}
        for layer, value in enumerate(getattr(output, "deepstack_features", None) or []):
            features[f"{DEEP}.{layer}"] = value.cpu().contiguous().clone()
        return features
