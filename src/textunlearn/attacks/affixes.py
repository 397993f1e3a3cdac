"""Words of your own before or after the request.

A suffix is where optimised attacks such as GCG (arXiv 2307.15043) put their strings. None of those is shipped: they are made for
one model by its gradients, and this tool does not optimise any. Give your own by ``suffix(words=...)``, or a file of them.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from textunlearn.attacks import ATTACKS, Shown
from textunlearn.attacks.parameters import Seed, Words, lines_of, shuffled
from textunlearn.records import Prompt


@ATTACKS.register("prefix")
def prefix(prompt: Prompt, words: Words) -> Shown:
    """Words of your own in front of the request."""
    return Shown(f"{words} {prompt.text}")


@ATTACKS.register("suffix")
def suffix(prompt: Prompt, words: Words) -> Shown:
    """Words of your own after the request; the same for every prompt."""
    return Shown(f"{prompt.text} {words}")


@ATTACKS.register("suffixes")
def suffixes(
    prompt: Prompt,
    file: Annotated[tuple[str, ...], BeforeValidator(lines_of), Field(description="one suffix a line")],
    seed: Seed = 0,
) -> Shown:
    """After the request, one of the lines of a UTF-8 text file of your own, chosen for each prompt by hash."""
    return Shown(f"{prompt.text} {shuffled(file, 'suffixes', prompt, seed)[0]}")
