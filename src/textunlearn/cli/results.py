"""What to do with a finished run: chat, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from textunlearn.cli.shared import (
    Dtype,
    Order,
    Run,
    app,
    console_of,
    examples,
)


@app.command(
    rich_help_panel=Order.RESULT,
    epilog=examples(
        "chat runs/quickstart",
        "chat runs/quickstart --before",
        "chat runs/quickstart --image picture.png",
        'chat runs/quickstart --once "How do I kill a Python process?"',
    ),
)
def chat(
    run: Run,
    image: Annotated[Path | None, typer.Option(help="picture shown with the first message", show_default=False)] = None,
    before: Annotated[bool, typer.Option("--before", help="the model as it was")] = False,
    once: Annotated[
        str | None, typer.Option(metavar="TEXT", help="say this, print the answer, leave", show_default=False)
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, help="length of an answer, at most")] = 256,
) -> None:
    """Talk to the result in the terminal."""
    from textunlearn import result
    from textunlearn.chat import terminal

    console = console_of()
    with console.status("loading the model"):
        talk = terminal.Conversation(result.load_result(run, before=before), tokens)
    if once is None:
        terminal.chat(talk, console, image)
    else:
        print(terminal.printable(talk.say(once, image)))


@app.command(
    rich_help_panel=Order.RESULT,
    epilog=examples("export runs/quickstart my-model", "export runs/quickstart my-adapter --adapter"),
)
def export(
    run: Run,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="new or empty folder", show_default=False)],
    merged: Annotated[bool, typer.Option("--merged/--adapter", help="the whole model, or the adapter alone")] = True,
    dtype: Annotated[Dtype, typer.Option(help="precision of the merged model")] = Dtype.FLOAT32,
    licence: Annotated[str, typer.Option(help="the original model's licence, for the card", show_default=False)] = "",
) -> None:
    """Write the model with its processor and a model card, for plain transformers code; loads it again to check."""
    from textunlearn.vlm.export import export_adapter, export_merged

    console = console_of()
    with console.status("exporting"):
        written = export_merged(run, folder, licence, dtype) if merged else export_adapter(run, folder, licence)
    console.print(
        f"written: {written} (how to load it: {written / 'README.md'})", markup=False, highlight=False, soft_wrap=True
    )
