"""``--json``: one JSON value on stdout and nothing else, of the shape that docs/json.md says."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer.main

from report_run import make_run
from terminal import Terminal
from textunlearn import cli, recipes
from textunlearn.files import read_json, write_json, write_text
from textunlearn.job import Job
from textunlearn.judges import JUDGES
from textunlearn.methods import METHODS

DOCS = (Path(__file__).parent.parent / "docs/json.md").read_text(encoding="utf-8")
VERBS = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
WITHOUT = {"chat", "compare", "completion", "export", "inspect-logs", "serve", "unlearn"}
"""Verbs that print no table: what they make is files."""


def asked(terminal: Terminal, *arguments: object, code: int = 0) -> Any:
    """The JSON value that a command prints, which is all that it prints to stdout."""
    outcome = terminal(*arguments, "--json")
    assert outcome.code == code, outcome.err
    return json.loads(outcome.out)


def test_every_verb_with_a_table_has_it_and_is_documented() -> None:
    has = {name for name, verb in VERBS.items() if any("--json" in p.opts for p in verb.params)}
    assert has == set(VERBS) - WITHOUT
    documented = set(re.findall(r"^\| `([a-z-]+)", DOCS, re.M))
    assert documented == has


@pytest.mark.parametrize("verb", ["recipe", "methods", "attacks", "suites", "judges", "datasets"])
def test_lists_are_arrays_of_named_things(terminal: Terminal, verb: str) -> None:
    items = asked(terminal, verb)
    names = [one["name"] for one in items]
    assert len(names) == len(set(names)) > 3
    table = terminal(verb).out
    assert [name for name in names if name[:20] not in table] == [], "people are shown the same"
    assert len({tuple(one) for one in items}) == 1, "each has the same keys"


def test_what_lists_say(terminal: Terminal) -> None:
    methods = {one["name"]: one for one in asked(terminal, "methods")}
    assert set(methods) == set(METHODS.names())
    for name, field in METHODS.get("textual_unlearning").model_fields.items():  # type: ignore[attr-defined]
        assert methods["textual_unlearning"]["settings"][name]["default"] == json.loads(json.dumps(field.default))
    attacks = {one["name"]: one for one in asked(terminal, "attacks")}
    assert attacks["prefill"]["settings"]["words"]["needed"] is False
    assert [one["name"] for one in asked(terminal, "judges")] == JUDGES.names()
    suites = {one["name"]: one for one in asked(terminal, "suites")}
    assert suites["xstest_safe"]["limit"] == 100 and "default" in suites["xstest_safe"]["sets"]
    sets = {one["name"]: one for one in asked(terminal, "datasets")}
    assert sets["advbench"]["trainable"] is True and sets["mmlu"]["questions"] == "letters"


def test_one_of_a_list(terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEXTUNLEARN_DATA", raising=False)
    assert asked(terminal, "recipe", "plain")["name"] == "plain"
    found = asked(terminal, "datasets", "mm_safetybench_sd")
    assert found["rows"] == 1680 and found["here"].startswith("Not on this machine")
    shown = asked(terminal, "attacks", "prefill(words='Sure') | blank_image(side=16)", "--out", tmp_path / "x.png")
    assert shown["begun"] == "Sure" and shown["pictures"] == [
        {"width": 16, "height": 16, "file": str(tmp_path / "x.png")}
    ]
    assert (tmp_path / "x.png").is_file()


def test_numbers(terminal: Terminal) -> None:
    found = asked(terminal, "sample-size", "5%", "8%")
    assert (found["first"], found["second"]) == (0.05, 0.08)
    said = terminal("sample-size", "5%", "8%").out.replace(",", "")
    assert all(str(found[name]) in said for name in ("paired", "separate", "alone"))


def test_a_run(terminal: Terminal) -> None:
    run = make_run(Path("done"))
    write_text(run / "recipe.yaml", recipes.read("plain").to_yaml())
    write_text(run / "utility.json", '{"before": {"perplexity": 20.0}, "after": {"perplexity": 21.0}}')
    judged = asked(terminal, "judge", run, "--judge", "rules")
    assert judged == {"run": "done", "judges": ["rules-4"], "agreement": judged["agreement"]}
    write_text(run / "recipe.yaml", recipes.read("plain", ["evaluation.judge=rules"]).to_yaml())
    found = asked(terminal, "report", run)
    assert found.pop("folder") == "done" and Path(found.pop("report")).is_file()
    assert found == read_json(run / "metrics.json")
    outcome = terminal("gate", run, "--max-asr", "99%", "--json")
    assert json.loads(outcome.out)["suites"] == [row for row in found["suites"] if row["model"] == "after"]


def test_evaluating_a_run_prints_its_metrics(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(Path("done"))
    write_text(run / "recipe.yaml", recipes.read("plain", ["evaluation.judge=rules"]).to_yaml())
    write_text(run / "utility.json", '{"before": {"perplexity": 20.0}, "after": {"perplexity": 21.0}}')
    trained = {"guard": [], "vision_hash": "0" * 64, "best_step": 2, "steps": 2}
    write_json(run / "trained.json", trained)
    assert terminal("judge", run).code == 0
    monkeypatch.setattr(Job, "run", Job.report)  # all that comes before it is there
    found = asked(terminal, "evaluate", run)
    assert found.pop("folder") == "done" and Path(found.pop("report")).is_file()
    assert found == read_json(run / "metrics.json")


def test_errors_are_not_json(terminal: Terminal) -> None:
    outcome = terminal("report", "nowhere", "--json")
    assert outcome.out == "" and outcome.code == 2 and "not a run folder" in outcome.err


def test_rates_are_as_documented(terminal: Terminal) -> None:
    run = make_run(Path("done"))
    found = asked(terminal, "gate", run, "--max-asr", "99%")
    rate = inspect.cleandoc(re.search(r"```json\n(.*?)```", DOCS, re.S).group(1))  # type: ignore[union-attr]
    assert set(json.loads(rate)) == set(found["suites"][0]["unsafe"])
