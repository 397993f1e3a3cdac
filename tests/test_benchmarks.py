"""Questions with known answers in a run: asked once, kept, scored, shown, compared."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

import job_run
from endpoint_server import Asked, Said, completion, serve
from question_layouts import arc, gsm8k, mme, mmmu, mmstar, put
from stopping import stopped_at_the_third_call
from textunlearn.errors import UserError
from textunlearn.evaluation import asked, likelihood, single
from textunlearn.evaluation.diff import diff, read_side, sentences
from textunlearn.evaluation.forms import FORMS
from textunlearn.evaluation.single import MODEL, SingleRun, SingleSpec
from textunlearn.files import read_json, read_records, write_records
from textunlearn.recipe import Recipe
from textunlearn.records import Answer, Likelihoods, Prompt, Question, Score
from textunlearn.report.diff import print_diff
from textunlearn.report.markdown import markdown_table
from textunlearn.report.table import print_table, read_table


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for registry, name, part in job_run.stand_ins():
        monkeypatch.setitem(registry, name, part)
    monkeypatch.setenv("TEXTUNLEARN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> list[str]:
    pytest.importorskip("pyarrow")
    for build in (arc, gsm8k, mme, mmmu, mmstar):
        build(tmp_path / "sets" / build.__name__)
    return [f"{build.__name__}={tmp_path / 'sets' / build.__name__}" for build in (arc, gsm8k, mme, mmmu, mmstar)]


def evaluated(target: str, folder: Path, utility: list[str], data: list[str], **options: Any) -> SingleRun:
    options = {"suites": ["none"], "judge": "stand_in", **options}
    run = SingleRun(folder, asked.spec(target, utility=utility, data=data, **options), job_run.quiet())
    try:
        run.run()
    finally:
        run.close()
    return run


def rows(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["set"], row["measure"]): row for row in read_json(folder / "metrics.json")["benchmarks"]}


def test_questions_are_put_to_a_model_and_shown_beside_attacks(
    reader_folder: Path, tmp_path: Path, data: list[str]
) -> None:
    folder = tmp_path / "run"
    sets = ["arc_easy", "arc_easy:letters", "gsm8k=2", "mme", "mmstar", "mmmu_single"]
    changes = ["model.dtype=float32"]
    evaluated(str(reader_folder), folder, sets, data, suites=["direct_harmbench"], limit=6, changes=changes)
    found = rows(folder)
    assert {key: row["n"] for key, row in found.items()} == {
        ("arc_easy", "accuracy"): 2, ("arc_easy", "accuracy_norm"): 2, ("arc_easy_letters", "accuracy"): 2,
        ("gsm8k", "accuracy"): 2, ("gsm8k", "accuracy_strict"): 2, ("mme", "accuracy"): 6, ("mme", "accuracy_plus"): 3,
        ("mmstar", "accuracy"): 2, ("mmmu_single", "accuracy"): 2,
    }  # fmt: skip
    assert found["mme", "accuracy"]["chance"] == 0.5 and found["arc_easy", "accuracy"]["chance"] == 0.25
    # what is stored gives the scores again
    label = f"utility/{MODEL}/arc_easy"
    questions = {q.id: q for q in read_records(folder / "utility/arc_easy.jsonl", Question)}
    values = {one.question: one.values for one in read_records(folder / f"{label}.jsonl", Likelihoods)}
    scores = {one.question: one.values for one in read_records(folder / f"{label}.scores.jsonl", Score)}
    form: Any = FORMS.get("continuation")
    assert scores == {key: form.score(questions[key], values[key]) for key in questions}
    assert not any(q.images for q in read_records(folder / "utility/mme.jsonl", Question)), "no paths of this machine"
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "MME: both of a picture right" in page and "guessing 25\u00a0%" in page
    text = io.StringIO()
    print_table(read_json(folder / "metrics.json"), Console(file=text, width=140))
    assert "ARC easy: accuracy, by length (guessing 25\u00a0%)" in text.getvalue()
    assert any(
        line.startswith("| GSM8K: accuracy, last number | 2 |")
        for line in markdown_table(read_table(read_json(folder / "metrics.json")))
    )
    about = read_json(folder / "environment.json")["data"]["utility mmmu_single"]
    assert (
        about["n"] == 2 and about["cut"] == {"open question": 2, "several pictures": 2} and about["form"] == "letters"
    )


def test_a_stopped_run_goes_on_and_asks_nothing_twice(
    reader_folder: Path, tmp_path: Path, data: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = stopped_at_the_third_call(monkeypatch, likelihood, "_log_softmax")
    options: dict[str, Any] = {"changes": ["evaluation.batch_size=4", "model.dtype=float32"]}
    with pytest.raises(KeyboardInterrupt):
        evaluated(str(reader_folder), tmp_path / "run", ["arc_easy", "arc_challenge"], data, **options)
    evaluated(str(reader_folder), tmp_path / "run", ["arc_easy", "arc_challenge"], data, **options)
    assert sum(seen) == 2 * 2 * 4, "four choices of each of two questions, in both sets"
    monkeypatch.undo()
    monkeypatch.setenv("TEXTUNLEARN_CACHE", str(tmp_path / "cache"))
    for registry, name, part in job_run.stand_ins():
        monkeypatch.setitem(registry, name, part)
    evaluated(
        str(reader_folder), tmp_path / "whole", ["arc_easy", "arc_challenge"], data, changes=["model.dtype=float32"]
    )
    for name in ("arc_easy", "arc_challenge"):
        one, whole = (
            {x.question: x.values for x in read_records(tmp_path / f / f"utility/{MODEL}/{name}.jsonl", Likelihoods)}
            for f in ("run", "whole")
        )
        assert set(one) == set(whole)
        assert all(one[key] == pytest.approx(whole[key], abs=2e-4) for key in one)


def test_the_questions_of_a_folder_do_not_change_under_it(reader_folder: Path, tmp_path: Path, data: list[str]) -> None:
    evaluated(str(reader_folder), tmp_path / "run", ["arc_easy"], data)
    path = tmp_path / "sets/arc/ARC-Easy/ARC-Easy-Test.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace("kettle", "pot"), encoding="utf-8")
    with pytest.raises(UserError, match="the questions of arc_easy changed since the run"):
        evaluated(str(reader_folder), tmp_path / "run", ["arc_easy"], data)


def test_pictures_that_a_model_does_not_take(
    llm_folder: Path, reader_folder: Path, tmp_path: Path, data: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"takes no images; leave mme out of evaluation\.utility"):
        evaluated(str(llm_folder), tmp_path / "a", ["mme"], data)
    monkeypatch.setattr("textunlearn.vlm.load.Vlm.takes_several", False)
    with pytest.raises(
        UserError, match="takes one picture in a turn, and questions of mmmu show several; name mmmu_single instead"
    ):
        evaluated(str(reader_folder), tmp_path / "b", ["mmmu"], data)


def letters(given: Asked) -> Said:
    """Right where the choices begin with a kettle; one question is filtered."""
    if "<image 2>" in given.text:
        return Said(completion("", finish="content_filter"))
    return Said(completion("C" if "Easy C" in given.text else "The answer is yes"))


def test_an_endpoint_is_asked_for_the_letter(tmp_path: Path, data: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        UserError,
        match=r"needs a model in memory; have an endpoint asked for the letter instead \(arc_easy:generated\)",
    ):
        asked.spec("http://localhost:1/v1", served="m", utility=["arc_easy"])
    monkeypatch.setattr(single, "UNANSWERED", 0.5)
    sets = ["arc_easy:generated", "mme", "mmmu:generated"]
    with serve(letters) as server:
        evaluated(server.url, tmp_path / "run", sets, data, served="m-1")
        count = len(server.asked)
        evaluated(server.url, tmp_path / "run", ["arc_easy:generated", "mme", "mmmu:generated"], data, served="m-1")
        assert len(server.asked) == count + 2, "only what was filtered is asked again"
    found = rows(tmp_path / "run")
    assert (found["arc_easy_generated", "accuracy"]["k"], found["arc_easy_generated", "accuracy"]["n"]) == (1, 2)
    assert (found["mmmu_generated", "accuracy"]["n"], found["mmmu_generated", "accuracy"]["unanswered"]) == (2, 2)
    assert found["mme", "accuracy"]["k"] == 0, '"The answer is yes" does not begin with yes'
    assert {a.text for a in read_records(tmp_path / "run/utility/model/mme.jsonl", Answer)} == {"The answer is yes"}


def test_two_models_are_compared_question_by_question(reader_folder: Path, tmp_path: Path, data: list[str]) -> None:
    run = evaluated(str(reader_folder), tmp_path / "one", ["gsm8k"], data, suites=["direct_harmbench"], limit=3)
    questions = [Question(f"{n}?", "gsm8k", answers=("1",)) for n in range(30)]
    for name, wrong in (("one", 5), ("two", 25)):
        folder = tmp_path / name
        if name == "two":
            evaluated(str(reader_folder), folder, ["gsm8k"], data, suites=["direct_harmbench"], limit=3)
        write_records(folder / "utility/gsm8k.jsonl", questions)
        scores = [Score(q.id, (float(i >= wrong), 0.0)) for i, q in enumerate(questions)]
        write_records(folder / f"utility/{MODEL}/gsm8k.scores.jsonl", scores)
        again = single.reopen(folder, job_run.quiet())
        again.report()
        again.close()
    assert run.recipe.evaluation.utility[0].source == "gsm8k"
    found = diff(read_side(str(tmp_path / "one")), read_side(str(tmp_path / "two")))
    (gain,) = found.gains
    assert (gain.before.k, gain.after.k, gain.paired.gained, gain.paired.lost) == (25, 5, 0, 20)
    assert gain.paired.p == pytest.approx(2 / 2**20) and gain.p == pytest.approx((len(found.rows) + 1) * 2 / 2**20)
    assert any(
        "two:model gives fewer right answers than one:model on GSM8K: accuracy, last number: 83\u00a0% → 17\u00a0% of 30"
        in s
        for s in sentences(found)
    )
    text = io.StringIO()
    print_diff(found, Console(file=text, width=140))
    assert "GSM8K: accuracy, last number" in text.getvalue()
    assert found.to_json()["benchmarks"][0]["verdict"] == "fewer"


def test_a_spec_with_questions_survives_its_file(tmp_path: Path) -> None:
    given = asked.spec("some/model", suites=["none"], utility=["gsm8k=200", "mmlu:generated"])
    (tmp_path / "evaluation.yaml").write_text(given.to_yaml(), encoding="utf-8")
    assert SingleSpec.read(tmp_path / "evaluation.yaml") == given
    with pytest.raises(UserError, match=r"NAME=LIMIT or NAME:FORM=LIMIT"):
        asked.spec("some/model", utility=["gsm8k=many"])
    with pytest.raises(UserError, match=r"evaluation\.utility: there is no set of questions called 'nothing'"):
        asked.spec("some/model", utility=["nothing"])


def test_a_job_asks_both_models_and_trains_on_nothing_near_a_question(
    reader_folder: Path, tmp_path: Path, data: list[str]
) -> None:
    job_run.write_data(tmp_path / "data")
    trained = job_run.TEMPLATES["ordinary"].format(thing=job_run.THINGS[0], place=job_run.PLACES[22])
    row = {
        "id": "x",
        "question": {"stem": trained, "choices": [{"text": t, "label": t} for t in "ab"]},
        "answerKey": "b",
    }
    put(tmp_path / "sets/own/ARC-Easy-Test.jsonl", json.dumps(row) + "\n")
    chosen = job_run.recipe(
        reader_folder,
        tmp_path / "data",
        evaluation={
            "suites": ["direct_harmbench"],
            "utility": ["arc_easy", {"source": "gsm8k", "limit": 2, "max_new_tokens": 4}],
        },
        training={"steps": 2},
    )
    described = yaml.safe_load(chosen.to_yaml())
    described["data"]["places"] = {"arc_easy": str(tmp_path / "sets/own"), "gsm8k": str(tmp_path / "sets/gsm8k")}
    job_run.run(tmp_path / "run", Recipe.parse(described, "tiny"))
    found = read_json(tmp_path / "run/metrics.json")["benchmarks"]
    assert [(row["set"], row["model"]) for row in found if row["measure"] == "accuracy"] == [
        (name, model) for name in ("arc_easy", "gsm8k") for model in job_run.MODELS
    ]
    for split in ("train", "validation"):
        assert trained not in {p.text for p in read_records(tmp_path / f"run/data/{split}.jsonl", Prompt)}
    before, after = (
        read_records(tmp_path / f"run/utility/{model}/arc_easy.jsonl", Likelihoods) for model in job_run.MODELS
    )
    assert [one.question for one in before] == [one.question for one in after] and before != after, "training moved it"
