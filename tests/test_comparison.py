"""Comparisons: their recipes, that runs share what the original said, go on after a stop and fail alone, and what is collected."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import compare_child
import job_run
from textunlearn import cli, recipes, shell
from textunlearn.comparison import collect, runs
from textunlearn.comparison.job import Compare, Request
from textunlearn.comparison.runs import Run, take_over, time_left
from textunlearn.comparison.spec import Comparison, merged
from textunlearn.errors import UserError
from textunlearn.files import read_json, read_records, write_json, write_text
from textunlearn.lock import claim
from textunlearn.recipe import Recipe
from textunlearn.records import LABELS, Answer, Case

CHILD = str(Path(compare_child.__file__))
SMALL: dict[str, Any] = {
    "name": "small",
    "title": "Two of them",
    "base": {"training": {"steps": 60, "lr": 1e-3}, "evaluation": {"judge": "rules"}},  # which needs no network
    "quick": {"set": {"training": {"steps": 5}}, "entries": ["two"]},
    "entries": {
        "one": {"title": "The one", "set": {"slots": {"share": 0}}},
        "two": {"title": "The other", "family": "slots", "group": "beyond", "x": 2, "set": {"training": {"lr": 1e-2}}},
    },
}


def comparison(**changes: Any) -> Comparison:
    return Comparison.parse({**SMALL, **changes}, "small.yaml")


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Compare]:
    """A comparison whose runs are made up and whose report is a plain file; in ``tmp_path``, where the test then is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "COMMAND", (sys.executable, CHILD, "--pretend"))
    _no_page(monkeypatch)
    monkeypatch.setattr(
        collect, "collect", lambda about, entries, made, why: {"run": about, "why": [str(folder) for folder in why]}
    )

    def make(**changes: Any) -> Compare:
        data = {**SMALL, **changes.pop("data", {})}
        write_text(tmp_path / "small.yaml", yaml.safe_dump(data, sort_keys=False))
        return Compare(Request("small.yaml", **{"out": Path("out"), "jobs": 2, **changes}), job_run.quiet())

    return make


def _no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    page = types.ModuleType("textunlearn.report.comparison")

    def write_comparison(out: Path) -> Path:
        write_text(out / "comparison.html", "")
        return out / "comparison.html"

    page.write_comparison = write_comparison  # type: ignore[attr-defined]
    page.print_comparison = lambda data, console: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, page.__name__, page)


def starts(folder: Path) -> int:
    return int((folder / "starts").read_text()) if (folder / "starts").exists() else 0


# -- the recipe -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", recipes.comparisons())
@pytest.mark.parametrize("quick", [False, True])
def test_shipped_comparison_is_sound_and_says_what_it_is_for(name: str, quick: bool) -> None:
    found = Comparison.read(recipes.find(name))
    assert found.name == name and len(recipes.about(name)) > 40 and recipes.about(name)[-1] in ".?"
    made = found.recipes(quick=quick)
    assert len(made) >= 2 and set(made) <= set(found.entries)
    assert quick is False or len(made) < len(found.entries) or len(found.entries) <= 4
    titles = [entry.title for entry in found.entries.values()]
    assert len(set(titles)) == len(titles)


def test_the_default_comparison_has_every_method_typed_and_in_the_slots() -> None:
    from textunlearn.methods import METHODS

    found = Comparison.read(recipes.find("comparison"))
    made = found.recipes()
    by_family = {
        family: {made[name].method.name for name, entry in found.entries.items() if entry.family == family}
        for family in ("text", "slots", "pictures")
    }
    every = set(METHODS.names()) - {"distillation"}
    assert by_family["text"] == every and by_family["slots"] == every - {"textual_unlearning_published"}
    assert by_family["pictures"] == {"textual_unlearning", "sft", "dpo"}
    for name, entry in found.entries.items():
        assert (made[name].slots.share > 0) is (entry.family == "slots")
        assert (made[name].pictures.share > 0) is (entry.family == "pictures")
        assert (entry.group == "beyond") is (entry.family == "slots")
    assert len({recipe.training.steps for recipe in made.values()}) == 1, "the same budget for all"
    assert not made["published"].training.guard and made["published_full_guarded"].training.guard


def test_later_values_win_and_an_entry_keeps_what_it_is_about() -> None:
    made = comparison().recipes()
    assert (made["one"].training.steps, made["one"].training.lr, made["one"].slots.share) == (60, 1e-3, 0)
    assert (made["two"].training.steps, made["two"].training.lr, made["two"].slots.share) == (60, 1e-2, 0.5)
    quick = comparison(quick={"set": {"training": {"steps": 5, "lr": 1e-4}}}).recipes(quick=True)
    assert (quick["one"].training.steps, quick["one"].training.lr) == (5, 1e-4)
    assert (quick["two"].training.steps, quick["two"].training.lr) == (5, 1e-2)
    changed = comparison().recipes("my/model", 3, changes=["training.lr=0.5"])
    assert {(r.model.id, r.seed, r.training.lr) for r in changed.values()} == {("my/model", 3, 0.5)}
    assert list(comparison().recipes(quick=True)) == ["two"] and list(comparison().recipes(only=["one"])) == ["one"]


def test_merging_replaces_lists_and_leaves_the_base_alone() -> None:
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 1}
    assert merged(base, {"a": {"c": [3]}, "d": {"e": 2}}) == {"a": {"b": 1, "c": [3]}, "d": {"e": 2}}
    assert base == {"a": {"b": 1, "c": [1, 2]}, "d": 1}


def test_equal_entries_share_a_run_whichever_is_asked_for() -> None:
    twins = comparison(entries={name: {"title": name} for name in ("a", "b")}, quick={})
    assert [recipe.name for recipe in twins.recipes().values()] == ["a", "a"]
    assert twins.recipes(only=["b"])["b"].name == "a"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"entries": {}}, ("small.yaml", "entries")),
        ({"entires": {}}, ("no key 'entires'", "known here: name, title", "entries")),
        ({"entries": {"a": {"title": "A", "titel": "B"}}}, ("no key 'entries.a.titel'", "family", "set")),
        ({"entries": {"a b": {"title": "A"}}}, ("small.yaml", "entries.a b")),
        ({"entries": {"a": {"title": "A", "family": "sound"}}}, ("family", "'sound'")),
        ({"quick": {"entries": ["three"]}}, ("small.yaml: quick.entries", "no entry 'three'", "one, two")),
    ],
)
def test_bad_comparison_is_one_sentence(changes: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as error:
        comparison(**changes)
    assert [word for word in words if word not in str(error.value)] == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"training": {"stesp": 3}}, ("small, entry one", "training.stesp")),
        ({"method": {"name": "wish"}}, ("no method called 'wish'",)),
        ({"evaluation": {"limit": 3}}, ("small, entry two changes evaluation", "move the change into base")),
    ],
)
def test_a_bad_run_is_refused_before_any_work(settings: dict[str, Any], words: tuple[str, ...]) -> None:
    entries = {"one": {"title": "A", "set": settings}, "two": {"title": "B"}}
    with pytest.raises(UserError) as error:
        comparison(entries=entries, quick={}).recipes()
    assert [word for word in words if word not in str(error.value)] == []


def test_runs_and_comparisons_are_told_apart(tmp_path: Path) -> None:
    assert "comparison" not in recipes.names() and recipes.comparisons()[0] == "comparison"
    with pytest.raises(UserError, match="use `textunlearn compare comparison`"):
        recipes.read("comparison")
    with pytest.raises(UserError, match=r"quickstart\.yaml describes one run.*use `textunlearn run`"):
        Comparison.read(recipes.find("quickstart"))
    assert not recipes.is_comparison(tmp_path / "nothing")


# -- the runs -------------------------------------------------------------------------------------------------------


def test_the_first_run_answers_for_the_original_and_the_others_take_over(pretended: Callable[..., Compare]) -> None:
    comparing = pretended(seeds=(0, 1))
    comparing.run()
    for seed in (0, 1):
        for name in ("one", "two"):
            folder = Path(f"out/seed-{seed}/{name}")
            assert (folder / "answers/before.jsonl").read_text() == "made by one\n"
            assert starts(folder) == 1 and Recipe.read(folder / "recipe.yaml").seed == seed
    assert comparing.failures == [] and read_json(Path("out/comparison.json"))["run"]["seeds"] == [0, 1]


def test_finished_runs_are_left_alone(pretended: Callable[..., Compare]) -> None:
    first = pretended(only=("one",))
    first.run()
    first.close()
    before = {path: path.stat().st_mtime_ns for path in Path("out/seed-0/one").rglob("*")}
    second = pretended()
    second.run()
    assert {path: path.stat().st_mtime_ns for path in Path("out/seed-0/one").rglob("*")} == before
    assert starts(Path("out/seed-0/two")) == 1 and len(before) > 3


@pytest.mark.parametrize(("fate", "code"), [("mendable", shell.USER), ("fault", shell.FAULT)])
def test_a_failing_run_does_not_stop_the_others(
    pretended: Callable[..., Compare], fate: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = {
        name: {"title": name, "set": {"training": {"lr": lr}}} for name, lr in (("a", 0.1), ("b", 0.2), ("c", 0.3))
    }
    write_text(Path("out/seed-0/a/fate"), fate)
    pretended(data={"entries": entries, "quick": {}}).close()
    assert shell.run(cli.app, ["compare", "small.yaml", "--out", "out", "--jobs", "2"], lambda: False) == code
    said = capsys.readouterr().err
    assert (
        said.count("\n") == 1
        and "out/seed-0/a failed" in said
        and "out/seed-0/a.log" in said
        and "Traceback" not in said
    )
    assert ("lift it off" in said) is (fate == "mendable")
    assert [starts(Path(f"out/seed-0/{name}")) for name in "abc"] == [1, 1, 1]
    assert "out/seed-0/a" in read_json(Path("out/comparison.json"))["why"]
    (Path("out/seed-0/a/fate")).unlink()
    assert shell.run(cli.app, ["compare", "small.yaml", "--out", "out", "--jobs", "2"], lambda: False) == shell.DONE
    assert [starts(Path(f"out/seed-0/{name}")) for name in "abc"] == [2, 1, 1]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_stop_ends_the_runs_too_and_the_next_call_goes_on(
    pretended: Callable[..., Compare], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    pretended().close()
    write_text(Path("out/seed-0/two/fate"), "hang")
    script = (
        "import sys, signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"from textunlearn.comparison import runs\nruns.COMMAND = (sys.executable, {CHILD!r}, '--pretend')\n"
        "from textunlearn import cli\ncli.main()\n"
    )
    here = os.environ | {"PYTHONPATH": os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)}
    command = [sys.executable, "-c", script, "compare", "small.yaml", "--out", "out", "--jobs", "1"]
    with subprocess.Popen(command, env=here, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert _soon(lambda: (tmp_path / "out/seed-0/two/verdicts").exists())
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert (b"stopped; run the same command again" in errors) == (code > 0), "what is killed says nothing"
    assert Run(tmp_path / "out/seed-0/one", Recipe()).done and not (tmp_path / "out/seed-0/two/report.html").exists()
    log = tmp_path / "out/seed-0/two.log"
    assert _soon(lambda: "stopped" in log.read_text(encoding="utf-8")), (
        "the run was asked to stop, or saw that it is alone"
    )
    (tmp_path / "out/seed-0/two/fate").unlink()
    finished = (tmp_path / "out/seed-0/one/report.html").stat().st_mtime_ns
    pretended().run()
    assert starts(Path("out/seed-0/two")) == 2 and starts(Path("out/seed-0/one")) == 1
    assert (tmp_path / "out/seed-0/one/report.html").stat().st_mtime_ns == finished


def _soon(true: Callable[[], bool]) -> bool:
    for _ in range(1200):
        if true():
            return True
        time.sleep(0.05)
    return False


def test_a_folder_of_other_runs_or_in_use_is_refused(pretended: Callable[..., Compare]) -> None:
    comparing = pretended()
    with pytest.raises(UserError, match="another textunlearn process is working in out"):
        pretended()
    comparing.run()
    comparing.close()
    with pytest.raises(UserError, match=r"seed-0/one holds a run of another recipe; choose another --out"):
        pretended(changes=("training.lr=0.5",))
    with claim(Path("out")):
        pass


def test_answers_are_taken_over_from_the_likeliest_run_only(tmp_path: Path) -> None:
    def made(name: str, **changes: Any) -> Run:
        run = Run(tmp_path / name, Recipe.parse(changes, name))
        write_text(run.folder / "verdicts/before.rules.jsonl", "")
        for file in ("answers/before.jsonl", "data/answers.jsonl", "model.json"):
            write_text(run.folder / file, name)
        for file in ("further.json", "utility.json"):
            write_json(run.folder / file, {"before": {"of": name}, "after": {"of": "x"}})
        return run

    def told(run: Run) -> list[str]:
        files = (run.folder / file for file in ("answers/before.jsonl", "data/answers.jsonl"))
        return [file.read_text() if file.exists() else "" for file in files]

    other_seed, same_seed = made("other", seed=1), made("same", seed=2)
    run = Run(tmp_path / "new", Recipe(seed=2))
    take_over([other_seed, same_seed], run)
    assert told(run) == ["same", "same"]
    for file in ("further.json", "utility.json"):
        assert read_json(run.folder / file) == {"before": {"of": "same"}}
    longer = Run(tmp_path / "longer", Recipe.parse({"data": {"kept_tokens": 30}}, ""))
    take_over([other_seed], longer)
    assert told(longer) == ["other", ""], "sampled answers of another length are no use"
    for changes in ({"model": {"id": "else"}}, {"evaluation": {"max_new_tokens": 5}}):
        apart = Run(tmp_path / f"apart-{len(str(changes))}", Recipe.parse(changes, ""))
        take_over([other_seed], apart)
        assert told(apart) == ["", ""]
    write_text(other_seed.folder / "reference.safetensors", "much more of another seed's rows")
    write_text(same_seed.folder / "reference.safetensors", "of the same rows")
    rows = Run(tmp_path / "rows", Recipe.parse({"seed": 2, "method": {"name": "dpo"}}, ""))
    take_over([other_seed, same_seed], rows)
    assert (rows.folder / "reference.safetensors").read_text() == "of the same rows"
    elsewhere = Run(tmp_path / "elsewhere", Recipe.parse({"seed": 2, "evaluation": {"limit": 3}}, ""))
    take_over([same_seed], elsewhere)
    assert not (elsewhere.folder / "utility.json").exists(), "what was measured on other cases is no use"
    write_text(same_seed.folder / "answers/before.jsonl", "changed")
    take_over([same_seed], run)
    assert told(run)[0] == "same", "what is there is not replaced"
    unfinished = Run(tmp_path / "same", Recipe.parse({"evaluation": {"shallowness": True}}, ""))
    assert same_seed.has_original and not unfinished.has_original


def test_time_left() -> None:
    assert time_left([], 3, [10.0], 2) is None
    assert time_left([100.0, 200.0], 2, [50.0, 400.0], 2) == (2 * 150 + 100) / 2


# -- what is collected ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(reader_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real jobs of two entries on a tiny model, two seeds for one of them, with their comparison.json."""
    place = tmp_path_factory.mktemp("comparison")
    job_run.write_data(place / "data")
    with pytest.MonkeyPatch.context() as patch:
        for registry, name, part in job_run.stand_ins():
            patch.setitem(registry, name, part)
        base = job_run.recipe(reader_folder, place / "data", evaluation={"limit": 2})
        data = {
            **SMALL,
            "base": yaml.safe_load(base.to_yaml()),
            "quick": {},
            "entries": {
                "one": {"title": "The one", "set": {"slots": {"share": 0.0}}},
                "two": {
                    "title": "The other",
                    "family": "slots",
                    "group": "beyond",
                    "x": 2,
                    "set": {"training": {"steps": 4}},
                },
            },
        }
        write_text(place / "small.yaml", yaml.safe_dump(data, sort_keys=False))
        patch.setattr(runs, "COMMAND", (sys.executable, CHILD))
        for request in ({}, {"seeds": (1,), "only": ("two",)}):
            asked = Request(str(place / "small.yaml"), out=place / "out", jobs=2, **request)  # type: ignore[arg-type]
            comparing = Compare(asked, job_run.quiet())
            assert comparing.run().is_file()
            comparing.close()
            assert comparing.failures == [], comparing.failed
    return place


def test_the_original_answers_once(finished: Path) -> None:
    one, two = (finished / f"out/seed-0/{name}" for name in ("one", "two"))
    cases = {case.id for case in read_records(one / "cases.jsonl", Case)}
    assert int((one / "generated").read_text()) == 2 * len(cases)
    for folder in (two, finished / "out/seed-1/two"):
        assert int((folder / "generated").read_text()) == len(cases)
        said = [read_records(f / "answers/before.jsonl", Answer) for f in (one, folder)]
        assert said[0] == said[1] and len(said[0]) == len(cases)


def test_comparison_json_has_what_reports_read(finished: Path) -> None:
    data = read_json(finished / "out/comparison.json")
    assert set(data) == {"run", "entries", "original", "results", "missing"} and data["missing"] == []
    run = data["run"]
    assert (run["name"], run["title"], run["seeds"], run["quick"]) == ("small", "Two of them", [0, 1], False)
    assert run["judge"] == "stand-in-1" and run["dtype"] == "float32" and run["versions"]["torch"]
    assert run["machine"]["cores"] and run["titles"]["figstep"] and "entries:" in run["recipe"]
    assert run["command"].startswith("textunlearn compare ") and "--only two" in run["command"]
    common = {"method": "textual_unlearning", "guard": True, "bounded": True}
    assert data["entries"] == [
        {"name": "one", "title": "The one", "family": "text", "group": "method", "x": None, **common},
        {"name": "two", "title": "The other", "family": "slots", "group": "beyond", "x": 2, **common},
    ]
    assert {name: list(by_seed) for name, by_seed in data["results"].items()} == {"one": ["0"], "two": ["0", "1"]}
    keys = {"suites", "utility", "further", "cost", "guard", "steps", "best_step", "looks", "curve"}
    original = data["original"]
    results = [result for by_seed in data["results"].values() for result in by_seed.values()]
    for result in (original, *results):
        assert set(result) == keys
        assert [row["suite"] for row in result["suites"]] == [row["suite"] for row in original["suites"]]
        assert all("model" not in row and row["n"] == 2 == sum(row[x]["k"] for x in LABELS) for row in result["suites"])
        assert result["utility"]["perplexity"] > 1
    assert original["utility"]["perplexity_ratio"] == 1 and original["steps"] is None and original["curve"] == []
    assert original["cost"]["evaluate before"]["seconds"] > 0
    assert {phase for phase in original["cost"] if not phase.endswith("before")} == set()


def test_a_result_says_how_training_went_and_what_it_cost(finished: Path) -> None:
    results = read_json(finished / "out/comparison.json")["results"]
    for name, steps in (("one", 6), ("two", 4)):
        result = results[name]["0"]
        folder = finished / f"out/seed-0/{name}"
        assert result["steps"] == steps and result["best_step"] == read_json(folder / "trained.json")["best_step"]
        assert [point["step"] for point in result["curve"]] == list(range(1, steps + 1))
        assert set(result["curve"][0]) == {"step", "harm_nll", "kl", "loss"}
        assert [look["step"] for look in result["looks"]] == list(range(0, steps + 1, 2))
        assert set(result["looks"][0]) == {"step", "asr", "lookalike_refusal", "ordinary_refusal", "broken"}
        assert result["cost"]["train"]["tokens"] > 0 and "evaluate before" not in result["cost"]


def test_a_run_that_is_not_done_is_missing(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for registry, name, part in job_run.stand_ins():
        monkeypatch.setitem(registry, name, part)
    _no_page(monkeypatch)
    shutil.copytree(finished / "out", tmp_path / "out")
    (tmp_path / "out/seed-0/two/report.html").unlink()
    comparing = Compare(Request(str(finished / "small.yaml"), out=tmp_path / "out"), job_run.quiet())
    comparing.report()
    data = read_json(tmp_path / "out/comparison.json")
    assert data["missing"] == [{"entry": "two", "seed": 0, "why": "not run yet"}]
    assert {name: list(by_seed) for name, by_seed in data["results"].items()} == {"one": ["0"], "two": ["1"]}
    (tmp_path / "out/seed-0/one/report.html").unlink()
    (tmp_path / "out/seed-1/two/report.html").unlink()
    with pytest.raises(UserError, match=r"no run of the comparison small is done yet"):
        comparing.report()


def test_asr_inside_and_outside_the_topics_trained_on(finished: Path) -> None:
    from textunlearn.data.safe_answers import topic_of

    folder = finished / "out/seed-0/one"
    cases = [c for c in read_records(folder / "cases.jsonl", Case) if c.suite == "direct_harmbench"]
    topics = [topic_of(cases[0].prompt.text).name]
    inside = sum(topic_of(c.prompt.text).name in topics for c in cases)
    found = collect._coverage(folder, "stand-in-1", topics)
    assert found["inside"]["n"] == inside > 0 and found["inside"]["n"] + found["outside"]["n"] == len(cases)
    assert collect._coverage(folder, "stand-in-1", ["drugs"])["inside"]["n"] == 0


def test_what_is_shared_costs_each_entry_what_it_cost_the_run_that_did_it(tmp_path: Path) -> None:
    a, b, c = (Run(tmp_path / name, Recipe(name=name, seed=seed)) for name, seed in (("a", 0), ("b", 1), ("c", 0)))
    other = Run(tmp_path / "d", Recipe.parse({"data": {"max_harmful": 9}}, ""))
    costs = {run.folder: {"sample": {"seconds": s}} for run, s in ((a, 90.0), (b, 0.1), (other, 400.0))}
    costs[c.folder] = {}
    runs = [a, b, c, other]
    assert [collect._shared(run, runs, costs)["sample"]["seconds"] for run in runs] == [90.0, 90.0, 90.0, 400.0]
    assert collect._shared(c, [c], costs) == {}
    costs[a.folder]["reference"] = {"seconds": 7.0}
    assert ["reference" in collect._shared(run, runs, costs) for run in runs] == [True, False, True, False], "same rows"
    cost = {"train": {"seconds": 30.0}, "reference": {"seconds": 7.0}, "vision": {"seconds": 3.0}}
    collect._apart(cost)
    assert cost["train"]["seconds"] == 20.0


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    rows = [{"step": step} for step in range(1, 401)]
    thin = collect._thinned(rows, 400)
    assert len(thin) <= collect.POINTS + 2 and (thin[0]["step"], thin[-1]["step"]) == (1, 400)
    stopped = collect._thinned(rows[:100], 400)
    assert {row["step"] for row in stopped[:-1]} < {row["step"] for row in thin}, "the same steps in every run"
    assert collect._thinned(rows[:60], 60) == rows[:60]
