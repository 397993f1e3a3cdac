"""Training rows: a prompt in token ids and the answers that hang on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from textunlearn.records import digest

Role = Literal["harmful", "safe", "benign"]


@dataclass(frozen=True, slots=True)
class Target:
    """One answer: ``ids`` are learned (or unlearned) at the positions that predict them."""

    role: Role
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt with its answers. ``slots`` are the positions in ``prompt`` that stand for image tokens (none in typed rows).

    ``begun``: how many tokens at the end of ``prompt`` are the model's own turn already.
    ``picture``: key of the image features that stand in the slots (`training.pictures`); "" where they hold words, or none.
    """

    kind: str
    prompt: tuple[int, ...]
    targets: tuple[Target, ...]
    slots: tuple[int, ...] = ()
    picture: str = ""
    begun: int = 0

    @property
    def key(self) -> str:
        return digest(self.prompt, [t.ids for t in self.targets], self.slots, *([self.picture] if self.picture else []))
