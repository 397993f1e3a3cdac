"""Where a model judge's questions go: a local transformers model, or an OpenAI-compatible endpoint. Both give replies in order."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from textunlearn.endpoint.messages import Message
from textunlearn.errors import UserError
from textunlearn.files import named_path
from textunlearn.records import digest


@dataclass(frozen=True, slots=True)
class Question:
    """What a model judge is asked.

    Attributes:
        raw: the whole prompt as its publisher has it, chat-template tokens included; for a local model.
        turns: the same for a chat endpoint, which adds its model's own template.
        judged: the user's and the model's turn alone, for models whose own chat template holds the instructions.
    """

    raw: str
    turns: tuple[Message, ...]
    judged: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Said:
    """A reply, or why there is none."""

    text: str = ""
    error: str = ""


class Backend(Protocol):
    """Answers questions, greedily."""

    @property
    def name(self) -> str:
        """Of the model; part of the judge's name."""

    def ask(self, questions: Sequence[Question], max_tokens: int) -> list[Said]:
        """One reply a question, in order; a failure is a Said whose ``error`` says why."""


class Local:
    """A causal language model on this machine, loaded when it is first asked.

    Args:
        model: hub id or folder.
        add_special_tokens: whether the tokenizer adds the tokens that begin a text (``raw`` lacks them).
        own_template: asked of the tokenizer's chat template; where it says yes, that makes the prompt from ``judged``.
    """

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        batch_size: int = 8,
        add_special_tokens: bool = False,
        own_template: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self.model, self.revision, self.device, self.dtype = model, revision, device, dtype
        self.batch_size, self.add_special_tokens, self.own_template = batch_size, add_special_tokens, own_template
        self._loaded: tuple[Any, Any] | None = None

    @property
    def name(self) -> str:
        return named_path(self.model).name + (f"-{self.revision}" if self.revision else "")

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            import torch
            from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer

            from textunlearn.recipe import ModelSpec
            from textunlearn.vlm.load import choose

            try:
                spec = ModelSpec.model_validate({"id": self.model, "device": self.device, "dtype": self.dtype})
                device, dtype = choose(spec)
                config = AutoConfig.from_pretrained(self.model, revision=self.revision)
                kind = AutoModelForImageTextToText if hasattr(config, "vision_config") else AutoModelForCausalLM
                tokenizer = AutoTokenizer.from_pretrained(self.model, revision=self.revision, padding_side="left")
                model = kind.from_pretrained(self.model, revision=self.revision, dtype=dtype)
            except (OSError, ValueError, KeyError) as error:
                said = " ".join(str(error).split())[:300]
                raise UserError(f"the judge's model {self.model} cannot be loaded: {said}") from None
            if tokenizer.pad_token_id is None:
                tokenizer.pad_token = tokenizer.eos_token
            model.to(torch.device(device))  # type: ignore[arg-type]
            self._loaded = tokenizer, model.eval().requires_grad_(False)
        return self._loaded

    def ask(self, questions: Sequence[Question], max_tokens: int) -> list[Said]:
        """Batches of like lengths, padded on the left. A prompt that does not fit the model's context is a failure, never cut."""
        tokenizer, model = self._load()
        specials = sorted(set(tokenizer.all_special_tokens) | set(tokenizer.get_added_vocab()), key=len, reverse=True)
        rows = [self._ids(tokenizer, question, specials) for question in questions]
        text_config = model.config.get_text_config()
        room = (getattr(text_config, "max_position_embeddings", None) or 1 << 30) - max_tokens
        out = [Said(error=f"the prompt has {len(row)} tokens and the judge takes {room}") for row in rows]
        fitting = sorted((i for i, row in enumerate(rows) if len(row) <= room), key=lambda i: len(rows[i]))
        for start in range(0, len(fitting), self.batch_size):
            some = fitting[start : start + self.batch_size]
            for i, text in zip(some, self._batch(tokenizer, model, [rows[i] for i in some], max_tokens), strict=True):
                out[i] = Said(text)
        return out

    def _ids(self, tokenizer: Any, question: Question, specials: Sequence[str]) -> list[int]:
        template = tokenizer.chat_template
        if isinstance(template, str) and self.own_template(template):
            chat = [{"role": turn.role, "content": defanged(turn.text, specials)} for turn in question.judged]
            try:
                text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
            except Exception:  # templates of multi-modal models want lists of parts
                parts = [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in chat]
                text = tokenizer.apply_chat_template(parts, tokenize=False, add_generation_prompt=True)
            ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
            return ids
        ids = tokenizer(question.raw, add_special_tokens=self.add_special_tokens)["input_ids"]
        return ids

    def _batch(self, tokenizer: Any, model: Any, rows: Sequence[list[int]], max_tokens: int) -> list[str]:
        import torch

        longest, pad = max(map(len, rows)), tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows], device=model.device)
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=model.device)
        with torch.inference_mode():
            made = model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=max_tokens, do_sample=False, num_beams=1,
                pad_token_id=pad, temperature=None, top_p=None, top_k=None,
            )  # fmt: skip
        texts: list[str] = tokenizer.batch_decode(made[:, longest:], skip_special_tokens=True)
        return texts


class Served:
    """A model behind an OpenAI-compatible endpoint; ``settings``: those of `textunlearn.endpoint`. Checked now, asked later."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        from textunlearn.endpoint.spec import EndpointSpec

        self.spec = EndpointSpec.parse(dict(settings), "the judge's endpoint")

    @property
    def name(self) -> str:
        return f"{self.spec.model}-{digest(self.spec.identity, length=6)}"

    def ask(self, questions: Sequence[Question], max_tokens: int) -> list[Said]:
        from textunlearn.endpoint import Endpoint

        chats = [question.turns for question in questions]
        replies = Endpoint(self.spec).ask(chats, max_tokens)
        return [Said(reply.text, reply.error) for reply in replies]


_TOKEN = re.compile(
    r"<\|[^|<>\n]{1,60}\|>|\[/?INST\]|<</?SYS>>|</?s>|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>|<(?:BEGIN|END)\b[^<>\n]{0,60}>",
    re.I,
)


def defanged(text: str, delimiters: Sequence[str] = ()) -> str:
    """``text`` in which no chat-template token and none of ``delimiters`` is left: a space is put behind their first character."""
    text = _TOKEN.sub(lambda hit: f"{hit.group()[0]} {hit.group()[1:]}", text)
    for mark in delimiters:
        if len(mark.strip()) >= 3 and not mark.strip().isalnum():
            text = text.replace(mark, f"{mark[0]} {mark[1:]}")
    return text
