"""This machine or another: what it has and lacks, what training on it would take, and completion in its shell."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from textunlearn import shell as codes
from textunlearn.cli import complete
from textunlearn.cli.shared import Changes, Json, Order, app, console_of, examples, print_json, recipe_of


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


@app.command(
    rich_help_panel=Order.MACHINE,
    epilog=examples(
        "plan llava-hf/llava-1.5-7b-hf --gpus 1x24GB",
        "plan my/model --gpus 8xH100 --price-per-hour 20",
        "plan --recipe qwen2.5-vl-7b --gpus 1x80GB --method all",
        "plan my/model --gpus cpu",
    ),
)
def plan(
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="hub id or local folder", show_default="the recipe's")
    ] = None,
    gpus: Annotated[
        str, typer.Option("--gpus", metavar="NxKIND", help="cpu (this one), 1x24GB, 8xH100, …: it need not be here")
    ] = "cpu",
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            help="YAML file, or a shipped recipe's name",
            show_default="quickstart",
            autocompletion=complete.recipes,
        ),
    ] = None,
    changes: Changes = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            help="may be repeated; all: every method",
            show_default="the recipe's",
            autocompletion=complete.methods,
        ),
    ] = None,
    price: Annotated[
        float | None, typer.Option("--price-per-hour", min=0, help="of the whole machine", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """What training a model would take: memory, time and cost of each way, and which of them fit. Loads no weights.

    Ways: LoRA or all weights; bfloat16 or float32; one GPU, a copy on each, or the model split over all.
    """
    from textunlearn import recipes
    from textunlearn.methods import METHODS
    from textunlearn.planning.machines import machine
    from textunlearn.planning.plan import plan as planned_for
    from textunlearn.planning.show import plan_json, print_plan
    from textunlearn.progress import bar

    on, console = machine(gpus), console_of(as_json)
    wanted = recipe_of(recipe or recipes.DEFAULT, model, None, None, changes)
    names = METHODS.names() if method == ["all"] else list(method or [])
    for name in names:
        METHODS.get(name)
    with bar(console, "ways", 1) as progress:
        found = planned_for(wanted, on, names, price, progress.set)
    if as_json:
        print_json(plan_json(found, on, wanted, recipe or recipes.DEFAULT))
    else:
        print_plan(found, on, wanted, recipe or "", console)


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
