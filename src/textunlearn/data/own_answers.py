"""What the training prompts are answered with: the answer that came with a harmful one, or what the original model itself says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from textunlearn.records import Answer, Case, Prompt


def asked(prompt: Prompt) -> Case:
    """The case under which the original model's answer to a training prompt is stored."""
    return Case("train", "direct", prompt, prompt.text)


def given(prompts: Iterable[Prompt]) -> dict[str, str]:
    """By prompt id the answers that came with harmful prompts; the model is not asked these."""
    return {prompt.id: prompt.reference for prompt in prompts if prompt.kind == "harmful" and prompt.reference}


def answers_to(prompts: Sequence[Prompt], own: Iterable[Answer]) -> dict[str, str]:
    """By prompt id what is unlearned or kept. ``own``: the model's answers to all that came without one."""
    known, said = given(prompts), {answer.case: answer.text for answer in own}
    return known | {prompt.id: said[asked(prompt).id] for prompt in prompts if prompt.id not in known}
