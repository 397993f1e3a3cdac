"""Load a model's processor, also where transformers would need torchvision for a part that nothing here uses.

Pictures are prepared by Pillow where transformers can; it has video processors with torchvision only. Many families' processors hold
one (Qwen-VL, InternVL, LLaVA-OneVision, SmolVLM2), and would not load without it.
"""

from __future__ import annotations

from typing import Any

from transformers import ImageProcessingMixin


class NoVideos(ImageProcessingMixin):  # type: ignore[misc]
    """Stands in a video processor's place: it takes no videos and is saved as ``settings``, those of the real one."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings

    def __getattr__(self, name: str) -> Any:
        """A setting, which some processors look at for every chat (SmolVLM: ``num_frames``); None where the file has it not."""
        if name.startswith("_") or name == "settings":
            raise AttributeError(name)
        return self.settings.get(name)

    def to_dict(self) -> dict[str, Any]:
        return dict(self.settings)


def load_processor(where: str, config: Any, **options: Any) -> Any:
    """The processor (or tokenizer) of the model at ``where``, whose config is ``config``. ``options``: of ``from_pretrained``.

    ImportError where its pictures, too, need a package that is not installed.
    """
    from transformers import AutoProcessor

    try:
        return AutoProcessor.from_pretrained(where, **options)
    except ImportError as error:
        kind = _processor_class(where, config, **options) if "torchvision" in str(error).lower() else None
        if kind is None or "video_processor" not in kind.get_attributes():
            raise
        return _without_videos(kind, where, **options)


def _processor_class(where: str, config: Any, **options: Any) -> Any:
    """The processor class that the model names, or else its family's; None where there is neither."""
    import transformers
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
    from transformers.processing_utils import ProcessorMixin

    try:
        settings, _ = ProcessorMixin.get_processor_dict(where, **options)
    except OSError:
        settings = {}
    named = getattr(transformers, str(settings.get("processor_class")), None)
    return named or PROCESSOR_MAPPING.get(type(config), None)


def _without_videos(kind: Any, where: str, **options: Any) -> Any:
    """A processor of class ``kind`` whose video processor only keeps its settings, so that what is saved again has them."""
    from transformers import AutoFeatureExtractor, AutoImageProcessor, AutoTokenizer
    from transformers.models.auto.video_processing_auto import get_video_processor_config

    auto: dict[str, Any] = {
        "tokenizer": AutoTokenizer,
        "image_processor": AutoImageProcessor,
        "feature_extractor": AutoFeatureExtractor,
        "audio_processor": AutoFeatureExtractor,
    }
    parts = [
        NoVideos(get_video_processor_config(where, revision=options.get("revision")))
        if name == "video_processor"
        else auto[name].from_pretrained(where, **options)
        for name in kind.get_attributes()
    ]
    settings, _ = kind.get_processor_dict(where, **options)
    return without_videos(kind).from_args_and_dict(parts, settings)


def without_videos(kind: Any) -> Any:
    """The processor class ``kind`` under its own name, but content with `NoVideos` for a video processor."""

    def check(self: Any, name: str, part: Any) -> Any:
        return NoVideos if isinstance(part, NoVideos) else kind.check_argument_for_proper_class(self, name, part)

    return type(kind.__name__, (kind,), {"check_argument_for_proper_class": check, "__module__": kind.__module__})
