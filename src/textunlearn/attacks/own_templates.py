"""Jailbreak templates of your own: text files in which ``{request}`` stands for the request.

Collections such as that of "Do Anything Now" (arXiv 2308.03825) come as such texts. None is shipped beyond the authored parts in
`jailbreak` and `jailbreak_templates`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from textunlearn.attacks import ATTACKS, Shown
from textunlearn.attacks.parameters import Seed, files_in, shuffled, text_of
from textunlearn.errors import UserError
from textunlearn.records import Prompt

GAP = "{request}"


def read_template(path: str | Path) -> str:
    """A template's text. UserError if it cannot be read or has no place for the request."""
    text = text_of(path).strip()
    if GAP not in text:
        raise UserError(f"the template {path} has no {GAP}, where the request goes; put it in")
    return text


def read_templates(folder: str | Path) -> tuple[tuple[str, str], ...]:
    """``(file name, text)`` of every template in a folder."""
    return tuple((path.name, read_template(path)) for path in files_in(folder, ".txt", ".md"))


@ATTACKS.register("template")
def template(
    prompt: Prompt, file: Annotated[str, BeforeValidator(read_template), Field(description="text with {request} in it")]
) -> Shown:
    """The request in a template of your own, a text file with {request} in it."""
    # replace, not format: templates and requests may hold braces
    return Shown(file.replace(GAP, prompt.text))


@ATTACKS.register("templates")
def templates(
    prompt: Prompt,
    folder: Annotated[
        tuple[tuple[str, str], ...], BeforeValidator(read_templates), Field(description="of such texts, .txt or .md")
    ],
    seed: Seed = 0,
) -> Shown:
    """The request in one of the templates (.txt, .md) in a folder of your own, chosen for each prompt by the file's name."""
    _, text = shuffled(folder, "templates", prompt, seed, lambda entry: entry[0])[0]
    return Shown(text.replace(GAP, prompt.text))
