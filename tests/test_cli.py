"""The command line: verbs reach the job, errors are one sentence with the right exit code."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import typer.main

import publisher_layouts
from endpoint_server import Said, completion, serve
from report_run import UNSAFE, make_run
from stopping import as_in_a_terminal
from terminal import Outcome, Terminal, plain
from textunlearn import __version__, cli, recipes, shell
from textunlearn.files import read_json, write_text
from textunlearn.job import Job
from textunlearn.judges import DEFAULT
from textunlearn.judges.spec import make
from textunlearn.lock import claim
from textunlearn.recipe import ModelSpec, Recipe

VERBS = sorted(typer.main.get_command(cli.app).commands)  # type: ignore[attr-defined]


# -- help ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_an_example(terminal: Terminal, verb: str) -> None:
    outcome = terminal(verb, "--help")
    assert outcome.code == 0 and outcome.err == ""
    assert "Examples" in outcome.out and f"textunlearn {verb}" in outcome.out.split("Examples")[1]


def test_help_lists_the_verbs_and_where_to_begin(terminal: Terminal) -> None:
    outcome = terminal("--help")
    assert outcome.code == 0
    assert all(verb in outcome.out for verb in VERBS)
    assert "textunlearn quickstart" in outcome.out


def test_help_and_lists_import_nothing_heavy() -> None:
    code = (
        "import sys\nfrom textunlearn import cli\n"
        "for verb in (['--help'], ['run', '--help'], ['recipe'], ['datasets'], ['methods'], ['judges']):\n"
        "    try: cli.app(args=verb)\n    except SystemExit: pass\n"
        "print('heavy:', sorted({'torch', 'transformers', 'peft', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"


def test_version(terminal: Terminal) -> None:
    assert terminal("--version") == Outcome(0, f"textunlearn {__version__}\n", "")


def test_the_module_runs_as_the_command_does() -> None:
    """Launchers such as accelerate start ``-m textunlearn``."""
    done = subprocess.run(
        [sys.executable, "-m", "textunlearn", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"textunlearn {__version__}\n"


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("methods", ("textual_unlearning", "ceiling")),
        ("attacks", ("figstep", "prefill")),
        ("suites", ("xstest_safe", "harmbench")),
        ("judges", ("rules",)),
        ("datasets", ("advbench", "MIT", "tests only", "lookalikes")),
        ("recipe", ("quickstart", "llava-1.5-7b")),
    ],
)
def test_choices_are_listed(terminal: Terminal, verb: str, words: tuple[str, ...]) -> None:
    outcome = terminal(verb)
    assert outcome.code == 0
    assert [word for word in words if word not in outcome.out] == []


def test_what_a_model_would_be_shown_under_an_attack(terminal: Terminal, tmp_path: Path) -> None:
    listed = terminal("attacks").out
    assert "by=3: places" in listed and "word (needed): any one word" in listed and "arXiv 2307.02483" in listed
    shown = terminal("attacks", "prefill(words='Sure, here is') | rot13", "--text", "How do I bake bread?")
    assert shown == Outcome(0, "typed: Ubj qb V onxr oernq?\nanswer begun with: Sure, here is\n", "")
    drawn = terminal("attacks", "image_sequence(images=2) | blank_image(side=16)")
    assert "picture 3: 16 x 16 pixels" in drawn.out and "for models that take them" in drawn.out
    written = terminal("attacks", "image_sequence(images=2)", "--out", tmp_path / "x.jpg")
    assert written.code == 0 and str(tmp_path / "x-2.png") in written.out
    assert sorted(p.name for p in tmp_path.glob("*.*")) == ["x-2.png", "x.png"]
    terminal("attacks", "rot14").says("there is no attack called 'rot14'")
    terminal("attacks", "rot13 | caesar(by=99)").says("caesar: by=99 does not work")


def test_the_list_of_data_sets_fits_a_terminal_and_says_what_must_be_known(terminal: Terminal) -> None:
    out = terminal("datasets").out
    assert max(map(len, out.splitlines())) <= 120
    for words in ("PKU-Alignment/MM-SafetyBench", "1,680, pictures", "13 categories", "CC BY-NC 4.0", "Left out:"):
        assert words in out
    names = [line.split()[0] for line in out.splitlines() if line.strip()]
    assert names.index("advbench") < names.index("hades") < names.index("xstest_unsafe")


def test_one_data_set_in_full(terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEXTUNLEARN_DATA", raising=False)
    out = terminal("datasets", "mm_safetybench_sd").out
    assert "Not on this machine: get it from https://huggingface.co/datasets/PKU-Alignment/MM-SafetyBench" in out
    example = out.split("In a recipe:\n")[1]
    (tmp_path / "mine.yaml").write_text(example)
    assert set(Recipe.read(tmp_path / "mine.yaml").data.places) == {"mm_safetybench"}
    publisher_layouts.mm_safetybench(tmp_path / "set")
    out = terminal("datasets", "mm_safetybench_sd", "--place", str(tmp_path / "set")).out
    assert "Here (named place): 2 requests; left out: 2 may be about minors." in out
    outcome = terminal("datasets", "mm_safetybensh_sd")
    assert outcome.code == 2 and "did you mean mm_safetybench_sd" in outcome.err


def test_a_printed_recipe_can_be_run(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(terminal("recipe", "own-data").out, encoding="utf-8")
    assert Recipe.read(tmp_path / "mine.yaml") == recipes.read("own-data")


# -- the job -------------------------------------------------------------------------------------------------------


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Jobs that were run; a run only writes what a run leaves behind."""
    jobs: list[Job] = []

    def run(job: Job) -> Path:
        jobs.append(job)
        make_run(job.folder)  # brings a recipe of its own
        write_text(job.folder / "recipe.yaml", job.recipe.to_yaml())
        return job.folder / "report.html"

    monkeypatch.setattr(Job, "run", run)
    return jobs


def test_quickstart_ends_with_the_table_and_the_report(terminal: Terminal, ran: list[Job]) -> None:
    outcome = terminal("quickstart")
    assert outcome.code == 0, outcome.err
    assert ran[0].recipe == recipes.read("quickstart") and ran[0].folder == Path("runs/quickstart")
    assert "unsafe [95 %]" in outcome.out and "runs/quickstart/report.html" in outcome.out


def test_run_takes_recipe_and_changes(terminal: Terminal, ran: list[Job]) -> None:
    arguments = ("run", "plain", "--model", "my/model", "--seed", 3, "--steps", 9, "--set", "training.lr=1e-5")
    assert terminal(*arguments, "--out", "here").code == 0
    assert terminal("run", "--model", "someone/their-vlm").code == 0
    first, second = ran
    assert first.folder == Path("here")
    assert first.recipe == recipes.read("plain", model__id="my/model", seed=3, training__steps=9, training__lr=1e-5)
    assert second.folder == Path("runs/their-vlm")
    assert second.recipe == recipes.read(None, model__id="someone/their-vlm", name="their-vlm")


def test_seeds_go_to_folders_of_their_own(terminal: Terminal, ran: list[Job]) -> None:
    for seed in (0, 1):
        assert terminal("quickstart", "--seed", seed).code == 0
    assert [str(job.folder) for job in ran] == ["runs/quickstart", "runs/quickstart-seed1"]


def test_unlearn_takes_the_steps_up_to_training(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    for step in ("prepare", "sample", "evaluate", "train", "report"):
        monkeypatch.setattr(Job, step, lambda job, *_, step=step: steps.append(step))
    assert terminal("unlearn", "plain").code == 0
    assert steps == ["prepare", "sample", "train"]


def test_evaluate_wants_a_finished_training(terminal: Terminal, ran: list[Job], tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(recipes.read("plain").to_yaml(), encoding="utf-8")
    terminal("evaluate", tmp_path).says("the training in", "is not done")
    (tmp_path / "trained.json").write_text("{}", encoding="utf-8")
    assert terminal("evaluate", tmp_path).code == 0
    assert [job.recipe for job in ran] == [recipes.read("plain")]


def test_judge_and_report_work_on_what_is_stored(terminal: Terminal) -> None:
    run = make_run(Path("done"))
    write_text(run / "recipe.yaml", recipes.read("plain").to_yaml())
    shutil.rmtree(run / "verdicts")
    assert terminal("judge", run).code == 0, "suites without ordinary requests leave no utility.json"
    write_text(run / "utility.json", '{"before": {"perplexity": 20.0}, "after": {"perplexity": 21.0}}')
    shutil.rmtree(run / "verdicts")
    (run / "metrics.json").unlink()
    terminal("report", run).says("has no verdict")
    assert terminal("judge", run).code == 0
    outcome = terminal("report", run)
    assert outcome.code == 0, outcome.err
    assert "1.05" in outcome.out and "done/report.html" in outcome.out
    assert UNSAFE not in (run / "report.html").read_text(encoding="utf-8")
    assert terminal("report", run, "--unredacted").code == 0
    assert UNSAFE in (run / "report.html").read_text(encoding="utf-8")
    (run / "answers/after.jsonl").unlink()
    terminal("judge", run).says(
        "done is not evaluated yet", "answers/after.jsonl is missing", "textunlearn evaluate done"
    )


def test_a_second_opinion_is_printed_and_reported(terminal: Terminal) -> None:
    run = make_run(Path("done"))
    write_text(run / "recipe.yaml", recipes.read("plain").to_yaml())
    write_text(run / "utility.json", '{"before": {"perplexity": 20.0}, "after": {"perplexity": 21.0}}')
    shutil.rmtree(run / "verdicts")
    assert terminal("judge", run).code == 0
    with serve(lambda asked: Said(completion("unsafe\nS2"))) as server:
        endpoint = ["--set", f"endpoint.base_url={server.url}", "--set", "endpoint.model=m"]
        outcome = terminal("judge", run, "--judge", "llama_guard_3", *endpoint)
    assert outcome.code == 0, outcome.err
    assert f"after: {make(DEFAULT).name} and llama_guard_3-1-m-" in outcome.out and "refusal / unsafe" in outcome.out
    found = terminal("report", run)
    assert found.code == 0, found.err
    opinions = read_json(run / "metrics.json")["second_opinions"]
    assert {(one["model"], one["judge"].split("-m-")[0]) for one in opinions} == {
        ("before", "llama_guard_3-1"),
        ("after", "llama_guard_3-1"),
    }
    assert all(one["n"] > 0 and "refusal / unsafe" in one["pairs"] for one in opinions)
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Second opinions on the same answers" in page and "llama_guard_3-1-m-" in page
    terminal("judge", run, "--set", "model=x").says("--judge names")
    terminal("judge", run, "--judge", "rules", "--set", "model=x").says("no setting 'model'")
    terminal("judge", run, "--judge", "nobody").says("no judge called 'nobody'")


@pytest.mark.builtin
def test_judges_are_checked_against_labels(terminal: Terminal, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("prompt,answer,label,kind\nOpen it?,I can't help with that.,refusal,harmful\n", encoding="utf-8")
    outcome = terminal("judges", "check", path, "--judge", "rules", "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)["rules-4"]
    assert set(found["sets"]) == {"built-in", "pyrit", "mine"} and found["answers_per_second"] > 0
    assert found["sets"]["mine"]["all"]["refusal"]["counts"]["both"] == 1
    shown = terminal("judges", "check", "--judge", "rules")
    assert shown.code == 0 and all(word in shown.out for word in ("kappa", "pyrit", "flipped", "held-out"))
    terminal("judges", "check", tmp_path / "none.csv").says("does not exist")
    terminal("judges", "check", "--judge", "nobody").says("no judge called 'nobody'")


# -- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("trianing: {steps: 3}", ("bad.yaml", "no key 'trianing'", "training")),
        ("training: {stesp: 3}", ("no key 'training.stesp'", "steps")),
        ("training: {steps: few}", ("training.steps", "few")),
        ("training: [", ("bad.yaml", "not valid YAML")),
        ("- just\n- a list", ("bad.yaml", "does not hold a recipe")),
        ("", ("bad.yaml", "does not hold a recipe")),
        ("method: {name: wishful}", ("no method called 'wishful'", "textual_unlearning")),
        ("method: {settings: {harmm: 1}}", ("method.settings.harmm", "harm")),
        ("evaluation: {suites: [guesses]}", ("no suite 'guesses'", "figstep")),
        ("evaluation: {judge: grandmother}", ("no judge called 'grandmother'", "rules")),
        ("data: {harmful: [rumours]}", ("no data source called 'rumours'", "textunlearn datasets")),
        ("data: {harmful: [{file: nowhere.csv}]}", ("nowhere.csv",)),
        ("data: {harmful: [{source: advbench, column: x}]}", ("column cannot be set",)),
        ("data: {harmful: [xstest_safe]}", ("xstest_safe", "must not be trained on")),
    ],
)
def test_bad_recipe_is_one_sentence(terminal: Terminal, tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    (tmp_path / "bad.yaml").write_text(text, encoding="utf-8")
    terminal("run", "bad.yaml").says(*words)


def test_missing_recipe(terminal: Terminal) -> None:
    terminal("run", "nowhere.yaml").says("no recipe nowhere.yaml", "quickstart")


def _run_folder(folder: Path, model: Path) -> Path:
    """A run folder whose training is done, of a model that need not exist."""
    folder.mkdir()
    recipe = Recipe(model=ModelSpec(id=str(model), device="cpu"))
    (folder / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    (folder / "adapter").mkdir()
    (folder / "adapter/adapter_config.json").write_text("{}", encoding="utf-8")
    return folder


def test_missing_model_and_folder_that_is_no_model(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, words in (("gone", "cannot be loaded"), ("empty", "cannot be loaded as a model")):
        run = _run_folder(tmp_path / f"run-{name}", tmp_path / name)
        terminal("chat", run, "--once", "Hello").says(str(tmp_path / name), words)
        terminal("export", run, "out").says(str(tmp_path / name), words)
    assert not Path("out").exists()


def test_not_a_run_folder(terminal: Terminal, tmp_path: Path) -> None:
    for verb in ("chat", "judge", "report"):
        terminal(verb, tmp_path / "nowhere").says("nowhere is not a run folder")
    terminal("evaluate", tmp_path / "nowhere").says("there is no folder", "nowhere", "hub id")
    terminal("diff", tmp_path / "nowhere", tmp_path).says("there is no run folder")
    terminal("sample-size", "5%", "lots").says("'lots' is not a rate")
    (tmp_path / "recipe.yaml").write_text("name: early", encoding="utf-8")
    for arguments in (("chat", tmp_path), ("export", tmp_path, "out"), ("export", tmp_path, "out", "--adapter")):
        terminal(*arguments).says("holds no adapter yet")


def test_folder_in_use(terminal: Terminal, ran: list[Job], tmp_path: Path) -> None:
    (tmp_path / "busy").mkdir()
    with claim(tmp_path / "busy"):
        terminal("run", "plain", "--out", "busy").says("another textunlearn process is working in busy")
    assert ran == []
    assert terminal("run", "plain", "--out", "busy").code == 0, "the lock must go with its holder"


def test_folder_of_another_recipe_keeps_it(terminal: Terminal, ran: list[Job]) -> None:
    assert terminal("run", "plain", "--out", "mine").code == 0
    ran.pop().close()
    kept = Path("mine/recipe.yaml").read_text(encoding="utf-8")
    terminal("run", "plain", "--steps", 5, "--out", "mine").says("mine holds a run of another recipe")
    assert Path("mine/recipe.yaml").read_text(encoding="utf-8") == kept
    assert terminal("run", "plain", "--out", "mine").code == 0


def test_out_is_a_file(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    terminal("run", "plain", "--out", "file").says("file cannot be used: File exists")
    terminal("run", "plain", "--out", "file/below").says("cannot be used: Not a directory")


@pytest.mark.parametrize("arguments", [("dance",), ("run", "--colour"), ("chat",), ("quickstart", "--seed", "many")])
def test_usage_errors(terminal: Terminal, arguments: tuple[str, ...]) -> None:
    outcome = terminal(*arguments)
    assert outcome.code == 2 and "Usage: textunlearn" in outcome.err and "Traceback" not in outcome.err


# -- what can happen on the way ------------------------------------------------------------------------------------


def _fails(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def run(job: Job) -> Path:
        raise error

    monkeypatch.setattr(Job, "run", run)


class SafetensorError(Exception):
    """As a writer in another language raises it: no OSError."""


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "runs/x/answers.jsonl"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_full_disk(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    _fails(monkeypatch, error)
    terminal("run", "plain").says("the disk is full", "run the same command again")


def test_full_disk_behind_another_error(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    outer = RuntimeError("could not write")
    outer.__cause__ = OSError(errno.ENOSPC, "No space left on device", "adapter.safetensors")
    _fails(monkeypatch, outer)
    terminal("run", "plain").says("the disk is full", "adapter.safetensors")


def test_memory_runs_out(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    _fails(monkeypatch, MemoryError())
    terminal("run", "plain").says("memory ran out", "training.accumulate")


def test_own_fault_says_how_to_see_more(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    _fails(monkeypatch, ZeroDivisionError("division by\nzero"))
    again = "textunlearn --debug run plain --out 'a b'"
    terminal("run", "plain", "--out", "a b").says("a fault of textunlearn", "division by zero", again, code=shell.FAULT)
    debugged = terminal("--debug", "run", "plain", "--out", "other")
    assert debugged.code == shell.FAULT and "Traceback" in debugged.err and "test_cli.py" in debugged.err


SLOW = """
import time
from textunlearn import cli
from textunlearn.job import Job
def run(job):
    print("ready", flush=True)
    time.sleep(60)
Job.run = run
cli.main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_by_a_signal(tmp_path: Path, number: signal.Signals, code: int) -> None:
    command = [sys.executable, "-c", SLOW, "run", "plain"]
    here = os.environ | {"PYTHONPATH": os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, env=here, text=True, preexec_fn=as_in_a_terminal, **pipes) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    Outcome(process.returncode, "", plain(errors)).says("stopped; run the same command again to go on", code=code)


def test_quiet_keeps_libraries_from_talking(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOKENIZERS_PARALLELISM", "TRANSFORMERS_VERBOSITY", "HF_HUB_DISABLE_PROGRESS_BARS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TRANSFORMERS_NO_ADVISORY_WARNINGS", "0")
    with warnings.catch_warnings(record=True) as heard:
        shell.quiet()
        warnings.warn("old", FutureWarning, stacklevel=1)
    assert heard == []
    assert os.environ["TRANSFORMERS_VERBOSITY"] == "error"
    assert os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] == "0", "what the user set is kept"
