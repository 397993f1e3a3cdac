"""This machine: what it has and lacks, and completion in its shell."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from textunlearn import shell as codes
from textunlearn.cli import complete
from textunlearn.cli.shared import Json, Order, app, console_of, examples, print_json


@app.command(
    rich_help_panel=Order.MACHINE,
    epilog=examples("doctor", "doctor --model my/Qwen2-VL-7B", "doctor --offline --json"),
)
def doctor(
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="would a run on it fit? Goes by its config alone", show_default=False),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="do not try package index and hub")] = False,
    as_json: Json = False,
) -> None:
    """What this machine has and what it lacks: versions, precision, memory, disk, network, extras, and what fits.

    Exit code 0 unless something is missing that the quickstart needs; then 2.
    """
    from textunlearn.doctor import examine, missing, print_findings

    console = console_of(as_json)
    with console.status("looking around"):
        found = examine(model, network=not offline)
    if as_json:
        print_json({"ready": not missing(found), "findings": [one.to_json() for one in found]})
    else:
        print_findings(found, console)
    if missing(found):
        raise typer.Exit(codes.USER)


class Shell(StrEnum):
    """Shells that can complete."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@app.command(
    rich_help_panel=Order.MACHINE,
    epilog=examples(
        "completion bash > ~/.local/share/bash-completion/completions/textunlearn",
        "completion zsh > ~/.zfunc/_textunlearn",
        "completion fish > ~/.config/fish/completions/textunlearn.fish",
    ),
)
def completion(shell: Annotated[Shell, typer.Argument(help="whose script", show_default=False)]) -> None:
    """Print the script by which a shell completes verbs, options, and the names of recipes, suites, judges and settings.

    For this session alone: source <(textunlearn completion bash)
    """
    print(complete.script(shell.value))
