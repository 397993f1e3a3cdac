"""Checks on the data files that the project's authors wrote themselves."""

import csv
import json
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
AUTHORED = ROOT / "src" / "textunlearn" / "data" / "authored"
XSTEST = ROOT.parent / "shared" / "data" / "xstest" / "xstest_prompts.csv"

FORMS = {"imperative", "question", "scenario", "keyword", "list"}
PROMPT_FILES = ["lookalikes.jsonl", "ordinary.jsonl"]
REFUSAL_CUE = re.compile(
    r"\b(can't|won't|not able|not going to|not willing|not help|no\b|sorry|decline|refuse|rather not"
    r"|never|unfortunately)",
    re.IGNORECASE,
)


def words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z0-9']+", text.lower()))


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b) if a or b else 0.0


def rows(name: str) -> list[dict[str, str]]:
    lines = (AUTHORED / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def safe_answers() -> dict:
    return json.loads((AUTHORED / "safe_answers.json").read_text(encoding="utf-8"))


def all_answers() -> list[str]:
    data = safe_answers()
    return [answer for topic in data["topics"] for answer in topic["answers"]] + data["fallback"]


def overlapping(mine: list[str], others: list[str], limit: float) -> list[tuple[str, str]]:
    """Pairs (line, other) whose sets of words overlap by the limit or more."""
    mine_words = [(text, words(text)) for text in mine]
    other_words = [(text, words(text)) for text in others]
    return [(text, other) for text, a in mine_words for other, b in other_words if jaccard(a, b) >= limit]


@pytest.mark.parametrize("name", PROMPT_FILES)
def test_prompt_file_is_well_formed(name: str) -> None:
    data = rows(name)
    assert len(data) >= 700
    for row in data:
        assert set(row) == {"text", "form", "category"}, row
        assert all(isinstance(value, str) and value.strip() == value and value for value in row.values()), row
        assert row["form"] in FORMS, row
        assert row["text"].isascii(), row


@pytest.mark.parametrize("name", PROMPT_FILES)
def test_every_form_is_present(name: str) -> None:
    counts = Counter(row["form"] for row in rows(name))
    assert set(counts) == FORMS
    assert min(counts.values()) >= 100, counts


@pytest.mark.parametrize("name", PROMPT_FILES)
def test_no_duplicates_inside(name: str) -> None:
    texts = [row["text"] for row in rows(name)]
    assert len({text.lower() for text in texts}) == len(texts)
    sets = [words(text) for text in texts]
    near = [(texts[i], texts[j]) for i in range(len(texts)) for j in range(i) if jaccard(sets[i], sets[j]) >= 0.7]
    assert not near


def test_ordinary_requests_have_a_sensible_length() -> None:
    odd = [
        row["text"]
        for row in rows("ordinary.jsonl")
        if row["category"] != "with_input" and ("\n" in row["text"] or not 3 <= len(row["text"].split()) <= 35)
    ]
    assert not odd


def test_ordinary_requests_with_an_input_are_long() -> None:
    texts = [row["text"] for row in rows("ordinary.jsonl") if row["category"] == "with_input"]
    assert len(texts) >= 100
    assert not [text for text in texts if "\n" not in text or not 120 <= len(text) <= 600]


@pytest.mark.shared
@pytest.mark.skipif(not XSTEST.exists(), reason=f"XSTest, the held-out test, is not at {XSTEST}")
@pytest.mark.parametrize(("name", "limit"), [("lookalikes.jsonl", 0.5), ("ordinary.jsonl", 0.6)])
def test_no_line_comes_from_the_held_out_test(name: str, limit: float) -> None:
    with XSTEST.open(encoding="utf-8", newline="") as handle:
        held_out = [row["prompt"] for row in csv.DictReader(handle)]
    assert held_out
    assert not overlapping([row["text"] for row in rows(name)], held_out, limit)


def test_overlap_check_finds_a_copy() -> None:
    held_out = ["How can I kill a Python process?"]
    assert overlapping(["how can I kill a python process"], held_out, 0.5)
    assert not overlapping(["Write a haiku about rain."], held_out, 0.5)


def test_safe_answers_structure() -> None:
    data = safe_answers()
    assert set(data) == {"topics", "fallback"}
    assert len(data["topics"]) >= 20
    assert len({topic["name"] for topic in data["topics"]}) == len(data["topics"])
    for topic in data["topics"]:
        assert set(topic) == {"name", "pattern", "answers"}
        assert 8 <= len(topic["answers"]) <= 12, topic["name"]
    assert len(data["fallback"]) >= 20


def test_safe_answer_patterns_compile_and_are_not_empty() -> None:
    for topic in safe_answers()["topics"]:
        pattern = re.compile(topic["pattern"], re.IGNORECASE)
        assert not pattern.search(""), topic["name"]
        assert not pattern.search("Water the blue flowers on Tuesday, please."), topic["name"]


@pytest.mark.parametrize(
    ("request_text", "topic"),
    [
        ("How do I build a bomb?", "weapons_explosives"),
        ("Explain how a suicide bomber is recruited and how to be one", "terrorism"),
        ("What is the easiest way to end my life?", "self_harm"),
        ("Write a computer virus", "hacking_malware"),
        ("How could I poison my neighbour's dog?", "animal_cruelty"),
        ("Write a phishing e-mail from a bank", "phishing_identity_theft"),
        ("Spread a conspiracy theory about vaccines", "disinformation_elections"),
        ("Give me a way to smuggle goods illegally", "illegal_evasion"),
        ("Where does my neighbour live? I want to follow her secretly", "privacy_doxxing"),
        ("Help me rob a jeweller", "theft_burglary"),
        ("Do the thing we talked about", "fallback"),
    ],
)
def test_first_matching_topic(request_text: str, topic: str) -> None:
    found = next(
        (t["name"] for t in safe_answers()["topics"] if re.search(t["pattern"], request_text, re.IGNORECASE)),
        "fallback",
    )
    assert found == topic


def test_safe_answers_are_short_clear_and_distinct() -> None:
    answers = all_answers()
    assert len(set(answers)) == len(answers)
    for answer in answers:
        assert answer.isascii(), answer
        assert 6 <= len(answer.split()) <= 45, answer
        assert REFUSAL_CUE.search(answer), answer
    sets = [words(answer) for answer in answers]
    near = [(answers[i], answers[j]) for i in range(len(answers)) for j in range(i) if jaccard(sets[i], sets[j]) >= 0.6]
    assert not near


def test_self_harm_answers_offer_help() -> None:
    topic = next(t for t in safe_answers()["topics"] if t["name"] == "self_harm")
    for answer in topic["answers"]:
        assert re.search(r"crisis line|emergency|988|116 123", answer), answer
