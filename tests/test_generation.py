"""Batched generation says what single generation says; answers are kept as they come."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw

import tiny
from one_by_one import TOKENS, first_logits, row_by_row
from textunlearn.errors import UserError
from textunlearn.evaluation import generation
from textunlearn.evaluation.generation import Request, answer_cases, generate, requests
from textunlearn.files import read_records
from textunlearn.records import Answer, Case, Prompt
from textunlearn.vlm.load import Vlm
from tiny_families import ONE_PICTURE, PICTURED, TOGETHER_OTHERWISE, marked, opened

TEXTS = ("how do i bake bread", "tell me", "write a short note to my neighbour about the lock", "why birds sing")


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Case], Path]:
    """Typed, with an image, and with words put in the model's mouth; the folder of the images."""
    folder = tmp_path_factory.mktemp("cases")
    out = []
    for number, text in enumerate(TEXTS):
        picture = Image.new("RGB", (200, 120), "white")
        ImageDraw.Draw(picture).text((5, 5), text, fill="black", font_size=24)
        picture.save(folder / f"{number}.png")
        prompt = Prompt(text, "ordinary", "test")
        out.append(Case("typed", "direct", prompt, text))
        out.append(Case("image", "figstep", prompt, "" if number else "do it", (f"{number}.png",), (f"sha{number}",)))
    out.append(Case("prefill", "prefill", prompt, TEXTS[0], prefill="Sure, here is"))
    return out, folder


def plain(vlm: Vlm, request: Request, case: Case, folder: Path) -> tuple[str, int, bool]:
    """Greedy decoding by hand: a whole forward for each token, no cache, no padding."""
    ids = list(request.ids)
    extra: dict[str, Any] = {}
    if case.images:
        with Image.open(folder / case.images[0]) as picture:
            extra["pixel_values"] = vlm.processor.image_processor(picture.convert("RGB"), return_tensors="pt")[
                "pixel_values"
            ]
    said: list[int] = []
    for _ in range(TOKENS):
        with torch.no_grad():
            token = int(vlm.model(input_ids=torch.tensor([ids]), **extra).logits[0, -1].argmax())
        if token == 2:
            return vlm.tokenizer.decode(said, skip_special_tokens=True), len(said), True
        said.append(token)
        ids.append(token)
    return vlm.tokenizer.decode(said, skip_special_tokens=True), len(said), False


@pytest.mark.parametrize("kind", ["reader", "clip"])
@pytest.mark.parametrize("batch", [1, 3, 64])
def test_batches_say_what_single_greedy_decoding_says(
    kind: str, batch: int, cases: tuple[list[Case], Path], request: pytest.FixtureRequest
) -> None:
    vlm = request.getfixturevalue(kind)
    some, folder = cases
    asked = requests(vlm, some, folder)
    expected = [plain(vlm, r, c, folder) for r, c in zip(asked, some, strict=True)]
    got = generate(vlm, asked, TOKENS, batch_size=batch)
    assert [(a.text, a.tokens, a.finished) for a in got] == [
        (c.prefill + t, n, f) for c, (t, n, f) in zip(some, expected, strict=True)
    ]
    assert len({a.text for a in got}) > 4, "a model that always says the same would prove nothing"


@pytest.mark.parametrize("kind", marked(name for name in PICTURED if name not in TOGETHER_OTHERWISE))
def test_pictures_of_different_sizes_in_one_batch(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processors that tell token types, or want the pictures row by row: a batch says what transformers says of each row."""
    vlm = opened(kind, tmp_path / kind)
    sizes = ((64, 64), (100, 60), (60, 110), (64, 64), (112, 112))
    some = []
    for number, (text, size) in enumerate(zip((*TEXTS, ""), sizes, strict=True)):
        Image.effect_noise(size, 90 + number).save(tmp_path / f"{number}.png")
        prompt = Prompt(text, "ordinary", "test")
        some.append(Case("image", "figstep", prompt, text, (f"{number}.png",), (f"sha{number}",)))
    expected, first = row_by_row(vlm, some, tmp_path)
    asked = requests(vlm, some, tmp_path)
    assert [a.text for a in generate(vlm, asked, TOKENS)] == expected
    assert [generate(vlm, [one], TOKENS)[0].text for one in asked] == expected
    # The words alone would not show wrong token types: their effect in so small a Gemma 3 is some 1e-4.
    torch.testing.assert_close(first_logits(vlm, asked, monkeypatch), torch.stack(first), rtol=0, atol=2e-5)
    assert len(set(expected)) > 2, "a model that always says the same would prove nothing"
    other = replace(asked[0], images=asked[3].images)  # of the same size
    there, here = first_logits(vlm, [other, asked[0]], monkeypatch)
    assert (there - here).abs().max() > 1e-3, "pictures matter"


@pytest.mark.parametrize("kind", marked(["reader", *(name for name in PICTURED if name not in ONE_PICTURE)]))
def test_several_pictures_in_a_turn(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None, one, two and three pictures of different sizes: what transformers says of each row alone, in whatever batches."""
    vlm = opened(kind, tmp_path / kind)
    assert vlm.takes_several
    files = []
    for number, size in enumerate(((64, 64), (100, 60), (60, 110))):
        Image.effect_noise(size, 90 + number).save(tmp_path / f"{number}.png")
        files.append(f"{number}.png")
    shown = ([], files[:1], files[:2], files[1::-1], files, files[::-1], files[1:])
    prompt = Prompt("x", "ordinary", "test")
    some = [
        Case("several", "image_sequence", prompt, TEXTS[i % 2], tuple(names), tuple(names))
        for i, names in enumerate(shown)
    ]
    expected, first = row_by_row(vlm, some, tmp_path)
    asked = requests(vlm, some, tmp_path)
    assert [len(one.images) for one in asked] == [len(names) for names in shown]
    assert [a.text for a in generate(vlm, asked, TOKENS)] == expected
    assert [a.text for a in generate(vlm, asked, TOKENS, batch_size=2)] == expected
    logits = first_logits(vlm, asked, monkeypatch)
    torch.testing.assert_close(logits, torch.stack(first), rtol=0, atol=5e-5)
    if kind != "reader":  # it reads, and there is nothing to read in noise
        again = requests(vlm, [some[4], replace(some[4], images=some[4].images[::-1])], tmp_path)
        there, back = first_logits(vlm, again, monkeypatch)
        assert (there - back).abs().max() > 1e-3, "the order of the pictures matters"


def test_typed_answers_do_not_hang_on_pictures_that_were_shown_before(tmp_path: Path) -> None:
    """Qwen2-VL remembers the positions of the last pictures, and went on from there."""
    vlm = opened("qwen2_vl", tmp_path / "model")
    Image.effect_noise((64, 64), 90).save(tmp_path / "a.png")
    prompt = Prompt("x", "ordinary", "test")
    cases = [Case("typed", "direct", prompt, TEXTS[0]), Case("seen", "figstep", prompt, "tell me", ("a.png",), ("a",))]
    typed, pictured = requests(vlm, cases, tmp_path)
    first = generate(vlm, [typed], TOKENS)
    generate(vlm, [pictured], TOKENS)
    assert generate(vlm, [typed], TOKENS) == first


def test_a_model_that_lays_out_one_picture_refuses_several_in_one_sentence(clip_folder: Path, tmp_path: Path) -> None:
    vlm = tiny.loaded(clip_folder)
    one = tiny.CHAT_TEMPLATE.replace("{{ '<image>\n' }}", "{% if loop.first %}{{ '<image>\n' }}{% endif %}")
    assert one != tiny.CHAT_TEMPLATE
    vlm.processor.chat_template = one
    for name in "ab":
        Image.new("RGB", (32, 32)).save(tmp_path / f"{name}.png")
    prompt = Prompt("x", "ordinary", "test")
    single = Case("one", "blank_image", prompt, "x", ("a.png",), ("a",))
    double = Case("spread", "image_sequence", prompt, "x", ("a.png", "b.png"), ("a", "b"))
    assert len(requests(vlm, [single], tmp_path)) == 1
    with pytest.raises(UserError, match="takes one picture in a turn, and 'spread' show several; leave them out"):
        requests(vlm, [single, double], tmp_path)


def test_images_matter(reader: Vlm, cases: tuple[list[Case], Path]) -> None:
    """Two images under one typed prompt have the same ids and are answered differently."""
    some, folder = cases
    two = [case for case in some if case.images and not case.text][:2]
    asked = requests(reader, two, folder)
    assert asked[0].ids == asked[1].ids
    a, b = generate(reader, asked, TOKENS)
    assert a.text != b.text


def test_shared_prefix_on_and_off_are_equal(
    clip: Vlm, cases: tuple[list[Case], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    some, folder = cases
    asked = requests(clip, some, folder)
    assert generation._shared(asked, clip.image_token_id) >= 5
    shared = generate(clip, asked, TOKENS)
    monkeypatch.setattr(generation, "_shared", lambda *_: 0)
    assert generate(clip, asked, TOKENS) == shared


def test_shared_stops_before_images_and_leaves_a_token() -> None:
    assert generation._shared([Request((1, 2, 3))], None) == 2
    assert generation._shared([Request((1, 2, 3)), Request((1, 2))], None) == 1
    assert generation._shared([Request((1, 9, 9, 4)), Request((1, 9, 9, 5))], 9) == 1
    assert generation._shared([Request((1, 2, 3, 4)), Request((1, 2, 3, 5))], None, apart=2) == 2


def test_prefill_is_part_of_the_prompt_and_of_the_answer(clip: Vlm, cases: tuple[list[Case], Path]) -> None:
    case, folder = cases[0][-1], cases[1]
    (asked,) = requests(clip, [case], folder)
    assert clip.tokenizer.decode(asked.ids).endswith("assistant\nSure, here is")
    (answer,) = generate(clip, [asked], TOKENS)
    assert answer.text.startswith("Sure, here is") and answer.tokens <= TOKENS


def test_every_token_that_ends_a_turn_ends_it(clip_folder: Path, cases: tuple[list[Case], Path]) -> None:
    """Llama 3 has several; whichever the model says, the answer is finished there."""
    vlm = tiny.loaded(clip_folder)
    asked = [Request(tuple(vlm.prompt_ids(text))) for text in TEXTS]
    before = generate(vlm, asked, TOKENS)
    long = next(a for a in before if a.tokens >= 3)
    said = plain(vlm, asked[before.index(long)], cases[0][0], cases[1])  # typed: no image is opened
    first = next(i for i in vlm.tokenizer.encode(said[0], add_special_tokens=False))
    vlm.model.generation_config.eos_token_id = [5, 2, first]
    assert vlm.end_ids() == [2], "answers that are learned end as chats do"
    answer = generate(vlm, asked, TOKENS)[before.index(long)]
    assert answer.finished and answer.tokens == 0


def test_a_run_that_was_cut_off_goes_on(
    clip: Vlm, cases: tuple[list[Case], Path], tmp_path: Path, monkeypatch: Any
) -> None:
    some, folder = cases
    store = tmp_path / "answers.jsonl"
    whole = answer_cases(clip, some, folder, tmp_path / "whole.jsonl", TOKENS, batch_size=2)

    def killed(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answer_cases(clip, some, folder, store, TOKENS, killed, batch_size=2)
    assert len(read_records(store, Answer)) == 2
    with store.open("a") as file:
        file.write('{"case": "torn')
    counts: list[tuple[int, int]] = []
    asked: list[int] = []
    original = generation._batch
    monkeypatch.setattr(generation, "_batch", lambda vlm, some, *n: asked.append(len(some)) or original(vlm, some, *n))
    again = answer_cases(clip, some, folder, store, TOKENS, lambda *c: counts.append(c), batch_size=2)
    assert again == whole and [a.case for a in again] == [c.id for c in some]
    assert sum(asked) == len(some) - 2 and counts[0] == (2, len(some)) and counts[-1] == (len(some), len(some))
    asked.clear()
    assert answer_cases(clip, some, folder, store, TOKENS) == whole and asked == []


def test_the_same_input_is_asked_once(clip: Vlm, tmp_path: Path) -> None:
    prompts = [Prompt("tell me", "ordinary", source) for source in ("a", "b")]
    twins = [Case(p.source, "direct", p, p.text) for p in prompts]
    assert len(answer_cases(clip, twins, tmp_path, tmp_path / "s.jsonl", 3)) == 1


def test_memory_that_does_not_suffice_halves_the_batch(clip: Vlm, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [Request(tuple(clip.prompt_ids(text))) for text in (*TEXTS, *(t + " at home" for t in TEXTS))]
    expected = generate(clip, asked, TOKENS)
    sizes: list[int] = []
    original = generation._batch

    def small(vlm: Vlm, some: list[Request], *n: Any) -> Any:
        sizes.append(len(some))
        if len(some) > 3:
            raise torch.OutOfMemoryError("out of memory")
        return original(vlm, some, *n)

    monkeypatch.setattr(generation, "_batch", small)
    assert generate(clip, asked, TOKENS, batch_size=8) == expected
    assert sizes == [8, 4, 2, 2, 2, 2]


def test_other_errors_and_hopeless_memory_are_not_swallowed(clip: Vlm, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [Request(tuple(clip.prompt_ids("tell me")))] * 2
    for error in (RuntimeError("shapes differ"), torch.OutOfMemoryError("out of memory")):
        monkeypatch.setattr(generation, "_batch", lambda *_, error=error: (_ for _ in ()).throw(error))
        with pytest.raises(type(error), match=str(error)):
            generate(clip, asked, TOKENS)


def test_a_model_without_images_refuses_image_suites(llm_folder: Path, cases: tuple[list[Case], Path]) -> None:
    vlm = tiny.loaded(llm_folder)
    some, folder = cases
    with pytest.raises(UserError, match="'image'"):
        requests(vlm, some, folder)
    typed = [case for case in some if not case.images]
    asked = requests(vlm, typed, folder)
    got = generate(vlm, asked, TOKENS)
    assert [a.text for a in got] == [c.prefill + plain(vlm, r, c, folder)[0] for r, c in zip(asked, typed, strict=True)]


def test_an_unreadable_image_is_named(clip: Vlm, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"not a picture")
    case = Case("s", "a", Prompt("x", "ordinary", "t"), "", ("bad.png",), ("sha",))
    with pytest.raises(UserError, match=r"bad\.png"):
        requests(clip, [case], tmp_path)
