"""Data files that cannot be, and odd ones that must work: CSV, JSON lines, JSON, text, Parquet, archives."""

from __future__ import annotations

import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from refusals import refused, refused_by

from publisher_layouts import png
from textunlearn import shell
from textunlearn.data import places
from textunlearn.data.loading import SourceSpec, load
from textunlearn.data.places import Mapped, unpacked
from textunlearn.data.sources import SOURCES, Source
from textunlearn.errors import UserError

BIG = "x" * 10_000_000


def parquet(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow
    from pyarrow import parquet as writer

    out = io.BytesIO()
    writer.write_table(pyarrow.Table.from_pylist(rows), out)
    return out.getvalue()


def two_columns_of_one_name() -> bytes:
    import pyarrow
    from pyarrow import parquet as writer

    out = io.BytesIO()
    writer.write_table(pyarrow.table([pyarrow.array(["Bake"])] * 2, names=["prompt", "prompt"]), out)
    return out.getvalue()


def not_text() -> bytes:
    """A Parquet column of text whose bytes are no UTF-8: nothing checks them when they are written."""
    import pyarrow
    from pyarrow import parquet as writer

    out = io.BytesIO()
    column = pyarrow.array([b"\xff\xfe bread"], pyarrow.binary())
    raw = pyarrow.StringArray.from_buffers(1, column.buffers()[1], column.buffers()[2])
    writer.write_table(pyarrow.table([raw], names=["prompt"]), out)
    return out.getvalue()


Content = str | bytes | Callable[[], bytes]
TABLE: list[tuple[str, Content, tuple[str, ...]]] = [
    # CSV
    ("a.csv", "", ("holds no prompts",)),
    ("a.csv", "\ufeff", ("holds no prompts",)),
    ("a.csv", "prompt\n", ("holds no prompts",)),
    ("a.csv", "\n\n\n", ("holds no prompts",)),
    ("a.csv", ",\n,\n", ("column",)),
    ("a.csv", "goal\nBake\n", ("line 2", "'prompt'", "goal")),
    ("a.csv", "Prompt\nBake\n", ("line 2", "'prompt'", "Prompt")),
    ("a.csv", "prompt;n\nBake;1\n", ("'prompt'", "prompt;n")),
    ("a.csv", "prompt\tn\nBake\t1\n", ("'prompt'",)),
    ("a.csv", "prompt,prompt\nBake,Cook\n", ("line 1", "twice", "prompt")),
    ("a.csv", " prompt,prompt \nBake,Cook\n", ("line 1", "twice")),
    ("a.csv", "prompt,n\nBake\n", ("line 2", "1 cells", "2")),
    ("a.csv", "prompt,n\nBake,1\nBoil, then drain,2\n", ("line 3", "3 cells", "double quotes")),
    ("a.csv", 'prompt\n"Bake\n', ("line 2", "not valid CSV")),
    ("a.csv", 'prompt\n"Bake"bread\n', ("line 2", "not valid CSV")),
    ("a.csv", "prompt\nBake\n\x20\n", ("line 3", "nothing in the column 'prompt'")),
    ("a.csv", "prompt\nBake\n\x00\n", ("line 3", "NUL")),
    ("a.csv", "prompt\nBake\n".encode("utf-16"), ("UTF-16", "UTF-8")),
    ("a.csv", "prompt\nBake\n".encode("utf-16-be"), ("NUL", "UTF-8")),
    ("a.csv", "prompt\nBake\n".encode("utf-32"), ("UTF-32", "UTF-8")),
    ("a.csv", "prompt\nBäcke\n".encode("latin-1"), ("line 2", "UTF-8")),
    ("a.csv", "prompt\n“Bake”\n".encode("cp1252"), ("line 2", "UTF-8")),
    ("a.csv", "prompt\n烘焙\n".encode("shift_jis", "replace") + b"\x83", ("UTF-8",)),
    ("a.csv", b"prompt\nBake \xed\xa0\x80\n", ("line 2", "UTF-8")),
    ("a.csv", b"prompt\nBake\n\xe2\x82", ("line 3", "UTF-8")),
    ("a.csv", f"prompt\n{BIG}\n", ("line 2", "'prompt'", "10,000,000 characters")),
    # JSON lines
    ("a.jsonl", "", ("holds no prompts",)),
    ("a.jsonl", '{"prompt": "Bake"', ("line 1", "not valid JSON")),
    ("a.jsonl", '{"prompt": "Bake"}{"prompt": "Cook"}', ("line 1", "not valid JSON")),
    ("a.jsonl", "{'prompt': 'Bake'}", ("line 1", "not valid JSON")),
    ("a.jsonl", '{"prompt": "Bake"}\n[1]', ("line 2", "not a JSON object")),
    ("a.jsonl", '"Bake"', ("line 1", "not a JSON object")),
    ("a.jsonl", "null", ("line 1", "not a JSON object")),
    ("a.jsonl", '{"prompt": null}', ("line 1", "'prompt'", "NoneType")),
    ("a.jsonl", '{"prompt": 3}', ("line 1", "'prompt'", "int")),
    ("a.jsonl", '{"prompt": ["Bake"]}', ("line 1", "'prompt'", "list")),
    ("a.jsonl", '{"prompt": {"text": "Bake"}}', ("line 1", "'prompt'", "dict")),
    ("a.jsonl", '{"prompt": NaN}', ("line 1", "'prompt'", "float")),
    ("a.jsonl", '{"prompt": ""}', ("line 1", "nothing in the column")),
    ("a.jsonl", '{"prompt": "\\u200b \\n"}', ()),
    ("a.jsonl", '{"prompt": "Bake", "prompt": "Cook"}', ("line 1", "'prompt'", "twice")),
    ("a.jsonl", '{"prompt": "Bake \\ud83d"}', ("line 1", "half of a character")),
    ("a.jsonl", '{"prompt": "Bake", "more": [{"x": "\\udc00"}]}', ("line 1", "half of a character")),
    ("a.jsonl", '{"prompt": "Bake", "\\udc00": 1}', ("line 1", "half of a character")),
    ("a.jsonl", '{"prompt": "Bake\x00"}', ("line 1", "NUL")),
    ("a.jsonl", "[" * 100_000, ("line 1", "not valid JSON")),
    ("a.jsonl", '{"a":' * 100_000, ("line 1", "not valid JSON")),
    ("a.jsonl", '{"prompt": "Bake", "n": ' + "9" * 5000 + "}", ("line 1", "not valid JSON")),
    ("a.jsonl", json.dumps({"prompt": BIG}), ("line 1", "10,000,000 characters")),
    ("a.jsonl", '{"prompt": "Bake"}\n'.encode("utf-16"), ("UTF-16",)),
    ("a.jsonl", b'{"prompt": "Bake"}\n\x1f\x8b\x08', ("line 2", "UTF-8")),
    # JSON
    ("a.json", "", ("not valid JSON",)),
    ("a.json", "3", ("no rows",)),
    ("a.json", "[]", ("holds no prompts",)),
    ("a.json", "{}", ("holds no prompts",)),
    ("a.json", '["Bake"]', ("no rows",)),
    ("a.json", '{"prompt": "Bake"}', ("no rows",)),
    ("a.json", '[{"prompt": "Bake"},]', ("not valid JSON",)),
    ("a.json", '[{"prompt": "Bake"}, {"goal": "Cook"}]', ("entry 2", "'prompt'", "goal")),
    ("a.json", '{"1": {"prompt": "Bake"}, "1": {"prompt": "Cook"}}', ("'1'", "twice")),
    ("a.json", '[{"prompt": "\\ud83d"}]', ("half of a character",)),
    ("a.json", "[" * 100_000, ("not valid JSON",)),
    # text
    ("a.txt", "", ("holds no prompts",)),
    ("a.txt", " \n\t\n", ("holds no prompts",)),
    ("a.txt", "Bake\0bread", ("line 1", "NUL")),
    ("a.txt", b"Bake\n\xff\xff", ("line 2", "UTF-8")),
    ("a.txt", BIG, ("line 1", "10,000,000 characters")),
    # Parquet
    ("a.parquet", "", ("cannot be read as Parquet",)),
    ("a.parquet", "PAR1", ("cannot be read as Parquet",)),
    ("a.parquet", "prompt\nBake\n", ("cannot be read as Parquet",)),
    ("a.parquet", lambda: parquet([{"prompt": "Bake"}] * 50)[:-20], ("cannot be read as Parquet",)),
    ("a.parquet", lambda: parquet([{"prompt": "Bake"}] * 50)[40:], ("cannot be read as Parquet",)),
    ("a.parquet", lambda: parquet([{"goal": "Bake"}]), ("entry 1", "'prompt'", "goal")),
    ("a.parquet", lambda: parquet([{"prompt": "Bake"}, {"prompt": None}]), ("entry 2", "NoneType")),
    ("a.parquet", lambda: parquet([{"prompt": b"Bake"}]), ("entry 1", "bytes")),
    ("a.parquet", lambda: parquet([{"prompt": "Bake"}])[:4] + b"\0" * 400 + b"PAR1", ("cannot be read as Parquet",)),
    ("a.parquet", two_columns_of_one_name, ("twice", "prompt")),
    ("a.parquet", not_text, ("cannot be read as Parquet",)),
    # other files
    ("a.xlsx", "PK\x03\x04", ("a.xlsx", ".csv")),
    ("a", "Bake", (".csv", ".jsonl")),
    ("a.csv.gz", b"\x1f\x8b", (".csv",)),
]  # fmt: skip


def named(row: tuple[str, Content, tuple[str, ...]]) -> str:
    content = row[1].__name__ if callable(row[1]) else row[1] if isinstance(row[1], str) else repr(row[1])
    return row[0] + "_" + "".join(c if c.isascii() and c.isalnum() else "_" for c in content[:30])


def made(content: Content) -> bytes:
    found = content() if callable(content) else content
    return found if isinstance(found, bytes) else found.encode()


@pytest.mark.parametrize("row", TABLE, ids=named)
def test_a_bad_table(row: tuple[str, Content, tuple[str, ...]], tmp_path: Path) -> None:
    name, content, words = row
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(made(content))
    if not words:  # odd, but text all the same
        assert load(SourceSpec(file=tmp_path / name, kind="ordinary"))
        return
    text = refused(tmp_path, (name, *words), lambda: load(SourceSpec(file=tmp_path / name, kind="ordinary")))
    assert len(text) < 700


@pytest.mark.parametrize("name", ["no.csv", "folder.csv", "pipe.csv", "x" * 300 + ".csv", "a\0b.csv"])
def test_no_file(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.csv")  # reading it would wait for ever
    with pytest.raises(UserError, match=r"^[^\n]*csv[^\n]*;|^[^\n]*csv[^\n]*name"):
        load(SourceSpec(file=tmp_path / name, kind="ordinary"))


ODD: list[tuple[str, Content, list[str]]] = [
    ("a.csv", "\ufeffprompt\r\nBake bread\r\n", ["Bake bread"]),
    ("a.csv", "prompt\rBake bread\rCook\r", ["Bake bread", "Cook"]),
    ("a.csv", 'prompt\n"Bake ""good"" bread"\n\n"a\nb"\n', ['Bake "good" bread', "a\nb"]),
    ("a.csv", f"note,prompt\n{'y' * 300_000},Bake bread\n", ["Bake bread"]),
    ("a.csv", ",prompt\n1,Bake bread\n", ["Bake bread"]),
    ("a.jsonl", '\ufeff{"prompt": "Bake bread"}\r\n\r\n', ["Bake bread"]),
    ("a.jsonl", '{"prompt": "Bake \\ud83d\\ude42"}', ["Bake 🙂"]),
    ("a.jsonl", '{"prompt": "a\u2028b\u0085c"}', ["a\u2028b\u0085c"]),
    ("a.jsonl", '{"prompt": "NUL \\u0000 and \\u001b[31m red"}', ["NUL \0 and \x1b[31m red"]),
    ("a.txt", "שלום עולם\nمرحبا\n👩‍👩‍👧‍👦 bake\n", ["שלום עולם", "مرحبا", "👩‍👩‍👧‍👦 bake"]),
    ("a.txt", "no line end", ["no line end"]),
    ("a.txt", "x" * 100_000, ["x" * 100_000]),
    ("A.JSON", '{"b": {"prompt": "Bake"}}', ["Bake"]),
    ("a.parquet", lambda: parquet([{"prompt": "Bäcke 🙂", "n": 1}]), ["Bäcke 🙂"]),
]  # fmt: skip


@pytest.mark.parametrize("row", ODD, ids=[f"{name}_{number}" for number, (name, _, _) in enumerate(ODD)])
def test_an_odd_table_that_works(row: tuple[str, Content, list[str]], tmp_path: Path) -> None:
    name, content, texts = row
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(made(content))
    assert [prompt.text for prompt in load(SourceSpec(file=tmp_path / name, kind="ordinary"))] == texts


# -- publishers' layouts and tables with mapped columns -----------------------------------------------------------------

MMSTAR = {"answer": "A", "question": "x", "category": "c", "image": "?"}
MME = {"answer": "Yes", "category": "c", "question": "x", "question_id": "1", "image": {"bytes": "no bytes"}}
LAYOUTS: list[tuple[str, str, Content, tuple[str, ...]]] = [
    ("hades", "data/test.parquet", lambda: parquet([{"step": "5", "image": {"bytes": "no bytes"}}]), ("entry 1", "no picture")),
    ("mmstar", "mmstar.parquet", lambda: parquet([MMSTAR]), ("entry 1", "no picture")),
    ("mme", "data/test-0.parquet", lambda: parquet([MME]), ("entry 1", "no picture")),
    ("textvqa", "TextVQA_0.5.1_val.json", '{"data": [3]}', ("textvqa", "not laid out")),
    ("mssbench_chat_safe", "combined.json", '{"chat": [{"safe_image_path": "a.png", "queries": 3}]}', ("mssbench", "not laid out")),
    ("mssbench_chat_safe", "combined.json", '{"chat": [{"safe_image_path": 3, "queries": ["x"]}]}', ("mssbench",)),
    ("mmlu", "test.jsonl", '{"question": "x", "choices": 3, "answer": 0, "subject": "s"}', ("mmlu",)),
    ("arc_easy", "test.jsonl", '{"question": 3}', ("arc_easy",)),
    ("truthfulqa", "mc_task.json", '[{"question": "x", "mc1_targets": 3}]', ("entry 1", "mc1_targets")),
    ("vlguard_unsafe", "test.json", '[{"safe": false, "instr-resp": [3], "image": "a.png"}]', ("instr-resp",)),
    ("mossbench", "images_metadata/metadata.csv", "image,metadata\n", ("mossbench",)),
]  # fmt: skip


@pytest.mark.parametrize("row", LAYOUTS, ids=[f"{row[0]}_{number}" for number, row in enumerate(LAYOUTS)])
def test_a_publishers_file_of_another_shape(
    row: tuple[str, str, Content, tuple[str, ...]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("pyarrow")
    name, file, content, words = row
    monkeypatch.setattr(shell, "quiet", lambda: None)
    monkeypatch.setenv("TEXTUNLEARN_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "set" / file
    path.parent.mkdir(parents=True)
    path.write_bytes(made(content))
    refused_by(capsys, tmp_path / "set", words, "datasets", name, "--place", tmp_path / "set")


def test_tables_with_mapped_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTUNLEARN_CACHE", str(tmp_path / "cache"))
    part = SOURCES.get("siuo")
    assert isinstance(part, Source)
    table = tmp_path / "set/mine.csv"
    table.parent.mkdir()
    for content, words in (
        ("prompt,file\nWhat is it?,../secret.png\n", ("lies outside",)),
        ("prompt,file\nWhat is it?,/etc/passwd\n", ("lies outside",)),
        ("prompt,file\nWhat is it?,..\\secret.png\n", ("lies outside",)),
        ("prompt,file\nWhat is it?,gone.png\n", ("none of the pictures",)),
        ("prompt,file\n", ("siuo",)),
    ):
        table.write_text(content)
        place = {"siuo": Mapped(file=table, image_column="file")}
        refused(table.parent, words, lambda place=place: load("siuo", place))  # type: ignore[misc]
    (tmp_path / "set/mine.jsonl").write_text('{"prompt": "What is it?", "file": "a.png", "topic": NaN}\n')
    (tmp_path / "set/a.png").write_bytes(png(1))
    mapped = Mapped(file=tmp_path / "set/mine.jsonl", image_column="file", category_column="topic")
    assert [prompt.category for prompt in part.read(mapped).prompts] == [""], "an empty cell as pandas writes it"


# -- archives -----------------------------------------------------------------------------------------------------------


def _tar(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 1) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, link, size if kind == tarfile.REGTYPE else 0
    return member


@pytest.mark.parametrize(
    "members",
    [
        [_member("../../escaped.png")],
        [_member("/tmp/escaped.png"), _member("../x/escaped.png")],
        [_member("way", tarfile.SYMTYPE, "../.."), _member("way/escaped.png")],
        [_member("way", tarfile.LNKTYPE, "../../kept.txt")],
        [_member("way", tarfile.SYMTYPE, "/etc")],
        [_member("device", tarfile.CHRTYPE)],
    ],
    ids=["dots", "absolute", "through a link", "hard link", "link outside", "device"],
)
def test_no_tar_file_writes_outside(
    members: list[tarfile.TarInfo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEXTUNLEARN_CACHE", str(tmp_path / "deep/cache"))
    (tmp_path / "kept.txt").write_text("kept")
    _tar(tmp_path / "a.tar", *members)
    with pytest.raises(UserError, match=r"a\.tar cannot be unpacked: [^\n]*; get it again"):
        unpacked(tmp_path / "a.tar")
    assert not list(tmp_path.rglob("escaped.png")) and (tmp_path / "kept.txt").read_text() == "kept"
    assert list((tmp_path / "deep/cache/unpacked").iterdir()) == [], "nothing half unpacked is left"


def test_archives_that_would_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTUNLEARN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(places, "SMALL", 1_000_000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", b"\0" * 5_000_000)
    with tarfile.open(tmp_path / "bomb.tar.gz", "w:gz") as bundle:
        bundle.addfile(_member("a.png", size=5_000_000), io.BytesIO(b"\0" * 5_000_000))
    for name in ("bomb.zip", "bomb.tar.gz"):
        with pytest.raises(UserError, match=rf"{name} would unpack to more than 1,\d+,\d+ bytes"):
            unpacked(tmp_path / name)
    monkeypatch.setattr(places, "MEMBERS", 3)
    _tar(tmp_path / "many.tar", *[_member(f"{n}.png") for n in range(5)])
    with pytest.raises(UserError, match="3 files"):
        unpacked(tmp_path / "many.tar")
    assert list((tmp_path / "cache/unpacked").iterdir()) == []


def test_damaged_and_locked_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTUNLEARN_CACHE", str(tmp_path / "cache"))
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", png(1) * 50)
    whole = (tmp_path / "a.zip").read_bytes()
    locked = bytearray(whole)
    for signature, flag in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the bit that says: encrypted
        locked[locked.index(signature) + flag] |= 1
    packed_otherwise = bytearray(whole)
    for signature, method in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        packed_otherwise[packed_otherwise.index(signature) + method] = 99
    torn = bytearray(whole)
    torn[60] ^= 0xFF
    for name, content in (
        ("locked.zip", locked),
        ("odd.zip", packed_otherwise),
        ("torn.zip", torn),
        ("cut.zip", whole[:-30]),
    ):
        (tmp_path / name).write_bytes(bytes(content))
        with pytest.raises(UserError, match=rf"{name} cannot be unpacked: [^\n]+; get it again"):
            unpacked(tmp_path / name)
    assert list((tmp_path / "cache/unpacked").iterdir()) == []
