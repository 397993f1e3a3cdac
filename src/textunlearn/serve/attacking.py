"""The project's attacks on the page: those that need no setting at one click, and typography with its settings.

No setting that reads a file can be reached from here: names are taken from a list, fonts too.
"""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from textunlearn.attacks import ATTACKS, Shown
from textunlearn.attacks.figstep import FIGSTEP_TEXT, SHORT_TEXT
from textunlearn.attacks.grammar import resolve, settings_of
from textunlearn.attacks.typography import LAYOUTS
from textunlearn.errors import UserError
from textunlearn.records import Prompt
from textunlearn.serve.bodies import Drawing, Question, picture
from textunlearn.serve.limits import Limits, Refused
from textunlearn.settings import sentence

if TYPE_CHECKING:
    from PIL import Image

FIRST = {
    "jailbreak_wrapper": "Template",
    "prefill": "Prefill",
    "cue_what": "Cue",
    "figstep": "FigStep",
    "typography_short": "Typography",
}
"""What has a button; all others stand in a list."""
NONE = "direct"
POINTING = (SHORT_TEXT, FIGSTEP_TEXT)
"""Typed words that only point at the picture."""
FONTS = tuple(dict.fromkeys(look.font for look in LAYOUTS.values()))
"""Fonts that come inside matplotlib."""


def offered() -> list[dict[str, str]]:
    """The attacks that need no setting: name, what the page calls it ("" where it has no button), what it does."""
    names = [name for name in ATTACKS.names() if name != NONE and not _needs(name)]
    ordered = sorted(names, key=lambda name: (list(FIRST).index(name) if name in FIRST else len(FIRST), name))
    return [{"name": name, "title": FIRST.get(name, ""), "about": _about(name)} for name in ordered]


def _needs(name: str) -> bool:
    return any(field.is_required() for field in settings_of(name).model_fields.values())


def _about(name: str) -> str:
    attack = ATTACKS.get(name)
    return " ".join((attack.__doc__ or "").split("\n\n")[0].split())


def put(question: Question, folder: Path, limits: Limits) -> tuple[Prompt, Shown, tuple[Path, ...]]:
    """What the model is shown of a question, and the files of its pictures in ``folder``. Refused or UserError for what cannot be put."""
    own = picture(question.picture, folder, limits) if question.picture else None
    if not question.request.strip() and own is None:
        raise Refused(400, "there is nothing to ask; type a request or attach a picture", param="request")
    known = {NONE, *(one["name"] for one in offered())}
    name = question.attack or NONE
    if name not in known:
        raise Refused(400, f"there is no attack {name[:40]!r} on this page", param="attack")
    if name != NONE and not question.request.strip():
        raise Refused(400, "an attack needs a typed request; type one", param="request")
    prompt = Prompt(question.request, question.kind, "chat", image=str(own or ""), asked=_asked(question))
    shown = resolve(name)(prompt)
    if question.prefill:
        if shown.prefill:
            raise UserError(f"the attack {name} begins the answer already; empty the field with its beginning")
        shown = replace(shown, prefill=question.prefill)
    if own is not None:
        return prompt, shown, (own,)
    paths = tuple(folder / f"shown-{number}.png" for number in range(len(shown.images)))
    for image, path in zip(shown.images, paths, strict=True):
        path.write_bytes(png(image))
    return prompt, shown, paths


def _asked(question: Question) -> str:
    """What is really asked: a typed "Follow the instruction in the image" says nothing of it."""
    typed = question.request.strip()
    return (
        " ".join(filter(None, (question.drawn.strip(), "" if typed in POINTING else typed))) if question.drawn else ""
    )


def draw(drawing: Drawing) -> bytes:
    """The PNG file of a drawn text. UserError for what cannot be drawn, Refused for a font or layout that is not offered."""
    if drawing.font is not None and drawing.font not in FONTS:
        raise Refused(400, f"there is no font {drawing.font[:60]!r} here", param="font")
    given = drawing.model_dump(exclude={"text"}, exclude_none=True)
    try:
        checked = settings_of("typography").model_validate(given)
    except ValidationError as error:
        raise Refused(400, sentence(error, settings_of("typography"))[:300], param="typography") from None
    settings: dict[str, Any] = checked.model_dump(exclude_unset=True)
    shown = ATTACKS.get("typography")(Prompt(drawing.text, "ordinary", "chat"), **settings)
    return png(shown.images[0])


def png(image: Image.Image) -> bytes:
    """A PNG file of the picture."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def uri(path: Path) -> str:
    """A PNG file as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
