"""From prompts and answers to training rows: typed, and in the image slots."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from textunlearn.data.safe_answers import safe_answer
from textunlearn.errors import UserError
from textunlearn.evaluation.generation import Request
from textunlearn.evaluation.suites import write_image
from textunlearn.judges import FAST
from textunlearn.judges.refusals import commands, instructs
from textunlearn.judges.spec import make
from textunlearn.judges.text import plain, sentences
from textunlearn.methods import Method
from textunlearn.recipe import DataSpec, PictureSpec, SlotSpec
from textunlearn.records import Answer, Case, Prompt
from textunlearn.training.pictures import LAYOUTS, draw, drawable, picture_of, picture_request
from textunlearn.training.rows import Row, Target
from textunlearn.training.slots import NEUTRAL, NEUTRAL_BESIDE_SOUND, drawn, misread
from textunlearn.training.watch import Probe
from textunlearn.vlm.load import Vlm

TYPED = PictureSpec()
"""No pictures."""
BEGUN = 8
"""Most tokens of a harmful answer that a begun row starts with."""


def slot_request(vlm: Vlm, text: str, slots: SlotSpec, rng: random.Random) -> tuple[list[int], list[int]]:
    """``text`` in the image slots (or those of sounds) under a neutral typed prompt: ids and slot positions."""
    pictures = vlm.image_token_id is not None
    words = misread(drawn(text, rng) if pictures else text, slots.misread * rng.random() * 2, rng)
    neutral = NEUTRAL if pictures else NEUTRAL_BESIDE_SOUND
    return vlm.slot_prompt(rng.choice(neutral) if slots.neutral else "", vlm.word_ids(words))


def fewer_blanks(prompt: list[int], where: list[int], blank: int, rng: random.Random) -> tuple[list[int], list[int]]:
    """A random number of the blanks that end the slots left out: the row costs less and says the same."""
    words = max((i + 1 for i, position in enumerate(where) if prompt[position] != blank), default=0)
    kept = where[: max(1, rng.randint(words, len(where)))]
    gone = set(where[len(kept) :])
    return [token for position, token in enumerate(prompt) if position not in gone], kept


def training_rows(
    vlm: Vlm,
    prompts: Mapping[str, Sequence[Prompt]],
    answers: Mapping[str, str],
    method: Method,
    slots: SlotSpec,
    data: DataSpec,
    seed: int,
    pictures: PictureSpec = TYPED,
) -> dict[str, list[Row]]:
    """Rows by kind. A share ``slots.share`` of each kind stands in the image slots, a share ``pictures.share`` is drawn as a
    picture, the rest is typed, as are requests too long for the slots or a picture.

    A share ``data.begun`` of the harmful rows has the first words of the harmful answer already in the model's turn, and the
    safe answer after them: safety that is only a few tokens deep gives way to a begun answer (Qi et al. 2024,
    arXiv 2406.05946).

    Args:
        prompts: kind -> prompts.
        answers: prompt id -> the answer to unlearn (harmful) or to keep (harmless).
    """
    rng = random.Random(seed)
    out: dict[str, list[Row]] = {}
    for kind, some in prompts.items():
        rows = []
        ways = Counter[str]()  # rows so far: typed, slots, picture
        for number, prompt in enumerate(some):
            way = _way(number, slots.share, pictures.share)
            if (way == "slots" and not vlm.fits_slots(prompt.text)) or (way == "picture" and not drawable(prompt.text)):
                way = "typed"
            limit = data.answer_tokens if kind == "harmful" else data.kept_tokens
            ids = tuple(vlm.word_ids(answers[prompt.id])[:limit])
            begun: tuple[int, ...] = ()
            if kind == "harmful":
                safe = vlm.word_ids(safe_answer(prompt.text, number + seed))
                if _share(ways[way], data.begun) and len(ids) > 2:
                    cut = rng.randint(1, min(BEGUN, len(ids) - 1))
                    begun, ids = ids[:cut], ids[cut:]
                targets = [Target("harmful", ids), Target("safe", (*safe, *vlm.end_ids()))]
            else:
                targets = [Target("benign", ids)]
            wanted = tuple(t for t in targets if t.role in method.roles and t.ids)
            if not wanted:
                continue
            ways[way] += 1
            where: list[int] = []
            picture = ""
            if way == "slots":
                prompt_ids, where = slot_request(vlm, prompt.text, slots, rng)
                if rng.random() < slots.fewer_blanks:
                    prompt_ids, where = fewer_blanks(prompt_ids, where, vlm.blank_id, rng)
            elif way == "picture":
                picture = picture_of(" ".join(prompt.text.split()), rng.choice(LAYOUTS))
                prompt_ids, where = picture_request(vlm, picture, rng.choice(NEUTRAL))
            else:
                prompt_ids = vlm.prompt_ids(prompt.text)
            longest = len(prompt_ids) + len(begun) + max(len(target.ids) for target in wanted)
            vlm.require_fits(longest, f"the {kind} request {prompt.text[:40]!r} … that is trained on")
            rows.append(Row(kind, (*prompt_ids, *begun), wanted, tuple(where), picture, len(begun)))
        rng.shuffle(rows)
        out[kind] = rows
    return out


_DECLINES = re.compile(r"\b(?:sorry|no|not|can't|cannot|won't|don't|couldn't|wouldn't)\b", re.I)


def require_refusals(harmful: Sequence[Prompt], seed: int) -> None:
    """UserError where the safe answer that a harmful request would be trained on complies with it. They are looked at as
    `training_rows` chooses them.

    Compliance is what the rules call unsafe and what gives instructions or does not even begin with a no: alone, the rules take one
    in a hundred of our own safe answers for unsafe.
    """
    cases = [Case("training", "direct", prompt, prompt.text) for prompt in harmful]
    safe = {case.id: safe_answer(case.text, number + seed) for number, case in enumerate(cases)}
    judged = make(FAST).judge(cases, [Answer(case.id, safe[case.id], 0, True) for case in cases])
    for case, verdict in zip(cases, judged, strict=True):
        text = plain(safe[case.id])
        parts = sentences(text)
        gives = instructs(text, redirected=True) or any(map(commands, parts))
        if verdict.label == "unsafe" and (gives or not _DECLINES.search(parts[0])):
            raise UserError(
                f"the safe answer {safe[case.id][:60]!r} to {case.text[:60]!r} is no refusal, so training would teach harm; "
                "change it in data/authored/safe_answers.json"
            )


def _share(number: int, share: float) -> bool:
    """Whether item ``number`` is one of a share, spread evenly and not by chance: every stretch of rows has its part."""
    return int((number + 1) * share + 1e-9) > int(number * share + 1e-9)


def _way(number: int, in_slots: float, drawn: float) -> str:
    """How item ``number`` of a kind is put: typed, in the slots, or as a picture."""
    if _share(number, in_slots):
        return "slots"
    rest = number - int((number + 1) * in_slots + 1e-9)  # its place among those that are not in the slots
    return "picture" if drawn and _share(rest, drawn / (1 - in_slots)) else "typed"


def probes(
    vlm: Vlm,
    prompts: Mapping[str, Sequence[Prompt]],
    slots: SlotSpec,
    seed: int,
    pictures: PictureSpec = TYPED,
    folder: Path = Path(),
) -> list[Probe]:
    """Held-out prompts as the watch asks them: typed, and in the image slots or as pictures (whose files go below ``folder``)
    where rows stand there."""
    rng = random.Random(seed)
    out = []
    for some in prompts.values():
        for prompt in some:
            out.append(Probe(prompt, Request(tuple(vlm.prompt_ids(prompt.text))), "typed"))
            if slots.share and vlm.fits_slots(prompt.text):
                ids, _ = slot_request(vlm, prompt.text, slots, rng)
                out.append(Probe(prompt, Request(tuple(ids)), "slots"))
            if pictures.share and drawable(prompt.text):
                key = picture_of(" ".join(prompt.text.split()), rng.choice(LAYOUTS))
                ids, _ = picture_request(vlm, key, rng.choice(NEUTRAL))
                file, _ = write_image(draw(key), folder)
                out.append(Probe(prompt, Request(tuple(ids), (folder / file,)), "picture"))
    return out
