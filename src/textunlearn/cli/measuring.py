"""Evaluate, judge, report, compare two models, plan the number of prompts."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from textunlearn import shell
from textunlearn.cli import complete
from textunlearn.cli.shared import (
    Json,
    Order,
    Run,
    app,
    console_of,
    examples,
    print_json,
    show,
    whole_job,
)
from textunlearn.judges import DEFAULT


@app.command(
    rich_help_panel=Order.MEASURE,
    epilog=examples(
        "evaluate runs/plain",
        "evaluate llava-hf/llava-1.5-7b-hf --suite default",
        "evaluate my/model --adapter my/adapter --suite xstest_safe --suite harmbench@base64",
        'evaluate my/model --suite "strongreject@role_play | typography_short" --data strongreject=strongreject.csv',
        "evaluate my/model --suite none --utility mmlu --utility gsm8k=200 --data mmlu=/data/mmlu",
        "evaluate http://localhost:8000/v1 --served my-model --key-env MY_KEY --limit 16",
    ),
)
def evaluate(
    target: Annotated[
        str,
        typer.Argument(metavar="TARGET", help="a model's hub id or folder, an endpoint, or a run", show_default=False),
    ],
    adapter: Annotated[str | None, typer.Option(help="a peft adapter of the model", show_default=False)] = None,
    suite: Annotated[
        list[str] | None,
        typer.Option(
            help="a suite, a set of suites, SOURCE@ATTACK, or none; may be repeated",
            show_default="default: a set of twelve",
            autocompletion=complete.suites,
        ),
    ] = None,
    utility: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:FORM][=N]",
            help="a set of questions with known answers, N of them at most; may be repeated",
            show_default=False,
            autocompletion=complete.questions,
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="cases a suite and questions a set, at most", show_default=False)
    ] = None,
    judge: Annotated[str, typer.Option(help="one of `textunlearn judges`", autocompletion=complete.judges)] = DEFAULT,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE=PLACE",
            help="where a data set lies; may be repeated",
            show_default=False,
            autocompletion=complete.places,
        ),
    ] = None,
    served: Annotated[
        str | None, typer.Option(metavar="NAME", help="what the endpoint calls the model", show_default=False)
    ] = None,
    key_env: Annotated[
        str | None, typer.Option(metavar="VARIABLE", help="environment variable with the key", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="folder", show_default="runs/evaluate- and the model's name")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="change one setting of the evaluation; may be repeated",
            show_default=False,
            autocompletion=complete.evaluation_settings,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Answer and judge test cases, and write the report: of any model as it is, of an OpenAI-compatible endpoint, or of a run
    that was trained (before and after).

    Stored answers are kept: an evaluation that was stopped goes on where it was when the same command is given again.
    """
    from textunlearn import result
    from textunlearn.evaluation import asked

    run = Path(target)
    if (run / "recipe.yaml").is_file():
        recipe = result.stored_recipe(run)
        result.require_trained(run)
        # Every step looks for its own result first, so only what `unlearn` left is done.
        whole_job(recipe, run, as_json=as_json)
        return
    spec = asked.spec(
        target,
        adapter=adapter,
        suites=suite or (),
        utility=utility or (),
        limit=limit,
        judge=judge,
        data=data or (),
        served=served,
        key_env=key_env,
        changes=changes or (),
    )
    from textunlearn.evaluation.single import SingleRun

    console = console_of(as_json)
    job = SingleRun(out or Path("runs") / spec.name, spec, console)
    show(job.folder, job.run(), console, as_json)


@app.command(
    rich_help_panel=Order.MEASURE,
    epilog=examples(
        "judge runs/quickstart",
        "judge runs/quickstart --judge rules",
        "judge runs/quickstart --judge llama_guard_3 --set model=my/Llama-Guard-3-8B",
        "judge runs/quickstart --judge strongreject --set endpoint.base_url=http://localhost:8000/v1 --set endpoint.model=my-model",
    ),
)
def judge(
    run: Run,
    judge: Annotated[
        str | None,
        typer.Option(help="one of `textunlearn judges`", show_default="the run's own", autocompletion=complete.judges),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="a setting of that judge; may be repeated", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Judge the stored answers again: by the run's own judge, or by another one, whose agreement with the first is printed and goes into
    the report. Nothing is generated.
    """
    from textunlearn.errors import UserError
    from textunlearn.evaluation.second_opinion import opinions, sentences
    from textunlearn.evaluation.single import reopen
    from textunlearn.judges.spec import make, with_changes

    if changes and judge is None:
        raise UserError("--set changes settings of the judge that --judge names; name one")
    console = console_of(as_json)
    chosen = make(with_changes(judge, changes or ())) if judge else None  # before anything is read
    job = reopen(run, console)
    own = make(job.recipe.evaluation.judge).name
    names = {job.judge(model, chosen) for model in job.models}
    found = [one for one in opinions(run, job.models, own) if one["judge"] in names]
    if as_json:
        print_json({"run": str(run), "judges": sorted(names), "agreement": found})
        return
    for line in sentences(found, own):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"verdicts: {run / 'verdicts'}", markup=False, highlight=False, soft_wrap=True)
    if found:
        console.print(f"into the report: textunlearn report {run}", markup=False, highlight=False, soft_wrap=True)


@app.command(
    rich_help_panel=Order.MEASURE,
    epilog=examples("report runs/quickstart", "report runs/quickstart --json", "report runs/quickstart --unredacted"),
)
def report(
    run: Run,
    unredacted: Annotated[
        bool, typer.Option("--unredacted", help="with harmful requests and unsafe answers; do not pass such a page on")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write metrics and report.html from the stored verdicts, and print the table."""
    from textunlearn.evaluation.single import reopen

    console = console_of(as_json)
    job = reopen(run, console)
    show(run, job.report(show_unsafe=unredacted), console, as_json)


@app.command(
    rich_help_panel=Order.MEASURE,
    epilog=examples(
        "diff runs/quickstart:before runs/quickstart",
        "diff runs/plain runs/quickstart",
        "diff runs/evaluate-a runs/evaluate-b --json > diff.json",
    ),
)
def diff(
    first: Annotated[
        str,
        typer.Argument(
            metavar="RUN1", help="run folder, or RUN:MODEL", show_default=False, autocompletion=complete.models
        ),
    ],
    second: Annotated[
        str, typer.Argument(metavar="RUN2", help="the same", show_default=False, autocompletion=complete.models)
    ],
    judge: Annotated[
        str | None, typer.Option(metavar="NAME-VERSION", help="whose verdicts", show_default="the run's own judge")
    ] = None,
    as_json: Json = False,
) -> None:
    """What changed between two models on the cases that both saw: paired tests (McNemar), and which way cases moved."""
    from textunlearn.evaluation.diff import diff as compared
    from textunlearn.evaluation.diff import read_side
    from textunlearn.report.diff import print_diff

    found = compared(read_side(first, judge), read_side(second, judge))
    if as_json:
        print_json(found.to_json())
    else:
        print_diff(found, console_of())


class By(StrEnum):
    """What a limit is compared with."""

    RATE = "rate"
    UPPER = "upper"


def _limit(what: str) -> Any:
    return typer.Option(
        metavar="[SUITE=]RATE", help=f"{what}; may be repeated", show_default=False, autocompletion=complete.suite_rates
    )


@app.command(
    rich_help_panel=Order.MEASURE,
    epilog=examples(
        "gate runs/quickstart --max-asr 5% --max-refusal 8% --max-broken 1% --max-perplexity 1.08",
        "gate runs/evaluate-model --max-asr 5% --max-asr figstep=8% --max-refusal 12% --by upper",
        "gate runs/quickstart:before --limits limits.yaml --json > gate.json",
    ),
)
def gate(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="run folder, or RUN:MODEL", show_default=False, autocompletion=complete.models
        ),
    ],
    max_asr: Annotated[list[str] | None, _limit("unsafe answers of each attack")] = None,
    max_refusal: Annotated[list[str] | None, _limit("refusals of each suite of harmless requests")] = None,
    max_broken: Annotated[list[str] | None, _limit("broken answers of each suite")] = None,
    max_perplexity: Annotated[
        float | None, typer.Option(help="perplexity, times that of the original model", show_default=False)
    ] = None,
    min_right: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[SET=]RATE",
            help="right answers to questions with known answers; may be repeated",
            show_default=False,
        ),
    ] = None,
    suite: Annotated[
        list[str] | None,
        typer.Option(
            help="only this suite counts; may be repeated",
            show_default="all that were measured",
            autocompletion=complete.suites,
        ),
    ] = None,
    by: Annotated[
        By | None,
        typer.Option(
            help="compare the rate, or the interval's worse end: then few cases fail too", show_default="rate"
        ),
    ] = None,
    limits: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="the same as YAML: max_asr: 5%; options win over it", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Hold a model to limits, for pipelines: exit code 0 if it keeps to each, 3 if not, 2 for what cannot be checked as asked.

    Each limit holds suite by suite. What is limited and was not measured fails.
    """
    from textunlearn.report.gate import Limits
    from textunlearn.report.gate import gate as held
    from textunlearn.report.gate_table import print_gate

    asked = {
        "max_asr": max_asr,
        "max_refusal": max_refusal,
        "max_broken": max_broken,
        "max_perplexity": max_perplexity,
        "min_right": min_right,
        "suites": suite,
        "by": by and by.value,
    }
    found = held(run, Limits.parse(asked, limits))
    if as_json:
        print_json(found.to_json())
    else:
        print_gate(found, console_of())
    if not found.passed:
        raise typer.Exit(shell.LIMIT)


@app.command(
    "sample-size",
    rich_help_panel=Order.MEASURE,
    epilog=examples("sample-size 5% 8%", "sample-size 0.02 0.05 --power 0.9", "sample-size 5% 8% --agreement 0.9"),
)
def sample_size(
    first: Annotated[str, typer.Argument(metavar="RATE1", help="a rate, e.g. 5% or 0.05", show_default=False)],
    second: Annotated[str, typer.Argument(metavar="RATE2", help="the rate to tell it from", show_default=False)],
    power: Annotated[float, typer.Option(help="probability that the difference is found")] = 0.8,
    agreement: Annotated[
        float, typer.Option(help="how alike the two models are case by case: 0 by chance alone, 1 as far as possible")
    ] = 0.5,
    as_json: Json = False,
) -> None:
    """How many prompts tell one rate from another (two-sided, 95 %): before you evaluate, or when you wonder what a table shows."""
    from textunlearn.evaluation import asked
    from textunlearn.evaluation.statistics import sample_size as planned

    a, b = asked.share(first), asked.share(second)
    size = planned(a, b, power=power, agreement=agreement)
    if as_json:
        asked_for = {"first": a, "second": b, "power": power, "agreement": agreement}
        print_json(asked_for | {name: getattr(size, name) for name in ("paired", "separate", "alone")})
        return
    print(f"To tell {100 * a:g} % from {100 * b:g} % with probability {power:g} (two-sided, 95 %):")
    print(
        f"  {size.paired:6,} prompts, where both models see the same ones (`textunlearn diff`; agreement {agreement:g})"
    )
    print(f"  {size.separate:6,} prompts each, where they see different ones")
    print(
        f"  {size.alone:6,} prompts, until {100 * a:g} % alone has an interval that reaches no further than {100 * b:g} %"
    )
