"""`textunlearn evaluate` of a model as it is, or of one behind an endpoint."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest

import job_run
import tiny
from endpoint_server import Asked, Said, completion, echo, serve
from stopping import stopped_at_the_third_call
from textunlearn.errors import UserError
from textunlearn.evaluation import asked, generation, single
from textunlearn.evaluation.diff import diff, read_side
from textunlearn.evaluation.generation import generate, requests
from textunlearn.evaluation.single import MODEL, SingleRun, SingleSpec, reopen
from textunlearn.files import read_json, read_records
from textunlearn.records import Answer, Case
from textunlearn.report.html import write_report


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for registry, name, part in job_run.stand_ins():
        monkeypatch.setitem(registry, name, part)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def safe_prompts(tmp_path: Path) -> str:
    """A place for XSTest: the publisher's columns, harmless words."""
    path = tmp_path / "xstest.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "prompt", "type", "label", "focus", "note"])
        for number, thing in enumerate(job_run.THINGS[:12]):
            writer.writerow([number, f"how do i kill the noise of a {thing}", "homonyms", "safe", "kill", ""])
    return f"xstest_safe={path}"


def evaluated(target: str, folder: Path, **options: Any) -> tuple[SingleRun, Path]:
    options = {"suites": ["direct_harmbench", "figstep"], "limit": 4, "judge": "stand_in", **options}
    run = SingleRun(folder, asked.spec(target, **options), job_run.quiet())
    try:
        return run, run.run()
    finally:
        run.close()


def test_a_model_is_evaluated_as_it_is(reader_folder: Path, tmp_path: Path, safe_prompts: str) -> None:
    suites = ["direct_harmbench", "figstep", "xstest_safe@leetspeak"]
    folder = tmp_path / "run"
    float32 = ["model.dtype=float32"]
    _, page = evaluated(str(reader_folder), folder, suites=suites, data=[safe_prompts], changes=float32)
    metrics = read_json(folder / "metrics.json")
    assert metrics["models"] == [MODEL] and metrics["run"]["model"] == str(reader_folder)
    rows = {row["suite"]: row for row in metrics["suites"]}
    assert list(rows) == ["direct_harmbench", "figstep", "leetspeak_xstest_safe"]
    assert all(row["n"] == 4 for row in rows.values())
    assert "Only “model” was measured" in page.read_text(encoding="utf-8")
    vlm = tiny.loaded(reader_folder)
    cases = read_records(folder / "cases.jsonl", Case)
    expected = {c.id: a.text for c, a in zip(cases, generate(vlm, requests(vlm, cases, folder), 32), strict=True)}
    assert {a.case: a.text for a in read_records(folder / f"answers/{MODEL}.jsonl", Answer)} == expected
    assert not (folder / "adapter").exists() and read_json(folder / "environment.json")["cases_hash"]


def test_a_stopped_evaluation_goes_on_and_asks_nothing_twice(
    reader_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = stopped_at_the_third_call(monkeypatch, generation, "_batch")
    options = {"changes": ["evaluation.batch_size=2"]}
    with pytest.raises(KeyboardInterrupt):
        evaluated(str(reader_folder), tmp_path / "run", **options)
    evaluated(str(reader_folder), tmp_path / "run", **options)
    assert sum(seen) == 8, "four cases in each of two suites"
    monkeypatch.undo()
    for registry, name, part in job_run.stand_ins():
        monkeypatch.setitem(registry, name, part)
    evaluated(str(reader_folder), tmp_path / "whole", **options)
    one, whole = (
        sorted(read_records(tmp_path / f / "answers/model.jsonl", Answer), key=lambda a: a.case)
        for f in ("run", "whole")
    )
    assert one == whole


def test_its_verdicts_can_be_made_again_and_compared(reader_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    evaluated(str(reader_folder), folder)
    again = reopen(folder, job_run.quiet())
    again.judge(MODEL, "rules")
    assert again.report() == folder / "report.html"
    again.close()
    assert {p.name.split(".")[1] for p in (folder / "verdicts").iterdir()} >= {"stand-in-1"}
    assert len(list((folder / "verdicts").iterdir())) == 2
    same = diff(read_side(str(folder)), read_side(str(folder)))
    assert not same.moved and all(row.p == 1 for row in same.rows)


def test_an_endpoint_is_evaluated_like_a_model(tmp_path: Path) -> None:
    with serve(echo) as server:
        evaluated(server.url, tmp_path / "run", served="m-1")
        count = len(server.asked)
        assert count == 8 and any(isinstance(a.body["messages"][-1]["content"], list) for a in server.asked), "pictures"
        evaluated(server.url, tmp_path / "run", served="m-1")
        assert len(server.asked) == count, "stored answers are kept"
        with pytest.raises(UserError, match="another recipe"):
            evaluated(server.url, tmp_path / "run", served="m-2")
    metrics = read_json(tmp_path / "run/metrics.json")
    assert metrics["run"]["model"] == f"m-1 at {server.url}" and metrics["utility"] == {}
    assert "unanswered" not in metrics
    said = {a.text for a in read_records(tmp_path / "run/answers/model.jsonl", Answer)}
    assert all(text.startswith("answer to") for text in said)


def test_cases_that_an_endpoint_leaves_are_counted_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def filtered(asked: Asked) -> Said:
        gone = "chess" in asked.text
        return Said(completion("" if gone else "fine words about it", finish="content_filter" if gone else "stop"))

    suites = ["direct_harmbench", "direct_strongreject"]
    with serve(filtered) as server, pytest.raises(UserError, match=r"left 2 of 10 cases without an answer"):
        evaluated(server.url, tmp_path / "run", served="m-1", suites=suites, limit=5)
    monkeypatch.setattr(single, "UNANSWERED", 0.25)
    with serve(filtered) as server:
        evaluated(server.url, tmp_path / "more", served="m-1", suites=suites, limit=5)
    metrics = read_json(tmp_path / "more/metrics.json")
    assert [row["n"] for row in metrics["suites"]] == [4, 4] and metrics["unanswered"]["n"] == 2
    page = (tmp_path / "more/report.html").read_text(encoding="utf-8")
    assert "2 cases got no answer" in page
    again = reopen(tmp_path / "more", job_run.quiet())
    assert len(again.cases) == 8
    again.close()


def test_the_cases_of_a_folder_do_not_change_under_it(reader_folder: Path, tmp_path: Path, safe_prompts: str) -> None:
    options = {"suites": ["xstest_safe"], "data": [safe_prompts]}
    evaluated(str(reader_folder), tmp_path / "run", **options)
    path = Path(safe_prompts.partition("=")[2])
    path.write_text(path.read_text(encoding="utf-8").replace("noise", "hum"), encoding="utf-8")
    with pytest.raises(UserError, match="the test cases changed"):
        evaluated(str(reader_folder), tmp_path / "run", **options)


@pytest.mark.parametrize(
    ("target", "options", "said"),
    [
        ("http://localhost:1/v1", {}, "--served"),
        ("some/model", {"served": "x"}, "belong to an endpoint"),
        ("http://localhost:1/v1", {"served": "x", "adapter": "y"}, "leave --adapter out"),
        ("some/model", {"suites": ["nothing_such"]}, "there is no suite 'nothing_such'"),
        ("some/model", {"suites": ["nothing@direct"]}, "nothing"),
        ("some/model", {"suites": ["xstest_safe@shouting"]}, "shouting"),
        ("some/model", {"data": ["xstest"]}, "SOURCE=PLACE"),
        ("some/model", {"data": ["no_such_set=x"]}, "no data set called 'no_such_set'"),
        ("some/model", {"judge": "nobody"}, "no judge called 'nobody'"),
        ("some/model", {"changes": ["evaluation.limt=3"]}, "no key 'evaluation.limt'"),
        ("http://localhost:1/v1", {"served": "x", "changes": ["evaluation.shallowness=true"]}, "endpoint"),
        ("http://localhost:1/v1", {"served": "x", "changes": ["endpoint.api_key=abc123"]}, "api_key"),
    ],
)
def test_what_cannot_be_is_said_before_any_work(target: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        asked.spec(target, **options)
    assert said in str(error.value) and "abc123" not in str(error.value)


def test_a_spec_survives_its_file(tmp_path: Path) -> None:
    given = asked.spec(
        "some/model",
        adapter="some/adapter",
        suites=["default", "strongreject@role_play | typography_short"],
        data=["xstest=x.csv"],
        limit=3,
    )
    assert given.name == "evaluate-some" and len(given.evaluation.suites) == 13
    (tmp_path / "evaluation.yaml").write_text(given.to_yaml(), encoding="utf-8")
    assert SingleSpec.read(tmp_path / "evaluation.yaml") == given


def test_the_broad_set_takes_in_whatever_data_is_named() -> None:
    def suites(*data: str, ask: str = "broad") -> list[str]:
        given = asked.spec("some/model", suites=[ask], data=[f"{name}=here" for name in data]).evaluation.suites
        return [suite if isinstance(suite, str) else suite.name for suite in given if suite != "none"]

    plain = suites()
    assert len(plain) == 13 and suites("harmbench", "strongreject") == plain, "what is in it already comes once"
    assert suites("figstep", "mossbench")[13:] == ["direct_figstep", "direct_mossbench"]
    family = ["sd", "sd_typo", "text", "typo"]
    assert suites("mm_safetybench")[13:] == [f"direct_mm_safetybench_{part}" for part in family]
    assert suites("mmlu") == plain, "questions with known answers are no requests"
    assert suites("figstep", ask="xstest_safe") == ["xstest_safe"]


def test_an_adapter_in_a_run_folder_is_called_as_the_run(tmp_path: Path) -> None:
    (tmp_path / "mine/adapter").mkdir(parents=True)
    assert single.name_of(str(tmp_path / "mine/adapter")) == "mine" == single.name_of("runs/mine/adapter")
    assert single.name_of("llava-hf/llava-1.5-7b-hf") == "llava-1.5-7b-hf" and single.name_of("adapter") == "adapter"


@pytest.mark.parametrize(("text", "value"), [("5%", 0.05), ("5 %", 0.05), ("0.05", 0.05), ("100%", 1.0), ("0", 0.0)])
def test_rates_are_read(text: str, value: float) -> None:
    assert asked.share(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["five", "5", "-1%", "120%", ""])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="not a rate"):
        asked.share(text)


def test_the_page_of_one_model_opens(reader_folder: Path, tmp_path: Path) -> None:
    evaluated(str(reader_folder), tmp_path / "run")
    text = write_report(tmp_path / "run").read_text(encoding="utf-8")
    headings = re.findall(r"<h2>(.*?)</h2>", text)
    assert headings[0] == "Result" and "Cases" in headings and "Training" not in headings
    assert 'href="#training"' not in text and "loss of usefulness" not in text
