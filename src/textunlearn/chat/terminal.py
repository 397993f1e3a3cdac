"""Talk to a run's model in the terminal: answers appear word by word, greedy, as the evaluation decodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textunlearn.errors import UserError
from textunlearn.pictures import open_picture

if TYPE_CHECKING:
    from rich.console import Console

    from textunlearn.vlm.load import Vlm

HELP = "/image FILE shows a picture with the next message, /new starts over, /quit leaves"
ANSWER_TOKENS = 256


@dataclass
class Conversation:
    """Turns so far, in the model's own chat template.

    Args:
        vlm: the model.
        answer_tokens: length of an answer, at most.
    """

    vlm: Vlm
    answer_tokens: int = ANSWER_TOKENS
    messages: list[dict[str, Any]] = field(default_factory=list)
    images: list[Any] = field(default_factory=list)

    def say(self, text: str, image: Path | None = None, heard: Callable[[str], None] = lambda piece: None) -> str:
        """Answer to ``text`` (and to the picture in the file ``image``).

        ``heard`` gets the answer piece by piece. A turn that fails or is interrupted leaves the conversation as it was.
        UserError for a picture that cannot be read, a model without images, or a talk longer than the model's context.
        """
        messages = [*self.messages, self._turn(text, image)]
        images = [*self.images, *([open_picture(image)] if image is not None else [])]
        answer = self._answer(self._inputs(messages, images), heard)
        self.messages = [*messages, {"role": "assistant", "content": self._content(answer)}]
        self.images = images
        return answer

    def forget(self) -> None:
        """Start over."""
        self.messages, self.images = [], []

    def _content(self, text: str) -> Any:
        words = self.vlm.as_words(text)
        return words if self.vlm.image_token_id is None else [{"type": "text", "text": words}]

    def _turn(self, text: str, image: Path | None) -> dict[str, Any]:
        if image is None:
            return {"role": "user", "content": self._content(text)}
        if self.vlm.image_token_id is None:
            raise UserError(f"{self.vlm.name} takes no images; leave --image out")
        words = self._content(text) if text else []
        return {"role": "user", "content": [{"type": "image"}, *words]}

    def _inputs(self, messages: list[dict[str, Any]], images: list[Any]) -> dict[str, Any]:
        import torch

        vlm = self.vlm
        rendered = vlm.render(messages)
        if images:
            row, given = vlm.with_images(rendered, images)
        else:
            row, given = vlm.encode(rendered), {}
        ids = torch.tensor([row])
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **given}
        config = vlm.base.config
        limit = getattr(getattr(config, "text_config", config), "max_position_embeddings", None)
        if limit is not None and batch["input_ids"].shape[1] + self.answer_tokens > limit:
            raise UserError(f"the talk is longer than the model can hold ({limit} tokens); start over with /new")
        dtype = vlm.embed.weight.dtype
        return {k: v.to(vlm.device, dtype) if v.is_floating_point() else v.to(vlm.device) for k, v in batch.items()}

    def _answer(self, inputs: dict[str, Any], heard: Callable[[str], None]) -> str:
        import torch

        pieces: list[str] = []

        def keep(piece: str) -> None:
            pieces.append(piece)
            heard(piece)

        streamer = _streamer(self.vlm.tokenizer, keep)
        with torch.inference_mode():
            self.vlm.model.generate(
                **inputs,
                max_new_tokens=self.answer_tokens,
                do_sample=False,
                top_p=None,
                top_k=None,
                temperature=None,
                streamer=streamer,
            )
        return "".join(pieces).strip()


def _streamer(tokenizer: Any, keep: Callable[[str], None]) -> Any:
    from transformers import TextStreamer

    class Pieces(TextStreamer):
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            keep(text)

    return Pieces(tokenizer, skip_prompt=True, skip_special_tokens=True)


def printable(text: str) -> str:
    """``text`` without control characters, which could steer the terminal; line ends and tabs stay."""
    return "".join(c for c in text if c in "\n\t" or c.isprintable())


def chat(talk: Conversation, console: Console, image: Path | None = None) -> None:
    """Read lines until end of file or /quit; ``image`` goes with the first. Ctrl-C cuts an answer short, or leaves."""
    console.print(f"{talk.vlm.name}: {HELP}", style="dim", markup=False, highlight=False)
    waiting = image
    while True:
        try:
            line = console.input("[bold cyan]you[/] ").strip()
        except (EOFError, KeyboardInterrupt):
            console.print()
            return
        command, _, rest = line.partition(" ")
        if command == "/quit":
            return
        if command == "/new":
            talk.forget()
            waiting = image
        elif command == "/image":
            waiting = _home(rest.strip())
        elif command.startswith("/") and command[1:].isalpha():
            console.print(HELP, style="dim", markup=False, highlight=False)
        elif line or waiting is not None:
            waiting = _exchange(talk, console, line, waiting)


def _home(file: str) -> Path:
    try:
        return Path(file).expanduser()
    except RuntimeError:  # ~ of a user that there is not
        return Path(file)


def _exchange(talk: Conversation, console: Console, line: str, image: Path | None) -> Path | None:
    """One message and its answer. Returns the picture that is still to be shown, if the turn did not happen."""

    def heard(piece: str) -> None:
        console.print(printable(piece), end="", markup=False, highlight=False, soft_wrap=True)

    console.print("[bold green]model[/] ", end="")
    try:
        talk.say(line, image, heard)
    except UserError as error:
        console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        return None
    except KeyboardInterrupt:
        console.print(" … cut short", style="dim")
        return image
    console.print()
    return None
