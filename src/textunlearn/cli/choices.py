"""What there is to choose from: recipes, methods, attacks, suites, judges, data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from textunlearn.cli import complete
from textunlearn.cli.shared import (
    Json,
    Order,
    app,
    console_of,
    examples,
    print_json,
)

if TYPE_CHECKING:
    from textunlearn.catalogue import Listing


def _show(listing: Listing, as_json: bool) -> None:
    if as_json:
        print_json(listing.items)
    else:
        console_of().print(listing.table)


@app.command(
    rich_help_panel=Order.CHOICES, epilog=examples("recipe", "recipe quickstart", "recipe own-data > mine.yaml")
)
def recipe(
    name: Annotated[
        str | None,
        typer.Argument(help="print this recipe", show_default=False, autocompletion=complete.all_recipes),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the shipped recipes, or print one to start your own from."""
    from textunlearn import catalogue, recipes

    if name is None:
        _show(catalogue.recipes(), as_json)
    elif as_json:
        from textunlearn.files import read_yaml

        print_json(read_yaml(recipes.find(name), "recipe"))
    else:
        print(recipes.find(name).read_text(encoding="utf-8"), end="")


def _lister(name: str, about: str) -> None:
    """A verb that prints one table of `textunlearn.catalogue`."""

    @app.command(name, help=about, rich_help_panel=Order.CHOICES, epilog=examples(name, f"{name} --json"))
    def show(as_json: Json = False) -> None:
        from textunlearn import catalogue

        _show(getattr(catalogue, name)(), as_json)


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
        str | None,
        typer.Argument(
            help="name, name(key=value, ...), or several joined by |",
            show_default=False,
            autocompletion=complete.attacks,
        ),
    ] = None,
    text: Annotated[str, typer.Option(help="a request, best a harmless one")] = "How do I bake a good loaf of bread?",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="file for the picture (PNG) or the sound (WAV), if there is one", show_default=False
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Ways to put a harmful request, typed, as a picture or spoken. With an expression: what a model would be shown of a request."""
    from textunlearn import catalogue

    if expression is None:
        _show(catalogue.attacks(), as_json)
        return
    shown = catalogue.attack(expression, text, out)
    if as_json:
        print_json(shown)
    else:
        print(catalogue.attack_in_words(shown))


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
def _list_judges(context: typer.Context, as_json: Json = False) -> None:
    if context.invoked_subcommand is None:
        from textunlearn import catalogue

        _show(catalogue.judges(), as_json)


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
        list[str] | None,
        typer.Option(
            help="may be repeated",
            show_default="every judge that needs no model of yours",
            autocompletion=complete.judges,
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="a setting of the judge; may be repeated", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure judges: precision, recall, specificity and Cohen's kappa against labelled answers (the built-in set, pyrit's refusal sets,
    your files), and whether strings injected into answers change a verdict.
    """
    from textunlearn.judges.check import built_in, labelled_file, pyrit
    from textunlearn.judges.measured import measure_all, offline
    from textunlearn.judges.spec import fetch_needs, make, with_changes
    from textunlearn.report.judges import print_check

    console = console_of(as_json)
    chosen = [make(with_changes(name, changes or ())) for name in judge or offline()]
    sets = [built_in(), pyrit(), *map(labelled_file, files or ())]
    found = {}
    for one in chosen:
        fetch_needs(one, console)
        with console.status(f"judge {one.name}"):
            found[one.name] = measure_all(one, sets)
    if as_json:
        print_json(found)
    else:
        print_check(found, console)


@app.command(
    rich_help_panel=Order.CHOICES,
    epilog=examples(
        "datasets", "datasets mm_safetybench_sd", "datasets mm_safetybench_sd --place /data/MM-SafetyBench"
    ),
)
def datasets(
    name: Annotated[
        str | None,
        typer.Argument(help="show this one in full", show_default=False, autocompletion=complete.sources),
    ] = None,
    place: Annotated[
        Path | None, typer.Option(help="where it lies: count what is usable of it", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Sets of requests, with their licences and where to get them. Test sets are never trained on."""
    from textunlearn import catalogue

    if name is None:
        _show(catalogue.datasets(), as_json)
    elif as_json:
        print_json(catalogue.dataset_item(name, place))
    else:
        print(catalogue.dataset(name, place))
