"""Chat with, and export of, a run's result, on a tiny model of the standard architecture."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.console import Console

import textunlearn.vlm.load
from report_run import make_run
from textunlearn import result
from textunlearn.chat.conversation import Conversation, request_in
from textunlearn.chat.terminal import chat, printable
from textunlearn.errors import UserError
from textunlearn.recipe import ModelSpec, Recipe
from textunlearn.training.trainer import add_lora
from textunlearn.vlm.export import export_adapter, export_merged
from tiny import clip_vlm, loaded, reader_vlm


def trained_run(folder: Path, model: Path) -> Path:
    """A run folder of ``model`` whose training is done, with an adapter of random weights."""
    vlm = loaded(model)
    torch.manual_seed(1)
    add_lora(vlm, rank=4, alpha=8)
    with torch.no_grad():
        for name, weight in vlm.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.3)
    vlm.model.save_pretrained(folder / "adapter")
    recipe = Recipe(name="tiny", model=ModelSpec(id=str(model), dtype="float32", device="cpu"))
    (folder / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    (folder / "trained.json").write_text("{}", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reader_vlm(tmp_path_factory.mktemp("model") / "tiny-vlm")


@pytest.fixture(scope="module")
def run(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_run(make_run(tmp_path_factory.mktemp("run")), model)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.linear_gradient("L").convert("RGB").save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def test_adapter_changes_the_answer_and_before_does_not_have_it(run: Path) -> None:
    after, before = (Conversation(result.load_result(run, before=b), 12) for b in (False, True))
    assert after.say("Name a tea.") != before.say("Name a tea.")


def test_pieces_heard_make_up_the_answer(run: Path) -> None:
    pieces: list[str] = []
    talk = Conversation(result.load_result(run, before=True), 12)
    answer = talk.say("Name a tea.", heard=pieces.append)
    assert "".join(pieces).strip() == answer


def test_conversation_remembers_and_forgets(run: Path, picture: Path) -> None:
    talk = Conversation(result.load_result(run), 6)
    first = talk.say("Hello", picture)
    talk.say("And now?")
    assert [role for role, _ in talk.turns] == ["user", "assistant", "user", "assistant"]
    assert len(talk.images) == 1
    talk.forget()
    assert talk.say("Hello", picture) == first


def test_failed_turn_leaves_the_conversation_as_it_was(run: Path, tmp_path: Path) -> None:
    talk = Conversation(result.load_result(run), 6)
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    for path, words in ((tmp_path / "none.png", "there is no image"), (tmp_path / "broken.png", "cannot be read")):
        with pytest.raises(UserError, match=words):
            talk.say("Hello", path)
    with pytest.raises(UserError, match="start over with /new"):
        talk.say("long " * 400)
    assert talk.turns == [] and talk.images == []


def test_a_drawing_on_a_transparent_ground_stands_on_white(run: Path, tmp_path: Path) -> None:
    drawing = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    drawing.putpixel((3, 3), (0, 0, 0, 255))
    drawing.save(tmp_path / "clear.png")
    for name, ground in (("white", (255, 255, 255, 255)), ("black", (0, 0, 0, 255))):
        Image.alpha_composite(Image.new("RGBA", (8, 8), ground), drawing).save(tmp_path / f"{name}.png")
    vlm = result.load_result(run)
    clear, white, black = (
        request_in(vlm, [("user", (None, "What is it?"))], [tmp_path / f"{name}.png"]).pixels
        for name in ("clear", "white", "black")
    )
    assert clear == white != black


def test_words_that_name_the_image_token_are_words(run: Path, picture: Path) -> None:
    talk = Conversation(result.load_result(run), 4)
    talk.say("What is it?", picture)
    talk.say("What does <image> mean?")
    assert len(talk.turns) == 4 and len(talk.images) == 1


def test_typed_commands(run: Path, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    talk = Conversation(result.load_result(run), 4)
    console = Console(record=True, width=100)
    lines = iter([f"/image {picture}", "What is it?", "/image nowhere.png", "again", "/help", "/quit", "never read"])
    monkeypatch.setattr(console, "input", lambda prompt: next(lines))
    chat(talk, console)
    shown = console.export_text()
    assert [role for role, _ in talk.turns] == ["user", "assistant"] and len(talk.images) == 1
    assert "there is no image nowhere.png" in shown
    assert next(lines) == "never read"


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert printable("a\x1b[2Jb\x07\n\tc\x9b") == "a[2Jb\n\tc"


@pytest.mark.parametrize("make", [reader_vlm, clip_vlm])
def test_exported_model_answers_as_the_result_does_in_plain_transformers(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    run = trained_run(make_run(tmp_path / "run"), make(tmp_path / "model"))
    folder = export_merged(run, tmp_path / "out" / "safe-model", licence="mit")
    plain, processor = AutoModelForImageTextToText.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    vlm = result.load_result(run)
    turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Name a tea."}]}]
    text = processor.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
    batch = processor(images=[Image.new("RGB", (50, 40), "green")], text=[text], return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(plain(**batch).logits, vlm.model(**batch).logits, rtol=1e-4, atol=1e-4)
        original = result.load_result(run, before=True).model(**batch).logits
        assert not torch.allclose(plain(**batch).logits, original, atol=1e-2)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "license: mit" in card and "AutoModelForImageTextToText.from_pretrained" in card
    assert {path.suffix for path in folder.iterdir()} <= {".json", ".jinja", ".safetensors", ".md"}
    assert [path.name for path in folder.parent.iterdir()] == ["safe-model"], "something temporary was left behind"


def test_exported_adapter_gives_the_result_and_names_no_path(run: Path, model: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    folder = export_adapter(run, tmp_path / "adapter")
    vlm = result.load_result(run)
    adapted = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(model), folder)
    ids = torch.tensor([vlm.prompt_ids("Name a tea.")])
    with torch.no_grad():
        torch.testing.assert_close(adapted(input_ids=ids).logits, vlm.model(input_ids=ids).logits, rtol=1e-4, atol=1e-4)
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "tiny-vlm"
    assert not any(str(model.parent) in path.read_text() for path in folder.glob("*.[jm]*[nd]"))


def test_export_overwrites_nothing(run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    for export in (export_adapter, export_merged):
        with pytest.raises(UserError, match="not an empty folder"):
            export(run, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_export_into_the_empty_folder_one_stands_in(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    export_adapter(run, Path())
    assert (tmp_path / "here/adapter_config.json").is_file()


def test_failed_export_leaves_nothing(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: object) -> None:
        raise RuntimeError("other logits")

    monkeypatch.setattr("textunlearn.vlm.export._check", wrong)
    with pytest.raises(RuntimeError, match="other logits"):
        export_merged(run, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_export_notices_a_model_that_answers_otherwise(
    run: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read back is the original model here, as if the merge had not been written."""
    load = textunlearn.vlm.load.load
    monkeypatch.setattr("textunlearn.vlm.load.load", lambda spec: load(spec.model_copy(update={"id": str(model)})))
    with pytest.raises(RuntimeError, match="other logits"):
        export_merged(run, tmp_path / "model")
