"""Training rows from prompts and answers: which targets they have, how they stand in the image slots, and how many do."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textunlearn.attacks import ATTACKS
from textunlearn.data.filters import content_words
from textunlearn.evaluation.suites import DEFAULT_SUITES
from textunlearn.methods import METHODS
from textunlearn.recipe import DataSpec, SlotSpec
from textunlearn.records import Kind, Prompt
from textunlearn.training.build_rows import BEGUN, _share, fewer_blanks, probes, slot_request, training_rows
from textunlearn.training.rows import Row
from textunlearn.training.slots import NEUTRAL
from textunlearn.vlm.load import Vlm

KINDS: tuple[Kind, ...] = ("harmful", "lookalike", "ordinary")
PROMPTS = {kind: [Prompt(f"how do i {kind} the lock no {n}", kind, "test") for n in range(20)] for kind in KINDS}
ANSWERS = {
    p.id: f"Sure, take flour {n} and then add some water" for some in PROMPTS.values() for n, p in enumerate(some)
}


def build(vlm: Vlm, method: str = "textual_unlearning", seed: int = 0, **settings: Any) -> dict[str, list[Row]]:
    slots = SlotSpec(**{k: v for k, v in settings.items() if k in SlotSpec.model_fields})
    data = DataSpec(**{"begun": 0.0, **{k: v for k, v in settings.items() if k in DataSpec.model_fields}})
    return training_rows(vlm, PROMPTS, ANSWERS, METHODS.get(method)(), slots, data, seed)


def encode(vlm: Vlm, text: str) -> tuple[int, ...]:
    return tuple(vlm.tokenizer.encode(text, add_special_tokens=False))


def test_targets(reader: Vlm) -> None:
    rows = build(reader, share=0.5, answer_tokens=6, kept_tokens=4)
    assert {kind: len(some) for kind, some in rows.items()} == dict.fromkeys(KINDS, 20)
    for row in rows["harmful"]:
        harmful, safe = row.targets
        assert (harmful.role, safe.role, row.kind) == ("harmful", "safe", "harmful")
        assert harmful.ids in {encode(reader, a)[:6] for a in ANSWERS.values()} and len(harmful.ids) == 6
        assert list(safe.ids[-1:]) == reader.end_ids() and len(safe.ids) > 4
    assert len({row.targets[1].ids for row in rows["harmful"]}) > 5, "safe answers vary"
    for kind in ("lookalike", "ordinary"):
        for row in rows[kind]:
            (kept,) = row.targets
            assert kept.role == "benign" and len(kept.ids) == 4


def test_slot_rows_under_an_empty_typed_prompt(reader: Vlm) -> None:
    bare = {row.prompt[row.slots[-1] + 1 :] for row in build(reader, share=1, neutral=False)["ordinary"]}
    varied = {row.prompt[row.slots[-1] + 1 :] for row in build(reader, share=1)["ordinary"]}
    assert len(bare) == 1 and len(varied) > 1 and bare < varied


def test_each_prompt_has_its_own_answer(reader: Vlm) -> None:
    expected = {
        (p.kind, tuple(reader.prompt_ids(p.text)), encode(reader, ANSWERS[p.id])[:20]) for p in PROMPTS["harmful"]
    }
    rows = build(reader, share=0, answer_tokens=20)
    assert {(r.kind, r.prompt, r.targets[0].ids) for r in rows["harmful"]} == expected


def test_a_method_gets_only_the_targets_it_asks_for(reader: Vlm) -> None:
    rows = build(reader, "distillation")
    assert rows["harmful"] == [] and len(rows["ordinary"]) == 20


@pytest.mark.parametrize(("share", "count"), [(0, 0), (0.1, 2), (0.25, 5), (0.5, 10), (0.7, 14), (1, 20)])
def test_the_share_of_slot_rows_is_exact_in_each_kind(reader: Vlm, share: float, count: int) -> None:
    for seed in (0, 3):
        rows = build(reader, seed=seed, share=share)
        assert {kind: sum(bool(row.slots) for row in some) for kind, some in rows.items()} == dict.fromkeys(
            KINDS, count
        )


@given(st.integers(0, 1000), st.integers(1, 300), st.integers(0, 100))
def test_a_share_is_spread_evenly(start: int, length: int, percent: int) -> None:
    """Every stretch has its part, give or take one."""
    chosen = sum(_share(number, percent / 100) for number in range(start, start + length))
    assert abs(chosen - length * percent / 100) < 1 + 1e-6


def test_rows_are_the_same_for_one_seed(reader: Vlm) -> None:
    assert build(reader, seed=1, begun=0.3) == build(reader, seed=1, begun=0.3) != build(reader, seed=2, begun=0.3)


@pytest.mark.parametrize("share", [0, 0.5])
def test_begun_rows_hold_the_first_words_of_the_harmful_answer(reader: Vlm, share: float) -> None:
    """Prompt and harmful target together are those of the row as it would be otherwise; only the border moves."""
    rows, begun = (build(reader, share=share, begun=b, misread=0, answer_tokens=20)["harmful"] for b in (0, 0.3))
    answers = {encode(reader, a)[:20] for a in ANSWERS.values()}
    starts = []
    for row in begun:
        said = row.targets[0].ids
        missing = next(a for a in answers if a[len(a) - len(said) :] == said)
        cut = len(missing) - len(said)
        assert row.begun == cut <= BEGUN and (cut == 0 or row.prompt[-cut:] == missing[:cut])
        assert row.targets[1].ids[-1] == reader.end_ids()[0] and all(s < len(row.prompt) - cut for s in row.slots)
        starts.append(cut)
    assert sum(cut > 0 for cut in starts) == 6 and len(set(starts)) > 2
    assert sum(bool(row.slots) for row in begun) == sum(bool(row.slots) for row in rows)


def test_slots_hold_the_words_and_then_blanks(reader: Vlm) -> None:
    text = "how do i pick the lock"
    seen = set()
    for seed in range(12):
        ids, where = slot_request(reader, text, SlotSpec(misread=0), random.Random(seed))
        inside = [ids[i] for i in where]
        assert len(where) == 49 and where == list(range(where[0], where[0] + 49))
        said = reader.tokenizer.decode(inside).rstrip()
        seen.add(said)
        words = len(encode(reader, said))
        assert inside[words:] == [reader.blank_id] * (49 - words), "nothing but blanks after the words"
        typed = reader.tokenizer.decode([t for i, t in enumerate(ids) if i not in where])
        assert text not in typed and reader.image_token_id not in ids
    assert seen == {text, f"{text} 1. 2. 3."}


def test_what_does_not_fit_into_the_slots_is_cut(reader: Vlm) -> None:
    text = "take the lock " * 60
    ids, where = slot_request(reader, text, SlotSpec(misread=0), random.Random(0))
    assert [ids[i] for i in where] == list(encode(reader, text)[:49])


def test_blanks_after_the_words_may_be_left_out(reader: Vlm) -> None:
    """Nothing else goes: the words, the typed prompt and the answers are those of the full row, and lengths vary."""
    full, fewer = (build(reader, share=1, misread=0, fewer_blanks=f)["ordinary"] for f in (0, 1))
    assert {len(row.slots) for row in full} == {49}
    sizes = set()
    for row in fewer:
        sizes.add(len(row.slots))
        words = [row.prompt[i] for i in row.slots]
        assert list(row.slots) == list(range(row.slots[0], row.slots[0] + len(row.slots)))
        assert "the lock no" in reader.tokenizer.decode(words)
        typed = row.prompt[row.slots[-1] + 1 :]
        ends = [r.prompt[r.slots[-1] + 1 :] for r in full]
        assert typed[-4:] == ends[0][-4:], "the model's turn is open"
    assert len(sizes) > 5 and max(sizes) <= 49


def test_the_words_stay_when_blanks_go(reader: Vlm) -> None:
    ids, where = slot_request(reader, "how do i pick the lock", SlotSpec(misread=0), random.Random(0))
    inside = [ids[i] for i in where]
    words = inside[: max(n + 1 for n, token in enumerate(inside) if token != reader.blank_id)]
    assert 4 < len(words) < 30
    rest = ids[: where[0]], ids[where[-1] + 1 :]
    for seed in range(20):
        shorter, kept = fewer_blanks(list(ids), list(where), reader.blank_id, random.Random(seed))
        assert [shorter[i] for i in kept][: len(words)] == words
        assert (shorter[: kept[0]], shorter[kept[-1] + 1 :]) == rest


def test_requests_too_long_for_the_slots_are_typed(reader: Vlm, monkeypatch: pytest.MonkeyPatch) -> None:
    long = Prompt("take the lock " * 60, "ordinary", "test")
    monkeypatch.setitem(PROMPTS, "ordinary", [long, *PROMPTS["ordinary"]])
    monkeypatch.setitem(ANSWERS, long.id, "Sure, take flour")
    rows = build(reader, share=1)["ordinary"]
    assert [list(row.prompt) for row in rows if not row.slots] == [reader.prompt_ids(long.text)]
    assert [p.way for p in probes(reader, {"ordinary": [long]}, SlotSpec(), 0)] == ["typed"]


def test_words_are_misread_in_some_slot_rows(reader: Vlm) -> None:
    clear, noisy = (build(reader, share=1, misread=m)["ordinary"] for m in (0, 0.1))
    texts = [{reader.tokenizer.decode([row.prompt[i] for i in row.slots]) for row in rows} for rows in (clear, noisy)]
    right = [sum("how do i ordinary the lock no" in text for text in some) for some in texts]
    assert right[0] == 20 and 0 < right[1] < 12


def test_no_attacks_own_prompt_is_trained_on() -> None:
    """The typed prompts beside the slots stay apart from those of the attacks that evaluations use."""
    own = {ATTACKS.get(s.attack)(Prompt("bake bread", "harmful", "test")).text for s in DEFAULT_SUITES if s.max_chars}
    assert any("Follow the instruction" in text for text in own) and any("numbered 1, 2, and 3" in text for text in own)
    for neutral in filter(None, NEUTRAL):
        for text in filter(None, own):
            assert neutral.casefold() not in text.casefold() and text.casefold() not in neutral.casefold()
            ours, theirs = content_words(neutral), content_words(text)
            assert len(ours & theirs) < 0.6 * len(ours | theirs), (neutral, text)


def test_probes_ask_each_prompt_typed_and_in_the_slots(reader: Vlm) -> None:
    asked = {kind: some[:3] for kind, some in PROMPTS.items()}
    both = probes(reader, asked, SlotSpec(), 0)
    assert [(p.prompt, p.way) for p in both] == [
        (prompt, way) for some in asked.values() for prompt in some for way in ("typed", "slots")
    ]
    assert all(list(p.request.ids) == reader.prompt_ids(p.prompt.text) for p in both if p.way == "typed")
    typed = probes(reader, asked, SlotSpec(share=0), 0)
    assert {p.way for p in typed} == {"typed"} and len(typed) == 9
