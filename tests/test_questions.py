"""Sets of questions with known answers: read in their publishers' layouts, chosen, and worded as the field does."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest

from question_layouts import QUESTION_LAYOUTS, arc, gsm8k, mme, mmlu, mmmu, put, textvqa, textvqa_hub, truthfulqa
from textunlearn.data.places import Mapped
from textunlearn.data.questions import QUESTION_SETS
from textunlearn.data.sources import SOURCES, source_info
from textunlearn.errors import UserError
from textunlearn.evaluation.benchmarks import chosen, pick, prepare
from textunlearn.files import read_records, write_records
from textunlearn.recipe import UtilitySpec
from textunlearn.records import Question

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTUNLEARN_CACHE", str(tmp_path / "cache"))
    pytest.importorskip("pyarrow")


def shown(folder: Path, text: str, **more: object) -> list[str]:
    (benchmark,) = chosen([UtilitySpec.model_validate({"source": text, **more})])
    return [case.text for case in prepare(benchmark, {text: folder}).cases]


@pytest.mark.parametrize("layout", QUESTION_LAYOUTS)
def test_the_publishers_layout_is_read(layout: str, tmp_path: Path) -> None:
    expected = QUESTION_LAYOUTS[layout](tmp_path / "set")
    for name, entries in expected.items():
        info, found = source_info(name), QUESTION_SETS.get(name).read(tmp_path / "set").questions
        assert [(q.text, q.category) for q in found] == [(text, category) for text, _, _, category in entries]
        for question, (_, choices, right, _) in zip(found, entries, strict=True):
            assert sorted(question.choices) == sorted(choices)
            if isinstance(right, tuple):
                assert question.answers == right and question.right == -1
            else:
                assert question.choices[question.right] == (
                    right if isinstance(right, str) else choices[int(str(right))]
                )
            assert bool(question.images) is bool(info.pictures)
            for image, sha256 in zip(question.images, question.images_sha256, strict=True):
                assert hashlib.sha256(Path(image).read_bytes()).hexdigest() == sha256
        assert len({q.id for q in found}) == len(found)


def test_every_set_has_a_test_of_its_layout_and_says_what_must_be_known(tmp_path: Path) -> None:
    read = {name for number, build in enumerate(QUESTION_LAYOUTS.values()) for name in build(tmp_path / str(number))}
    assert set(QUESTION_SETS.names()) == read
    for name in read:
        info = source_info(name)
        assert info.about and info.licence and info.homepage and info.hub and info.rows and not info.trainable


def test_what_is_left_out_is_counted_by_reason(tmp_path: Path) -> None:
    mmmu(tmp_path / "m")
    assert QUESTION_SETS.get("mmmu").read(tmp_path / "m").reasons == {"open question": 2}
    single = QUESTION_SETS.get("mmmu_single").read(tmp_path / "m")
    assert single.reasons == {"open question": 2, "several pictures": 2}
    textvqa(tmp_path / "t")
    assert QUESTION_SETS.get("textvqa").read(tmp_path / "t").reasons == {"picture missing": 1}


def test_pictures_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    mmmu(tmp_path)
    _, two, *_ = QUESTION_SETS.get("mmmu").read(tmp_path).questions
    from question_layouts import png

    assert [Path(image).read_bytes() for image in two.images] == [png(2), png(3)]  # <image 1>, <image 2>


def test_only_chosen_questions_leave_pictures_in_the_cache(tmp_path: Path) -> None:
    textvqa_hub(tmp_path / "set")
    (benchmark,) = chosen([UtilitySpec(source="textvqa", limit=1)])
    prepared = prepare(benchmark, {"textvqa": tmp_path / "set"})
    assert len(prepared.questions) == 1 and prepared.about["pool"] == 2
    assert [str(p) for p in (tmp_path / "cache/pictures").iterdir()] == list(prepared.questions[0].images)


def test_a_set_of_questions_is_a_set_of_harmless_requests_too(tmp_path: Path) -> None:
    mmlu(tmp_path / "m")
    prompts = SOURCES.get("mmlu")(tmp_path / "m")
    assert {(p.kind, p.source) for p in prompts} == {("ordinary", "mmlu")}
    assert prompts[0].text.endswith("A. a kettle\nB. a lamp\nC. a door\nD. a bell") and prompts[1].reference == "a lamp"
    mmmu(tmp_path / "u")
    assert len(SOURCES.get("mmmu")(tmp_path / "u")) == 2, "a request has one picture at most"


# -- what is chosen ----------------------------------------------------------------------------------------------------


def test_a_choice_is_even_over_categories_and_grows_with_the_limit() -> None:
    questions = [Question(f"{c} {n}", "s", category=c) for c in "abc" for n in range(9)]
    some = pick(questions, 6)
    assert Counter(q.category for q in some) == {"a": 2, "b": 2, "c": 2}
    assert pick(questions[::-1], 6) == some and pick(questions, 8)[:6] == some
    assert pick(questions, None) == questions and len(pick(questions, 100)) == 27


def test_groups_are_taken_whole(tmp_path: Path) -> None:
    mme(tmp_path)
    read = QUESTION_SETS.get("mme").read(tmp_path).questions
    assert set(Counter(q.group for q in pick(read, 5)).values()) == {2} and len(pick(read, 5)) == 4
    assert len(pick(read, 1)) == 2, "at least one group"


# -- how they are worded -----------------------------------------------------------------------------------------------


def test_mmlu_is_worded_as_in_the_field(tmp_path: Path) -> None:
    mmlu(tmp_path)
    header = "The following are multiple choice questions (with answers) about world religions.\n\n"
    listed = "A. a kettle\nB. a lamp\nC. a door\nD. a bell\nAnswer:"
    zero, one = shown(tmp_path, "mmlu"), shown(tmp_path, "mmlu", shots=1)
    assert zero[0] == f"{header}What is world_religions a of test?\n{listed}"
    example = f"What is world_religions a of dev?\n{listed} A\n\n"
    assert one[0] == f"{header}{example}What is world_religions a of test?\n{listed}"
    assert "virology a of dev" in one[2], "examples are of the question's own subject"
    with pytest.raises(UserError, match=r"has 2 examples for the category 'world_religions', fewer than 5; lower"):
        shown(tmp_path, "mmlu", shots=5)


def test_examples_of_gsm8k_show_their_working(tmp_path: Path) -> None:
    gsm8k(tmp_path)
    (text, *_) = shown(tmp_path, "gsm8k", shots=2)
    blocks = text.split("\n\n")
    assert len(blocks) == 3 and blocks[0].startswith("Question: How many in train 0?\nAnswer: Two and")
    assert blocks[1].endswith("#### 1,002") and blocks[2] == "Question: How many in test 0?\nAnswer:"


def test_another_form_brings_its_own_wording(tmp_path: Path) -> None:
    arc(tmp_path)
    plain, letters = shown(tmp_path, "arc_easy"), shown(tmp_path, "arc_easy", form="letters")
    assert plain[0] == "Question: Easy C?\nAnswer:"
    assert letters[0] == "Easy C?\nA. a kettle\nB. a lamp\nC. a door\nD. a bell\nAnswer:"
    (asked, *_) = shown(tmp_path, "arc_easy", form="generated")
    assert asked.endswith("D. a bell\nAnswer with the option's letter from the given choices directly.")


def test_the_primer_of_truthfulqa_stands_once(tmp_path: Path) -> None:
    truthfulqa(tmp_path)
    (text,) = shown(tmp_path, "truthfulqa")
    assert text.count("square root of banana") == 1 and text.endswith("Barcelona, Spain.\n\nQ: What rings?\nA:")


# -- what cannot be ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("mmul", "there is no set of questions called 'mmul'"),
        ("mmlu:shouting", "there is no form of questions called 'shouting'"),
        ({"source": "mme", "shots": 2}, "mme has no examples"),
        ({"source": "mmlu", "max_new_tokens": 5}, "nothing is generated"),
    ],
)
def test_what_there_is_not_is_said_before_anything_is_read(spec: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        chosen([UtilitySpec.model_validate(spec)])


def test_the_same_set_twice_is_refused_but_not_in_two_forms() -> None:
    with pytest.raises(UserError, match="mmlu stands there twice"):
        chosen([UtilitySpec(source="mmlu"), UtilitySpec(source="mmlu", limit=3)])
    some = chosen([UtilitySpec(source="mmlu"), UtilitySpec(source="mmlu", form="generated", shots=5)])
    assert [one.label for one in some] == ["mmlu", "mmlu_generated_5shot"]
    assert some[1].title == "MMLU, generated, 5-shot"


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("gsm8k", UtilitySpec(source="gsm8k")),
        ("gsm8k=200", UtilitySpec(source="gsm8k", limit=200)),
        ("mmlu:generated=5", UtilitySpec(source="mmlu", form="generated", limit=5)),
    ],
)
def test_a_set_in_short(text: str, spec: UtilitySpec) -> None:
    assert UtilitySpec.model_validate(text) == spec


def test_questions_that_do_not_fit_a_form_are_refused(tmp_path: Path) -> None:
    gsm8k(tmp_path / "g")
    with pytest.raises(UserError, match="gsm8k cannot be put in the form letters: it has no choices"):
        shown(tmp_path / "g", "gsm8k", form="letters")
    QUESTION_LAYOUTS["mmstar"](tmp_path / "m")
    with pytest.raises(UserError, match="told apart by their letters only"):
        shown(tmp_path / "m", "mmstar", form="continuation")


def test_damaged_sets_are_one_sentence_with_file_and_place(tmp_path: Path) -> None:
    put(tmp_path / "g/test.jsonl", '{"question": "How many?", "answer": "seven"}\n')
    with pytest.raises(UserError, match=r"test\.jsonl line 1: the answer has no #### before its number"):
        QUESTION_SETS.get("gsm8k").read(tmp_path / "g")
    put(tmp_path / "a/ARC-Easy-Test.jsonl", '{"question": {"stem": "x", "choices": []}, "answerKey": "E"}\n')
    with pytest.raises(UserError, match=r"line 1: answerKey 'E' is none of the choices' labels"):
        QUESTION_SETS.get("arc_easy").read(tmp_path / "a")
    with pytest.raises(UserError, match=r"mapped columns is not enough"):
        QUESTION_SETS.get("gsm8k").read(Mapped(file=tmp_path / "x.csv"))
    with pytest.raises(UserError, match=r"does not hold the data set mme"):
        QUESTION_SETS.get("mme").read(tmp_path / "a")


def test_a_question_survives_its_file(tmp_path: Path) -> None:
    mmmu(tmp_path)
    read = list(QUESTION_SETS.get("mmmu").read(tmp_path).questions)
    write_records(tmp_path / "q.jsonl", read)
    again = read_records(tmp_path / "q.jsonl", Question)
    assert again == read and [q.id for q in again] == [q.id for q in read] and len(set(again)) == len(read)


@pytest.mark.shared
def test_the_real_truthfulqa() -> None:
    if not (SHARED / "truthfulqa").is_dir():
        pytest.skip("../shared/data/truthfulqa is not here")
    found = QUESTION_SETS.get("truthfulqa").read(SHARED / "truthfulqa")
    assert len(found.questions) + sum(found.reasons.values()) == 817
    assert len({q.category for q in found.questions}) == 38
    assert all(len(set(q.choices)) == len(q.choices) > 1 for q in found.questions)
    places = Counter(q.right for q in found.questions)
    assert max(places.values()) < 0.4 * 817, "the right choice has no place of its own"
