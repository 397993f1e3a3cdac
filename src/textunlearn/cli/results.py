"""What to do with a finished run: chat, serve, export, logs for Inspect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from textunlearn.cli import complete
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
    from textunlearn.chat.conversation import Conversation

    console = console_of()
    with console.status("loading the model"):
        talk = Conversation(result.load_result(run, before=before), tokens)
    if once is None:
        terminal.chat(talk, console, image)
    else:
        print(terminal.printable(talk.say(once, image)))


@app.command(
    rich_help_panel=Order.RESULT,
    epilog=examples(
        "serve runs/quickstart",
        "serve runs/quickstart --port 0 --judge rules",
        "serve runs/quickstart --key-env MY_KEY --host 0.0.0.0 --name chat.example.org",
    ),
)
def serve(
    run: Run,
    host: Annotated[
        str, typer.Option(help="address to listen at; beyond this machine clients need a key")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free")] = 8000,
    name: Annotated[
        list[str] | None,
        typer.Option(help="a host name that this machine is called by; may be repeated", show_default=False),
    ] = None,
    key_env: Annotated[
        str | None,
        typer.Option(metavar="VARIABLE", help="environment variable with the key of clients", show_default=False),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(help="whose verdicts are shown", show_default="the default one", autocompletion=complete.judges),
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, help="length of an answer, at most")] = 1024,
    rate: Annotated[int, typer.Option(min=1, help="questions a minute and client, at most")] = 120,
) -> None:
    """Talk to the original and the result side by side in a browser; other clients by OpenAI's chat API."""
    from textunlearn.judges import DEFAULT
    from textunlearn.serve import server

    place = server.Place(host, port, tuple(name or ()), key_env)
    server.serve(run, place, judge or DEFAULT, server.limits_of(tokens, rate), console_of())


@app.command(
    rich_help_panel=Order.RESULT,
    epilog=examples(
        "export runs/quickstart my-model",
        "export runs/quickstart my-adapter --adapter",
        "export runs/mine my-gguf --gguf --llama-cpp ~/llama.cpp",
        "export runs/mine my-model --dtype bfloat16 --push me/my-model",
    ),
)
def export(
    run: Run,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="new or empty folder", show_default=False)],
    merged: Annotated[bool, typer.Option("--merged/--adapter", help="the whole model, or the adapter alone")] = True,
    gguf: Annotated[bool, typer.Option("--gguf", help="the whole model for llama.cpp, by its own converter")] = False,
    llama_cpp: Annotated[
        Path | None,
        typer.Option("--llama-cpp", metavar="DIR", help="a checkout of llama.cpp, for --gguf", show_default=False),
    ] = None,
    dtype: Annotated[
        Dtype | None, typer.Option(help="precision of the whole model", show_default="float32; with --gguf float16")
    ] = None,
    licence: Annotated[
        str, typer.Option(help="the original model's licence, for the card", show_default="what its own card says")
    ] = "",
    to_hub: Annotated[
        str | None, typer.Option("--push", metavar="USER/NAME", help="upload it to the hub as well", show_default=False)
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="with --push: for everybody to see")] = False,
) -> None:
    """Write the model with its processor and a model card, for plain transformers code; loads it again to check.

    Or its adapter alone, or GGUF files. On the hub it is private unless you say otherwise.
    """
    from textunlearn.errors import UserError
    from textunlearn.vlm.export import export_adapter, export_merged
    from textunlearn.vlm.export_gguf import export_gguf
    from textunlearn.vlm.push import check_name, push

    if to_hub is not None:
        check_name(to_hub)
    if gguf and not merged:
        raise UserError("--adapter and --gguf exclude each other; leave one out")
    console, said = console_of(), ""
    with console.status("exporting"):
        if gguf:
            written, said = export_gguf(run, folder, llama_cpp, licence, dtype or Dtype.FLOAT16)
        elif merged:
            written = export_merged(run, folder, licence, dtype or Dtype.FLOAT32)
        else:
            written = export_adapter(run, folder, licence)
    lines = [f"written: {written} (how to load it: {written / 'README.md'})"]
    if said:
        lines.append(f"without pictures and sound, for which llama.cpp's converter has nothing here ({said})")
    if to_hub is not None:
        with console.status("uploading"):
            lines.append(f"on the hub: {push(written, to_hub, public=public)}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


@app.command(
    "inspect-logs",
    rich_help_panel=Order.RESULT,
    epilog=examples("inspect-logs runs/quickstart", "inspect-logs runs/evaluate-model --out logs --unredacted"),
)
def inspect_logs(
    run: Run,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="folder of the logs", show_default="inspect/ in the run")
    ] = None,
    unredacted: Annotated[
        bool, typer.Option("--unredacted", help="with harmful requests and unsafe answers; do not pass such logs on")
    ] = False,
) -> None:
    """Write the run as logs of Inspect (.eval), one a suite and model, for `inspect view` and whatever reads such logs.

    Redacted as the report is.
    """
    from textunlearn.errors import UserError
    from textunlearn.progress import bar

    try:
        from textunlearn.inspect_bridge.export import FOLDER, export
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("inspect_ai"):
            raise
        raise UserError("logs of Inspect need its package; run `pip install 'textunlearn[inspect]'`") from None

    console, folder = console_of(), out or run / FOLDER
    with bar(console, "logs") as progress:
        written = export(run, folder, unredacted=unredacted, progress=progress.set)
    console.print(
        f"{len(written)} logs; look at them: inspect view --log-dir {folder}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
