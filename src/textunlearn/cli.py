"""The command line: verbs, each a few lines over the modules that do the work. Exit codes: `textunlearn.shell`.

Whatever is heavy is imported inside the verbs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from textunlearn import __version__, shell

if TYPE_CHECKING:
    from rich.console import Console

    from textunlearn.job import Job
    from textunlearn.recipe import Recipe

EPILOG = """\
[bold]Begin here[/]

  textunlearn quickstart                     [dim]all of it, on a CPU[/]
  textunlearn chat runs/quickstart           [dim]talk to what came out[/]
  textunlearn chat runs/quickstart --before  [dim]talk to what went in[/]
  textunlearn run --model llava-hf/llava-1.5-7b-hf
  textunlearn recipe own-data > mine.yaml    [dim]for your own data[/]
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
    STEPS = "Its steps, one at a time"
    MEASURE = "Measuring"
    RESULT = "The result"
    CHOICES = "What there is to choose from"


class Dtype(StrEnum):
    """Precisions to export in."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


_debug = False

RecipeName = Annotated[
    str | None,
    typer.Argument(metavar="RECIPE", help="YAML file, or a shipped recipe's name", show_default="quickstart"),
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
    typer.Option("--set", metavar="KEY=VALUE", help="change one recipe value; may be repeated", show_default=False),
]


def _examples(*lines: str) -> str:
    return "\n".join(["[bold]Examples[/]", "", *(f"  textunlearn {line}" for line in lines)])


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"textunlearn {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="show where in the program an error came from")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    global _debug
    _debug = debug
    if not debug:
        shell.quiet()


# -- the job ----------------------------------------------------------------------------------------------------------


@app.command(
    rich_help_panel=Order.JOB,
    epilog=_examples("quickstart", "quickstart --seed 1 --out runs/seed1", "quickstart --limit 8"),
)
def quickstart(
    out: Annotated[Path | None, typer.Option("--out", "-o", help="run folder", show_default="runs/quickstart")] = None,
    seed: Annotated[int, typer.Option(help="another seed is another run")] = 0,
    limit: Annotated[int | None, typer.Option(help="cases a test suite, for a quick look", show_default=False)] = None,
) -> None:
    """Run the whole job on the built-in model: fetch, unlearn, evaluate before and after, report.

    A run that was stopped goes on where it stopped when the same command is given again.
    """
    from textunlearn import recipes

    _whole_job(recipes.read(recipes.DEFAULT, seed=seed or None, evaluation__limit=limit), out)


@app.command(
    rich_help_panel=Order.JOB,
    epilog=_examples(
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
) -> None:
    """From a model's name to an aligned model and its report. Without a recipe: quickstart's, on the model you name."""
    _whole_job(_recipe(recipe, model, seed, steps, changes), out)


@app.command(
    rich_help_panel=Order.JOB,
    epilog=_examples(
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
        typer.Argument(metavar="RECIPE", help="YAML file, or a shipped comparison's name", show_default="comparison"),
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
    console, seeds = _console(), tuple(seed or (0,))
    asked = job.Request(recipe or recipes.COMPARISON, model, seeds, quick, named, tuple(changes or ()), out, jobs)
    comparing = job.Compare(asked, console)
    page = comparing.join(join) if join else comparing.report() if report else comparing.run()
    console.print(f"report: {page}", markup=False, highlight=False, soft_wrap=True)
    if failed := comparing.failures:
        raise typer.Exit(shell.say(comparing.failed, runs.exit_code(failed)))


def _recipe(
    recipe: str | None, model: str | None, seed: int | None, steps: int | None, changes: list[str] | None
) -> Recipe:
    from textunlearn import recipes

    named = None
    if recipe is None and model is not None:
        place = Path(model)
        named = (place.resolve() if place.is_dir() else place).name or None  # "." has no name of its own
    return recipes.read(recipe, changes or (), name=named, model__id=model, seed=seed, training__steps=steps)


def _whole_job(recipe: Recipe, out: Path | None) -> None:
    console = _console()
    job = _job(recipe, out, console)
    report = job.run()
    _show(job.folder, report, console)


def _job(recipe: Recipe, out: Path | None, console: Console) -> Job:
    from textunlearn.job import Job

    name = recipe.name if recipe.seed == 0 else f"{recipe.name}-seed{recipe.seed}"
    return Job(out or Path("runs") / name, recipe, console)


def _show(folder: Path, report: Path, console: Console) -> None:
    """The table and where the report is."""
    from textunlearn.evaluation.metrics import read_metrics
    from textunlearn.report.table import print_table

    metrics = read_metrics(folder)
    print_table(metrics, console)
    console.print(f"report: {report}", markup=False, highlight=False, soft_wrap=True)
    if (folder / "adapter").is_dir():
        console.print(f"talk to it: textunlearn chat {folder}", markup=False, highlight=False, soft_wrap=True)


def _console() -> Console:
    """The terminal; into a file or pipe, lines wide enough for the table."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=120)


# -- steps ------------------------------------------------------------------------------------------------------------


@app.command(rich_help_panel=Order.STEPS, epilog=_examples("unlearn mine.yaml", "unlearn plain --out runs/plain"))
def unlearn(
    recipe: RecipeName = None,
    out: Out = None,
    model: Model = None,
    seed: Seed = None,
    steps: Steps = None,
    changes: Changes = None,
) -> None:
    """Only train: read the data, sample the model's own answers, unlearn. `evaluate` comes next."""
    console = _console()
    job = _job(_recipe(recipe, model, seed, steps, changes), out, console)
    job.prepare()
    job.sample()
    job.train()
    console.print(
        f"adapter: {job.folder / 'adapter'}; next: textunlearn evaluate {job.folder}", markup=False, soft_wrap=True
    )


@app.command(
    rich_help_panel=Order.MEASURE,
    epilog=_examples(
        "evaluate runs/plain",
        "evaluate llava-hf/llava-1.5-7b-hf --suite default",
        "evaluate my/model --adapter my/adapter --suite xstest_safe --suite harmbench@base64",
        'evaluate my/model --suite "strongreject@role_play | typography_short" --data strongreject=strongreject.csv',
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
            help="a suite, a set of suites, or SOURCE@ATTACK; may be repeated", show_default="default: a set of twelve"
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="cases a suite, at most", show_default=False)] = None,
    judge: Annotated[str, typer.Option(help="one of `textunlearn judges`")] = "rules",
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="SOURCE=PLACE", help="where a data set lies; may be repeated", show_default=False),
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
    changes: Changes = None,
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
        _whole_job(recipe, run)  # every step looks for its own result first, so only what `unlearn` left is done
        return
    spec = asked.spec(
        target,
        adapter=adapter,
        suites=suite or (),
        limit=limit,
        judge=judge,
        data=data or (),
        served=served,
        key_env=key_env,
        changes=changes or (),
    )
    from textunlearn.evaluation.single import SingleRun

    console = _console()
    job = SingleRun(out or Path("runs") / spec.name, spec, console)
    _show(job.folder, job.run(), console)


@app.command(
    rich_help_panel=Order.MEASURE,
    epilog=_examples(
        "judge runs/quickstart",
        "judge runs/quickstart --judge relevance",
        "judge runs/quickstart --judge llama_guard_3 --set model=my/Llama-Guard-3-8B",
        "judge runs/quickstart --judge strongreject --set endpoint.base_url=http://localhost:8000/v1 --set endpoint.model=my-model",
    ),
)
def judge(
    run: Run,
    judge: Annotated[str | None, typer.Option(help="one of `textunlearn judges`", show_default="the run's own")] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="a setting of that judge; may be repeated", show_default=False),
    ] = None,
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
    console = _console()
    chosen = make(with_changes(judge, changes or ())) if judge else None  # before anything is read
    job = reopen(run, console)
    own = make(job.recipe.evaluation.judge).name
    names = {job.judge(model, chosen) for model in job.models}
    found = [one for one in opinions(run, job.models, own) if one["judge"] in names]
    for line in sentences(found, own):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"verdicts: {run / 'verdicts'}", markup=False, highlight=False, soft_wrap=True)
    if found:
        console.print(f"into the report: textunlearn report {run}", markup=False, highlight=False, soft_wrap=True)


@app.command(rich_help_panel=Order.MEASURE, epilog=_examples("report runs/quickstart"))
def report(run: Run) -> None:
    """Write metrics and report.html from the stored verdicts, and print the table."""
    from textunlearn.evaluation.single import reopen

    console = _console()
    job = reopen(run, console)
    _show(run, job.report(), console)


@app.command(
    rich_help_panel=Order.MEASURE,
    epilog=_examples(
        "diff runs/quickstart:before runs/quickstart",
        "diff runs/plain runs/quickstart",
        "diff runs/evaluate-a runs/evaluate-b --json > diff.json",
    ),
)
def diff(
    first: Annotated[str, typer.Argument(metavar="RUN1", help="run folder, or RUN:MODEL", show_default=False)],
    second: Annotated[str, typer.Argument(metavar="RUN2", help="the same", show_default=False)],
    judge: Annotated[
        str | None, typer.Option(metavar="NAME-VERSION", help="whose verdicts", show_default="the run's own judge")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="all of it as JSON, also each case that changed")] = False,
) -> None:
    """What changed between two models on the cases that both saw: paired tests (McNemar), and which way cases moved."""
    import json

    from textunlearn.evaluation.diff import diff as compared
    from textunlearn.evaluation.diff import read_side
    from textunlearn.report.diff import print_diff

    found = compared(read_side(first, judge), read_side(second, judge))
    if as_json:
        print(json.dumps(found.to_json(), indent=2))
    else:
        print_diff(found, _console())


@app.command(
    "sample-size",
    rich_help_panel=Order.MEASURE,
    epilog=_examples("sample-size 5% 8%", "sample-size 0.02 0.05 --power 0.9", "sample-size 5% 8% --agreement 0.9"),
)
def sample_size(
    first: Annotated[str, typer.Argument(metavar="RATE1", help="a rate, e.g. 5% or 0.05", show_default=False)],
    second: Annotated[str, typer.Argument(metavar="RATE2", help="the rate to tell it from", show_default=False)],
    power: Annotated[float, typer.Option(help="probability that the difference is found")] = 0.8,
    agreement: Annotated[
        float, typer.Option(help="how alike the two models are case by case: 0 by chance alone, 1 as far as possible")
    ] = 0.5,
) -> None:
    """How many prompts tell one rate from another (two-sided, 95 %): before you evaluate, or when you wonder what a table shows."""
    from textunlearn.evaluation import asked
    from textunlearn.evaluation.statistics import sample_size as planned

    a, b = asked.share(first), asked.share(second)
    size = planned(a, b, power=power, agreement=agreement)
    print(f"To tell {100 * a:g} % from {100 * b:g} % with probability {power:g} (two-sided, 95 %):")
    print(
        f"  {size.paired:6,} prompts, where both models see the same ones (`textunlearn diff`; agreement {agreement:g})"
    )
    print(f"  {size.separate:6,} prompts each, where they see different ones")
    print(
        f"  {size.alone:6,} prompts, until {100 * a:g} % alone has an interval that reaches no further than {100 * b:g} %"
    )


# -- the result -------------------------------------------------------------------------------------------------------


@app.command(
    rich_help_panel=Order.RESULT,
    epilog=_examples(
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

    console = _console()
    with console.status("loading the model"):
        talk = terminal.Conversation(result.load_result(run, before=before), tokens)
    if once is None:
        terminal.chat(talk, console, image)
    else:
        print(terminal.printable(talk.say(once, image)))


@app.command(
    rich_help_panel=Order.RESULT,
    epilog=_examples("export runs/quickstart my-model", "export runs/quickstart my-adapter --adapter"),
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

    console = _console()
    with console.status("exporting"):
        written = export_merged(run, folder, licence, dtype) if merged else export_adapter(run, folder, licence)
    console.print(
        f"written: {written} (how to load it: {written / 'README.md'})", markup=False, highlight=False, soft_wrap=True
    )


# -- choices ---------------------------------------------------------------------------------------------------------


@app.command(
    rich_help_panel=Order.CHOICES, epilog=_examples("recipe", "recipe quickstart", "recipe own-data > mine.yaml")
)
def recipe(name: Annotated[str | None, typer.Argument(help="print this recipe", show_default=False)] = None) -> None:
    """List the shipped recipes, or print one to start your own from."""
    from textunlearn import catalogue, recipes

    if name is None:
        _console().print(catalogue.recipes())
    else:
        print(recipes.find(name).read_text(encoding="utf-8"), end="")


def _lister(name: str, about: str) -> None:
    """A verb that prints one table of `textunlearn.catalogue`."""

    @app.command(name, help=about, rich_help_panel=Order.CHOICES, epilog=_examples(name))
    def show() -> None:
        from textunlearn import catalogue

        _console().print(getattr(catalogue, name)())


_lister("methods", "Ways to unlearn, with their settings.")


@app.command(
    rich_help_panel=Order.CHOICES,
    epilog=_examples(
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
        _console().print(catalogue.attacks())
    else:
        print(catalogue.attack(expression, text, out))


_lister("suites", "Test suites: which requests, put in which way.")

judges = typer.Typer(
    invoke_without_command=True,
    help="Who says whether an answer is unsafe, a refusal, broken or other; and how well each agrees with labels given by reading.",
    epilog=_examples("judges", "judges check", "judges check --judge rules xstest/judge_check_gpt4.csv"),
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(judges, name="judges", rich_help_panel=Order.CHOICES)


@judges.callback()
def _list_judges(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        from textunlearn import catalogue

        _console().print(catalogue.judges())


@judges.command(
    "check",
    epilog=_examples(
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

    from textunlearn.judges.check import built_in, labelled_file, pyrit
    from textunlearn.judges.measured import measure_all, offline
    from textunlearn.judges.spec import make, with_changes
    from textunlearn.report.judges import print_check

    console = _console()
    chosen = [make(with_changes(name, changes or ())) for name in judge or offline()]
    sets = [built_in(), pyrit(), *map(labelled_file, files or ())]
    found = {}
    for one in chosen:
        with console.status(f"judge {one.name}"):
            found[one.name] = measure_all(one, sets)
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        print_check(found, console)


@app.command(
    rich_help_panel=Order.CHOICES,
    epilog=_examples(
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
        _console().print(catalogue.datasets())
    else:
        print(catalogue.dataset(name, place))


def main() -> None:
    """Entry point of the command ``textunlearn``; exits with the codes listed in `textunlearn.shell`."""
    sys.exit(shell.run(app, sys.argv[1:], lambda: _debug))


if __name__ == "__main__":
    main()
