"""Rows, plans and what stands in image slots: what training is made of."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textunlearn.errors import UserError
from textunlearn.methods import METHODS
from textunlearn.recipe import TrainingSpec
from textunlearn.training.packing import pack
from textunlearn.training.plan import Plan
from textunlearn.training.rows import Row, Target
from textunlearn.training.slots import NEUTRAL, drawn, misread
from textunlearn.training.trainer import UnlearningTrainer
from textunlearn.vlm.load import Vlm


def test_after_begun_words_an_answer_starts_later(clip: Vlm, tmp_path: Path) -> None:
    """Weights go by the place in the model's turn: a refusal after begun words must not weigh more than one that goes on."""
    prompt, safe = tuple(clip.prompt_ids("tell me")), (Target("safe", (60, 61, 62)),)
    rows = (Row("harmful", prompt, safe), Row("harmful", (*prompt, 50, 51), safe, begun=2))
    plan = Plan({"harmful": rows}, {"harmful": 2}, 1)
    method = METHODS.get("sft")()
    trainer = UnlearningTrainer(clip, method, plan, {}, TrainingSpec(steps=1), tmp_path)
    micro = plan[0]
    packed = pack(micro.rows, clip.blank_id)
    found = trainer.answers(micro, packed, trainer.model(packed), reference=False)
    starts = [int(found.position["safe"][found.row["safe"] == i][0]) for i in range(2)]
    assert starts == [row.begun for row in micro.rows] and sorted(starts) == [0, 2]


def test_lengths_of_rows() -> None:
    answer = (Target("benign", (9, 9, 9)),)
    typed, slots = Row("a", (1, 2, 3, 4), answer), Row("a", (1, 5, 7, 6, 7, 7, 2), answer, slots=(1, 2, 3, 4, 5))
    drawn = Row("a", (1, 3, 3, 3, 2, 2, 2), answer, slots=(1, 2, 3), picture="plain\nbread")
    plan = Plan({"a": [typed, slots, drawn]}, {"a": 3}, 1)
    assert plan.lengths(blank=7) == {"typed": 4, "beside": (2 + 4) / 2, "words": 3, "answers": 3}
    assert Plan({"a": [typed]}, {"a": 1}, 1).lengths(7) == {"typed": 4, "answers": 3}


row_lists = st.dictionaries(st.sampled_from(["harmful", "lookalike", "ordinary"]), st.integers(1, 9), min_size=1)


@settings(max_examples=60, deadline=None)
@given(row_lists, st.integers(1, 5), st.integers(1, 12), st.integers(0, 9))
def test_plan(sizes: dict[str, int], each: int, steps: int, seed: int) -> None:
    kinds = sorted(sizes)
    stock = {
        k: [Row(k, (i,), (Target("benign", (1,) * (i + 1)), Target("safe", (2,)))) for i in range(sizes[k])]
        for k in kinds
    }
    per_step = dict.fromkeys(kinds, each)
    accumulate = 1 + seed % (each * len(kinds))
    plan = Plan(stock, per_step, steps, accumulate, seed)
    again = Plan(stock, per_step, steps, accumulate, seed)
    assert len(plan) == steps * accumulate
    assert [plan[i] for i in range(len(plan))] == [again[i] for i in range(len(again))]
    seen: dict[str, list[Row]] = {kind: [] for kind in kinds}
    for step in range(steps):
        parts = [plan[step * accumulate + part] for part in range(accumulate)]
        assert max(len(p.rows) for p in parts) - min(len(p.rows) for p in parts) <= 1
        some = [row for part in parts for row in part.rows]
        assert sorted(row.kind for row in some) == sorted(kinds * each)
        assert all(
            p.step_tokens == {"benign": sum(len(r.targets[0].ids) for r in some), "safe": len(some)} for p in parts
        )
        assert all(p.step_answers == {"benign": len(some), "safe": len(some)} for p in parts)
        for kind in kinds:
            seen[kind] += sorted((row for row in some if row.kind == kind), key=lambda row: row.prompt)
    for kind in kinds:  # before a row comes a third time, every row has come once; none is left out for long
        counts = [seen[kind].count(row) for row in stock[kind]]
        assert max(counts) - min(counts) <= 1
    assert {row.key for row in plan.rows()} == {row.key for some in seen.values() for row in some}


def test_more_micro_batches_than_rows_is_refused() -> None:
    with pytest.raises(UserError, match="accumulate"):
        Plan({"harmful": [Row("harmful", (1,), ())]}, {"harmful": 2}, 1, accumulate=3)


def test_misread() -> None:
    text = "how do i bake a good loaf of bread"
    assert misread(text, 0.0, random.Random(0)) == text
    worse = [misread(text * 20, rate, random.Random(0)) for rate in (0.02, 0.3)]
    kept = [sum(a == b for a, b in zip(w.split(), (text * 20).split(), strict=False)) for w in worse]
    assert worse[0] != text * 20 and kept[0] > kept[1]


def test_drawn_puts_words_on_one_line_with_an_empty_list_in_half_of_the_cases() -> None:
    rng = random.Random(0)
    out = [drawn("bake\n  some bread ", rng) for _ in range(200)]
    assert set(out) == {"bake some bread", "bake some bread 1. 2. 3."} and 70 < out.count("bake some bread") < 130
    assert "" in NEUTRAL
