"""Load any Hugging Face vision-language model and say which part of it is the language model."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from textunlearn.errors import UserError
from textunlearn.vlm.checks import cannot_load, merge_adapter, require_own_tokenizer

__all__ = ["BUILTIN", "Vlm", "check", "choose", "fast_bf16", "load", "merge_adapter", "wrap"]

if TYPE_CHECKING:
    import torch
    from torch import nn

    from textunlearn.recipe import ModelSpec

BUILTIN = "builtin"


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
        """The model's own logits at states of its decoder: the head, and what Granite, Cohere and Gemma do after it."""
        logits: torch.Tensor = self.head(hidden)
        if (scaling := self._after_head("logits_scaling")) is not None:
            # HyperCLOVA X multiplies by what every Granite divides by.
            multiplies = self.base.config.get_text_config().model_type.startswith("hyperclovax")
            logits = logits * scaling if multiplies else logits / scaling
        if (scale := self._after_head("logit_scale")) is not None:
            logits = logits * scale
        if (cap := self._after_head("final_logit_softcapping")) is not None:
            logits = (logits / cap).tanh() * cap
        return logits

    def _after_head(self, name: str) -> float | None:
        """A number of the text config, where the model's forward uses it; many VLMs (LLaVA, Aya Vision, Gemma 3's) do not
        do after the head what their language model alone would."""
        code = inspect.unwrap(type(self.base).forward).__code__
        used = name in code.co_names or name in code.co_consts  # a constant: PaliGemma asks by getattr
        return getattr(self.base.config.get_text_config(), name, None) if used else None

    @property
    def embed(self) -> nn.Module:
        return self.base.get_input_embeddings()

    @property
    def device(self) -> torch.device:
        return self.embed.weight.device  # type: ignore[return-value, union-attr]

    @property
    def image_token_id(self) -> int | None:
        config = self.base.config
        for key in ("image_token_id", "image_token_index"):
            if getattr(config, key, None) is not None:
                return int(getattr(config, key))
        return None

    @cached_property
    def blank_id(self) -> int:
        """Token of a single space: what an image slot without text says."""
        return int(self.tokenizer.encode(" ", add_special_tokens=False)[-1])

    def word_ids(self, text: str) -> list[int]:
        """Token ids of plain words, without a start token."""
        ids: list[int] = self.tokenizer.encode(self.as_words(text), add_special_tokens=False)
        return ids

    def text_of(self, text: str, *, images: int = 0, prefill: str = "") -> str:
        """One user turn in the model's own chat template, open for the model's turn; ``images`` pictures come before the words."""
        words = [text] if text or not images else []
        return self.text_of_chat([("user", [*[None] * images, *words])], prefill)

    def text_of_chat(self, turns: Sequence[tuple[str, Sequence[str | None]]], prefill: str = "") -> str:
        """A whole chat in the model's own template, open for the model's turn, which may have begun with ``prefill``.

        Args:
            turns: role and content of each: words, or None for a picture, in the order in which they are shown.

        UserError for a chat that the template does not take, e.g. one with a system message.
        """
        from jinja2 import TemplateError

        chat: list[dict[str, Any]] = []
        for role, content in turns:
            shown = [None if words is None else self.as_words(words) for words in content]
            parts = [{"type": "image"} if words is None else {"type": "text", "text": words} for words in shown]
            plain = "".join(words for words in shown if words is not None)
            chat.append({"role": role, "content": parts if self.image_token_id is not None else plain})
        try:
            rendered = self.processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        except TemplateError as error:
            roles = ", ".join(role for role, _ in turns)
            raise UserError(f"the chat template of {self.name} takes no chat of the turns {roles}: {error}") from None
        return str(rendered) + self.as_words(prefill)

    def as_words(self, text: str) -> str:
        """``text`` may speak of "<image>" or "<|im_end|>", but only the chat template may end a turn, and only a picture of ours may
        become image slots: a space goes into every such token."""
        return self._special.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text) if self._special else text

    @cached_property
    def _special(self) -> re.Pattern[str] | None:
        """The tokens that mean something else than their letters."""
        added = [str(token) for token in self.tokenizer.added_tokens_decoder.values() if token.special]
        image = [] if self.image_token_id is None else [str(self.tokenizer.convert_ids_to_tokens(self.image_token_id))]
        names = {name for name in (*self.tokenizer.all_special_tokens, *added, *image) if len(name) > 1}
        return re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True)))) if names else None

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

    def with_images(self, rendered: str, images: Sequence[Any]) -> tuple[list[int], dict[str, Any]]:
        """Those ids, and what else the processor gives for the pictures: pixels, and for some models sizes and the like."""
        # A list in a list: the pictures of one row.
        given = dict(self.processor(images=[list(images)], text=[rendered], return_tensors="pt"))
        ids = given.pop("input_ids")[0].tolist()
        given.pop("attention_mask", None)
        start = self.tokenizer.bos_token_id
        return (ids[1:] if start is not None and ids[:2] == [start, start] else ids), given

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
        """Prompt whose image slots hold the words ``content`` (token ids; blanks after, cut at the number of slots).

        Returns ``(ids, positions of the slots)``. No image is looked at: a blank one only tells where the slots are.
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
            if self.image_token_id is None:
                raise UserError(
                    f"{self.name} takes no images, so text cannot stand in image slots; set slots.share to 0"
                )
            from PIL import Image

            blank = Image.new("RGB", (224, 224), "white")
            ids = tuple(self.encode_with_images(self.text_of(text, images=1), [blank]))
            slots = tuple(i for i, token in enumerate(ids) if token == self.image_token_id)
            if not slots:
                raise UserError(
                    f"the processor of {self.name} makes no image slots of a picture, so it is another model's; get the model's own"
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

    def outside_decoder(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Weights and buffers of everything but the language model and its head: vision tower, projector."""
        head = {id(p) for p in self.head.parameters()}
        for name, tensor in [*self.base.named_parameters(), *self.base.named_buffers()]:
            if not name.startswith(self.decoder_path + ".") and id(tensor) not in head:
                yield name, tensor

    def vision_hash(self) -> str:
        """SHA-256 over everything outside the language model: equal before and after, or training touched what it must not."""
        return _hash(self.outside_decoder())

    @cached_property
    def hash(self) -> str:
        """SHA-256 over all weights, by which answers and references are filed."""
        return _hash(sorted(self.base.state_dict().items()))


def _hash(tensors: Iterator[tuple[str, torch.Tensor]] | list[tuple[str, torch.Tensor]]) -> str:
    import torch

    sha = hashlib.sha256()
    for name, tensor in tensors:
        sha.update(name.encode())
        data = tensor.detach().cpu().contiguous()
        sha.update(data.view(torch.uint8).numpy().data if data.numel() and data.dim() else repr(data.tolist()).encode())
    return sha.hexdigest()[:16]


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
        return device, torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return device, torch.bfloat16 if device == "cpu" and fast_bf16() else torch.float32


def check(spec: ModelSpec) -> bool:
    """Whether the model a recipe names takes images (code of its own may). UserError if it cannot be found or has no language
    model; looks at its config only."""
    from transformers import AutoModelForCausalLM

    return spec.id == BUILTIN or _kind(spec, spec.id) is not AutoModelForCausalLM or spec.trust_remote_code


def _kind(spec: ModelSpec, where: str) -> Any:
    """The Auto class that loads the model at ``where``."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    try:
        config = AutoConfig.from_pretrained(where, trust_remote_code=spec.trust_remote_code, revision=spec.revision)
    except MemoryError:
        raise
    except Exception as error:  # a config may hold anything, and transformers trips over it wherever it comes to it
        raise UserError(cannot_load(spec.id, error)) from error
    if type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return AutoModelForImageTextToText
    remote = bool(getattr(config, "auto_map", None)) and spec.trust_remote_code
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING and not remote:
        raise UserError(
            f"{spec.id} is a {config.model_type} model, which has no language model that could unlearn; name a VLM or LLM"
        )
    return AutoModelForCausalLM


def load(spec: ModelSpec) -> Vlm:
    """The model a recipe names, in evaluation mode, all weights frozen."""
    from transformers import AutoProcessor

    if spec.id == BUILTIN:
        from textunlearn.vlm.builtin.build import path

        where = str(path())
    else:
        where = spec.id
    device, dtype = choose(spec)
    kind = _kind(spec, where)
    options: dict[str, Any] = {"trust_remote_code": spec.trust_remote_code, "revision": spec.revision}
    try:
        model, found = kind.from_pretrained(
            where, dtype=dtype, use_safetensors=True, output_loading_info=True, **options
        )
        processor = AutoProcessor.from_pretrained(where, **options)
    except MemoryError:
        raise
    except Exception as error:  # of every kind, from five libraries; tokenizers raises no other than Exception itself
        raise UserError(cannot_load(spec.id, error)) from error
    if found["missing_keys"]:  # transformers would go on with random ones
        first = min(found["missing_keys"])
        raise UserError(
            f"{spec.id} lacks weights that its config asks for (first: {first}); get a complete copy of the model"
        )
    if spec.adapter is not None:
        model = merge_adapter(model, spec.adapter)
    try:
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
    decoder = model.get_decoder()
    paths = [path for path, module in model.named_modules() if module is decoder]
    if not paths or model.get_output_embeddings() is None:
        raise UserError(f"{name} ({type(model).__name__}) has no language model part that textunlearn can find")
    vlm = Vlm(name, model, processor, paths[0])
    require_own_tokenizer(vlm)
    return vlm
