"""Draws docs/pictures/paths.svg: how a typed and a drawn request reach the language model, and which part is trained.

python docs/pictures/paths.py
"""

from __future__ import annotations

from html import escape
from pathlib import Path

from drawing import write

HERE = Path(__file__).parent
LABEL = "A request typed and a request drawn reach the same language model; only that model is trained"


def box(x: float, y: float, width: float, words: str, below: str, *, colour: str = "--line", fill: str = "none") -> str:
    middle = x + width / 2
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="56" rx="7" style="fill: {fill}; stroke: var({colour}); stroke-width: 1.6"/>'
        f'<text x="{middle}" y="{y + 25}" text-anchor="middle" style="fill: var(--ink); '
        f'font-size: 13px; font-weight: 600">{escape(words)}</text>'
        f'<text x="{middle}" y="{y + 43}" text-anchor="middle" style="fill: var(--muted); font-size: 11.5px">{escape(below)}</text>'
    )


def arrow(x1: float, y1: float, x2: float, y2: float, dashed: bool = False) -> str:
    dash = "stroke-dasharray: 5 4; " if dashed else ""
    return f'<path d="M{x1} {y1} L{x2} {y2}" marker-end="url(#head)" style="stroke: var(--muted); stroke-width: 1.6; fill: none; {dash}"/>'


def slots(x: float, y: float, kinds: str) -> str:
    """A row of vectors: t from typed words, p from a picture, w words laid out as a picture's, - blank."""
    fills = {"t": "var(--c0)", "p": "var(--c1)", "w": "var(--c2)", "-": "var(--line)"}
    return "".join(
        f'<rect x="{x + 15 * i}" y="{y}" width="11" height="18" rx="2" style="fill: {fills[kind]}"/>'
        for i, kind in enumerate(kinds)
    )


def note(x: float, y: float, words: str, *, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" style="fill: var(--muted); font-size: 12px">{escape(words)}</text>'


def picture() -> str:
    head = (
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" style="fill: var(--muted)"/></marker></defs>'
    )
    typed, drawn, laid = 46, 140, 234
    lanes = [
        box(16, typed, 126, "Typed request", "words"),
        arrow(144, typed + 28, 362, typed + 28),
        note(156, typed + 20, "word embeddings"),
        slots(372, typed + 19, "tttttttttt"),
        box(16, drawn, 126, "Drawn request", "a picture"),
        arrow(144, drawn + 28, 162, drawn + 28),
        box(160, drawn, 180, "Vision side", "encoder, projector: frozen"),
        arrow(342, drawn + 28, 362, drawn + 28),
        slots(372, drawn + 19, "p--pp-p--p"),
        box(16, laid, 120, "Text in slots", "only in training"),
        arrow(144, laid + 28, 362, laid + 28, dashed=True),
        note(156, laid + 20, "word embeddings, laid out"),
        note(156, laid + 48, "as the vision side would"),
        slots(372, laid + 19, "w--ww-w--w"),
        arrow(526, typed + 28, 562, drawn + 8),
        arrow(526, drawn + 28, 562, drawn + 28),
        arrow(526, laid + 28, 562, drawn + 48, dashed=True),
        box(564, drawn, 150, "Language model", "trained, with text alone", colour="--c0", fill="var(--soft0)"),
        arrow(716, drawn + 28, 736, drawn + 28),
        box(738, drawn, 96, "Answer", "help, or not"),
        note(16, 24, "One model decides, whichever way the request came. Training never sees a picture."),
    ]
    return head + "".join(lanes)


if __name__ == "__main__":
    write(HERE / "paths.svg", 850, 312, LABEL, picture())
