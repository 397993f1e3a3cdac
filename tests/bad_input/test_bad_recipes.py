"""Recipes that cannot be: each through the real verb, in this process. None gets as far as a job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from refusals import check_sentence, refused_by, tree

from textunlearn import shell
from textunlearn.job import Job
from textunlearn.recipe import Recipe

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
"""Nine lines that stand for a thousand million values."""
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{','.join([f'*{before}'] * 10)}]}}\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)

TABLE: list[tuple[str | bytes, tuple[str, ...]]] = [
    # no YAML
    ("a: [", ("bad.yaml", "not valid YAML", "line 1")),
    ("name: x\n\ttraining: {}", ("not valid YAML", "line 2")),
    ("name: 'x", ("not valid YAML",)),
    ("a: b: c", ("not valid YAML",)),
    ("a: *nowhere", ("not valid YAML", "nowhere")),
    ("name: x\n---\nname: y", ("not valid YAML",)),
    ("%%%", ("not valid YAML",)),
    ("name: \x07", ("not valid YAML",)),
    (b"name: a\x00b", ("not valid YAML",)),
    ("name: 2024-13-45", ("not valid YAML", "month")),
    ("seed: !!int x", ("not valid YAML",)),
    ("seed: !!timestamp x", ("not valid YAML",)),
    ("name: !!python/object/apply:os.system ['echo hello > got_in']", ("not valid YAML", "python/object")),
    ("name: !!python/name:os.system ''", ("not valid YAML",)),
    ("seed: " + "9" * 5000, ("not valid YAML", "digits")),
    ("[" * 3000, ("not valid YAML", "groups inside groups")),
    ("name: x\nname: y", ("not valid YAML", "'name' stands there twice", "line 2")),
    ("training: {steps: 3, lr: 0.1, steps: 4}", ("'steps' stands there twice",)),
    ("training: {steps: 3}\nslots: {share: 0}\ntraining: {lr: 0.1}", ("'training' stands there twice",)),
    ("a: &a [*a]", ("aliases",)),
    (LAUGHS, ("aliases",)),
    (MERGES, ()),  # newer PyYAML merges each key once: then it is the first key that is refused
    ("{[1]: 2}", ("not valid YAML",)),
    # not text
    (b"\xff\xfen\x00a\x00m\x00e\x00", ("cannot be read as text", "UTF-8")),
    ("name: x\n".encode("utf-16"), ("cannot be read as text", "UTF-8")),
    ("name: é\n".encode("latin-1"), ("cannot be read as text", "UTF-8")),
    (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), ("cannot be read as text",)),
    # no recipe
    ("", ("does not hold a recipe",)),
    ("# nothing but a remark", ("does not hold a recipe",)),
    ("- name: x", ("does not hold a recipe",)),
    ("just words", ("does not hold a recipe",)),
    ("7", ("does not hold a recipe",)),
    ("1: x", ("bad.yaml", "1")),
    ("null: x", ("bad.yaml",)),
    ("{}\n...\ngarbage", ("not valid YAML",)),
    # keys and values
    ("trainig: {}", ("trainig", "known here", "training")),
    ('"a\\nb": 1', ("a\\nb", "known here")),
    ('"\\e[31mred": 1', ("known here", "\\x1b")),
    ("name: [x]", ("name", "string")),
    ("name: ''", ("name",)),
    ("name: ../../etc/x", ("name", "../../etc/x")),
    ('name: "a\\0b"', ("name",)),
    ("name: " + "x/" * 60_000, ("name", "...")),
    ("seed: 1.5", ("seed",)),
    ("seed: -1", ("seed", "-1")),
    ("seed: 99999999999", ("seed", "less than")),
    ("model: builtin", ("model",)),
    ("model: {id: [a]}", ("model.id",)),
    ("model: {dtype: int8}", ("model.dtype", "int8")),
    ("model: {trust_remote_code: maybe}", ("trust_remote_code",)),
    ("training: {steps: 0}", ("training.steps", "0")),
    ("training: {steps: many}", ("training.steps", "many")),
    ("training: {lr: .nan}", ("training.lr",)),
    ("training: {lr: .inf}", ("training.lr",)),
    ("training: {lr: -1}", ("training.lr",)),
    ("training: {warmup: 1}", ("training.warmup",)),
    ("training: {max_kl: .nan}", ("training.max_kl",)),
    ("training: {interpolate: [0]}", ("training.interpolate",)),
    ("training: {full: true, interpolate: [0.5]}", ("training.interpolate", "training.full")),
    ("training: {accumulate: 99}", ("training.accumulate", "lower")),
    ("training: {lookalike_rows: 0, ordinary_rows: 0}", ("training.lookalike_rows",)),
    ("training: {lora_rank: 0}", ("training.lora_rank",)),
    ("slots: {share: 1.5}", ("slots.share", "1.5")),
    ("slots: {noise: .inf}", ("slots.noise",)),
    ("slots: {share: 0.7}\npictures: {share: 0.7}", ("slots.share", "pictures.share", "lower")),
    # data
    ("data: {harmful: []}", ("data.harmful",)),
    ("data: {harmful: advbench}", ("data.harmful",)),
    ("data: {harmful: [3]}", ("data.harmful",)),
    ("data: {harmful: [advbunch]}", ("advbunch", "did you mean advbench")),
    ("data: {harmful: [harmbench]}", ("data.harmful.0", "test set")),
    ("data: {harmful: [{file: a.csv, hub: b}]}", ("data.harmful.0", "exactly one")),
    ("data: {harmful: [{file: a.csv, colum: x}]}", ("data.harmful.0.colum",)),
    ("data: {harmful: [{source: advbench, column: x}]}", ("column cannot be set",)),
    ("data: {harmful: [{file: a.csv, limit: 0}]}", ("limit",)),
    ("data: {topics: [cooking]}", ("data.topics", "cooking", "choose from")),
    ("data: {places: {advbunch: x}}", ("data.places", "advbunch")),
    ("data: {places: {advbench: {file: a.csv, clumn: x}}}", ("data.places.advbench.clumn", "image_column")),
    ("data: {places: {advbench: 3}}", ("data.places.advbench",)),
    ("data: {places: {advbench: {column: x}}}", ("data.places.advbench.file", "needed")),
    ("data: {places: [x]}", ("data.places",)),
    ("data: {begun: 2}", ("data.begun",)),
    ("data: {validation: 1}", ("data.validation",)),
    # methods and evaluation
    ("method: {name: nothing}", ("nothing", "textual_unlearning")),
    ("method: {settings: {harrm: 1}}", ("method.settings.harrm", "ceiling")),
    ("method: {settings: [1]}", ("method.settings",)),
    ("evaluation: {judge: nobody}", ("evaluation.judge", "nobody")),
    ("evaluation: {judge: {model: x}}", ("evaluation.judge", "name")),
    ("evaluation: {judge: {name: rules, colour: red}}", ("evaluation.judge", "colour")),
    ("evaluation: {suites: all}", ("evaluation.suites", "all")),
    ("evaluation: {suites: [nothing]}", ("evaluation.suites", "nothing")),
    ("evaluation: {suites: ['xstest_safe@telepathy']}", ("evaluation.suites", "telepathy")),
    ("evaluation: {suites: ['xstest_safe@figstep(']}", ("evaluation.suites", "cannot be read")),
    ("evaluation: {suites: ['nowhere@direct']}", ("evaluation.suites", "nowhere")),
    ("evaluation: {suites: ['advbench@direct']}", ("evaluation.suites", "trained on")),
    ("evaluation: {suites: [{source: xstest_safe}]}", ("evaluation.suites", "attack")),
    ("evaluation: {utility: [nothing]}", ("evaluation.utility", "nothing")),
    ("evaluation: {utility: ['mmlu=x']}", ("evaluation.utility", "mmlu=x")),
    ("evaluation: {utility: [mmlu, mmlu]}", ("evaluation.utility", "twice")),
    ("evaluation: {batch_size: 0}", ("evaluation.batch_size",)),
    ("evaluation: {limit: 0}", ("evaluation.limit",)),
    ("entries: {a: {title: A}}", ("comparison", "textunlearn compare")),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def began(job: Job) -> Path:
        raise AssertionError("the job began")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shell, "quiet", lambda: None)  # it sets this process's environment
    monkeypatch.setattr(Job, "run", began)
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def name_of(row: tuple[str | bytes, tuple[str, ...]]) -> str:
    text = row[0] if isinstance(row[0], str) else repr(row[0])
    return "".join(c if c.isalnum() else "_" for c in text[:50]) or "empty"


@pytest.mark.parametrize("row", TABLE, ids=name_of)
def test_a_bad_recipe(
    row: tuple[str | bytes, tuple[str, ...]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, words = row
    (tmp_path / "bad.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "runs/run").mkdir(parents=True)
    (tmp_path / "runs/run/kept.txt").write_text("what an earlier run left")
    refused_by(capsys, tmp_path, words, "run", "bad.yaml")


CHANGES: list[tuple[str, tuple[str, ...]]] = [
    ("steps", ("--set steps", "key.path=value")),
    ("=3", ("--set =3",)),
    ("training.steps=[", ("--set training.steps", "not a YAML value")),
    ("training.steps=2024-99-99", ("--set training.steps",)),
    ("training.steps.x=1", ("steps is a value",)),
    ("training.stps=1", ("training.stps", "known here")),
    ("name=a/b", ("name",)),
    ("..=1", ("known here",)),
]


@pytest.mark.parametrize(("change", "words"), CHANGES, ids=[change for change, _ in CHANGES])
def test_a_bad_change(change: str, words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "good.yaml").write_text("training: {steps: 3}\n")
    refused_by(capsys, tmp_path, words, "run", "good.yaml", "--set", change)


def test_no_recipe_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "folder.yaml").mkdir()
    refused_by(capsys, tmp_path, ("there is no recipe nowhere.yaml", "quickstart"), "run", "nowhere.yaml")
    refused_by(capsys, tmp_path, ("there is no recipe folder.yaml",), "run", "folder.yaml")
    refused_by(capsys, tmp_path, ("too long",), "run", "x" * 300)
    odd = os.fsdecode(b"caf\xe9.yaml")  # a name that is no UTF-8 cannot be printed as it is
    (tmp_path / odd).write_text("a: [")
    refused_by(capsys, tmp_path, ("caf\\udce9.yaml",), "run", odd)


@pytest.mark.parametrize(
    ("content", "said"), [(b"seed: -1", "seed"), (b"a: [", "not valid YAML"), (LAUGHS.encode(), "aliases")]
)
def test_the_real_command_exits_with_two(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_bytes(content)
    before = tree(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "textunlearn", "run", "bad.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1, done.stderr
    check_sentence(done.stderr.strip(), ("bad.yaml", said))
    assert tree(tmp_path) == before


def test_what_looks_odd_and_is_a_recipe(tmp_path: Path) -> None:
    """A byte order mark, anchors, merged groups, other line ends, a name in another script."""
    path = tmp_path / "odd.yaml"
    for content in (
        "\ufeffname: x\n",
        "name: x\r\ntraining: {steps: 3}\r\n",
        "name: x\rseed: 3\r",
        "name: 学習 🙂\n",
        "training: &t {steps: 3}\nslots: {share: 0}\n",
        "training: {<<: {steps: 3}, lr: 0.1}\n",
        "training: {<<: {steps: 3}, steps: 4}\n",
        "data: {places: {siuo: &p {<<: {file: a.csv, column: x}, file: b.csv}}}\nslots: {share: 0}\n",
        "{}\n",
        "name: x\n...\n",
    ):
        path.write_bytes(content.encode())
        assert Recipe.read(path), content
