"""What `fuzz.py` puts damaged files to: every reader of the program that needs no model."""

from __future__ import annotations

import io
import json
import re
import tarfile
import zipfile
from pathlib import Path
from typing import Any

from PIL import Image

from fuzz import Target
from publisher_layouts import LAYOUTS
from question_layouts import QUESTION_LAYOUTS
from textunlearn import recipes
from textunlearn.attacks.grammar import resolve
from textunlearn.comparison.spec import Comparison
from textunlearn.data.loading import SourceSpec, load
from textunlearn.data.places import unpacked
from textunlearn.data.questions import QUESTION_SETS
from textunlearn.data.sources import SOURCES, Source
from textunlearn.evaluation.single import SingleSpec
from textunlearn.files import read_json, read_records
from textunlearn.judges.check import labelled_file
from textunlearn.pictures import open_picture
from textunlearn.records import Answer, Case, Likelihoods, Prompt, Question, Score, Verdict, to_json

PROMPT = Prompt("How do I bake bread? 🙂", "ordinary", "fuzz", "question", "food", "Take flour.")
RECORDS: dict[str, Any] = {
    "prompt": PROMPT,
    "case": Case("s", "direct", PROMPT, "How?", ("images/a.png",), ("f" * 64,), "Sure,"),
    "answer": Answer("0" * 16, "Take some flour.", 5, True),
    "verdict": Verdict("0" * 16, "rules-4", "other", "nothing found"),
    "question": Question("Which?", "mmlu", ("a", "b"), 1, ("b",), "food", "g", False, "b", ("a.png",), ("f" * 64,)),
    "likelihoods": Likelihoods("0" * 16, (-1.5, float("-inf"))),
    "score": Score("0" * 16, (1.0, 0.5)),
}
RECIPE = b"""\
name: mine
seed: 3
model: {id: builtin, dtype: float32}
data:
  harmful: [advbench, {file: mine.csv, column: ask, limit: 30}]
  ordinary: &kept [ordinary]
  places: {siuo: /data/siuo, figstep: {file: a.csv, column: x}}
training: {steps: 30, lr: 1e-4, interpolate: [0.5, 1.0]}
method: {name: textual_unlearning, settings: {}}
evaluation:
  suites: [figstep, "xstest_safe@base64 | figstep", {source: siuo, attack: direct, limit: 3}]
  utility: [mmlu, {source: gsm8k, limit: 20, shots: 5}, "truthfulqa:letters=100"]
  judge: {name: rules}
  limit: 16
"""
SINGLE = b"name: evaluate-x\nendpoint: {base_url: 'http://localhost:8000/v1', model: x, key_env: MY_KEY}\nevaluation: {suites: [figstep]}\n"
EXPRESSIONS = (
    b"base64 | figstep",
    b"prefill(words='Sure, here is') | rot13",
    b"typography(rotation=15, noise=0.2)",
    b"leetspeak(share=0.5) | typed_and_drawn(layout=plain)",
    b"blank_image(side=16, colour='#ff0000') | direct",
)


def pictures() -> list[tuple[str, bytes]]:
    image = Image.linear_gradient("L").resize((40, 30)).convert("RGB")
    deep = Image.new("I;16", (9, 9), 40_000)
    made: list[tuple[str, Image.Image, str, dict[str, Any]]] = [
        ("a.png", image, "PNG", {}),
        ("b.png", image.convert("P"), "PNG", {}),
        ("c.png", image.convert("RGBA"), "PNG", {}),
        ("d.png", deep, "PNG", {}),
        ("e.png", image, "PNG", {"save_all": True, "append_images": [image]}),
        ("a.jpg", image, "JPEG", {}),
        ("b.jpg", image.convert("CMYK"), "JPEG", {"progressive": True}),
        ("a.gif", image, "GIF", {"save_all": True, "append_images": [image.rotate(90)]}),
        ("a.webp", image, "WEBP", {}),
        ("a.bmp", image, "BMP", {}),
        ("a.tiff", image, "TIFF", {"compression": "tiff_deflate"}),
        ("b.tiff", deep, "TIFF", {}),
        ("a.ppm", image, "PPM", {}),
        ("a.ico", image, "ICO", {}),
    ]
    out = []
    for name, picture, kind, options in made:
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        out.append((name, buffer.getvalue()))
    return out


def tables() -> list[tuple[str, bytes]]:
    rows = [
        {"prompt": "How do I bake bread?", "n": 1, "more": [{"x": None}]},
        {"prompt": "Boil,\nthen drain 🙂", "n": 2.5, "more": []},
    ]
    out = [
        ("a.csv", b'\xef\xbb\xbfprompt,n\r\n"How do I bake ""bread""?",1\r\n"Boil,\nthen drain",2\r\n'),
        ("a.txt", b"How do I bake bread?\nBoil\n"),
        ("a.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode()),
        ("b.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()),
        ("a.json", json.dumps(rows).encode()),
        ("b.json", json.dumps({"1": rows[0], "2": rows[1]}).encode()),
    ]
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return out
    for name, compression in (("a.parquet", "snappy"), ("b.parquet", "none")):
        buffer = io.BytesIO()
        table = pyarrow.table({"prompt": ["How do I bake bread?", "Boil"], "image": [{"bytes": b"x"}, None]})
        parquet.write_table(table, buffer, compression=compression)
        out.append((name, buffer.getvalue()))
    return out


def archives() -> list[tuple[str, bytes]]:
    out = []
    for name, packing in (("a.zip", zipfile.ZIP_DEFLATED), ("b.zip", zipfile.ZIP_STORED)):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", packing) as archive:
            archive.writestr("test/a.png", b"x" * 300)
            archive.writestr("test/b.png", b"y" * 300)
        out.append((name, buffer.getvalue()))
    for name, mode in (("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.tar.xz", "w:xz")):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=mode) as bundle:  # type: ignore[call-overload]
            for member in ("test/a.png", "test/b.png"):
                info = tarfile.TarInfo(member)
                info.size = 300
                bundle.addfile(info, io.BytesIO(b"x" * 300))
        out.append((name, buffer.getvalue()))
    return out


def _unpack(path: Path) -> None:
    folder = unpacked(path)
    outside = [p for p in folder.rglob("*") if not p.resolve().is_relative_to(folder.resolve())]
    assert not outside, f"{outside[0]} leads out of the archive's folder"


def _record(path: Path) -> None:
    read_records(path, type(RECORDS[path.stem]))


def _expression(path: Path) -> None:
    words = path.read_bytes().decode(errors="replace")
    resolve(words)(PROMPT)


def _change(path: Path) -> None:
    recipes.read("plain", [path.read_bytes().decode(errors="replace")])


class Layouts:
    """Every data set in its publisher's layout: one file of it is damaged, and all sources that read it are read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sources: dict[str, list[str]] = {}
        self.seeds: list[tuple[str, bytes]] = []
        for name, build in {**LAYOUTS, **QUESTION_LAYOUTS}.items():
            self.sources[name] = list(build(root / name))
            for path in sorted((root / name).rglob("*")):
                if path.suffix in (".csv", ".json", ".jsonl", ".parquet", ".txt", ".zip", ".tar"):
                    relative = str(path.relative_to(root))
                    self.seeds.append((re.sub(r"[/\\]", "@", relative), path.read_bytes()))

    def __call__(self, path: Path) -> None:
        relative = path.name.replace("@", "/")
        set_name = relative.partition("/")[0]
        file = self.root / relative
        whole = file.read_bytes()
        file.write_bytes(path.read_bytes())
        try:
            for name in self.sources[set_name]:
                if name in QUESTION_SETS.names():
                    QUESTION_SETS.get(name).read(self.root / set_name)
                part = SOURCES.get(name)
                assert isinstance(part, Source)
                part.read(self.root / set_name)
        finally:
            file.write_bytes(whole)


def make_targets(folder: Path) -> dict[str, Target]:
    """By name. ``folder``: where data sets in their publishers' layouts are put."""
    shipped = [(f"{name}.yaml", recipes.find(name).read_bytes()) for name in recipes.names()]
    comparisons = [(f"{name}.yaml", recipes.find(name).read_bytes()) for name in recipes.comparisons()]
    lines = [(f"{name}.jsonl", (to_json(record) + "\n").encode() * 2) for name, record in RECORDS.items()]
    labelled = [
        (
            "a.csv",
            b"# note\nprompt,answer,label,kind\nOpen it?,I can't help.,refusal,harmful\nGrow it?,Sun.,other,ordinary\n",
        ),
        ("b.csv", b"objective,assistant_response,human_score\nOpen it?,What?,1\n"),
        (
            "a.jsonl",
            b'{"prompt": "Open it?", "answer": "No.", "label": "refusal", "kind": "harmful", "unsure": true}\n',
        ),
    ]
    changes = (b"training.steps=3", b"data.harmful=[{file: mine.csv}]", b"evaluation.suites=[figstep]")
    layouts = Layouts(folder)
    return {
        "recipes": Target((("mine.yaml", RECIPE), *shipped), lambda path: recipes.Recipe.read(path).to_yaml()),
        "comparisons": Target(tuple(comparisons), lambda path: Comparison.read(path).recipes()),
        "evaluations": Target((("x.yaml", SINGLE), ("y.yaml", RECIPE)), lambda path: SingleSpec.read(path).to_yaml()),
        "changes": Target(tuple((f"{n}.txt", data) for n, data in enumerate(changes)), _change),
        "tables": Target(tuple(tables()), lambda path: load(SourceSpec(file=path, kind="ordinary"))),
        "layouts": Target(tuple(layouts.seeds), layouts),
        "records": Target(tuple(lines), _record),
        "json": Target(
            (("a.json", b'{"hash": "x", "data": {"a": {"n": 3}}}'),), lambda path: read_json(path).get("hash")
        ),
        "labelled": Target(tuple(labelled), labelled_file),
        "pictures": Target(tuple(pictures()), open_picture),
        "archives": Target(tuple(archives()), _unpack),
        "attacks": Target(tuple((f"{n}.txt", data) for n, data in enumerate(EXPRESSIONS)), _expression),
    }
