"""A loaded model and its parts: which of it is the language model, how requests are put to it, what is outside."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any

from textunlearn.errors import UserError
from textunlearn.sounds import Sound, silence
from textunlearn.vlm import hearing

if TYPE_CHECKING:
    import torch
    from torch import nn


class Medium(Enum):
    """What a chat shows beside words and (as None) pictures."""

    SOUND = "audio"


Content = str | None | Medium
"""One part of a turn: words, None for a picture, or a sound."""


@dataclass
class Vlm:
    """A model with its processor, and its parts by name.

    Attributes:
        model: the transformers model (later perhaps wrapped by peft; the parts stay the same modules).
        processor: the processor, or the tokenizer of a model without images.
        decoder_path: dotted name of the language model inside the *unwrapped* model.
        sharded: whether its language model is split over processes (`training.sharding`).
    """

    name: str
    model: Any
    processor: Any
    decoder_path: str
    sharded: bool = False

    @property
    def tokenizer(self) -> Any:
        return getattr(self.processor, "tokenizer", self.processor)

    @property
    def base(self) -> Any:
        """The transformers model itself, without a peft wrapper."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    @property
    def decoder(self) -> nn.Module:
        return self.base.get_submodule(self.decoder_path)

    @property
    def head(self) -> nn.Module:
        return self.base.get_output_embeddings()

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """The model's own logits at states of its decoder: the head, and what some models do after it."""
        from textunlearn.vlm.after_head import after_head

        return after_head(self.base, self.head(hidden))

    @property
    def embed(self) -> nn.Module:
        return self.base.get_input_embeddings()

    @property
    def device(self) -> torch.device:
        return self.embed.weight.device  # type: ignore[return-value, union-attr]

    @property
    def image_token_id(self) -> int | None:
        config = self.base.config
        for place in (config, getattr(config, "vision_config", None)):  # Phi-4-multimodal has it in the latter
            for key in ("image_token_id", "image_token_index"):
                if getattr(place, key, None) is not None:
                    return int(getattr(place, key))
        return None

    @cached_property
    def audio_token_id(self) -> int | None:
        """The token that stands for sound; None for a model that takes none."""
        return hearing.token_of(self.base.config) if hearing.extractor(self.processor) is not None else None

    @cached_property
    def blank_id(self) -> int:
        """Token of a single space: what a slot without text says."""
        return int(self.tokenizer.encode(" ", add_special_tokens=False)[-1])

    def word_ids(self, text: str) -> list[int]:
        """Token ids of plain words, without a start token."""
        ids: list[int] = self.tokenizer.encode(self.as_words(text), add_special_tokens=False)
        return ids

    def text_of(self, text: str, *, images: int = 0, sounds: int = 0, prefill: str = "") -> str:
        """One user turn in the model's own chat template, open for the model's turn; pictures, then sounds, come before the words."""
        words = [text] if text or not (images or sounds) else []
        return self.text_of_chat([("user", [*[None] * images, *[Medium.SOUND] * sounds, *words])], prefill)

    def text_of_chat(self, turns: Sequence[tuple[str, Sequence[Content]]], prefill: str = "") -> str:
        """A whole chat in the model's own template, open for the model's turn, which may have begun with ``prefill``.

        Args:
            turns: role and content of each: words, pictures and sounds in the order in which they are shown.

        UserError for a chat that the template does not take, e.g. one with a system message.
        """
        from jinja2 import TemplateError

        chat: list[dict[str, Any]] = []
        for role, content in turns:
            shown = [self.as_words(part) if isinstance(part, str) else part for part in content]
            parts = [{"type": "text", "text": part} if isinstance(part, str) else _placeholder(part) for part in shown]
            plain = "".join(part for part in shown if isinstance(part, str))
            in_parts = self.image_token_id is not None or Medium.SOUND in content
            chat.append({"role": role, "content": parts if in_parts else plain})
        try:
            rendered = self.render(chat)
        except TemplateError as error:
            roles = ", ".join(role for role, _ in turns)
            raise UserError(f"the chat template of {self.name} takes no chat of the turns {roles}: {error}") from None
        return rendered + self.as_words(prefill)

    def render(self, chat: list[dict[str, Any]]) -> str:
        """``chat``, in transformers' form, in the model's own template, open for the model's turn."""
        # Voxtral's processor lays out chats by a package of its own; its tokenizer has the template.
        has = self.processor if getattr(self.processor, "chat_template", None) is not None else self.tokenizer
        return str(has.apply_chat_template(chat, add_generation_prompt=True, tokenize=False))

    def as_words(self, text: str) -> str:
        """``text`` may speak of "<image>" or "<|im_end|>", but neither become image slots nor end a turn: a space breaks them."""
        return self._control_tokens.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)

    @cached_property
    def _control_tokens(self) -> re.Pattern[str]:
        """What users may not say: special tokens, further tokens that the chat template writes, placeholders of the processor."""
        template = str(getattr(self.processor, "chat_template", None) or self.tokenizer.chat_template or "")
        added = self.tokenizer.added_tokens_decoder.values()
        found = {token.content for token in added if token.special or token.content in template}
        found |= {
            value for name, value in vars(self.processor).items() if name.endswith("_token") and isinstance(value, str)
        }
        # Whitespace is a token of its own in some models (Gemma); one character cannot be broken.
        longest = sorted((token for token in found if len(token) > 1 and not token.isspace()), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest)) or "(?!)")

    def encode(self, rendered: str) -> list[int]:
        """Token ids of a rendered chat; the start token is added once, where the template leaves it out."""
        ids = self.tokenizer.encode(rendered, add_special_tokens=False)
        with_special = self.tokenizer.encode("", add_special_tokens=True)
        if self.tokenizer.bos_token_id in with_special and (not ids or ids[0] != self.tokenizer.bos_token_id):
            ids = [self.tokenizer.bos_token_id, *ids]
        return ids

    def encode_with_images(self, rendered: str, images: Sequence[Any]) -> list[int]:
        """The same for a rendered chat with pictures (PIL): each one's image token becomes as many as the picture has slots."""
        return self.with_images(rendered, images)[0]

    def with_images(
        self, rendered: str, images: Sequence[Any], sounds: Sequence[Sound] = ()
    ) -> tuple[list[int], dict[str, Any]]:
        """Those ids (of ``sounds`` too), and what else the processor gives: pixels, features, for some models sizes and the like."""
        # A list in a list: the pictures of one row.
        more = {"images": [list(images)]} if images else {}
        if sounds:
            given = hearing.prepared(self, [rendered], [sounds], **more)
        else:
            given = dict(self.processor(**more, text=[rendered], return_tensors="pt"))
        ids = given.pop("input_ids")[0].tolist()
        for unwanted in ("attention_mask", "labels"):
            given.pop(unwanted, None)
        start = self.tokenizer.bos_token_id
        if start is None or ids[:2] != [start, start]:
            return ids, given
        return ids[1:], {k: v[:, 1:] if per_token(v, len(ids)) else v for k, v in given.items()}

    @cached_property
    def takes_several(self) -> bool:
        """Whether one turn may hold several pictures: chat template and processor give two of them twice the slots of one."""
        if self.image_token_id is None:
            return False
        from PIL import Image

        blank = Image.new("RGB", (224, 224), "white")
        try:
            slots = [
                self.encode_with_images(self.text_of("", images=n), [blank] * n).count(self.image_token_id)
                for n in (1, 2)
            ]
        except (ValueError, TypeError, IndexError, KeyError, RuntimeError):  # how processors refuse differs
            return False
        return slots[1] == 2 * slots[0] > 0

    def prompt_ids(self, text: str) -> list[int]:
        return self.encode(self.text_of(text))

    def slot_prompt(self, text: str, content: Sequence[int]) -> tuple[list[int], list[int]]:
        """Prompt whose image slots hold the words ``content`` (token ids; blanks after, cut at the number of slots); the slots of a sound
        where the model takes no pictures.

        Returns ``(ids, positions of the slots)``. No image is looked at, and no sound heard: a blank one only tells where the slots are.
        """
        template, slots = self._slot_template(text)
        fill = [*content, *[self.blank_id] * len(slots)][: len(slots)]
        ids = list(template)
        for position, token in zip(slots, fill, strict=True):
            ids[position] = token
        return ids, list(slots)

    def fits_slots(self, text: str) -> bool:
        """Whether an image has slots for all of ``text``; a longer request would be cut."""
        return len(self.word_ids(text)) <= len(self._slot_template("")[1])

    def require_fits(self, tokens: int, what: str) -> None:
        """UserError for ``what`` (of so many tokens) that is longer than the model can hold, before it is asked nonsense."""
        config = self.base.config.get_text_config()
        most = getattr(config, "max_position_embeddings", None)
        if isinstance(most, int) and tokens >= most:
            raise UserError(
                f"{what} is {tokens:,} tokens long, and {self.name} holds {most:,} with its answer; cut it, or leave it out"
            )

    def _slot_template(self, text: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        cache = self.__dict__.setdefault("_templates", {})
        if text not in cache:
            token = self.audio_token_id if self.image_token_id is None else self.image_token_id
            if token is None:
                raise UserError(
                    f"{self.name} takes no images, so text cannot stand in image slots; set slots.share to 0"
                )
            if self.image_token_id is None:
                rendered = self.text_of(text, sounds=1)
                ids = tuple(self.with_images(rendered, [], [silence(hearing.SLOT_SECONDS)])[0])
            else:
                from PIL import Image

                blank = Image.new("RGB", (224, 224), "white")
                ids = tuple(self.encode_with_images(self.text_of(text, images=1), [blank]))
            slots = tuple(i for i, one in enumerate(ids) if one == token)
            if not slots:
                raise UserError(
                    f"the processor of {self.name} makes no image slots of a picture, so it is another model's; get the model's own"
                )
            if len(slots) < 2:  # Mllama's pictures are attended to from the side
                raise UserError(
                    f"{self.name} does not lay its pictures out among the words, so text cannot stand in image slots; "
                    "set slots.share to 0"
                )
            cache[text] = ids, slots
        return cache[text]

    def stop_ids(self) -> list[int]:
        """Tokens that end the model's turn when it says them."""
        end = self.base.generation_config.eos_token_id
        if end is None:
            end = self.tokenizer.eos_token_id
        return list(end) if isinstance(end, list) else [end]

    def end_ids(self) -> list[int]:
        """What ends the model's turn: one token, appended to answers that are learned whole."""
        stops, own = self.stop_ids(), self.tokenizer.eos_token_id
        return [own if own in stops else stops[0]]  # Llama 3 has several; the tokenizer names the one that chats use

    @cached_property
    def _others(self) -> tuple[str, ...]:
        """Where other parts of the model lie inside its language model: Phi-4-multimodal's has the vision and audio towers in it."""
        from transformers import PreTrainedModel

        return tuple(
            f"{self.decoder_path}.{name}."
            for name, child in self.decoder.named_children()
            if any(isinstance(module, PreTrainedModel) for module in child.modules())
        )

    def in_language(self, name: str) -> bool:
        """Whether a parameter or module of that dotted name (in the unwrapped model) belongs to the language model."""
        return name.startswith(self.decoder_path + ".") and not name.startswith(self._others)

    def outside_decoder(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Weights and buffers of everything but the language model and its head: towers and projectors of other modalities."""
        head = {id(p) for p in self.head.parameters()}
        for name, tensor in [*self.base.named_parameters(), *self.base.named_buffers()]:
            if not self.in_language(name) and id(tensor) not in head:
                yield name, tensor

    def vision_hash(self) -> str:
        """SHA-256 over everything outside the language model: equal before and after, or training touched what it must not."""
        return _hash(self.outside_decoder())

    @cached_property
    def hash(self) -> str:
        """SHA-256 over all weights, by which answers and references are filed."""
        return _hash(sorted(self.base.state_dict().items()))


def decoder_path(model: Any) -> str:
    """Dotted name of the language model inside a transformers model; "" where there is none, or nothing around it."""
    decoder = model.get_decoder()
    return next((path for path, module in model.named_modules() if module is decoder), "")


def _placeholder(part: Medium | None) -> dict[str, str]:
    """What transformers' chats have for a picture or a sound."""
    return {"type": "image" if part is None else part.value}


def per_token(value: Any, length: int) -> bool:
    """Whether what a processor gave for one row (a tensor) has an entry for each of its ``length`` tokens."""
    return getattr(value, "shape", ())[:2] == (1, length)


def _hash(tensors: Iterator[tuple[str, torch.Tensor]] | list[tuple[str, torch.Tensor]]) -> str:
    import torch

    sha = hashlib.sha256()
    for name, tensor in tensors:
        sha.update(name.encode())
        data = tensor.detach().cpu().contiguous()
        sha.update(data.view(torch.uint8).numpy().data if data.numel() and data.dim() else repr(data.tolist()).encode())
    return sha.hexdigest()[:16]
