"""The request as it stands, beside its own picture where it has one (`attacks.grammar.Chain`): the baseline of every attack."""

from __future__ import annotations

from textunlearn.attacks import ATTACKS, Shown
from textunlearn.records import Prompt


@ATTACKS.register("direct")
def direct(prompt: Prompt) -> Shown:
    return Shown(prompt.text)
