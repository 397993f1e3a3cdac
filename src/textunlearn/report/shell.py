"""What every page of ours has in common: one look, one script, one policy, one file. ``page/`` holds the templates.

Whatever a model, a data set or a recipe says goes through Jinja's escaping, or stands as JSON in an element that browsers do not run.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from textunlearn.records import LABELS
from textunlearn.report.quantities import facts
from textunlearn.report.table import NAMES, label_name, number, percent

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


@dataclass(frozen=True, slots=True)
class Figure:
    """``svg``: one inline element, "" if there was nothing to draw; ``missing``: what to say then."""

    title: str
    svg: str
    missing: str

    @property
    def drawn(self) -> Markup:
        """The element as markup: matplotlib's own escaped output."""
        from markupsafe import Markup

        return Markup(self.svg)


@dataclass(frozen=True, slots=True)
class Link:
    """A section's place in the bar at the top."""

    id: str
    title: str


def asset(name: str) -> str:
    """A file of ``page/`` as text."""
    return (files("textunlearn.report") / "page" / name).read_text(encoding="utf-8").strip()


def environment() -> Environment:
    """Jinja with escaping on, a wrong name an error, and the words that all pages use."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    env = Environment(
        loader=PackageLoader("textunlearn", "report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    env.filters |= {"percent": percent, "number": number}
    env.globals |= {
        "facts": facts,
        "names": NAMES,
        "labels": LABELS,
        "label_name": label_name,
        "percent": percent,
        "number": number,
    }
    return env


def embedded(data: Any) -> Markup:
    """``data`` as JSON for a ``<script type="application/json">``: with no "<" in it nothing can end the element or begin another."""
    from markupsafe import Markup

    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def render_page(
    env: Environment, template: str, *, styles: Sequence[str], scripts: Sequence[str], **values: Any
) -> str:
    """``template`` of ``page/`` with its look and behaviour in it.

    Args:
        styles, scripts: files of ``page/``, in this order after those that every page has. The policy allows these scripts alone.
        values: what the template needs.
    """
    from markupsafe import Markup

    # The package's own files are the only markup that is not escaped. A script is run as the bytes that its hash is of.
    script = "\n".join(map(asset, ("page.js", *scripts)))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return env.get_template(f"page/{template}").render(
        style=Markup("\n".join(map(asset, ("page.css", *styles)))), script=Markup(script), script_hash=digest, **values
    )
