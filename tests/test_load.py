"""Loading models: the parts are found, prompts are laid out as chats, and what cannot work is said in one sentence."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import tiny
from textunlearn.errors import UserError
from textunlearn.recipe import ModelSpec
from textunlearn.vlm.builtin import build
from textunlearn.vlm.load import Vlm, load, merge_adapter


def test_parts_of_a_vlm(clip: Vlm) -> None:
    assert clip.decoder_path == "model.language_model" and clip.decoder is clip.base.model.language_model
    assert clip.head.weight is clip.embed.weight, "tied"
    assert not clip.model.training and not any(p.requires_grad for p in clip.model.parameters())
    assert clip.tokenizer.decode([clip.blank_id]) == " " and clip.tokenizer.padding_side == "left"


def test_a_language_model_alone(llm_folder: Path) -> None:
    vlm = tiny.loaded(llm_folder)
    assert vlm.decoder_path == "model" and vlm.image_token_id is None
    assert list(vlm.outside_decoder()) == []
    with pytest.raises(UserError, match=r"slots\.share"):
        vlm.slot_prompt("", [1])


@pytest.mark.parametrize("kind", [*tiny.SCALED, "llava"])
def test_logits_are_the_models_own(kind: str) -> None:
    """Some models scale or cap what their head gives; a LLaVA around one of them does not."""
    vlm = tiny.scaled_inside_llava() if kind == "llava" else tiny.scaled(kind)
    ids = torch.tensor([vlm.encode("tell me why birds sing in spring")])
    with torch.no_grad():
        hidden = vlm.decoder(input_ids=ids).last_hidden_state
        own = vlm.model(input_ids=ids).logits
        torch.testing.assert_close(vlm.logits(hidden), own)
        gap = float((vlm.head(hidden)[..., : own.shape[-1]] - own).abs().max())
        size = float(own.abs().max())
    assert (gap == 0) if kind == "llava" else (gap > 0.5 * size), (
        "the head alone would do only where nothing comes after it"
    )


def test_logits_of_an_adapted_model(llm_folder: Path) -> None:
    from textunlearn.training.trainer import add_lora

    for vlm in (tiny.scaled("granite"), tiny.loaded(llm_folder)):
        add_lora(vlm, 2, 4)
        ids = torch.tensor([vlm.encode("tell me")])
        with torch.no_grad():
            torch.testing.assert_close(
                vlm.logits(vlm.decoder(input_ids=ids).last_hidden_state), vlm.model(input_ids=ids).logits
            )


def test_typed_and_image_prompts(reader: Vlm) -> None:
    text = reader.tokenizer.decode(reader.prompt_ids("tell me"))
    assert text == "<|im_start|>system\nbe good<|im_end|>\n<|im_start|>user\ntell me<|im_end|>\n<|im_start|>assistant\n"
    ids = reader.encode_with_images(reader.text_of("tell me", images=1), [Image.new("RGB", (9, 9))])
    assert ids.count(reader.image_token_id) == 49


def test_slot_prompt_is_the_image_prompt_with_words(reader: Vlm) -> None:
    image = reader.encode_with_images(reader.text_of("do it", images=1), [Image.new("RGB", (9, 9))])
    words = reader.tokenizer.encode("bake bread", add_special_tokens=False)
    ids, slots = reader.slot_prompt("do it", words)
    assert len(ids) == len(image) and slots == [i for i, t in enumerate(image) if t == reader.image_token_id]
    assert [ids[i] for i in slots] == words + [reader.blank_id] * (49 - len(words))
    assert [t for i, t in enumerate(ids) if i not in slots] == [t for t in image if t != reader.image_token_id]
    assert len(reader.slot_prompt("do it", words * 30)[0]) == len(image), "cut at the number of slots"
    ids[0] = -1
    assert reader.slot_prompt("do it", words)[0][0] != -1, "callers cannot spoil the template"


def test_a_request_that_speaks_of_the_image_token_makes_no_slots(reader: Vlm) -> None:
    said = "what does <image> mean in svg?"
    assert reader.image_token_id not in reader.prompt_ids(said)
    ids = reader.encode_with_images(reader.text_of(said, images=1), [Image.new("RGB", (9, 9))])
    assert ids.count(reader.image_token_id) == 49


def test_the_start_token_comes_once(llm_folder: Path, tmp_path: Path) -> None:
    from tokenizers import processors

    vlm = tiny.loaded(llm_folder)
    tokens = vlm.tokenizer
    tokens.bos_token = "<|im_start|>"
    tokens.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
    )
    assert vlm.encode("tell me")[:2] != [1, 1] and vlm.encode("tell me")[0] == 1
    assert vlm.encode("<|im_start|>user")[:2] != [1, 1] and vlm.encode("<|im_start|>user")[0] == 1


def test_hash_knows_the_weights(clip_folder: Path, clip: Vlm, tmp_path: Path) -> None:
    assert tiny.loaded(clip_folder).hash == clip.hash
    assert tiny.loaded(tiny.clip_vlm(tmp_path / "other", seed=1)).hash != clip.hash


def _copy(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def _fails(folder: Path, **options: str) -> str:
    with pytest.raises(UserError) as error:
        load(ModelSpec(id=str(folder), dtype="float32", **{"device": "cpu", **options}))
    text = str(error.value)
    assert "\n" not in text and len(text) < 600
    return text


def test_folders_that_are_no_model(clip_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "empty" in _fails(tmp_path / "empty")

    garbled = _copy(clip_folder, tmp_path / "garbled")
    (garbled / "config.json").write_text("{")
    assert "garbled" in _fails(garbled)

    cut = _copy(clip_folder, tmp_path / "cut")
    (cut / "model.safetensors").write_bytes((cut / "model.safetensors").read_bytes()[:-100])
    assert "cut" in _fails(cut)

    unknown = _copy(clip_folder, tmp_path / "unknown")
    (unknown / "config.json").write_text(json.dumps({"model_type": "no_such_thing"}))
    assert "no_such_thing" in _fails(unknown)


def test_missing_weights_are_not_made_up(clip_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = _copy(clip_folder, tmp_path / "partial")
    weights = load_file(folder / "model.safetensors")
    gone = next(k for k in weights if "layers.1.mlp.up_proj" in k)
    save_file({k: v for k, v in weights.items() if k != gone}, folder / "model.safetensors", {"format": "pt"})
    assert "up_proj" in _fails(folder)


def test_models_without_a_language_part_or_a_chat_template(clip_folder: Path, llm_folder: Path, tmp_path: Path) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    CLIPVisionModel(
        CLIPVisionConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    ).save_pretrained(tmp_path / "vision")
    assert "no language model" in _fails(tmp_path / "vision")
    bare = _copy(llm_folder, tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    assert "chat template" in _fails(bare)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("\nLlavaImageProcessor requires the Torchvision library but it was not found.\n", "`pip install torchvision`"),
        ("Package `num2words` is required.\nInstall it with `pip install num2words`.", "`pip install num2words`"),
    ],
)
def test_a_processor_that_needs_a_package_says_so(
    said: str, sentence: str, clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoProcessor

    def fails(*_: object, **__: object) -> None:
        raise ImportError(said)

    monkeypatch.setattr(AutoProcessor, "from_pretrained", fails)
    assert sentence in _fails(clip_folder)


def test_a_device_this_machine_does_not_have(llm_folder: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert "model.device" in _fails(llm_folder, device="cuda")
    assert "model.device" in _fails(llm_folder, device="toaster")


def test_adapters_that_do_nothing_or_do_not_fit_are_refused(clip_folder: Path, tmp_path: Path) -> None:
    from textunlearn.training.trainer import add_lora

    vlm = tiny.loaded(clip_folder)
    before = vlm.hash
    add_lora(vlm, 2, 4)
    vlm.model.save_pretrained(tmp_path / "untrained")
    with torch.no_grad():
        for name, parameter in vlm.model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.05)
    vlm.model.save_pretrained(tmp_path / "trained")
    ids = torch.tensor([vlm.prompt_ids("tell me")])
    with torch.no_grad():
        wrapped = vlm.model(input_ids=ids).logits

    with pytest.raises(UserError, match="changes nothing"):
        merge_adapter(tiny.loaded(clip_folder).model, str(tmp_path / "untrained"))
    with pytest.raises(UserError, match="cannot be loaded"):
        merge_adapter(tiny.loaded(clip_folder).model, str(tmp_path / "nowhere"))
    merged = load(ModelSpec(id=str(clip_folder), adapter=str(tmp_path / "trained"), dtype="float32", device="cpu"))
    with torch.no_grad():
        torch.testing.assert_close(merged.model(input_ids=ids).logits, wrapped, rtol=1e-4, atol=1e-3)
    assert merged.hash != before and merged.decoder_path == "model.language_model"


def test_an_adapter_of_the_bare_language_model_is_refused_on_the_whole(clip_folder: Path, tmp_path: Path) -> None:
    """Its keys lack the part of the name that the whole model adds; peft would only warn."""
    from peft import LoraConfig, get_peft_model

    vlm = tiny.loaded(clip_folder)
    bare = get_peft_model(vlm.decoder, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    bare.save_pretrained(tmp_path / "bare")
    with pytest.raises(UserError, match=r"language model alone: 4 of its weights have no place"):
        merge_adapter(tiny.loaded(clip_folder).model, str(tmp_path / "bare"))


def test_shards_and_either_naming_of_weights_load(clip_folder: Path, clip: Vlm, tmp_path: Path) -> None:
    """transformers writes LLaVA's weights by their names of 2024, and others write them as the modules are called."""
    from safetensors.torch import load_file, save_file

    clip.model.save_pretrained(tmp_path / "shards", max_shard_size="50KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    for name in ("shards", "modules"):
        (tmp_path / name).mkdir(exist_ok=True)
        for file in clip_folder.iterdir():
            if file.suffix != ".safetensors":
                shutil.copy(file, tmp_path / name)
    named = {k: v.clone() for k, v in clip.base.state_dict().items() if k != "lm_head.weight"}  # tied
    save_file(named, tmp_path / "modules" / "model.safetensors", {"format": "pt"})
    older = set(load_file(clip_folder / "model.safetensors"))
    assert "language_model.model.norm.weight" in older and "model.language_model.norm.weight" in named
    for name in ("shards", "modules"):
        assert tiny.loaded(tmp_path / name).hash == clip.hash


def test_building_leaves_nothing_half_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Model:
        def save_pretrained(self, folder: Path) -> None:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "config.json").write_text("{}")

    class Full:
        def save_pretrained(self, folder: Path) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(build, "assemble", lambda reader: (Model(), Full()))
    with pytest.raises(OSError, match="No space"):
        build.build(tmp_path / "out", following=None)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(build, "assemble", lambda reader: (Model(), Model()))
    build.build(tmp_path / "out", following=None)
    build.build(tmp_path / "out", following=None)  # another process was faster: fine
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("x")
    with pytest.raises(UserError, match="in the way"):
        build.build(tmp_path / "taken", following=None)
    with pytest.raises(UserError, match="missing"):
        build.build(tmp_path / "new", reader=tmp_path / "none.safetensors")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_package_is_light() -> None:
    modules = "textunlearn, textunlearn.recipe, textunlearn.records, textunlearn.methods, textunlearn.vlm.load"
    code = f"import sys, {modules}; print([m for m in ('torch', 'transformers', 'peft', 'matplotlib') if m in sys.modules])"
    assert python(code) == "[]"


@pytest.mark.parametrize(
    "imports",
    [
        "import importlib.util; import textunlearn; assert importlib.util.find_spec('transformers').origin; import transformers",
        "import transformers; import textunlearn",
    ],
)
def test_transformers_knows_the_reader_and_is_left_as_it_was(imports: str) -> None:
    """Looking for transformers without importing it, as other libraries do, must not use up the registration."""
    code = (
        f"{imports}; import inspect, importlib.resources;"
        "assert importlib.resources.files('transformers').joinpath('__init__.py').is_file();"
        "assert type(transformers.__spec__.loader).__name__ == 'SourceFileLoader';"
        "assert len(inspect.getsource(transformers)) > 1000;"
        "print(transformers.AutoConfig.for_model('textunlearn_reader').model_type)"
    )
    assert python(code) == "textunlearn_reader"


HUB = """
import os, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Hub(BaseHTTPRequestHandler):
    def do_HEAD(self):
        gated = "gated" in self.path
        self.send_response(403 if gated else 404)
        self.send_header("X-Error-Code", "GatedRepo" if gated else "RepoNotFound")
        self.send_header("X-Error-Message", "Access is restricted" if gated else "Repository not found")
        self.send_header("Content-Length", "0")
        self.end_headers()
    do_GET = do_HEAD
    def log_message(self, *_):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ |= {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": sys.argv[1], "HF_HUB_OFFLINE": "0"}
from textunlearn.errors import UserError
from textunlearn.recipe import ModelSpec
from textunlearn.vlm.load import check, merge_adapter

def said(look):
    try:
        look()
    except UserError as error:
        print("\\t", error)

for name in ("some/gated", "some/missing"):
    said(lambda: check(ModelSpec(id=name)))
    said(lambda: merge_adapter(None, name))
server.shutdown()
server.server_close()
import huggingface_hub.utils._http as http
http.time.sleep = lambda _: None  # it tries again, after longer and longer pauses
for name in ("some/away",):
    said(lambda: check(ModelSpec(id=name)))
    said(lambda: merge_adapter(None, name))
import huggingface_hub.constants
huggingface_hub.constants.HF_HUB_OFFLINE = True
said(lambda: check(ModelSpec(id="some/other")))
said(lambda: merge_adapter(None, "some/other"))
"""


def test_what_the_hub_has_against_a_model(tmp_path: Path) -> None:
    """Gated, not there, no hub to be reached, offline by wish: of models and of adapters, each in one sentence that says what to do."""
    done = subprocess.run([sys.executable, "-c", HUB, str(tmp_path)], capture_output=True, text=True, check=True)
    lines = [line.strip() for line in done.stdout.splitlines() if line.startswith("\t")]
    words = [
        ("some/gated is gated", "hf auth login"),
        ("adapter some/gated is gated", "hf auth login"),
        ("some/missing is not on the hub, or is private", "local folder"),
        ("adapter some/missing is not on the hub, or is private", "local folder"),
        ("some/away is not on this machine, and the hub is not reached", "local folder"),
        ("adapter some/away is not on this machine, and the hub is not reached", "local folder"),
        ("some/other is not on this machine", "HF_HUB_OFFLINE"),
        ("adapter some/other is not on this machine", "HF_HUB_OFFLINE"),
    ]
    assert len(lines) == len(words), lines
    for line, (begins, mends) in zip(lines, words, strict=True):
        assert begins in line and mends in line


def test_adapters_of_other_tools_and_times_load(clip_folder: Path, tmp_path: Path) -> None:
    """With names of layers as they were before 2025, layers chosen by a pattern or a list, another rank here and there."""
    from safetensors.torch import load_file, save_file

    from textunlearn.training.trainer import add_lora

    vlm = tiny.loaded(clip_folder)
    add_lora(vlm, 2, 4)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in vlm.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    vlm.model.save_pretrained(tmp_path / "own")
    ids = torch.tensor([vlm.prompt_ids("tell me")])
    with torch.no_grad():
        wanted = vlm.model(input_ids=ids).logits

    elder = _copy(tmp_path / "own", tmp_path / "elder")
    weights = load_file(elder / "adapter_model.safetensors")
    now, then = "base_model.model.model.language_model.", "base_model.model.language_model.model."
    assert all(name.startswith(now) for name in weights)
    save_file({name.replace(now, then): value for name, value in weights.items()}, elder / "adapter_model.safetensors")
    options = json.loads((elder / "adapter_config.json").read_text())
    options |= {
        "target_modules": r".*language_model.*\.(q|k|v|o|up|gate|down)_proj",
        "base_model_name_or_path": "/gone",
    }
    (elder / "adapter_config.json").write_text(json.dumps(options))
    for folder in (tmp_path / "own", elder):
        merged = merge_adapter(tiny.loaded(clip_folder).model, str(folder))
        with torch.no_grad():
            torch.testing.assert_close(merged(input_ids=ids).logits, wanted, rtol=1e-4, atol=1e-3)
