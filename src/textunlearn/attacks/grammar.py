"""Attack expressions, as suites, recipes and the command line name attacks::

    expression = step, { "|", step } ;
    step       = name, [ "(", [ setting, { ",", setting } ], ")" ] ;
    setting    = key, "=", ( bare word | quoted string ) ;

In ``a | b``, what ``a`` makes of the request's text is the request of ``b``; pictures, sounds and a beginning of the model's
answer that are already made are carried along. So ``base64 | figstep`` draws the encoded request, and
``blank_image | prefill(words="Sure,")`` has both. A bare word ends at a comma or bracket and has no escapes (file names);
a string in ' or " knows \\n, \\t, \\\\ and its quote.

Randomness stays that of the original request: every step sees its id.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from textunlearn.attacks import ATTACKS, Shown
from textunlearn.errors import UserError
from textunlearn.pictures import open_picture
from textunlearn.records import Prompt

_NAME = re.compile(r"\s*([^\W\d]\w*)\s*")
_QUOTED = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')\s*""", re.DOTALL)
_BARE = re.compile(r"""\s*([^\s"'(),=|][^"'(),=|]*?)\s*(?=[,)]|$)""")
_ESCAPES = {r"\n": "\n", r"\t": "\t", r"\\": "\\", r"\"": '"', r"\'": "'"}


@dataclass(frozen=True, slots=True)
class Reworded(Prompt):
    """A prompt whose words an earlier step has changed. Its ``id`` stays the original's, for every choice hangs on that."""

    origin: str = ""

    @property
    def id(self) -> str:
        return self.origin

    @classmethod
    def of(cls, prompt: Prompt, text: str) -> Reworded:
        same = {field.name: getattr(prompt, field.name) for field in fields(Prompt)}
        return cls(**{**same, "text": text}, origin=prompt.id)


@dataclass(frozen=True, slots=True)
class Step:
    """One attack of a chain with its checked settings."""

    name: str
    settings: dict[str, Any]

    def __call__(self, prompt: Prompt) -> Shown:
        return ATTACKS.get(self.name)(prompt, **self.settings)


@dataclass(frozen=True, slots=True)
class Chain:
    """What an expression names: an `Attack`.

    The one rule for requests that come with a picture of their own: attacks on the words keep the picture, and one that draws
    cannot be used, for its typed prompt would speak of two pictures as one.
    """

    expression: str
    steps: tuple[Step, ...]

    def __call__(self, prompt: Prompt, /) -> Shown:
        shown = Shown(prompt.text)
        for number, step in enumerate(self.steps):
            if number and prompt.text and not shown.text:
                raise UserError(
                    f"in the attack {self.expression!r}, {self.steps[number - 1].name} leaves nothing typed that "
                    f"{step.name} could change; put it last"
                )
            made = step(Reworded.of(prompt, shown.text) if number else prompt)
            if shown.prefill and made.prefill:
                raise UserError(
                    f"the attack {self.expression!r} begins the model's answer twice, with {shown.prefill!r} and with "
                    f"{made.prefill!r}; keep one"
                )
            shown = Shown(
                made.text, shown.images + made.images, shown.prefill or made.prefill, shown.sounds + made.sounds
            )
        if not prompt.image:
            return shown
        if shown.images:
            raise UserError(
                f"the attack {self.expression!r} draws a picture, but the requests of {prompt.source} have pictures of their own; "
                "use an attack on the words, such as direct, or a set without pictures"
            )
        return replace(shown, images=(open_picture(Path(prompt.image)),))


def resolve(expression: str) -> Chain:
    """The attack of an expression. UserError for what is not one, an unknown attack or setting, a wrong value, a missing file."""
    return Chain(expression, tuple(_step(name, given) for name, given in parse(expression)))


def parse(expression: str) -> list[tuple[str, dict[str, str]]]:
    """The steps of an expression: names, and settings as they are written. UserError where it does not follow the grammar."""
    at = 0
    steps: list[tuple[str, dict[str, str]]] = []

    def take(pattern: re.Pattern[str], wanted: str) -> str:
        nonlocal at
        found = pattern.match(expression, at)
        if found is None:
            rest = expression[at : at + 20].strip()
            raise UserError(
                f"the attack {expression!r} cannot be read: {wanted} is wanted {'before ' + repr(rest) if rest else 'at its end'}; "
                "write name, name(key=value, ...) or several joined by |"
            )
        at = found.end()
        return found[1]

    def skip(mark: str) -> bool:
        nonlocal at
        found = re.compile(rf"\s*{re.escape(mark)}").match(expression, at)
        at = found.end() if found else at
        return found is not None

    while True:
        name = take(_NAME, "the name of an attack")
        settings: dict[str, str] = {}
        if skip("("):
            while not skip(")"):
                if settings:
                    take(re.compile(r"\s*(,)"), "a comma or )")
                    if skip(")"):
                        break
                key = take(_NAME, "a setting's name")
                take(re.compile(r"\s*(=)"), "=")
                if key in settings:
                    raise UserError(f"the attack {expression!r} sets {key} of {name} twice; keep one")
                quoted = _QUOTED.match(expression, at)
                settings[key] = _unquoted(take(_QUOTED, "a value")) if quoted else take(_BARE, f"a value for {key}")
        steps.append((name, settings))
        if not skip("|"):
            if expression[at:].strip():
                take(re.compile(r"(?!)"), "| or the end")
            return steps


def _unquoted(text: str) -> str:
    return re.sub(r"\\.", lambda found: _ESCAPES.get(found[0], found[0]), text[1:-1], flags=re.DOTALL)


def settings_of(name: str) -> type[BaseModel]:
    """The settings of an attack, by its arguments after the prompt: names, types, defaults, descriptions."""
    arguments = list(inspect.signature(ATTACKS.get(name), eval_str=True).parameters.values())[1:]
    found: dict[str, Any] = {
        argument.name: (argument.annotation, ... if argument.default is argument.empty else argument.default)
        for argument in arguments
    }
    return create_model(name, __config__=ConfigDict(extra="forbid", arbitrary_types_allowed=True), **found)


def _step(name: str, given: dict[str, str]) -> Step:
    model = settings_of(name)
    try:
        checked = model.model_validate(given)
    except ValidationError as error:
        raise UserError(_sentence(name, model, error)) from None
    return Step(name, {key: getattr(checked, key) for key in given})


def _sentence(name: str, model: type[BaseModel], error: ValidationError) -> str:
    """The first thing that is wrong with the settings of the attack ``name``."""
    first = error.errors()[0]
    key, known = str(first["loc"][0]), ", ".join(model.model_fields)
    if first["type"] == "extra_forbidden":
        return f"the attack {name} has no setting {key!r}; " + (f"it knows: {known}" if known else "it has none at all")
    if first["type"] == "missing":
        return f"the attack {name} needs the setting {key!r}; write {name}({key}=...)"
    said = first["msg"].removeprefix("Value error, ")
    return f"the attack {name}: {key}={first['input']} does not work: {said[0].lower()}{said[1:]}"
