"""From prompts and answers to training rows: typed, and in the image slots."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from textunlearn.data.safe_answers import safe_answer
from textunlearn.evaluation.generation import Request
from textunlearn.methods import Method
from textunlearn.recipe import SlotSpec
from textunlearn.records import Prompt
from textunlearn.training.rows import Row, Target
from textunlearn.training.slots import NEUTRAL, drawn, misread
from textunlearn.training.watch import Probe
from textunlearn.vlm.load import Vlm


def slot_request(vlm: Vlm, text: str, slots: SlotSpec, rng: random.Random) -> tuple[list[int], list[int]]:
    """``text`` in the image slots under a neutral typed prompt: ids and slot positions."""
    words = misread(drawn(text, rng), slots.misread * rng.random() * 2, rng)
    return vlm.slot_prompt(rng.choice(NEUTRAL), vlm.tokenizer.encode(words, add_special_tokens=False))


def training_rows(
    vlm: Vlm,
    prompts: Mapping[str, Sequence[Prompt]],
    answers: Mapping[str, str],
    method: Method,
    slots: SlotSpec,
    answer_tokens: int,
    seed: int,
) -> dict[str, list[Row]]:
    """Rows by kind. A share ``slots.share`` of each kind stands in the image slots, the rest is typed.

    Args:
        prompts: kind -> prompts.
        answers: prompt id -> the answer to unlearn (harmful) or to keep (harmless).
    """
    rng = random.Random(seed)
    out: dict[str, list[Row]] = {}
    for kind, some in prompts.items():
        rows = []
        for number, prompt in enumerate(some):
            ids = tuple(vlm.tokenizer.encode(answers[prompt.id], add_special_tokens=False)[:answer_tokens])
            if kind == "harmful":
                safe = vlm.tokenizer.encode(safe_answer(prompt.text, number + seed), add_special_tokens=False)
                targets = [Target("harmful", ids), Target("safe", (*safe, *vlm.end_ids()))]
            else:
                targets = [Target("benign", ids)]
            wanted = tuple(t for t in targets if t.role in method.roles and t.ids)
            if not wanted:
                continue
            # Spread evenly, not by chance: every stretch of rows has its share in the slots.
            in_slots = int((number + 1) * slots.share) > int(number * slots.share)
            if in_slots:
                prompt_ids, where = slot_request(vlm, prompt.text, slots, rng)
                rows.append(Row(kind, tuple(prompt_ids), wanted, tuple(where)))
            else:
                rows.append(Row(kind, tuple(vlm.prompt_ids(prompt.text)), wanted))
        rng.shuffle(rows)
        out[kind] = rows
    return out


def probes(vlm: Vlm, prompts: Mapping[str, Sequence[Prompt]], slots: SlotSpec, seed: int) -> list[Probe]:
    """Held-out prompts as the watch asks them: typed, and in the image slots where rows stand there."""
    rng = random.Random(seed)
    out = []
    for some in prompts.values():
        for prompt in some:
            out.append(Probe(prompt, Request(tuple(vlm.prompt_ids(prompt.text))), "typed"))
            if slots.share:
                ids, _ = slot_request(vlm, prompt.text, slots, rng)
                out.append(Probe(prompt, Request(tuple(ids)), "slots"))
    return out
