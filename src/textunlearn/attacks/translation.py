"""The request in another language: safety training in English carries over badly (arXiv 2310.02446, 2310.06474).

Translations come from a file of your own, for no translator comes with this tool: a ``.csv`` or ``.jsonl``
with a column for the request and one for its translation, made by whatever translator you trust. A request that the file
lacks is an error, never shown untranslated.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from textunlearn.attacks import ATTACKS, Shown
from textunlearn.data.rows import read_rows
from textunlearn.errors import UserError
from textunlearn.records import Prompt

REQUEST, TRANSLATION = "prompt", "translation"
"""The columns."""


def _key(text: str) -> str:
    return " ".join(text.split())


def read_translations(path: str | Path) -> Mapping[str, str]:
    """Translations by request. UserError for a file without both columns, an empty translation, or two of one request."""
    found: dict[str, str] = {}
    for row in read_rows(Path(path)):
        if lacking := [name for name in (REQUEST, TRANSLATION) if not str(row.values.get(name) or "").strip()]:
            raise UserError(
                f"{path} line {row.line} has nothing in the column {lacking[0]!r}; a file of translations needs the columns "
                f"{REQUEST!r} and {TRANSLATION!r}"
            )
        request, translated = (str(row.values[name]).strip() for name in (REQUEST, TRANSLATION))
        if found.setdefault(_key(request), translated) != translated:
            raise UserError(
                f"{path} line {row.line} translates a request for the second time, in other words; keep one"
            )
    if not found:
        raise UserError(f"{path} holds no translation; give a file with at least one")
    return found


@ATTACKS.register("translation")
def translation(
    prompt: Prompt,
    file: Annotated[
        Mapping[str, str], BeforeValidator(read_translations), Field(description="columns prompt and translation")
    ],
) -> Shown:
    """The request as a file of your own translates it.

    UserError for one that the file lacks.
    """
    if _key(prompt.text) not in file:
        raise UserError(
            f"the file of translations has none of {prompt.text[:40]!r} …; add it, or leave the request out of the suite"
        )
    return Shown(file[_key(prompt.text)])
