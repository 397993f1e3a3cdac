"""Folders that are no model, or not this model's: said in one sentence, and nothing is written. One tiny model is damaged in many ways."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from refusals import refused, refused_by
from safetensors.torch import load_file, save_file

import tiny
from textunlearn import shell
from textunlearn.recipe import ModelSpec
from textunlearn.training.trainer import add_lora
from textunlearn.vlm.load import load, merge_adapter

WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"


def _config(**values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        data = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps({k: v for k, v in {**data, **values}.items() if v is not None}))

    return change


def _text(file: str, text: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / file).write_text(text)

    return change


def _gone(*files: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for pattern in files:
            for path in folder.glob(pattern):
                path.unlink()

    return change


def _weights(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / WEIGHTS).write_bytes(change((folder / WEIGHTS).read_bytes()))

    return apply


def _tensors(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS, {"format": "pt"})

    return apply


class _Opens:
    """What a pickle of a stranger could do; here it only leaves a file behind."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.mark,)


def _pickled(file: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for path in folder.glob("*.safetensors"):
            path.unlink()
        (folder / file).write_bytes(pickle.dumps(_Opens(str(folder / "it_ran"))))

    return change


def _larger_vocabulary(folder: Path) -> None:
    """The tokenizer of a model with more words."""
    data = json.loads((folder / TOKENIZER).read_text())
    vocabulary = data["model"]["vocab"]
    data["model"]["vocab"] = {**vocabulary, **{f"word{n}": len(vocabulary) + n for n in range(50)}}
    (folder / TOKENIZER).write_text(json.dumps(data))


def _smaller_vocabulary(folder: Path) -> None:
    """The tokenizer of a model without pictures."""
    data = json.loads((folder / TOKENIZER).read_text())
    data["added_tokens"] = [token for token in data["added_tokens"] if token["content"] != "<image>"]
    data["model"]["vocab"] = {word: n for word, n in data["model"]["vocab"].items() if word != "<image>"}
    (folder / TOKENIZER).write_text(json.dumps(data))
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        path = folder / file
        if path.exists():
            path.write_text(path.read_text().replace('"<image>"', '"<|im_end|>"'))


def _without(part: str) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    return lambda tensors: {name: value for name, value in tensors.items() if part not in name}


def _narrower(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value[..., :-1].contiguous() if "up_proj" in name else value for name, value in tensors.items()}


def _huge_header(data: bytes) -> bytes:
    return struct.pack("<Q", 1 << 62) + data[8:]


def _overlapping(data: bytes) -> bytes:
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    for name in header:
        if name != "__metadata__":
            header[name]["data_offsets"] = [0, 1 << 50]
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data[8 + size :]


DAMAGE: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "empty": (_gone("*"), ()),
    "without a config": (_gone(CONFIG), ()),
    "a config cut short": (_weights(lambda data: data) and _text(CONFIG, '{"model_type": "llava", '), ()),
    "a config that is a list": (_text(CONFIG, "[]"), ()),
    "a config that is empty": (_text(CONFIG, ""), ()),
    "an unknown model type": (_config(model_type="no_such_thing"), ("no_such_thing",)),
    "no model type": (_config(model_type=None), ("model_type",)),
    "another type of value": (_config(text_config="x"), ()),
    "a wrong number of layers": (_config(text_config={"num_hidden_layers": "two"}), ()),
    "a model without a language model": (_text(CONFIG, '{"model_type": "clip_vision_model"}'), ("no language model",)),
    "code of its own": (_config(model_type="mine", auto_map={"AutoConfig": "mine.Config"}), ()),
    "without weights": (_gone("*.safetensors"), ("safetensors",)),
    "weights as a pickle": (_pickled("pytorch_model.bin"), ("pickle", "pytorch_model.bin", "can run code")),
    "weights as a checkpoint": (_pickled("consolidated.00.pth"), ("pickle", "consolidated.00.pth", "can run code")),
    "weights cut short": (_weights(lambda data: data[:-100]), ()),
    "weights cut in their header": (_weights(lambda data: data[:30]), ()),
    "weights that are empty": (_weights(lambda data: b""), ()),
    "a pickle called safetensors": (_weights(lambda data: pickle.dumps({"a": 1})), ()),
    "a header larger than the file": (_weights(_huge_header), ()),
    "offsets beyond the file": (_weights(_overlapping), ()),
    "a pointer of git lfs": (_weights(lambda data: b"version https://git-lfs.github.com/spec/v1\n"), ()),
    "a layer missing": (_tensors(_without("layers.1.mlp.up_proj")), ("up_proj", "lacks weights")),
    "another shape": (_tensors(_narrower), ("other shapes",)),
    "another model's names": (_tensors(lambda t: {f"x.{name}": value for name, value in t.items()}), ("lacks weights",)),
    "without a tokenizer": (_gone("tokenizer*", "special_tokens*", "vocab*", "merges*"), ()),
    "a tokenizer cut short": (_text(TOKENIZER, '{"version": "1.0", '), ()),
    "a tokenizer that is none": (_text(TOKENIZER, "{}"), ()),
    "a tokenizer with more words": (_larger_vocabulary, ("another model's", "tokenizer")),
    "a tokenizer without the image token": (_smaller_vocabulary, ("tokenizer",)),
    "without a chat template": (_gone("chat_template*"), ("chat template",)),
    "without a processor": (_gone("processor_config.json", "preprocessor_config.json"), ()),
    "a processor that is none": (_text("processor_config.json", "3"), ()),
}  # fmt: skip


@pytest.fixture
def damaged(clip_folder: Path, tmp_path: Path) -> Callable[[Callable[[Path], None]], Path]:
    def make(damage: Callable[[Path], None]) -> Path:
        folder = tmp_path / "damaged"
        shutil.copytree(clip_folder, folder)
        damage(folder)
        return folder

    return make


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_model(name: str, damaged: Callable[[Callable[[Path], None]], Path]) -> None:
    damage, words = DAMAGE[name]
    folder = damaged(damage)
    spec = ModelSpec(id=str(folder), dtype="float32", device="cpu")
    text = refused(folder, ("damaged", *words), lambda: load(spec))
    assert len(text) < 700


def test_a_damaged_model_on_the_command_line(
    damaged: Callable[[Callable[[Path], None]], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shell, "quiet", lambda: None)
    folder = damaged(_text(CONFIG, "{"))
    refused_by(
        capsys, folder, ("damaged", "cannot be loaded"),
        "evaluate", "damaged", "--suite", "xstest_safe", "--limit", "2", "--judge", "rules",
    )  # fmt: skip
    refused_by(capsys, folder, ("there is no folder ./nowhere",), "evaluate", "./nowhere", "--judge", "rules")


def test_a_template_that_is_none_is_found_before_anything_is_asked(
    damaged: Callable[[Callable[[Path], None]], Path],
) -> None:
    folder = damaged(_text("chat_template.jinja", "{% for message in messages %}"))
    vlm = tiny.loaded(folder)
    refused(folder, ("chat template", "damaged"), lambda: vlm.text_of("bake bread"))


# -- adapters -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def adapter(clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained adapter of the tiny model."""
    folder = tmp_path_factory.mktemp("adapter")
    vlm = tiny.loaded(clip_folder)
    torch.manual_seed(0)
    add_lora(vlm, 2, 4)
    with torch.no_grad():
        for name, weight in vlm.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    vlm.model.save_pretrained(folder)
    return folder


ADAPTER, OPTIONS = "adapter_model.safetensors", "adapter_config.json"


def _adapter_tensors(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        save_file(change(load_file(folder / ADAPTER)), folder / ADAPTER, {"format": "pt"})

    return apply


def _deeper(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Of a model with one layer more."""
    more = {name.replace("layers.1.", "layers.2."): value.clone() for name, value in tensors.items()}
    return {**tensors, **more}


def _wider(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.repeat(1, 2) if "lora_A" in name else value for name, value in tensors.items()}


ADAPTERS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "empty": (_gone("*"), ()),
    "without weights": (_gone(ADAPTER), ()),
    "without a config": (_gone(OPTIONS), ()),
    "a config cut short": (_text(OPTIONS, '{"peft_type": '), ()),
    "an unknown kind": (_text(OPTIONS, '{"peft_type": "NOTHING"}'), ()),
    "weights as a pickle": (_pickled("adapter_model.bin"), ("pickle", "adapter_model.bin", "can run code")),
    "weights cut short": (lambda folder: (folder / ADAPTER).write_bytes((folder / ADAPTER).read_bytes()[:-50]) and None, ()),
    "of a wider model": (_adapter_tensors(_wider), ("size mismatch",)),
    "of a deeper model": (_adapter_tensors(_deeper), ("another model", "layers.2")),
    "of which a layer is missing": (_adapter_tensors(_without("layers.1.")), ("another model", "layers.1")),
    "with other names": (_adapter_tensors(lambda t: {name.replace("self_attn", "attention"): v for name, v in t.items()}), ()),
    "never trained": (_adapter_tensors(lambda t: {n: v * ("lora_B" not in n) for n, v in t.items()}), ("changes nothing",)),
}  # fmt: skip


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_damaged_adapter(name: str, adapter: Path, clip_folder: Path, tmp_path: Path) -> None:
    damage, words = ADAPTERS[name]
    folder = tmp_path / "wrong"
    shutil.copytree(adapter, folder)
    damage(folder)
    model = tiny.loaded(clip_folder).model
    refused(folder, ("wrong", "adapter", *words), lambda: merge_adapter(model, str(folder)))


def test_the_adapter_itself_is_taken(adapter: Path, clip_folder: Path) -> None:
    before = tiny.loaded(clip_folder)
    ids = torch.tensor([before.prompt_ids("tell me")])
    with torch.no_grad():
        plain = before.model(input_ids=ids).logits
        merged = merge_adapter(before.model, str(adapter))(input_ids=ids).logits
    assert not torch.allclose(plain, merged, atol=1e-3)
