"""A talk with a model in its own chat template: greedy, as the evaluation decodes, unless it is asked for something else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from textunlearn.chat.speaking import Decoding, speak
from textunlearn.errors import UserError
from textunlearn.evaluation.generation import Request, request_of

if TYPE_CHECKING:
    from textunlearn.vlm.load import Vlm

ANSWER_TOKENS = 256
Turn = tuple[str, tuple[str | None, ...]]
"""Role and content: words, or None for a picture, in the order in which they are shown."""


def request_in(vlm: Vlm, turns: Sequence[Turn], images: Sequence[Path], prefill: str = "") -> Request:
    """The token ids of a chat that waits for the model's turn; ``images`` in the order of the None in ``turns``.

    UserError for pictures that the model does not take or that cannot be read, and for a chat that its template does not take.
    """
    if images and vlm.image_token_id is None:
        raise UserError(f"{vlm.name} takes no images; leave the picture out")
    if any(content.count(None) > 1 for _, content in turns) and not vlm.takes_several:
        raise UserError(f"{vlm.name} takes one picture in a turn; leave the others out")
    return request_of(vlm, vlm.text_of_chat(turns, prefill), images, prefill)


@dataclass
class Conversation:
    """Turns so far.

    Args:
        vlm: the model.
        answer_tokens: length of an answer, at most.
    """

    vlm: Vlm
    answer_tokens: int = ANSWER_TOKENS
    turns: list[Turn] = field(default_factory=list)
    images: list[Path] = field(default_factory=list)

    def say(self, text: str, image: Path | None = None, heard: Callable[[str], None] = lambda piece: None) -> str:
        """Answer to ``text`` (and to the picture in the file ``image``).

        ``heard`` gets the answer piece by piece. A turn that fails or is interrupted leaves the conversation as it was.
        UserError for a picture that cannot be read, a model without images, or a talk longer than the model's context.
        """
        content: tuple[str | None, ...] = (text,) if image is None else (None, text) if text else (None,)
        turns: list[Turn] = [*self.turns, ("user", content)]
        images = [*self.images, *([image] if image is not None else [])]
        request = request_in(self.vlm, turns, images)
        limit = getattr(self.vlm.base.config.get_text_config(), "max_position_embeddings", None)
        if limit is not None and len(request.ids) + self.answer_tokens > limit:
            raise UserError(f"the talk is longer than the model can hold ({limit} tokens); start over with /new")
        (said,) = speak(self.vlm, [request], [Decoding(self.answer_tokens)], lambda _, piece: heard(piece))
        answer = said.text.strip()
        self.turns, self.images = [*turns, ("assistant", (answer,))], images
        return answer

    def forget(self) -> None:
        """Start over."""
        self.turns, self.images = [], []
