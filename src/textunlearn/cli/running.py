"""From a recipe to a run: quickstart, run, compare, unlearn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from textunlearn import shell
from textunlearn.cli import complete
from textunlearn.cli.shared import (
    Changes,
    Json,
    Model,
    Order,
    Out,
    Processes,
    RecipeName,
    Seed,
    Shard,
    Steps,
    app,
    console_of,
    examples,
    job_of,
    recipe_of,
    whole_job,
)


@app.command(
    rich_help_panel=Order.JOB,
    epilog=examples("quickstart", "quickstart --seed 1 --out runs/seed1", "quickstart --limit 8"),
)
def quickstart(
    out: Annotated[Path | None, typer.Option("--out", "-o", help="run folder", show_default="runs/quickstart")] = None,
    seed: Annotated[int, typer.Option(help="another seed is another run")] = 0,
    limit: Annotated[int | None, typer.Option(help="cases a test suite, for a quick look", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """Run the whole job on the built-in model: fetch, unlearn, evaluate before and after, report.

    A run that was stopped goes on where it stopped when the same command is given again.
    """
    from textunlearn import recipes

    whole_job(recipes.read(recipes.DEFAULT, seed=seed or None, evaluation__limit=limit), out, as_json=as_json)


@app.command(
    rich_help_panel=Order.JOB,
    epilog=examples(
        "run mine.yaml",
        "run plain --seed 1",
        "run --model llava-hf/llava-1.5-7b-hf",
        "run mine.yaml --set training.lr=1e-4 --set slots.share=0.25",
    ),
)
def run(
    recipe: RecipeName = None,
    out: Out = None,
    model: Model = None,
    seed: Seed = None,
    steps: Steps = None,
    changes: Changes = None,
    processes: Processes = 1,
    shard: Shard = False,
    as_json: Json = False,
) -> None:
    """From a model's name to an aligned model and its report. Without a recipe: quickstart's, on the model you name."""
    whole_job(recipe_of(recipe, model, seed, steps, changes), out, processes=processes, shard=shard, as_json=as_json)


@app.command(
    rich_help_panel=Order.JOB,
    epilog=examples(
        "compare --quick",
        "compare --seed 0 --seed 1 --seed 2 --jobs 2",
        "compare --model llava-hf/llava-1.5-7b-hf",
        "compare comparison-lora --only rank_4,full",
        "compare --report",
        "compare --join machine-a/comparison.json --join machine-b/comparison.json --out all",
    ),
)
def compare(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE",
            help="YAML file, or a shipped comparison's name",
            show_default="comparison",
            autocompletion=complete.comparisons,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="folder of the comparison", show_default="runs/ and the comparison's name"),
    ] = None,
    model: Model = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="may be repeated: every seed, every run", show_default="0")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="the short form: fewer entries, steps and cases")] = False,
    only: Annotated[str | None, typer.Option(metavar="ENTRY,…", help="these entries alone", show_default=False)] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="runs at a time; they share the cores and the memory", show_default=False)
    ] = None,
    changes: Changes = None,
    report: Annotated[bool, typer.Option("--report", help="run nothing: report again on what is finished")] = False,
    join: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="run nothing: one report on the seeds of these comparison.json", show_default=False
        ),
    ] = None,
) -> None:
    """Many methods side by side: each is trained on the same data and tested on the same cases; one report on all.

    A comparison that was stopped goes on where it stopped when the same command is given again; finished runs are kept.
    """
    from textunlearn import recipes
    from textunlearn.comparison import job, runs

    named = tuple(filter(None, (only or "").replace(" ", "").split(",")))
    console, seeds = console_of(), tuple(seed or (0,))
    asked = job.Request(recipe or recipes.COMPARISON, model, seeds, quick, named, tuple(changes or ()), out, jobs)
    comparing = job.Compare(asked, console)
    page = comparing.join(join) if join else comparing.report() if report else comparing.run()
    console.print(f"report: {page}", markup=False, highlight=False, soft_wrap=True)
    if failed := comparing.failures:
        raise typer.Exit(shell.say(comparing.failed, runs.exit_code(failed)))


@app.command(rich_help_panel=Order.JOB, epilog=examples("unlearn mine.yaml", "unlearn plain --out runs/plain"))
def unlearn(
    recipe: RecipeName = None,
    out: Out = None,
    model: Model = None,
    seed: Seed = None,
    steps: Steps = None,
    changes: Changes = None,
    processes: Processes = 1,
    shard: Shard = False,
) -> None:
    """Only train: read the data, sample the model's own answers, unlearn. `evaluate` comes next."""
    console = console_of()
    job = job_of(recipe_of(recipe, model, seed, steps, changes), out, console, processes, shard)
    job.prepare()
    job.sample()
    job.train()
    console.print(
        f"adapter: {job.folder / 'adapter'}; next: textunlearn evaluate {job.folder}", markup=False, soft_wrap=True
    )
