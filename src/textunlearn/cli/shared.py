"""What all verbs share: the app, its groups, options that several take, the terminal, a run and what it shows."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from textunlearn.cli import complete
from textunlearn.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from textunlearn.job import Job
    from textunlearn.recipe import Recipe

EPILOG = """\
[bold]Begin here[/]

  textunlearn quickstart                     [dim]all of it, on a CPU[/]
  textunlearn chat runs/quickstart           [dim]talk to what came out[/]
  textunlearn chat runs/quickstart --before  [dim]talk to what went in[/]
  textunlearn serve runs/quickstart          [dim]to both, in a browser[/]
  textunlearn run --model llava-hf/llava-1.5-7b-hf
  textunlearn recipe own-data > mine.yaml    [dim]for your own data[/]
  textunlearn doctor                         [dim]what this machine lacks[/]
"""

app = typer.Typer(
    help="Make a vision-language model unlearn harmful behaviour [bold]with text alone[/], and prove what that did.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Order(StrEnum):
    """Groups of verbs in --help."""

    JOB = "The job"
    MEASURE = "Measuring"
    RESULT = "The result"
    CHOICES = "What there is to choose from"
    MACHINE = "This machine"


class Dtype(StrEnum):
    """Precisions to export in."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


RecipeName = Annotated[
    str | None,
    typer.Argument(
        metavar="RECIPE",
        help="YAML file, or a shipped recipe's name",
        show_default="quickstart",
        autocompletion=complete.recipes,
    ),
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="run folder, e.g. runs/quickstart", show_default=False)]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="run folder", show_default="runs/ and the recipe's name"),
]
Model = Annotated[
    str | None, typer.Option("--model", "-m", help="hub id, local folder, or 'builtin'", show_default=False)
]
Seed = Annotated[int | None, typer.Option(help="another seed is another run", show_default=False)]
Steps = Annotated[int | None, typer.Option(help="training steps, at most", show_default=False)]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="change one recipe value; may be repeated",
        show_default=False,
        autocompletion=complete.recipe_settings,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="one JSON value on stdout, nothing else")]
Processes = Annotated[
    int,
    typer.Option(min=1, help="processes that train together on this machine, one a GPU; `accelerate launch` works too"),
]
Shard = Annotated[
    bool,
    typer.Option(
        "--shard",
        help="split the model over the processes (FSDP2), for one that no single GPU holds; training.offload: in the CPU's memory",
    ),
]


def examples(*lines: str) -> str:
    return "\n".join(["[bold]Examples[/]", "", *(f"  textunlearn {line}" for line in lines)])


def recipe_of(
    recipe: str | None, model: str | None, seed: int | None, steps: int | None, changes: list[str] | None
) -> Recipe:
    from textunlearn import recipes
    from textunlearn.files import named_path

    named = None
    if recipe is None and model is not None:
        named = named_path(model).name or None
    return recipes.read(recipe, changes or (), name=named, model__id=model, seed=seed, training__steps=steps)


def whole_job(
    recipe: Recipe, out: Path | None, *, processes: int = 1, shard: bool = False, as_json: bool = False
) -> None:
    console = console_of(as_json)
    job = job_of(recipe, out, console, processes, shard)
    report = job.run()
    show(job.folder, report, console, as_json)


def job_of(recipe: Recipe, out: Path | None, console: Console, processes: int = 1, shard: bool = False) -> Job:
    """The run. Of several processes that a launcher started, only the first one gets it; the others train along, and end."""
    from textunlearn import processes as group
    from textunlearn.job import Job

    name = recipe.name if recipe.seed == 0 else f"{recipe.name}-seed{recipe.seed}"
    folder, shard = out or Path("runs") / name, group.launched_to_shard() or shard
    if shard and processes == group.world() == 1:
        raise UserError("--shard splits the model over several processes, and there is one; add --processes")
    if recipe.training.offload and not shard:
        raise UserError(
            "training.offload moves the parts of a split model to the CPU's memory; add --shard, or leave it out"
        )
    if shard and recipe.model.quantize is not None:
        raise UserError("--shard splits plain weights, and model.quantize holds them in four bits; leave one out")
    if not group.first():
        from textunlearn.training import worker

        worker.train(folder, recipe, shard)
        group.leave()
        raise typer.Exit
    return Job(folder, recipe, console, processes, shard)


def show(folder: Path, report: Path, console: Console, as_json: bool = False) -> None:
    """The table and where the report is; ``as_json``: the metrics as JSON."""
    from textunlearn.evaluation.metrics import read_metrics
    from textunlearn.report.table import print_table

    metrics = read_metrics(folder)
    if as_json:
        print_json({"folder": str(folder), "report": str(report)} | metrics)
        return
    print_table(metrics, console)
    console.print(f"report: {report}", markup=False, highlight=False, soft_wrap=True)
    if (folder / "adapter").is_dir():
        console.print(f"talk to it: textunlearn chat {folder}", markup=False, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """What ``--json`` prints: see docs/json.md."""
    import json

    print(json.dumps(value, indent=2, ensure_ascii=False))


def console_of(as_json: bool = False) -> Console:
    """The terminal; into a file or pipe, lines wide enough for the table. ``as_json``: stderr, for stdout holds JSON alone."""
    from rich.console import Console

    if as_json:
        return Console(stderr=True)
    return Console() if sys.stdout.isatty() else Console(width=120)
