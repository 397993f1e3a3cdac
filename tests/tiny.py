"""Tiny random models of the real architectures, made in code: seconds to build, no download.

`reader_vlm(folder)` writes a LLaVA whose vision tower is this project's reader, `clip_vlm(folder)` one with CLIP's, and
`llm(folder)` a language model alone, each in Hugging Face layout with its tokenizer. `gemma3(folder)` and `scaled(kind)` are families that
do something else than these; all others are in `tiny_families`.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from textunlearn.recipe import ModelSpec
from textunlearn.vlm.load import Vlm, load, wrap

WORDS = (
    "how do i bake a good loaf of bread at home please tell me what the weather is like in spring and why birds sing "
    "write a short note to my neighbour about the lock on the garden gate it's broken and we'll need a new one in 10 days "
    "The quick brown fox jumps over the lazy dog. Sure, here is an answer: first, take some flour; then add water. "
    "I cannot help with that, but I can help you find a locksmith. List three ideas for a birthday, won't you?"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nbe good<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>\n' }}{% elif part['type'] == 'audio' %}{{ '[AUDIO]' }}"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
HIDDEN = 32


@cache
def _bpe(more: tuple[str, ...] = ()) -> str:
    """A byte-level BPE with SmolLM2's pre-tokenizer (single digits, then GPT-2's), trained on `WORDS`, as JSON; its first tokens are
    `SPECIAL`, then ``more``."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420 + len(more), special_tokens=[*SPECIAL, *more], initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator([WORDS, WORDS.upper()], trainer)
    return str(bpe.to_str())


def tokenizer_json() -> dict[str, Any]:
    return json.loads(_bpe())


def tokenizer(more: tuple[str, ...] = ()) -> Any:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_bpe(more)),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<image>", *more],
        padding_side="left",
        chat_template=CHAT_TEMPLATE,
    )


def _text_options(vocabulary: int, hidden: int = HIDDEN) -> dict[str, Any]:
    return dict(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.3,  # far from uniform, so that a wrong mask or position shows
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )


def _text_config(vocabulary: int) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(**_text_options(vocabulary))


def _images(size: int) -> Any:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    side = {"height": size, "width": size}
    half = [0.5] * 3
    return CLIPImageProcessorPil(size=side, do_center_crop=False, image_mean=half, image_std=half)


def _write(folder: Path, vision: Any, slots: int, extra_tokens: int = 0, fill: Any = None, **options: Any) -> Path:
    """A LLaVA with ``vision``; ``extra_tokens``: what the tower gives beside its patches (CLIP: one)."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    tokens = tokenizer()
    config = LlavaConfig(
        vision_config=vision,
        text_config=_text_config(len(tokens)),
        image_token_index=tokens.convert_tokens_to_ids("<image>"),
        image_seq_length=slots,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        **options,
    )
    model = LlavaForConditionalGeneration(config).eval()
    if fill is not None:
        fill(model, tokens)
    model.generation_config.pad_token_id, model.generation_config.eos_token_id = 0, 2
    model.save_pretrained(folder)
    LlavaProcessor(
        image_processor=_images(vision.image_size),
        tokenizer=tokens,
        patch_size=vision.patch_size,
        num_additional_image_tokens=extra_tokens,
        vision_feature_select_strategy="full",
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)
    return folder


def reader_vlm(folder: Path, seed: int = 0) -> Path:
    """A LLaVA that reads: this project's reader with its trained weights (49 slots), a random language model."""
    import torch
    from safetensors.torch import load_file

    from textunlearn.vlm.builtin.build import READER
    from textunlearn.vlm.builtin.reader import ReaderVisionConfig, tables

    ids, spelling, merges = tables(tokenizer_json())

    def fill(model: Any, tokens: Any) -> None:
        tower, projector = model.model.vision_tower, model.model.multi_modal_projector
        table = model.get_input_embeddings().weight.data
        blank = tokens.encode(" ")[0]
        with torch.no_grad():
            tower.cnn.load_state_dict(
                {k: v.float() if v.is_floating_point() else v for k, v in load_file(READER).items()}
            )
            tower.embeddings.copy_(torch.cat([table[torch.tensor(ids)], table[blank][None]]))
            tower.spelling.copy_(spelling)
            tower.merge_table.copy_(merges)
            projector.linear_1.weight.copy_(torch.eye(HIDDEN))
            projector.linear_2.weight.copy_(torch.eye(HIDDEN))

    torch.manual_seed(seed)
    vision = ReaderVisionConfig(hidden_size=HIDDEN, vocabulary=len(ids), merges=len(merges))
    return _write(
        folder,
        vision,
        49,
        fill=fill,
        projector_hidden_act="linear",
        multimodal_projector_bias=False,
        tie_word_embeddings=True,
    )


def clip_vlm(folder: Path, seed: int = 0) -> Path:
    """A plain LLaVA: CLIP's vision tower (17 slots), which has layers called ``q_proj`` as the language model has."""
    import torch
    from transformers import CLIPVisionConfig

    torch.manual_seed(seed)
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8
    )
    return _write(folder, vision, 17, extra_tokens=1)


def llm(folder: Path, seed: int = 0) -> Path:
    """A language model without images."""
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(seed)
    tokens = tokenizer()
    LlamaForCausalLM(_text_config(len(tokens))).save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder


_MAMBA = {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 16}
SCALED: dict[str, dict[str, Any]] = {
    "granite": {"logits_scaling": 8.0},
    "cohere": {"logit_scale": 0.0625},
    "gemma2": {"final_logit_softcapping": 3.0, "head_dim": 8, "query_pre_attn_scalar": 8},
    "hyperclovax": {"logits_scaling": 0.25},
    "falcon_h1": {"lm_head_multiplier": 4.0, **_MAMBA},
    "recurrent_gemma": {"logits_soft_cap": 0.01, "lru_width": HIDDEN, "block_types": ("recurrent", "attention")},
    "inkling2_text": {
        "final_logit_softcapping": 0.5,
        "head_dim": 8,
        "layer_types": ["hybrid"] * 2,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "unpadded_vocab_size": 400,
    },
}
"""Language models that change the logits after the head."""
MIXING = {
    "falcon_h1": SCALED["falcon_h1"],
    "recurrent_gemma": SCALED["recurrent_gemma"],
    "lfm2": {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
    "qwen3_next": {
        "layer_types": ["linear_attention", "full_attention"],
        "head_dim": 8,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16,
    },
}
"""Language models that carry something from token to token past any attention mask."""


def scaled(kind: str, seed: int = 0) -> Vlm:
    """A language model of `SCALED` or `MIXING`."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tokens = tokenizer()
    config = AutoConfig.for_model(kind, **_text_options(len(tokens)) | (SCALED | MIXING)[kind])
    torch.manual_seed(seed)
    return wrap(AutoModelForCausalLM.from_config(config).eval().requires_grad_(False), tokens, kind)


def scaled_inside_llava(seed: int = 0) -> Vlm:
    """A LLaVA around a Granite, as Granite Vision 3 is: LLaVA leaves out what Granite alone does after the head."""
    import torch
    from transformers import CLIPVisionConfig, GraniteConfig, LlavaConfig, LlavaForConditionalGeneration

    tokens = tokenizer()
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=8
    )
    text = GraniteConfig(**_text_options(len(tokens)), **SCALED["granite"])
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text, image_token_index=3))
    return wrap(model.eval().requires_grad_(False), tokens, "llava")


def _with_tokens(extra: list[str], image: str) -> Any:
    """The tokenizer with more special tokens, and ``image`` in its chats for a picture."""
    tokens = tokenizer()
    tokens.add_tokens(extra, special_tokens=True)
    tokens.chat_template = CHAT_TEMPLATE.replace("'<image>\n'", repr(image))
    return tokens


def gemma3(folder: Path, seed: int = 0) -> Path:
    """Gemma 3 (4 slots): its processor takes a list of pictures for each row and tells token types."""
    import torch
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3Processor
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    names = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    tokens = _with_tokens(list(names.values()), names["boi_token"])
    tokens._set_model_specific_special_tokens(names)
    tokens.init_kwargs["extra_special_tokens"] = names
    ids = {name: tokens.convert_tokens_to_ids(token) for name, token in names.items()}
    config = Gemma3Config(
        text_config=_text_options(len(tokens)) | {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 512},
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 8,
        },
        mm_tokens_per_image=4,
        tie_word_embeddings=False,  # tied, so small a Gemma 3 only repeats its last token
        boi_token_index=ids["boi_token"],
        eoi_token_index=ids["eoi_token"],
        image_token_index=ids["image_token"],
    )
    torch.manual_seed(seed)
    model = Gemma3ForConditionalGeneration(config).eval()
    # It starts as zeros, which would make all pictures equal.
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight)
    model.generation_config.pad_token_id, model.generation_config.eos_token_id = 0, 2
    model.save_pretrained(folder)
    Gemma3Processor(
        image_processor=Gemma3ImageProcessorPil(size={"height": 32, "width": 32}),
        tokenizer=tokens,
        image_seq_length=4,
        chat_template=tokens.chat_template,
    ).save_pretrained(folder)
    return folder


def loaded(folder: Path) -> Vlm:
    """The model in ``folder`` as the tool loads it, in float32."""
    return load(ModelSpec(id=str(folder), dtype="float32", device="cpu"))
