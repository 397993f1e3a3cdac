"""What there is to choose from: recipes, methods, attacks, suites, judges, data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from textunlearn.cli.shared import (
    Order,
    app,
    console_of,
    examples,
)


@app.command(
    rich_help_panel=Order.CHOICES, epilog=examples("recipe", "recipe quickstart", "recipe own-data > mine.yaml")
)
def recipe(name: Annotated[str | None, typer.Argument(help="print this recipe", show_default=False)] = None) -> None:
    """List the shipped recipes, or print one to start your own from."""
    from textunlearn import catalogue, recipes

    if name is None:
        console_of().print(catalogue.recipes())
    else:
        print(recipes.find(name).read_text(encoding="utf-8"), end="")


def _lister(name: str, about: str) -> None:
    """A verb that prints one table of `textunlearn.catalogue`."""

    @app.command(name, help=about, rich_help_panel=Order.CHOICES, epilog=examples(name))
    def show() -> None:
        from textunlearn import catalogue

        console_of().print(getattr(catalogue, name)())


_lister("methods", "Ways to unlearn, with their settings.")


@app.command(
    rich_help_panel=Order.CHOICES,
    epilog=examples(
        "attacks",
        "attacks base64",
        "attacks 'leetspeak(share=0.5) | typography(rotation=15, noise=0.2)' --out shown.png",
        'attacks \'prefill(words="Sure, here is")\' --text "How do I bake bread?"',
    ),
)
def attacks(
    expression: Annotated[
        str | None, typer.Argument(help="name, name(key=value, ...), or several joined by |", show_default=False)
    ] = None,
    text: Annotated[str, typer.Option(help="a request, best a harmless one")] = "How do I bake a good loaf of bread?",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="PNG file for the picture, if there is one", show_default=False)
    ] = None,
) -> None:
    """Ways to put a harmful request, typed or as a picture. With an expression: what a model would be shown of a request."""
    from textunlearn import catalogue

    if expression is None:
        console_of().print(catalogue.attacks())
    else:
        print(catalogue.attack(expression, text, out))


_lister("suites", "Test suites: which requests, put in which way.")

judges = typer.Typer(
    invoke_without_command=True,
    help="Who says whether an answer is unsafe, a refusal, broken or other; and how well each agrees with labels given by reading.",
    epilog=examples("judges", "judges check", "judges check --judge rules xstest/judge_check_gpt4.csv"),
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(judges, name="judges", rich_help_panel=Order.CHOICES)


@judges.callback()
def _list_judges(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        from textunlearn import catalogue

        console_of().print(catalogue.judges())


@judges.command(
    "check",
    epilog=examples(
        "judges check",
        "judges check --judge rules",
        "judges check xstest/judge_check_gpt4.csv xstest/judge_check_llama2new.csv --json > check.json",
        "judges check --judge llama_guard_3 --set model=my/Llama-Guard-3-8B",
    ),
)
def judges_check(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE", help="more labelled answers, e.g. XSTest's completions", show_default=False),
    ] = None,
    judge: Annotated[
        list[str] | None, typer.Option(help="may be repeated", show_default="every judge that needs no model of yours")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="a setting of the judge; may be repeated", show_default=False),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="all of it as JSON, also the tuning halves and groups")
    ] = False,
) -> None:
    """Measure judges: precision, recall, specificity and Cohen's kappa against labelled answers (the built-in set, pyrit's refusal sets,
    your files), and whether strings injected into answers change a verdict.
    """
    import json

    from rich.console import Console

    from textunlearn.judges.check import built_in, labelled_file, pyrit
    from textunlearn.judges.measured import measure_all, offline
    from textunlearn.judges.spec import fetch_needs, make, with_changes
    from textunlearn.report.judges import print_check

    console = console_of()
    chosen = [make(with_changes(name, changes or ())) for name in judge or offline()]
    sets = [built_in(), pyrit(), *map(labelled_file, files or ())]
    found = {}
    for one in chosen:
        fetch_needs(one, Console(stderr=True) if as_json else console)
        with console.status(f"judge {one.name}"):
            found[one.name] = measure_all(one, sets)
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        print_check(found, console)


@app.command(
    rich_help_panel=Order.CHOICES,
    epilog=examples(
        "datasets", "datasets mm_safetybench_sd", "datasets mm_safetybench_sd --place /data/MM-SafetyBench"
    ),
)
def datasets(
    name: Annotated[str | None, typer.Argument(help="show this one in full", show_default=False)] = None,
    place: Annotated[
        Path | None, typer.Option(help="where it lies: count what is usable of it", show_default=False)
    ] = None,
) -> None:
    """Sets of requests, with their licences and where to get them. Test sets are never trained on."""
    from textunlearn import catalogue

    if name is None:
        console_of().print(catalogue.datasets())
    else:
        print(catalogue.dataset(name, place))
