"""Run folders that somebody, or a failing disk, changed: said with the file's name, and nothing in them is overwritten."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from refusals import check_sentence, refused, refused_by

from report_run import make_run
from textunlearn import cli, shell
from textunlearn.files import read_json, read_records, write_text
from textunlearn.judges.spec import make
from textunlearn.recipe import Recipe
from textunlearn.records import Answer, Likelihoods, Question, Score

RULES = make("rules").name
CASES, BEFORE, AFTER = "cases.jsonl", "answers/before.jsonl", "answers/after.jsonl"
VERDICTS = f"verdicts/after.{RULES}.jsonl"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run that was finished and reported on."""
    folder = make_run(tmp_path_factory.mktemp("whole") / "run", n=3)
    for model in ("before", "after"):
        (folder / f"verdicts/{model}.rules.jsonl").rename(folder / f"verdicts/{model}.{RULES}.jsonl")
    write_text(
        folder / "recipe.yaml", Recipe.parse({"name": "made-up", "evaluation": {"judge": "rules"}}, "x").to_yaml()
    )
    handler = signal.getsignal(signal.SIGTERM)
    code = shell.run(cli.app, ["report", str(folder)], lambda: False)
    signal.signal(signal.SIGTERM, handler)
    assert code == shell.DONE
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def run(whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(shell, "quiet", lambda: None)
    for name, data in whole.items():
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_bytes(data)
    handler = signal.getsignal(signal.SIGTERM)
    yield tmp_path / "run"
    signal.signal(signal.SIGTERM, handler)


CASE = b'{"suite": "s", "attack": "a", "prompt": %s, "text": "x"}\n'
GARBAGE = b"\xff\xfe\x00garbage\n"
REPORT: list[tuple[str, bytes, tuple[str, ...]]] = [
    ("recipe.yaml", b"", ("recipe.yaml",)),
    ("recipe.yaml", GARBAGE, ("recipe.yaml", "UTF-8")),
    ("recipe.yaml", b"name: [", ("recipe.yaml", "not valid YAML")),
    ("recipe.yaml", b"colour: red\n", ("recipe.yaml", "colour")),
    (CASES, GARBAGE, (CASES, "line 1", "not a Case")),
    (CASES, b"{}\n", (CASES, "line 1", "suite")),
    (CASES, b"3\n", (CASES, "line 1")),
    (CASES, CASE % b'{"text": "x", "kind": "rude", "source": "s"}', (CASES, "line 1", "prompt.kind", "'harmful'")),
    (CASES, CASE % b'"x"', (CASES, "line 1", "prompt")),
    (VERDICTS, GARBAGE, (VERDICTS, "line 1", "not a Verdict")),
    (VERDICTS, b'{"case": "c", "judge": "rules", "label": "lovely", "reason": ""}\n', (VERDICTS, "line 1", "label", "'unsafe'")),
    (VERDICTS, b'{"case": 3, "judge": "rules", "label": "other", "reason": ""}\n', (VERDICTS, "line 1", "case")),
    (VERDICTS, b'{"case": "c", "judge": "rules", "label": "other", "reason": "", "more": 1}\n', (VERDICTS, "line 1", "more")),
    (AFTER, GARBAGE, (AFTER, "line 1", "not a Answer")),
    (AFTER, b'{"case": "c", "text": "x", "tokens": "3", "finished": true}\n', (AFTER, "line 1", "tokens")),
    (AFTER, b'{"case": "c", "text": 3, "tokens": 3, "finished": true}\n', (AFTER, "line 1", "text")),
    (AFTER, b'{"case": "c", "text": "x \\ud83d", "tokens": 3, "finished": true}\n', (AFTER, "line 1")),
    (AFTER, b"[" * 5000 + b"\n", (AFTER, "line 1")),
    ("cost.json", b"{", ("cost.json", "not valid JSON")),
    ("cost.json", b"[]", ("cost.json", "JSON object")),
    ("cost.json", GARBAGE, ("cost.json", "not valid JSON")),
    ("utility.json", b"3", ("utility.json", "JSON object")),
    ("utility.json", b'{"after": {"perplexity": 3}}', ("utility.json", "'before'")),
    ("trained.json", b"{}", ("trained.json", "'guard'")),
    ("trained.json", b"null", ("trained.json", "JSON object")),
    ("environment.json", b"{", ("environment.json", "not valid JSON")),
    ("environment.json", b'"x"', ("environment.json", "JSON object")),
    ("training.jsonl", b"{\n", ("training.jsonl", "line 1", "not JSON")),
    ("training.jsonl", b"3\n", ("training.jsonl", "line 1", "JSON object")),
    ("training.jsonl", GARBAGE, ("training.jsonl", "line 1")),
]  # fmt: skip


@pytest.mark.parametrize("row", REPORT, ids=[f"{file}_{number}" for number, (file, _, _) in enumerate(REPORT)])
def test_a_report_on_a_damaged_run(
    row: tuple[str, bytes, tuple[str, ...]], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, content, words = row
    before = {name: (run / name).read_bytes() for name in ("report.html", CASES, BEFORE)}
    (run / file).write_bytes(content)
    before[file] = content
    capsys.readouterr()
    code = shell.run(cli.app, ["report", str(run)], lambda: False)
    out, err = capsys.readouterr()
    assert code == shell.USER and out == "", err
    assert err.count("\n") == 1
    check_sentence(err.strip(), words)
    assert before == {name: (run / name).read_bytes() for name in before}, "no file of the user's is overwritten"
    assert not [path for path in run.rglob(".*") if path.is_file() and path.name != ".lock"], "no half file is left"


def test_folders_that_are_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str], run: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    for verb in ("report", "judge", "chat"):
        for name in ("empty", "file", "nowhere"):
            refused_by(capsys, tmp_path, (name, "run folder"), verb, tmp_path / name)
    refused_by(capsys, tmp_path, ("nowhere", "no run folder"), "diff", tmp_path / "nowhere", run)
    refused_by(capsys, tmp_path, ("later", "before, after"), "diff", f"{run}:later", run)
    refused_by(capsys, tmp_path, ("no adapter",), "export", run, tmp_path / "out")


SHAPES: list[tuple[type, str, tuple[str, ...]]] = [
    (Question, '{"text": "x"}', ("source",)),
    (Question, '{"text": "x", "source": "s", "choices": "abc"}', ("choices",)),
    (Question, '{"text": "x", "source": "s", "choices": [1]}', ("choices.0",)),
    (Question, '{"text": "x", "source": "s", "right": "0"}', ("right",)),
    (Likelihoods, '{"question": "q", "values": [null]}', ("values.0",)),
    (Likelihoods, '{"question": "q", "values": "1"}', ("values",)),
    (Score, '{"question": "q", "values": ["1"]}', ("values.0",)),
    (Answer, '{"case": "c", "text": "x", "tokens": 1.5, "finished": true}', ("tokens",)),
    (Answer, '{"case": "c", "text": "x", "tokens": 1, "finished": "yes"}', ("finished",)),
    (Answer, '["c", "x", 1, true]', ("object",)),
]


@pytest.mark.parametrize("row", SHAPES, ids=[f"{cls.__name__}_{number}" for number, (cls, _, _) in enumerate(SHAPES)])
def test_records_of_another_shape(row: tuple[type, str, tuple[str, ...]], tmp_path: Path) -> None:
    cls, line, words = row
    path = tmp_path / "records.jsonl"
    path.write_text(line + "\n")
    refused(tmp_path, ("records.jsonl line 1", f"not a {cls.__name__}", *words), lambda: read_records(path, cls))


def test_a_json_file_that_lacks_what_it_was_written_with(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"hash": "x"}')
    found = read_json(tmp_path / "a.json")
    assert found == {"hash": "x"} and found.get("dtype") is None and "dtype" not in found
    refused(tmp_path, ("a.json", "'dtype'", "put back"), lambda: found["dtype"])
