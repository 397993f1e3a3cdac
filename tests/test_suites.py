"""Suites choose the same balanced prompts everywhere and write each image once."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path

import pydantic
import pytest
from PIL import Image

import publisher_layouts
from textunlearn.attacks import ATTACKS
from textunlearn.data.places import Mapped
from textunlearn.data.sources import SOURCES, Source, source_info
from textunlearn.errors import UserError
from textunlearn.evaluation.suites import (
    DEFAULT_SUITES,
    MORE_SUITES,
    READABLE,
    SETS,
    SUITES,
    Suite,
    build_cases,
    case_set_hash,
    chosen,
    pick,
    select,
    sets_of,
    write_image,
)
from textunlearn.files import read_records, write_records
from textunlearn.pictures import open_picture, pixel_hash
from textunlearn.recipe import Recipe
from textunlearn.records import Case, Prompt, digest


def prompts(n: int, source: str = "made_up", form: str = "question", category: str = "") -> list[Prompt]:
    texts = (f"How do I take apple {i} from the {category or form} tree?" for i in range(n))
    return [Prompt(text, "harmful", source, form, category) for text in texts]


def suite(**changes: object) -> Suite:
    default = {"name": "s", "source": "made_up", "attack": "direct", "limit": 8, "title": "T"}
    return Suite.model_validate(default | changes)


def test_pick_does_not_depend_on_order_or_repeats_and_grows_by_appending() -> None:
    pool = prompts(40)
    shuffled = random.Random(1).sample(pool + pool[:10], 50)
    assert pick(pool, 12) == pick(shuffled, 12)
    assert pick(pool, 13)[:12] == pick(pool, 12)
    assert pick(pool, 12) != pool[:12]  # not simply the first
    assert len(pick(pool, 99)) == 40


def test_pick_is_balanced_over_sources_then_forms_then_categories() -> None:
    pool = [
        *prompts(100, "a", "question", "theft"),
        *prompts(20, "a", "question", "noise"),
        *prompts(9, "a", "list", "mess"),
        *prompts(30, "b", "keyword", "dust"),
    ]
    chosen = pick(pool, 32)
    assert Counter(p.source for p in chosen) == {"a": 16, "b": 16}
    assert Counter((p.form, p.category) for p in chosen if p.source == "a") == {
        ("question", "theft"): 4, ("question", "noise"): 4, ("list", "mess"): 8,
    }  # fmt: skip
    # a group that runs out leaves its share to the others
    assert Counter(p.source for p in pick(pool, 100)) == {"a": 70, "b": 30}


def test_pick_of_repeats_with_other_labels_is_the_same_in_any_order() -> None:
    twins = [Prompt("Same words", "harmful", "b"), Prompt("Same words", "harmful", "a"), *prompts(5)]
    assert pick(twins, 9) == pick(twins[::-1], 9)
    assert len(pick(twins, 9)) == 6


def test_select_leaves_out_long_and_undrawable_prompts_and_counts_them() -> None:
    pool = [*prompts(5), Prompt("long " * 30, "harmful", "made_up"), Prompt("Bake a 菓", "harmful", "made_up")]
    selection = select(suite(attack="typography_short", limit=3, max_chars=100), pool)
    assert (len(selection.prompts), selection.pool, selection.left_out) == (3, 7, 2)
    assert select(suite(), pool).left_out == 0
    with pytest.raises(UserError, match=r"'s' has nothing to show.*raise max_chars"):
        select(suite(max_chars=3), pool)


def test_typed_cases_are_pinned(tmp_path: Path) -> None:
    cases = build_cases(suite(attack="jailbreak_wrapper"), prompts(20), tmp_path)
    assert [c.suite for c in cases] == ["s"] * 8
    assert all(c.images == () and c.prompt.text in c.text for c in cases)
    assert case_set_hash(cases) == "a35cb3a1ca37e378"
    assert not list(tmp_path.iterdir())


def test_drawn_cases_are_pinned_but_for_their_pixels(tmp_path: Path) -> None:
    build = suite(attack="figstep", limit=4, max_chars=100)
    cases = build_cases(build, prompts(9), tmp_path)
    assert case_set_hash(cases, pixels=False) == "245685d9d40f5a97"
    assert case_set_hash(cases) != case_set_hash(cases, pixels=False)
    for case in cases:
        (file,), (sha256,) = case.images, case.images_sha256
        assert pixel_hash(Image.open(tmp_path / file)) == sha256
        assert Path(file) == Path("images", f"{sha256[:16]}.png")
    assert len({case.id for case in cases}) == 4


def test_building_again_gives_the_same_bytes_and_hash(tmp_path: Path) -> None:
    build = suite(attack="typography_bare", limit=3)
    one, two = (build_cases(build, prompts(9), tmp_path / name) for name in ("one", "two"))
    assert one == two and case_set_hash(one) == case_set_hash(two)
    files = {name: {f.name: f.read_bytes() for f in (tmp_path / name / "images").iterdir()} for name in ("one", "two")}
    assert files["one"] == files["two"] and len(files["one"]) == 3
    write_records(tmp_path / "cases.jsonl", one)
    assert read_records(tmp_path / "cases.jsonl", Case) == one


def test_the_same_picture_is_written_once_and_without_metadata(tmp_path: Path) -> None:
    short = build_cases(suite(attack="typography_short", limit=3), prompts(9), tmp_path)
    bare = build_cases(suite(attack="typography_bare", limit=3), prompts(9), tmp_path)
    assert [c.images for c in short] == [c.images for c in bare]
    assert len(list((tmp_path / "images").iterdir())) == 3
    image = Image.new("RGB", (5, 5))
    image.save(tmp_path / "in.png", icc_profile=b"somebody's screen")
    relative, sha256 = write_image(Image.open(tmp_path / "in.png"), tmp_path)
    assert sha256 == pixel_hash(image)
    assert "icc_profile" in Image.open(tmp_path / "in.png").info
    assert Image.open(tmp_path / relative).info == {}


def test_case_set_hash_sees_every_part_and_the_order(tmp_path: Path) -> None:
    pool = prompts(9)
    base = case_set_hash(build_cases(suite(), pool, tmp_path))
    assert case_set_hash(build_cases(suite(name="other", title="U"), pool, tmp_path)) == base
    assert case_set_hash(build_cases(suite(attack="prefill"), pool, tmp_path)) != base
    assert case_set_hash(build_cases(suite(attack="cue_what"), pool, tmp_path)) != base
    assert case_set_hash(build_cases(suite(attack="blank_image"), pool, tmp_path)) != base
    assert case_set_hash(build_cases(suite(), pool, tmp_path)[::-1]) != base


DRAWN = ("figstep", "typography", "mm_safetybench", "typed_and_drawn")


def test_suites_name_real_attacks_and_differ() -> None:
    suites = SETS["comparison"]
    assert len({s.name for s in suites}) == len({s.title for s in suites}) == len(suites)
    assert len({(s.source, s.attack) for s in suites}) == len(suites)
    for one in suites:
        ATTACKS.get(one.attack)
        assert one.max_chars == (READABLE if one.attack.startswith(DRAWN) else 0), one.name
    assert suite(source="harmbench+strongreject").sources == ("harmbench", "strongreject")


def test_default_suites_stay_what_published_results_were_made_with() -> None:
    assert digest([s.model_dump() for s in DEFAULT_SUITES]) == "c963fb14da96593a"


def test_further_suites_are_held_out_and_of_the_agreed_size() -> None:
    for one in MORE_SUITES:
        assert set(one.sources) <= {"harmbench", "strongreject", "xstest_safe", "self_instruct_user"}
        assert 32 <= one.limit <= 48


def test_the_comparison_holds_the_default_suites_unchanged_and_nothing_that_needs_settings() -> None:
    comparison = SETS["comparison"]
    assert comparison[: len(DEFAULT_SUITES)] == DEFAULT_SUITES
    assert {s.attack for s in comparison} <= set(ATTACKS.names()) and len({s.attack for s in comparison}) == 17
    harmful = {s.attack for s in comparison if "harmbench" in s.source or s.source == "strongreject"}
    assert {s.attack for s in comparison} == harmful  # each harmless suite shows an attack that harmful ones show too


def test_the_broad_set_needs_no_hub_and_holds_six_publishers_sets_and_pictures() -> None:
    names = {source for one in SETS["broad"] for source in one.sources}
    parts = {name: SOURCES.get(name) for name in names}
    assert all(isinstance(part, Source) and part.packaged is not None for part in parts.values())
    assert len({part.folder_name for part in parts.values()}) >= 6
    drawn = [one for one in SETS["broad"] if one.attack in ("figstep", "mm_safetybench", "photo_image")]
    assert len(drawn) == 3
    assert {source_info(one.source.split("+")[0]).kind for one in SETS["broad"]} == {"harmful", "lookalike", "ordinary"}


def test_suites_are_chosen_by_set_or_by_name_in_one_order() -> None:
    assert chosen("default") == list(DEFAULT_SUITES)
    assert chosen("comparison") == [*DEFAULT_SUITES, *MORE_SUITES]
    assert [s.name for s in chosen(["role_play", "ordinary"])] == ["ordinary", "role_play"]
    assert sets_of(SUITES["figstep"]) == ["default", "comparison", "broad"] and sets_of(SUITES["role_play"]) == [
        "comparison"
    ]
    with pytest.raises(UserError, match=r"no suite 'rolplay'; choose from .*role_play"):
        chosen(["figstep", "rolplay"])
    with pytest.raises(UserError, match="no set of suites 'all'; choose from default, comparison"):
        chosen("all")


def test_a_recipe_may_name_a_set_or_any_suite_of_any_set() -> None:
    for suites in ("default", "comparison", ["mm_safetybench", "figstep"]):
        recipe = Recipe.parse({"evaluation": {"suites": suites}}, "r.yaml")
        assert recipe.evaluation.suites == suites
    with pytest.raises(UserError, match=r"r\.yaml: evaluation\.suites: there is no suite 'rolplay'; choose from"):
        Recipe.parse({"evaluation": {"suites": ["rolplay"]}}, "r.yaml")


@pytest.mark.parametrize("changes", [{"limit": 0}, {"name": "a/b"}, {"colour": "red"}, {"max_chars": -1}])
def test_bad_suites_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(pydantic.ValidationError):
        suite(**changes)


def test_unknown_attack_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no attack called 'telepathy'"):
        build_cases(suite(attack="telepathy"), prompts(3), tmp_path)


def pictured(folder: Path, n: int = 3) -> list[Prompt]:
    """Requests with pictures of their own, read from a set in its publisher's layout."""
    publisher_layouts.table(folder / "mine.csv", "prompt,file", [(f"What is thing {i}?", f"{i}.png") for i in range(n)])
    for i in range(n):
        publisher_layouts.put(folder / f"{i}.png", publisher_layouts.png(i))
    part = SOURCES.get("siuo")
    assert isinstance(part, Source)
    return part(Mapped(file=folder / "mine.csv", image_column="file"))


def test_a_requests_own_picture_is_shown_and_kept_by_attacks_on_the_words(tmp_path: Path) -> None:
    pool = pictured(tmp_path / "set")
    for attack in ("direct", "jailbreak_wrapper", "prefill", "cue_what", "base64 | prefill"):
        cases = build_cases(suite(attack=attack, source="siuo"), pool, tmp_path / attack)
        own = {p.id: (pixel_hash(open_picture(Path(p.image))),) for p in pool}
        assert {c.prompt.id: c.images_sha256 for c in cases} == own
        assert all(Image.open(tmp_path / attack / c.images[0]).size == (4, 4) for c in cases)


@pytest.mark.parametrize("attack", ["figstep", "blank_image", "mm_safetybench", "typed_and_drawn", "rot13 | figstep"])
def test_a_drawn_attack_on_a_request_with_a_picture_is_refused(attack: str, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=f"the attack {re.escape(repr(attack))} draws a picture, but the requests of siuo have"
    ):
        build_cases(suite(attack=attack), pictured(tmp_path), tmp_path)


def test_cases_do_not_depend_on_where_the_data_set_lies(tmp_path: Path) -> None:
    one, two = (build_cases(suite(), pictured(tmp_path / name), tmp_path / f"run {name}") for name in ("here", "there"))
    assert one == two and case_set_hash(one) == case_set_hash(two)
    write_records(tmp_path / "cases.jsonl", one)
    assert str(tmp_path) not in (tmp_path / "cases.jsonl").read_text()
    assert read_records(tmp_path / "cases.jsonl", Case) == one
    for case in one:
        assert case.images == (case.prompt.image,) and (tmp_path / "run here" / case.prompt.image).is_file()


def test_case_files_of_before_prompts_had_pictures_are_read(tmp_path: Path) -> None:
    old = {"suite": "s", "attack": "direct", "prompt": {"text": "Hi", "kind": "ordinary", "source": "a"}, "text": "Hi"}
    (tmp_path / "cases.jsonl").write_text(json.dumps(old) + "\n")
    assert read_records(tmp_path / "cases.jsonl", Case) == [Case("s", "direct", Prompt("Hi", "ordinary", "a"), "Hi")]
