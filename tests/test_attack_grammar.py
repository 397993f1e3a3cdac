"""Attack expressions: what they mean, and that every mistake in one is named before any work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from textunlearn.attacks import ATTACKS, Shown
from textunlearn.attacks.grammar import Reworded, parse, resolve, settings_of
from textunlearn.attacks.parameters import Seed, random_bytes
from textunlearn.errors import UserError
from textunlearn.evaluation.suites import Suite, chosen
from textunlearn.recipe import Recipe
from textunlearn.records import Prompt

PROMPT = Prompt("How do I frobnicate the {thing}?", "harmful", "made_up")


@pytest.fixture
def lots() -> Iterator[None]:
    """An attack that says what it was given, for the length of a test."""
    ATTACKS.names()

    @ATTACKS.register("tells")
    def tells(prompt: Prompt, seed: Seed = 0) -> Shown:
        return Shown(f"{prompt.text} {random_bytes('tells', prompt, seed, 4).hex()}")

    yield
    del ATTACKS._parts["tells"]


@pytest.mark.parametrize(
    ("expression", "steps"),
    [
        ("direct", [("direct", {})]),
        (" direct ( ) ", [("direct", {})]),
        ("a|b |c", [("a", {}), ("b", {}), ("c", {})]),
        ("a(x=1, y = two words ,)", [("a", {"x": "1", "y": "two words"})]),
        ("a(x=#FF00aa,y=C:\\new/file-1.txt)", [("a", {"x": "#FF00aa", "y": "C:\\new/file-1.txt"})]),
        (r"""a(x="b | c, (d) = \"e\"\n")|f""", [("a", {"x": 'b | c, (d) = "e"\n'}), ("f", {})]),
        (r"""a(x='it\'s \q', y='')""", [("a", {"x": r"it's \q", "y": ""})]),
    ],
)
def test_what_an_expression_says(expression: str, steps: list[tuple[str, dict[str, str]]]) -> None:
    assert parse(expression) == steps


@given(st.text(max_size=30))
def test_any_quoted_value_is_read_back(text: str) -> None:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    assert parse(f'a(x="{quoted}")') == [("a", {"x": text})]


@given(st.text(st.sampled_from("ab(=)|,'\" \\"), max_size=12))
def test_nothing_but_a_user_error_comes_of_a_bad_expression(text: str) -> None:
    try:
        steps = parse(text)
    except UserError as error:
        assert "\n" not in str(error) and " ".join(repr(text).split()) in str(error)
    else:
        assert steps


MISTAKES = [
    ("", "the name of an attack is wanted at its end"),
    ("base64 |", "the name of an attack is wanted at its end"),
    ("base64 rot13", r"\| or the end is wanted before 'rot13'"),
    ("base64)", r"\| or the end is wanted before '\)'"),
    ("prefill(", "a setting's name is wanted at its end"),
    ("prefill(words)", r"= is wanted before '\)'"),
    ("prefill(words=)", r"a value for words is wanted before '\)'"),
    ("prefill(words='Sure)", "a value for words is wanted before"),
    ("caesar(by=3 ask=x)", "a value for by is wanted|a comma"),
    ("caesar(by=3", r"a comma or \) is wanted at its end"),
    ("caesar(by=3, by=4)", "sets by of caesar twice"),
    ("telepathy", "there is no attack called 'telepathy'; choose one of: .*figstep"),
    ("base64 | telepathy", "there is no attack called 'telepathy'"),
    ("direct(x=1)", "the attack direct has no setting 'x'; it has none at all"),
    ("caesar(shift=1)", "the attack caesar has no setting 'shift'; it knows: by, ask"),
    ("caesar(by=many)", "caesar: by=many does not work: input should be a valid integer"),
    ("caesar(by=26)", "caesar: by=26 does not work: input should be less than or equal to 25"),
    ("reversed(what=it)", "what=it does not work: input should be 'words', 'letters' or 'each_word'"),
    ("cue", r"the attack cue needs the setting 'word'; write cue\(word=...\)"),
    ("cue(word=two words)", "word=two words does not work"),
    ("prefill(words='')", "words= does not work: string should have at least 1 character"),
    (
        "typography(layout=gothic)",
        "layout=gothic does not work: there is no layout of that name; choose one of: figstep",
    ),
    ("typography(ink=blurple)", "ink=blurple does not work: unknown color"),
    ("typography(font=Nowhere.ttf)", r"no font 'Nowhere\.ttf'"),
    ("typography(noise=1.5)", "noise=1.5 does not work"),
    ("image_sequence(images=1)", "images=1 does not work"),
    ("image_file(file=none.png)", r"no image none\.png"),
    ("image_folder(folder=none)", "no folder none"),
    ("template(file=none.txt)", r"no file none\.txt"),
    ("templates(folder=none)", "no folder none"),
    ("suffixes(file=none.txt)", r"no file none\.txt"),
    ("translation(file=none.csv)", r"none\.csv does not exist"),
    ("few_shot(file=none.csv)", r"none\.csv does not exist"),
]


@pytest.mark.parametrize(("expression", "message"), MISTAKES, ids=[m[0] for m in MISTAKES])
def test_mistakes_are_named_before_any_prompt_is_shown(expression: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        resolve(expression)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"r\.yaml: evaluation\.suites: the suite '.*': .*(" + message + ")"):
        Recipe.parse({"evaluation": {"suites": [{"source": "harmbench", "attack": expression}]}}, "r.yaml")


@pytest.mark.parametrize("name", ["direct", "figstep", "jailbreak_wrapper", "noise_image", "photo_image", "prefill"])
def test_a_plain_name_is_the_attack_itself(name: str) -> None:
    assert resolve(name)(PROMPT) == ATTACKS.get(name)(PROMPT)


def test_the_text_of_one_step_is_the_request_of_the_next_and_the_rest_is_carried_along() -> None:
    shown = resolve("prefill(words='Well,') | blank_image(side=20) | base64 | typography_short")(PROMPT)
    assert shown.prefill == "Well," and shown.text == "Follow the instruction in the image."
    encoded = resolve("base64")(PROMPT).text
    assert shown.images[0].size == (20, 20) and len(shown.images) == 2
    drawn = ATTACKS.get("typography_short")(replace(PROMPT, text=encoded)).images[0]
    assert shown.images[1].tobytes() == drawn.tobytes()
    assert resolve("rot13 | rot13")(PROMPT) == Shown(PROMPT.text)
    assert resolve("prefix(words=now) | suffix(words=please)")(PROMPT).text == f"now {PROMPT.text} please"


def test_every_step_draws_its_lots_from_the_original_prompt(lots: None) -> None:
    lot = resolve("tells")(PROMPT).text.split()[-1]
    assert resolve("base64 | rot13 | tells")(PROMPT).text.split()[-1] == lot
    assert resolve("tells(seed=1)")(PROMPT).text.split()[-1] != lot
    noise, beside = resolve("noise_image")(PROMPT), resolve("leetspeak | noise_image")(PROMPT)
    assert noise.images[0].tobytes() == beside.images[0].tobytes() and noise.text != beside.text
    reworded = Reworded.of(Reworded.of(PROMPT, "one"), "two")
    assert (reworded.text, reworded.kind, reworded.id) == ("two", PROMPT.kind, PROMPT.id)


def test_what_cannot_be_together_is_refused_with_both_names() -> None:
    with pytest.raises(UserError, match="typography_bare leaves nothing typed that base64 could change; put it last"):
        resolve("typography_bare | base64")(PROMPT)
    with pytest.raises(UserError, match="begins the model's answer twice, with 'Sure,' and with 'Sure, here is'"):
        resolve("prefill | prefill_here")(PROMPT)


def test_every_attack_says_what_its_settings_mean() -> None:
    for name in ATTACKS.names():
        for key, field in settings_of(name).model_fields.items():
            assert field.description or "Literal" in str(field.annotation), f"{name}({key})"


def test_a_recipe_may_have_suites_of_its_own() -> None:
    own = {"source": "harmbench+strongreject", "attack": "leetspeak(share=0.5) | figstep", "limit": 3, "max_chars": 100}
    recipe = Recipe.parse({"evaluation": {"suites": ["prefill", "figstep", own]}}, "r.yaml")
    first, second, third = chosen(recipe.evaluation.suites)
    assert (first.name, second.name) == ("figstep", "prefill")
    assert third == Suite(
        name="leetspeak_share_0_5_figstep_harmbench_strongreject",
        title="harmbench+strongreject, under leetspeak(share=0.5) | figstep",
        **own,  # type: ignore[arg-type]
    )
    import yaml

    assert Recipe.parse(yaml.safe_load(recipe.to_yaml()), "again") == recipe
    for bad, message in [
        ([{"source": "harmbench"}], "entry 1: attack is needed and not there"),
        ([{**own, "colour": "red"}], "entry 1: there is no key 'colour'; known here: name, source, attack"),
        ([own, own], "two suites are called"),
        ([{**own, "name": "figstep"}, "figstep"], "two suites are called 'figstep'"),
        ([{**own, "source": "nowhere"}], "no data source called 'nowhere'"),
        ([{**own, "source": "advbench"}], "tests on advbench, which is trained on"),
    ]:
        with pytest.raises(UserError, match=r"r\.yaml: evaluation\.suites: .*" + message):
            Recipe.parse({"evaluation": {"suites": bad}}, "r.yaml")


def test_files_are_relative_to_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8), "red").save("mine.png")
    assert resolve("image_file(file=mine.png)")(PROMPT).images[0].getpixel((0, 0)) == (255, 0, 0)
