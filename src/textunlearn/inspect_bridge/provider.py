"""The model provider ``textunlearn/…``: answers by the same engine, and so the same greedy answers, as `textunlearn evaluate`."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    StopReason,
)
from inspect_ai.tool import ToolChoice, ToolInfo
from pydantic import ValidationError

from textunlearn.errors import UserError
from textunlearn.evaluation.batching import BATCH
from textunlearn.evaluation.generation import request_of
from textunlearn.inspect_bridge.batches import Batches
from textunlearn.inspect_bridge.messages import Chat, chat_of
from textunlearn.recipe import ModelSpec
from textunlearn.settings import sentence

if TYPE_CHECKING:
    from textunlearn.evaluation.generation import Request
    from textunlearn.vlm.load import Vlm

MAX_TOKENS = 2048
"""Where nobody says how long an answer may be: what Inspect's own provider of local models takes."""

GREEDY: dict[str, tuple[Any, ...]] = {
    "temperature": (0,),
    "num_choices": (1,),
    "best_of": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "response_schema": (),
}
"""Generation settings that would change what is answered, and the values that do not."""


class TextunlearnAPI(ModelAPI):
    """A vision-language model in memory.

    Args:
        model_name: ``builtin``, a hub id, a model's folder, or a run folder: then the model that came out of it.
        model_args: adapter, revision, dtype, device, trust_remote_code as in a recipe's ``model``; before (of a run folder: the model
            as it was); batch_size.

    UserError for a model or an argument that does not fit.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008 - Inspect's own signature
        **model_args: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        size = model_args.pop("batch_size", BATCH)
        if not isinstance(size, int) or size < 1:
            raise UserError(f"batch_size is a whole number above 0, not {size!r}")
        self.vlm = _load(model_name, model_args)
        self._pictures = tempfile.TemporaryDirectory(prefix="textunlearn-inspect-")
        self._batches = Batches(self.vlm, size)

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """As Inspect asks for it; UserError for tools and for settings that the engine does not have."""
        if tools:
            raise UserError(f"{self.model_name} calls no tools; leave them out of this task")
        for name, plain in GREEDY.items():
            if (value := getattr(config, name)) is not None and value not in plain:
                raise UserError(f"textunlearn answers greedily, and {name}={value!r} would not; leave {name} out")
        started = time.monotonic()
        chat = chat_of(input, Path(self._pictures.name))
        future = self._batches.submit(lambda: self._request(chat), config.max_tokens or MAX_TOKENS)
        try:
            while not future.done():  # whatever runs the event loop: a thread per request would be too many
                await anyio.sleep(0.02)
        finally:
            future.cancel()  # no-op once it is answered; else its place in the queue is given up
        got = future.result()
        text, reason = got.answer.text, "stop" if got.answer.finished else "max_tokens"
        ends = [at for stop in config.stop_seqs or () if stop and (at := text.find(stop)) >= 0]
        if ends:
            text, reason = text[: min(ends)], "stop"
        return output(self.model_name, text, reason, got.asked_tokens, got.answer.tokens, time.monotonic() - started)

    def _request(self, chat: Chat) -> Request:
        vlm, shown = self.vlm, len(chat.pictures)
        if shown and vlm.image_token_id is None:
            raise UserError(f"{vlm.name} takes no pictures; leave tasks with images out")
        if shown > 1 and not vlm.takes_several:
            raise UserError(f"{vlm.name} takes one picture in a chat, and this one shows {shown}")
        if chat.sounds and vlm.audio_token_id is None:
            raise UserError(f"{vlm.name} takes no sound; leave tasks with audio out")
        return request_of(vlm, vlm.text_of_chat(chat.turns, chat.prefill), chat.pictures, sounds=chat.sounds)

    def max_tokens(self) -> int:
        return MAX_TOKENS

    def max_connections(self) -> int:
        return self._batches.size

    def collapse_user_messages(self) -> bool:
        return True  # many chat templates refuse two turns of one role in a row

    def close(self) -> None:
        self._batches.close()
        self._pictures.cleanup()


def _load(name: str, args: dict[str, Any]) -> Vlm:
    from transformers.utils.logging import disable_progress_bar

    from textunlearn import result
    from textunlearn.vlm.load import load

    disable_progress_bar()  # Inspect draws the screen
    if (Path(name) / "recipe.yaml").is_file():
        before = args.pop("before", False)
        if args:
            raise UserError(f"{name} is a run, which says itself how its model is held; leave {', '.join(args)} out")
        return result.load_result(Path(name), before=bool(before))
    try:
        return load(ModelSpec.model_validate({"id": name, **args}))
    except ValidationError as error:
        raise UserError(f"the model's arguments: {sentence(error, ModelSpec)}") from None


def output(
    model: str, text: str, reason: StopReason | str, asked: int, said: int, seconds: float | None
) -> ModelOutput:
    """One answer as Inspect has it. ``asked``, ``said``: tokens."""
    message = ChatMessageAssistant(content=text, model=model, source="generate")
    choice = ChatCompletionChoice(message=message, stop_reason=reason)  # type: ignore[arg-type]
    usage = ModelUsage(input_tokens=asked, output_tokens=said, total_tokens=asked + said)
    return ModelOutput(model=model, choices=[choice], usage=usage, time=seconds)
