"""Talk to a run's model in the terminal: answers appear word by word."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from textunlearn.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from textunlearn.chat.conversation import Conversation

HELP = "/image FILE shows a picture with the next message, /new starts over, /quit leaves"


def printable(text: str) -> str:
    """``text`` without control characters, which could steer the terminal; line ends and tabs stay."""
    return "".join(c for c in text if c in "\n\t" or c.isprintable())


def chat(talk: Conversation, console: Console, image: Path | None = None) -> None:
    """Read lines until end of file or /quit; ``image`` goes with the first. Ctrl-C cuts an answer short, or leaves."""
    console.print(f"{talk.vlm.name}: {HELP}", style="dim", markup=False, highlight=False)
    waiting = image
    while True:
        try:
            line = console.input("[bold cyan]you[/] ").strip()
        except (EOFError, KeyboardInterrupt):
            console.print()
            return
        command, _, rest = line.partition(" ")
        if command == "/quit":
            return
        if command == "/new":
            talk.forget()
            waiting = image
        elif command == "/image":
            waiting = _home(rest.strip())
        elif command.startswith("/") and command[1:].isalpha():
            console.print(HELP, style="dim", markup=False, highlight=False)
        elif line or waiting is not None:
            waiting = _exchange(talk, console, line, waiting)


def _home(file: str) -> Path:
    try:
        return Path(file).expanduser()
    except RuntimeError:  # ~ of a user that there is not
        return Path(file)


def _exchange(talk: Conversation, console: Console, line: str, image: Path | None) -> Path | None:
    """One message and its answer. Returns the picture that is still to be shown, if the turn did not happen."""

    def heard(piece: str) -> None:
        console.print(printable(piece), end="", markup=False, highlight=False, soft_wrap=True)

    console.print("[bold green]model[/] ", end="")
    try:
        talk.say(line, image, heard)
    except UserError as error:
        console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        return None
    except KeyboardInterrupt:
        console.print(" … cut short", style="dim")
        return image
    console.print()
    return None
