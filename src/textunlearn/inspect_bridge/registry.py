"""What Inspect registers when it looks for extensions: the provider ``textunlearn/…``, the tasks, the scorer and its metric."""

from __future__ import annotations

from inspect_ai.model import ModelAPI, modelapi

from textunlearn.inspect_bridge import scoring, tasks

__all__ = ["provider", "scoring", "tasks"]


@modelapi(name="textunlearn")
def provider() -> type[ModelAPI]:
    """Any vision-language model that `textunlearn.vlm.load` loads."""
    from textunlearn.inspect_bridge.provider import TextunlearnAPI

    return TextunlearnAPI
