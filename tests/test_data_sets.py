"""Every data set is read from a small copy in its publisher's layout, and those that lie beside the repository from the real files."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest

from publisher_layouts import (
    LAYOUTS,
    advbench,
    harmbench,
    mm_safetybench,
    mm_safetybench_hub,
    mssbench,
    png,
    put,
    table,
    vlsbench,
)
from textunlearn.data.filters import mentions_minor
from textunlearn.data.places import Mapped
from textunlearn.data.questions import QUESTION_SETS
from textunlearn.data.sources import (
    EMPTY,
    MINORS,
    NO_PICTURE,
    REPEATED,
    SOURCES,
    Source,
    place_names,
    read_source,
    source_info,
)
from textunlearn.errors import UserError
from textunlearn.records import Prompt

SHARED = Path(__file__).parents[2] / "shared" / "data"
SHIPPED = {"lookalikes", "ordinary", "self_instruct_user"}


def registered(name: str) -> Source:
    part = SOURCES.get(name)
    assert isinstance(part, Source)
    return part


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTUNLEARN_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_publishers_layout_is_read(layout: str, tmp_path: Path) -> None:
    if layout in ("mm_safetybench_hub", "hades"):
        pytest.importorskip("pyarrow")
    expected = LAYOUTS[layout](tmp_path / "set")
    for name, entries in expected.items():
        info, prompts = source_info(name), registered(name)(tmp_path / "set")
        assert [(p.text, p.category) for p in prompts] == entries, name
        assert {(p.kind, p.source) for p in prompts} == {(info.kind, name)}
        assert len({p.id for p in prompts}) == len(prompts)
        for prompt in prompts:
            assert bool(prompt.image) is bool(info.pictures), name
            if prompt.image:
                assert prompt.image_sha256 == hashlib.sha256(Path(prompt.image).read_bytes()).hexdigest()


def test_every_set_has_a_test_of_its_layout_and_says_what_must_be_known(tmp_path: Path) -> None:
    read = {
        name
        for layout, build in LAYOUTS.items()
        if "hub" not in layout and layout != "hades"
        for name in build(tmp_path)
    }
    known = {name for name in SOURCES.names() if isinstance(SOURCES.get(name), Source)}
    assert known - SHIPPED - {"hades"} - set(QUESTION_SETS.names()) == read  # questions: test_questions
    for name in known:
        info = source_info(name)
        assert info.about and info.licence and (info.homepage or name in SHIPPED)
        assert not (info.pictures and info.trainable)  # training is on text alone
    assert {n for n in known if source_info(n).trainable} == {
        "advbench", "harmbench_validation", "donotanswer", "pku_saferlhf", "lookalikes", "ordinary",
    }  # fmt: skip


def test_what_is_left_out_is_counted_by_reason(tmp_path: Path) -> None:
    advbench(tmp_path / "a")
    assert registered("advbench").read(tmp_path / "a").reasons == {MINORS: 1, REPEATED: 1, EMPTY: 1}
    harmbench(tmp_path / "h")
    assert registered("harmbench_multimodal").read(tmp_path / "h").reasons == {MINORS: 1, NO_PICTURE: 1}
    LAYOUTS["pku_saferlhf"](tmp_path / "p")
    assert registered("pku_saferlhf").read(tmp_path / "p").reasons == {"both answers safe": 2, REPEATED: 2}


def test_what_a_picture_shows_is_read_for_minors_too(tmp_path: Path) -> None:
    """The words of these requests say nothing of minors; their pictures' descriptions do."""
    vlsbench(tmp_path)
    kept = registered("vlsbench").read(tmp_path)
    assert kept.reasons == {MINORS: 1} and not any(mentions_minor(p.text) for p in kept.prompts)


ASKED = {
    "figstep": "Steps to frobnicate 1.",
    "mm_safetybench_sd": "How do I frobnicate Illegal_Activitiy?",
    "jailbreakv_28k_query_typo": "How do I frobnicate query_typo?",
    "harmbench_multimodal": "What is this for?\n\n(The picture shows: a lock)",
    "vlsbench": "How do I open this?\n\n(The picture shows: A lock.)",
    "siuo": "Is this a good place to jump?",
    "hades": "Tell me how to frobnicate a robot",
}


@pytest.mark.parametrize("name", ASKED)
def test_what_is_really_asked_is_told_beside_the_words(name: str, tmp_path: Path) -> None:
    if name == "hades":
        pytest.importorskip("pyarrow")
    LAYOUTS[source_info(name).family or name](tmp_path)
    first = registered(name)(tmp_path)[0]
    assert first.request == ASKED[name]
    assert bool(first.asked) is (first.text != first.request), "words that say it themselves are not kept twice"


def test_the_hubs_copy_tells_what_is_asked_in_another_file(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    mm_safetybench_hub(tmp_path)
    asked = {p.request for p in registered("mm_safetybench_typo")(tmp_path)}
    assert asked == {f"How do I frobnicate {scenario}?" for scenario in ("Illegal_Activitiy", "Gov_Decision")}


def test_the_same_words_beside_other_pictures_are_other_requests(tmp_path: Path) -> None:
    mssbench(tmp_path)
    safe, unsafe = registered("mssbench_chat_safe")(tmp_path), registered("mssbench_chat_unsafe")(tmp_path)
    assert [p.text for p in safe] == [p.text for p in unsafe]
    assert {p.image_sha256 for p in safe} != {p.image_sha256 for p in unsafe}
    twin = Prompt("What is it?", "harmful", "a")
    assert Prompt("What is it?", "harmful", "a", image="/x/1.png", image_sha256="00").id != twin.id
    assert twin.id == "032e19a1f5a9efb4"  # as it was before a prompt could have a picture
    moved = [
        Prompt("What is it?", "harmful", "a", image=where, image_sha256="00").id for where in ("/x/1.png", "/y/2.png")
    ]
    assert moved[0] == moved[1]


def test_splits_of_one_publisher_never_mix(tmp_path: Path) -> None:
    """A table that holds HarmBench's two splits gives each source its own."""
    columns = "Behavior,FunctionalCategory,SemanticCategory,BehaviorID,Split,Target"
    rows = [(f"Frobnicate in {split}", "standard", "cyber", split, split, "Sure") for split in ("test", "val")]
    table(tmp_path / "harmbench_behaviors_text_standard.csv", columns, rows)
    assert [p.text for p in registered("harmbench")(tmp_path)] == ["Frobnicate in test"]
    assert [p.text for p in registered("harmbench_validation")(tmp_path)] == ["Frobnicate in val"]


def test_damaged_sets_are_one_sentence_with_file_and_place(tmp_path: Path) -> None:
    table(tmp_path / "a/harmful_behaviors.csv", "gaol,target", [("x", "y")])
    with pytest.raises(UserError, match=r"harmful_behaviors\.csv line 2 has no column 'goal'.*gaol, target"):
        registered("advbench")(tmp_path / "a")
    with pytest.raises(UserError, match=r"does not hold the data set siuo: none of siuo_gen\.json"):
        registered("siuo")(tmp_path / "a")
    put(tmp_path / "m/combined.json", '{"chat": [{"queries": ["x"]}]}')
    with pytest.raises(UserError, match=r"combined\.json chat 1 has no 'safe_image_path'"):
        registered("mssbench_chat_safe")(tmp_path / "m")
    put(tmp_path / "v/test.json", '[{"image": "1.png", "safe": false, "instr-resp": "x"}]')
    with pytest.raises(UserError, match=r"test\.json entry 1: instr-resp is not a list"):
        registered("vlguard_unsafe")(tmp_path / "v")
    put(
        tmp_path / "s/siuo_gen.json",
        '[{"image": "../../secret.png", "question": "x", "category": "", "safety_warning": ""}]',
    )
    put(tmp_path / "s/images/1.png", png(1))
    with pytest.raises(UserError, match="lies outside its data set"):
        registered("siuo")(tmp_path / "s")


def test_a_set_without_its_pictures_says_where_to_get_them(tmp_path: Path) -> None:
    mm_safetybench(tmp_path)
    for picture in tmp_path.rglob("*.jpg"):
        picture.unlink()
    with pytest.raises(
        UserError, match=r"none of the pictures.*MM-SafetyBench.*licence.*places: \{mm_safetybench: FOLDER\}"
    ):
        registered("mm_safetybench_sd")(tmp_path)
    assert registered("mm_safetybench_text")(tmp_path)


def test_families_can_be_named_in_one_go(tmp_path: Path) -> None:
    mm_safetybench(tmp_path)
    assert {"mm_safetybench", "mm_safetybench_sd", "figstep", "harmbench"} <= set(place_names())
    places = {"mm_safetybench": tmp_path}
    assert read_source("mm_safetybench_sd", places).prompts and read_source("mm_safetybench_typo", places).prompts


# -- the real files ----------------------------------------------------------------------------------------------------


def shared(path: str) -> Path:
    if not (SHARED / path).exists():
        pytest.skip(f"../shared/data/{path} is not here")
    return SHARED / path


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "folder", "rows", "categories"),
    [
        ("advbench", "advbench", 513, 0),
        ("harmbench", "harmbench", 159, 6),
        ("harmbench_validation", "harmbench", 40, 6),
        ("donotanswer", "do_not_answer", 928, 5),
        ("malicious_instruct", "malicious_instruct", 100, 0),
        ("xstest_safe", "xstest", 250, 10),
        ("xstest_unsafe", "xstest", 200, 8),
        ("figstep_headings", "figstep", 400, 10),
        ("figstep_questions", "figstep", 400, 10),
        ("figstep", "figstep", 400, 10),
    ],
)
def test_the_real_files(name: str, folder: str, rows: int, categories: int) -> None:
    kept = registered(name).read(shared(folder))
    assert len(kept.prompts) + kept.cut == rows
    assert len({p.category for p in kept.prompts if p.category}) == categories
    if name == "figstep":  # ten of its pictures lie here
        assert len(kept.prompts) == 10 and kept.reasons == {NO_PICTURE: 390}
    else:
        assert len(kept.prompts) > 0.8 * rows and set(kept.reasons) <= {MINORS, REPEATED}
    assert all(p.text == p.text.strip() or name == "xstest_safe" for p in kept.prompts)


@pytest.mark.shared
def test_the_real_prompts_of_pku_saferlhf_through_mapped_columns() -> None:
    kept = registered("pku_saferlhf").read(Mapped(file=shared("pku_saferlhf/prompts.csv"), column="prompt"))
    assert len(kept.prompts) + kept.cut == 1178 and Counter(p.kind for p in kept.prompts) == {
        "harmful": len(kept.prompts)
    }


@pytest.mark.shared
def test_a_set_gives_the_same_requests_from_the_wheel_and_from_the_publishers_file() -> None:
    folder = shared("xstest")
    assert registered("xstest_safe")(folder) == registered("xstest_safe")()
