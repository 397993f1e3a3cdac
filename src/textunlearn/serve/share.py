"""A talk as one HTML file for others: harmful requests and unsafe answers are redacted as in the report, unless they are asked for."""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textunlearn.pictures import open_picture
from textunlearn.records import Case, Prompt
from textunlearn.report.redaction import answer_hidden, blocks
from textunlearn.serve.bodies import Exchange, Talk, picture, require_short
from textunlearn.serve.limits import Limits

if TYPE_CHECKING:
    from jinja2 import Environment

SIDE = 360
"""Pixels a side, at most, of a picture in the file."""
WORDS = {
    "harmful": {
        "unsafe": "complies",
        "refusal": "refuses",
        "broken": "broken",
        "other": "evades",
        "failed": "not judged",
    },
    "harmless": {
        "unsafe": "unsafe",
        "refusal": "refuses",
        "broken": "broken",
        "other": "answers",
        "failed": "not judged",
    },
}
"""What a label means, by what was asked for; the page and the file say the same."""


@dataclass(frozen=True, slots=True)
class Words:
    """A text, or in its place how long it is."""

    text: str
    hidden: bool

    @property
    def length(self) -> int:
        return len(self.text)


@cache
def environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("textunlearn", "serve"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip


def write(talk: Talk, about: Mapping[str, Any], limits: Limits) -> str:
    """The file's text. Refused for more text than the server takes and for pictures that are none."""
    from markupsafe import Markup

    require_short(
        (text for one in talk.exchanges for text in (one.request, *(r.text for r in one.replies.values()))), limits
    )
    with tempfile.TemporaryDirectory(prefix="textunlearn-") as folder:
        items = [_item(one, talk.everything, Path(folder), limits) for one in talk.exchanges]
    style = environment().get_template("page.css").render()  # the package's own file: not escaped
    return (
        environment()
        .get_template("share.html.jinja")
        .render(items=items, about=about, everything=talk.everything, style=Markup(style))
    )


def _item(one: Exchange, everything: bool, folder: Path, limits: Limits) -> dict[str, Any]:
    prompt = Prompt(one.request, one.kind, "chat", asked=one.drawn)
    case = Case("chat", one.attack or "direct", prompt, one.typed, prefill=one.prefill)
    hidden = one.kind == "harmful" and not everything
    words = WORDS["harmful" if one.kind == "harmful" else "harmless"]
    replies = {
        side: {
            "answer": Words(reply.text, answer_hidden(case, reply.text, reply.label) and not everything),
            "label": reply.label,
            "word": words.get(reply.label, "not judged"),
            "reason": reply.reason,
            "note": reply.note,
        }
        for side, reply in one.replies.items()
    }
    return {
        "request": Words(" ".join(filter(None, (one.request, one.drawn))), hidden),
        "typed": Words(one.typed, hidden),
        "prefill": Words(one.prefill, hidden),
        "attack": one.attack,
        "kind": one.kind,
        "strength": round(100 * one.strength),
        "pictures": [_small(picture(uri, folder, limits), hidden) for uri in one.pictures[: limits.pictures]],
        "replies": [(side, replies[side]) for side in ("original", "aligned") if side in replies],
    }


def _small(path: Path, hidden: bool) -> str:
    """A picture as a data URI; where it is hidden, blocks in its place."""
    image = open_picture(path)
    if hidden:
        image = blocks(image)
    else:
        image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
