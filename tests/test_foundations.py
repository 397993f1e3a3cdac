"""Records, files and the registry: nothing half-written, nothing lost, mistakes named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textunlearn import registry
from textunlearn.errors import UserError
from textunlearn.files import (
    append_records,
    atomic,
    cache_dir,
    read_json,
    read_records,
    write_json,
    write_records,
    write_text,
)
from textunlearn.methods import METHODS
from textunlearn.records import LABELS, Answer, Case, Prompt, Verdict, digest, from_json, to_json
from textunlearn.registry import Registry

text = st.text(max_size=40)
prompts = st.builds(
    Prompt, text, st.sampled_from(["harmful", "lookalike", "ordinary"]), text, text, text, text, asked=text
)
names = st.lists(text, max_size=3).map(tuple)
cases = st.builds(Case, text, text, prompts, text, names, names, text)
answers = st.builds(Answer, text, text, st.integers(0, 10**9), st.booleans())
verdicts = st.builds(Verdict, text, text, st.sampled_from(LABELS), text)


@given(st.one_of(prompts, cases, answers, verdicts))
def test_records_survive_json(record: Any) -> None:
    line = to_json(record)
    assert "\n" not in line and from_json(type(record), line) == record
    assert hash(from_json(type(record), line)) == hash(record)


@given(st.lists(answers, max_size=5), st.lists(answers, max_size=5))
def test_files_give_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, first: list[Answer], more: list[Answer]
) -> None:
    """Also with line separators, control characters and every script inside the text."""
    path = tmp_path_factory.mktemp("records") / "a.jsonl"
    write_records(path, first)
    append_records(path, more)
    assert read_records(path, Answer) == first + more


def test_ids_do_not_change_between_versions() -> None:
    """Stored answers are found by them."""
    prompt = Prompt("tell me", "ordinary", "test")
    case = Case("suite", "attack", prompt, "tell me", prefill="Sure,")
    assert (prompt.id, case.id) == ("0e3bd6ade4362b58", "5a0009791baa1445")
    assert replace(case, suite="other", attack="other").id == case.id, "the same input is one answer"
    assert (
        len(
            {case.id, replace(case, text="x").id, replace(case, images_sha256=("x",)).id, replace(case, prefill="x").id}
        )
        == 4
    )
    assert replace(prompt, kind="harmful").id != prompt.id and replace(prompt, source="other").id == prompt.id
    assert digest("a", "b") != digest("ab") and len(digest("a", length=8)) == 8


def test_what_is_really_asked_changes_no_id_and_older_files_lack_it() -> None:
    plain = Prompt("Do what the picture says.", "harmful", "test", image_sha256="00")
    told = replace(plain, asked="How do I pick the lock of my neighbour?")
    assert (plain.request, told.request) == (plain.text, told.asked) and told.id == plain.id
    before = json.loads(to_json(plain))
    del before["asked"]
    assert from_json(Prompt, json.dumps(before)) == plain


def test_cases_of_one_picture_keep_the_ids_they_had_and_old_files_can_be_read(tmp_path: Path) -> None:
    prompt = Prompt("tell me", "ordinary", "test")
    plain, one = Case("s", "a", prompt, "look"), Case("s", "a", prompt, "look", ("images/a.png",), ("f" * 64,))
    assert (plain.id, one.id) == ("f16d38f9a2fbf524", "b60d2b99aaaee8eb")
    two = replace(one, images=("images/a.png", "images/b.png"), images_sha256=("f" * 64, "0" * 64))
    assert len({plain.id, one.id, two.id, replace(two, images_sha256=two.images_sha256[::-1]).id}) == 4
    old = {"suite": "s", "attack": "a", "prompt": json.loads(to_json(prompt)), "text": "look", "prefill": ""}
    lines = [old | {"image": "", "image_sha256": ""}, old | {"image": "images/a.png", "image_sha256": "f" * 64}]
    path = tmp_path / "cases.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert read_records(path, Case) == [plain, one]
    write_records(path, [plain, one, two])
    assert read_records(path, Case) == [plain, one, two]
    for bad in ({"images": "images/a.png"}, {"images": 3}, {"image": 3, "other": 1}):
        path.write_text(json.dumps(old | bad) + "\n", encoding="utf-8")
        with pytest.raises(UserError, match="line 1 is not a Case"):
            read_records(path, Case)


ONE, TWO, THREE = (Answer(f"c{i}", "für élise ✓", i, True) for i in range(3))


@pytest.mark.parametrize("keep", range(1, len(to_json(TWO).encode()) + 1))
def test_a_last_line_that_a_crash_cut_short(tmp_path: Path, keep: int) -> None:
    """Cut after any byte, in the middle of a letter too."""
    path = tmp_path / "a.jsonl"
    write_records(path, [ONE])
    with path.open("ab") as file:
        file.write(to_json(TWO).encode()[:keep])
    assert read_records(path, Answer) == [ONE]
    append_records(path, [THREE])
    assert read_records(path, Answer) == [ONE, THREE]


def test_a_torn_line_longer_than_the_look_back(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_records(path, [ONE])
    with path.open("ab") as file:
        file.write(b"x" * ((1 << 20) + 5000))
    append_records(path, [TWO])
    assert read_records(path, Answer) == [ONE, TWO]


@pytest.mark.parametrize("bad", [b"{", b"[]", b'{"case": "c"}', b'{"other": 1}', b"\xff\xfe", b"3"])
def test_a_bad_line_is_named(tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(to_json(ONE).encode() + b"\n" + bad + b"\n" + to_json(TWO).encode() + b"\n")
    with pytest.raises(UserError, match=r"a\.jsonl line 2 is not a Answer"):
        read_records(path, Answer)
    for line in (b'{"prompt": 3}', b'{"prompt": {"text": "x"}}'):
        path.write_bytes(line + b"\n")
        with pytest.raises(UserError, match="line 1 is not a Case"):
            read_records(path, Case)


def test_no_file_is_no_records(tmp_path: Path) -> None:
    assert read_records(tmp_path / "none.jsonl", Answer) == []


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and [p.name for p in path.parent.iterdir()] == ["file.txt"]
    with atomic(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old", "in place only when complete"
    assert path.read_text() == "new" and [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_json_files(tmp_path: Path) -> None:
    data = {"ä": [1, 2.5, None], "path": "x"}
    write_json(tmp_path / "a.json", data)
    assert read_json(tmp_path / "a.json") == data
    with pytest.raises(UserError, match="does not exist"):
        read_json(tmp_path / "b.json")
    for bad in (b"{", b"\xff"):
        (tmp_path / "c.json").write_bytes(bad)
        with pytest.raises(UserError, match="not valid JSON"):
            read_json(tmp_path / "c.json")


def test_cache_dir_can_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTUNLEARN_CACHE", str(tmp_path / "elsewhere"))
    assert cache_dir("a", "b") == tmp_path / "elsewhere" / "a" / "b" and cache_dir("a", "b").is_dir()


def test_registry() -> None:
    parts: Registry[Any] = Registry("method", "textunlearn.methods")
    thing, other = object(), object()
    assert parts.register("thing")(thing) is thing
    parts.register("thing")(thing)
    with pytest.raises(ValueError, match="two methods are called 'thing'"):
        parts.register("thing")(other)
    assert parts.get("thing") is thing
    with pytest.raises(UserError, match="no method called 'nothing'; choose one of: thing"):
        parts.get("nothing")
    assert METHODS.names() == sorted(METHODS.names())


def test_plugins_register_their_parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from importlib.metadata import EntryPoint

    (tmp_path / "my_plugin_part.py").write_text("from test_foundations import LATE\nLATE.register('mine')(1)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    entries = [EntryPoint("mine", "my_plugin_part", "textunlearn.plugins")]
    monkeypatch.setattr(registry, "entry_points", lambda group: entries)
    monkeypatch.setattr(registry, "_plugins_loaded", False)
    assert "mine" in LATE.names()

    entries[0] = EntryPoint("theirs", "no_such_module_here", "textunlearn.plugins")
    monkeypatch.setattr(registry, "_plugins_loaded", False)
    with pytest.raises(UserError, match=r"plugin theirs \(no_such_module_here\)"):
        Registry("part", "textunlearn.methods").names()


LATE: Registry[int] = Registry("part", "textunlearn.methods")


def test_json_lines_are_plain(tmp_path: Path) -> None:
    """Other tools read them: one object a line, letters as they are."""
    write_records(tmp_path / "a.jsonl", [ONE])
    line = (tmp_path / "a.jsonl").read_text(encoding="utf-8")
    assert json.loads(line)["text"] == "für élise ✓" and "✓" in line
