"""Tiny random models of the real architectures with their real processors, a function a family, written as on the hub.

`FAMILIES` has them all by name: each writes its model into a folder, from which `tiny.loaded` loads it as a user's.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

import tiny
from textunlearn.vlm.load import Vlm, wrap
from textunlearn.vlm.processor import NoVideos, without_videos

VISION = dict(
    hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8
)
SQUARE = {"height": 32, "width": 32}
TILES = [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]]
GRID = [[32, 64], [64, 32], [64, 64]]
TORCHVISION = importlib.util.find_spec("torchvision") is not None
QWEN = {
    "vision_bos_token": "<|vision_start|>",
    "vision_eos_token": "<|vision_end|>",
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
}
QWEN_PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"


def tokens(names: dict[str, str], image: str = "<image>\n") -> Any:
    """The tokenizer with special tokens of a family, which it knows by name as well, and ``image`` in chats for a picture."""
    out = tiny._with_tokens(list(names.values()), image)
    out._set_model_specific_special_tokens(names)
    out.init_kwargs["extra_special_tokens"] = names
    return out


def text(tokenizer: Any, **more: Any) -> dict[str, Any]:
    return tiny._text_options(len(tokenizer)) | more


def pillow(family: str, name: str, **options: Any) -> Any:
    """A family's image processor that needs Pillow only, with settings for tiny pictures."""
    module = importlib.import_module(f"transformers.models.{family}.image_processing_pil_{family}")
    return getattr(module, f"{name}ImageProcessorPil")(**options)


def write(folder: Path, kind: str, config: Any, processor: Any, seed: int = 0) -> Path:
    """A random model of class ``kind`` and its processor, as on the hub."""
    import torch
    import transformers

    torch.manual_seed(seed)
    model = getattr(transformers, kind)(config).eval()
    for name, parameter in model.named_parameters():
        # What begins as zero would take a part out of the model: gates, Phi-4's separators, Gemma's norms stay as they are.
        if not bool(parameter.any()) and ("gate" in name or "extensor" in name or "position_embedding" in name):
            torch.nn.init.normal_(parameter)
    model.generation_config.pad_token_id, model.generation_config.eos_token_id = 0, 2
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def llava_next(folder: Path) -> Path:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaNextConfig, LlavaNextProcessor

    mine = tokens({})
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**VISION),
        text_config=LlamaConfig(**text(mine)),
        image_grid_pinpoints=GRID,
        image_token_index=mine.convert_tokens_to_ids("<image>"),
    )
    images = pillow("llava_next", "LlavaNext", size={"shortest_edge": 32}, crop_size=SQUARE, image_grid_pinpoints=GRID)
    processor = LlavaNextProcessor(
        images, mine, 8, "default", chat_template=mine.chat_template, num_additional_image_tokens=1
    )
    return write(folder, "LlavaNextForConditionalGeneration", config, processor)


def llava_onevision(folder: Path) -> Path:
    from transformers import LlavaOnevisionConfig, LlavaOnevisionProcessor, Qwen2Config, SiglipVisionConfig

    mine = tokens({"video_token": "<video>"})
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**VISION, vision_use_head=False),
        text_config=Qwen2Config(**text(mine)),
        image_grid_pinpoints=GRID,
        image_token_index=mine.convert_tokens_to_ids("<image>"),
        video_token_index=mine.convert_tokens_to_ids("<video>"),
    )
    images = pillow("llava_onevision", "LlavaOnevision", size=SQUARE, image_grid_pinpoints=GRID)
    videos = NoVideos({"video_processor_type": "LlavaOnevisionVideoProcessor"})
    kind = without_videos(LlavaOnevisionProcessor)
    processor = kind(images, mine, videos, 16, "full", chat_template=mine.chat_template)
    return write(folder, "LlavaOnevisionForConditionalGeneration", config, processor)


def _qwen(folder: Path, kind: str, vision: dict[str, Any], patch: int, videos: str, **more: Any) -> Path:
    import transformers

    mine = tokens(QWEN, QWEN_PICTURE)
    start, end, image, video = mine.convert_tokens_to_ids(list(QWEN.values()))
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
    config = getattr(transformers, f"{kind}Config")(
        text_config=text(mine, rope_parameters=rope, **more),
        vision_config=vision,
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
    )
    side = 2 * patch
    images = pillow("qwen2_vl", "Qwen2VL", patch_size=patch, min_pixels=4 * side * side, max_pixels=16 * side * side)
    processor = without_videos(getattr(transformers, f"{kind}Processor"))(
        images, mine, NoVideos({"video_processor_type": videos}), chat_template=mine.chat_template
    )
    return write(folder, f"{kind}ForConditionalGeneration", config, processor)


def qwen2_vl(folder: Path) -> Path:
    vision = {"depth": 1, "embed_dim": 16, "hidden_size": tiny.HIDDEN, "num_heads": 2, "mlp_ratio": 2}
    return _qwen(folder, "Qwen2VL", vision, 14, "Qwen2VLVideoProcessor")


def qwen2_5_vl(folder: Path) -> Path:
    vision = {"depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": tiny.HIDDEN}
    vision |= {"fullatt_block_indexes": [1], "window_size": 56}
    return _qwen(folder, "Qwen2_5_VL", vision, 14, "Qwen2VLVideoProcessor")


def qwen3_vl(folder: Path) -> Path:
    vision = {"depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": tiny.HIDDEN}
    vision |= {"deepstack_visual_indexes": [0], "num_position_embeddings": 16}
    return _qwen(folder, "Qwen3VL", vision, 16, "Qwen3VLVideoProcessor", head_dim=8)


def _idefics(folder: Path, kind: str, family: str, *videos: Any) -> Path:
    import transformers

    tiles = [f"<row_{i}_col_{j}>" for i in range(1, 7) for j in range(1, 7)]
    mine = tiny._with_tokens(["<fake_token_around_image>", "<end_of_utterance>", "<global-img>", *tiles], "<image>\n")
    config = getattr(transformers, f"{kind}Config")(
        text_config=text(mine, model_type="llama"),
        vision_config=VISION,
        scale_factor=2,
        image_token_id=mine.convert_tokens_to_ids("<image>"),
    )
    images = pillow(family, kind, size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    processor = without_videos(getattr(transformers, f"{kind}Processor"))(
        images, mine, *videos, image_seq_len=4, chat_template=mine.chat_template
    )
    return write(folder, f"{kind}ForConditionalGeneration", config, processor)


def idefics3(folder: Path) -> Path:
    return _idefics(folder, "Idefics3", "idefics3")


def smolvlm(folder: Path) -> Path:
    return _idefics(folder, "SmolVLM", "smolvlm", NoVideos({"video_processor_type": "SmolVLMVideoProcessor"}))


def internvl(folder: Path) -> Path:
    from transformers import InternVLConfig, InternVLProcessor, InternVLVisionConfig, Qwen2Config

    names = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    mine = tokens(names, "<IMG_CONTEXT>\n")
    config = InternVLConfig(
        vision_config=InternVLVisionConfig(**VISION | {"image_size": [32, 32], "patch_size": [8, 8]}),
        text_config=Qwen2Config(**text(mine)),
        image_token_id=mine.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
    )
    images = pillow("got_ocr2", "GotOcr2", size=SQUARE, max_patches=4)
    videos = NoVideos({"video_processor_type": "InternVLVideoProcessor"})
    processor = without_videos(InternVLProcessor)(
        images, mine, videos, image_seq_length=4, chat_template=mine.chat_template
    )
    return write(folder, "InternVLForConditionalGeneration", config, processor)


def paligemma2(folder: Path) -> Path:
    from transformers import Gemma2Config, PaliGemmaConfig, PaliGemmaProcessor, SiglipVisionConfig

    mine = tokens({}, "<image>")
    mine.bos_token = "<|im_start|>"
    images = pillow("siglip", "Siglip", size=SQUARE)
    images.image_seq_length = 16
    processor = PaliGemmaProcessor(
        images, mine, chat_template=mine.chat_template
    )  # adds places and segments to the tokens
    config = PaliGemmaConfig(
        vision_config=SiglipVisionConfig(**VISION, vision_use_head=False, projection_dim=tiny.HIDDEN),
        # Tied, so small a Gemma only repeats its last token.
        text_config=Gemma2Config(**text(mine, head_dim=8, query_pre_attn_scalar=8, tie_word_embeddings=False)),
        tie_word_embeddings=False,
        image_token_index=mine.convert_tokens_to_ids("<image>"),
        projection_dim=tiny.HIDDEN,
    )
    return write(folder, "PaliGemmaForConditionalGeneration", config, processor)


def mllama(folder: Path) -> Path:
    from transformers import MllamaConfig, MllamaProcessor

    mine = tokens({"image_token": "<|image|>", "python_token": "<|python_tag|>"}, "<|image|>")
    mine.bos_token, mine.chat_template = "<|endoftext|>", "{{ '<|endoftext|>' }}" + mine.chat_template
    vision = VISION | {"attention_heads": 2, "num_global_layers": 1, "vision_output_dim": 32}
    vision |= {"intermediate_layers_indices": [0], "supported_aspect_ratios": TILES}
    config = MllamaConfig(
        vision_config=vision | {"max_num_tiles": 4},
        text_config=text(mine, num_hidden_layers=3, cross_attention_layers=[1], tie_word_embeddings=False),
        image_token_index=mine.convert_tokens_to_ids("<|image|>"),
    )
    processor = MllamaProcessor(pillow("mllama", "Mllama", size=SQUARE), mine, mine.chat_template)
    return write(folder, "MllamaForConditionalGeneration", config, processor)


def _pixtral(folder: Path, kind: str, merge: int, **more: Any) -> Path:
    import transformers

    names = {"image_token": "[IMG]", "image_break_token": "[IMG_BREAK]", "image_end_token": "[IMG_END]"}
    mine = tokens(names, "[IMG]")
    config = getattr(transformers, f"{kind}Config")(
        vision_config=transformers.PixtralVisionConfig(**VISION | {"image_size": 64}),
        text_config=transformers.MistralConfig(**text(mine, head_dim=8)),
        image_token_index=mine.convert_tokens_to_ids("[IMG]"),
        **more,
    )

    def processor() -> Any:
        size, patch = {"longest_edge": 64}, {"height": 8, "width": 8}
        images = transformers.PixtralImageProcessor(size=size, patch_size=patch)
        return transformers.PixtralProcessor(images, mine, 8, merge, mine.chat_template)

    return write(folder, f"{kind}ForConditionalGeneration", config, processor() if TORCHVISION else mine)


def pixtral(folder: Path) -> Path:
    return _pixtral(folder, "Llava", 1, vision_feature_select_strategy="full", vision_feature_layer=-1)


def mistral3(folder: Path) -> Path:
    return _pixtral(folder, "Mistral3", 2, spatial_merge_size=2)


def phi4_multimodal(folder: Path) -> Path:
    import transformers

    mine = tokens({"image_token": "<|image|>", "audio_token": "<|audio|>"}, "<|image|>")
    image, audio = mine.convert_tokens_to_ids(["<|image|>", "<|audio|>"])
    sound = {"hidden_size": 16, "intermediate_size": 16, "num_blocks": 1, "num_attention_heads": 2}
    sound |= {"nemo_conv_channels": 8, "ext_pw_out_channel": 16, "depthwise_separable_out_channel": 16}
    config = transformers.Phi4MultimodalConfig(
        **text(mine, max_position_embeddings=2048),
        # Its processor counts 256 tokens for the whole of a picture, whatever its size.
        vision_config=VISION | {"image_size": 448, "patch_size": 14, "crop_size": 448, "image_token_id": image},
        audio_config=sound | {"audio_token_id": audio},
    )

    def processor() -> Any:
        images = transformers.Phi4MultimodalImageProcessor(dynamic_hd=2)
        sounds = transformers.Phi4MultimodalFeatureExtractor()
        return transformers.Phi4MultimodalProcessor(images, sounds, mine, chat_template=mine.chat_template)

    return write(folder, "Phi4MultimodalForCausalLM", config, processor() if TORCHVISION else mine)


SECONDS = 5
"""What the tiny Qwen2-Audio hears at once."""


def qwen2_audio(folder: Path) -> Path:
    from transformers import Qwen2AudioConfig, Qwen2AudioProcessor, Qwen2Config, WhisperFeatureExtractor

    names = {"audio_token": "<|AUDIO|>", "audio_bos_token": "<|audio_bos|>", "audio_eos_token": "<|audio_eos|>"}
    mine = tokens(names)
    audio = {"d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16}
    config = Qwen2AudioConfig(
        audio_config=audio | {"num_mel_bins": 16, "max_source_positions": 50 * SECONDS},
        text_config=Qwen2Config(**text(mine)),
        audio_token_index=mine.convert_tokens_to_ids("<|AUDIO|>"),
    )
    sounds = WhisperFeatureExtractor(feature_size=16, chunk_length=SECONDS)
    processor = Qwen2AudioProcessor(sounds, mine)  # with a template of its own
    return write(folder, "Qwen2AudioForConditionalGeneration", config, processor)


def voxtral(folder: Path) -> Path:
    from transformers import LlamaConfig, VoxtralConfig, VoxtralProcessor, WhisperFeatureExtractor

    # Its processor looks for the token of sounds at 24, and gives the features of half a minute, whatever was said.
    mine = tiny.tokenizer((*(f"[SPARE_{i}]" for i in range(20)), "[AUDIO]"))
    audio = {"hidden_size": 16, "intermediate_size": 160, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = VoxtralConfig(
        audio_config=audio | {"num_mel_bins": 16, "max_source_positions": 1500},
        text_config=LlamaConfig(**text(mine)),
        audio_token_id=mine.convert_tokens_to_ids("[AUDIO]"),
    )
    processor = VoxtralProcessor(WhisperFeatureExtractor(feature_size=16), mine)
    return write(folder, "VoxtralForConditionalGeneration", config, processor)


def opened(name: str, folder: Path) -> Vlm:
    """A family's model as a user would load it; where that needs torchvision and there is none, with its tokenizer alone."""
    from transformers import AutoConfig, AutoTokenizer

    from textunlearn.vlm.load import auto_class

    (FAMILIES | {"reader": tiny.reader_vlm})[name](folder)
    if NEEDS.get(name) != "torchvision" or TORCHVISION:
        return tiny.loaded(folder)
    model = auto_class(AutoConfig.from_pretrained(folder)).from_pretrained(folder)
    return wrap(model.eval().requires_grad_(False), AutoTokenizer.from_pretrained(folder), name)


PICTURED: dict[str, Callable[[Path], Path]] = {
    "llava": tiny.clip_vlm,
    "llava_next": llava_next,
    "llava_onevision": llava_onevision,
    "qwen2_vl": qwen2_vl,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
    "idefics3": idefics3,
    "smolvlm": smolvlm,
    "internvl": internvl,
    "paligemma2": paligemma2,
    "gemma3": tiny.gemma3,
    "mllama": mllama,
    "pixtral": pixtral,
    "mistral3": mistral3,
    "phi4_multimodal": phi4_multimodal,
}


def audio_flamingo_3(folder: Path) -> Path:
    from transformers import AudioFlamingo3Config, AudioFlamingo3Processor, Qwen2Config, WhisperFeatureExtractor

    mine = tokens({"audio_token": "[AUDIO]"})
    audio = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = AudioFlamingo3Config(
        audio_config=audio | {"num_mel_bins": 16, "max_source_positions": 50 * SECONDS},
        text_config=Qwen2Config(**text(mine)),
        audio_token_id=mine.convert_tokens_to_ids("[AUDIO]"),
    )
    sounds = WhisperFeatureExtractor(feature_size=16, chunk_length=SECONDS)
    processor = AudioFlamingo3Processor(sounds, mine, mine.chat_template, "[AUDIO]", max_audio_len=2 * SECONDS)
    return write(folder, "AudioFlamingo3ForConditionalGeneration", config, processor)


HEARING: dict[str, Callable[[Path], Path]] = {
    "qwen2_audio": qwen2_audio,
    "voxtral": voxtral,
    "audio_flamingo_3": audio_flamingo_3,
}
ONE_SOUND = ("audio_flamingo_3",)
"""Families whose processor takes one sound in a turn."""
FAMILIES = PICTURED | HEARING | {"llm": tiny.llm}
NEEDS = {"smolvlm": "num2words", "pixtral": "torchvision", "mistral3": "torchvision", "phi4_multimodal": "torchvision"}
"""Packages that a family's processor asks for."""
ONE_PICTURE = ("llava_onevision",)
"""Families that lay out one picture otherwise than several, so that several in a turn are refused."""
TOGETHER_OTHERWISE = ("phi4_multimodal",)
"""Families of which transformers itself sees a picture otherwise beside one of another shape."""
FROM_PIXELS = ("mllama", "phi4_multimodal")
"""Families whose ``generate`` takes pixels only, and no features that were made before."""


def marked(names: Iterable[str], torchvision: bool = True) -> list[Any]:
    """Families as parameters of a test, skipped where a package is missing (``torchvision``: also where it is that)."""
    out = []
    for name in names:
        package = NEEDS.get(name, "")
        missing = package and importlib.util.find_spec(package) is None and (torchvision or package != "torchvision")
        marks = [pytest.mark.skip(reason=f"its processor needs {package}")] if missing else []
        out.append(pytest.param(name, marks=marks))
    return out
