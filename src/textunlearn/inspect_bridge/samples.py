"""Our cases as Inspect's samples, and back."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inspect_ai.dataset import Sample
from inspect_ai.model import ChatMessage, ChatMessageAssistant, ChatMessageUser, ContentAudio, ContentImage, ContentText

from textunlearn.endpoint.messages import data_uri
from textunlearn.errors import UserError
from textunlearn.records import HEADLINE, Case, Prompt
from textunlearn.sounds import open_sound, wav


def samples_of(cases: Sequence[Case], folder: Path) -> list[Sample]:
    """A sample a case.

    Args:
        folder: what the cases' image paths are relative to. The bytes of pictures and sounds go into the samples.
    """
    out = []
    for name, case in zip(names_of(cases), cases, strict=True):
        uris = [data_uri(folder / image) for image in case.images]
        sounds = [sound_uri(folder / sound) for sound in case.sounds]
        out.append(
            Sample(input=input_of(case, uris, sounds), target=target_of(case), id=name, metadata=metadata_of(case))
        )
    return out


def names_of(cases: Sequence[Case]) -> list[str]:
    """What each sample is called: the case's id, with a number behind it where an earlier one of the suite shows the same."""
    seen: Counter[str] = Counter()
    out = []
    for case in cases:
        seen[case.id] += 1
        out.append(case.id if seen[case.id] == 1 else f"{case.id}-{seen[case.id]}")
    return out


def sound_uri(path: Path) -> str:
    """A sound as a data URI. UserError for one that cannot be read."""
    return "data:audio/wav;base64," + base64.b64encode(wav(open_sound(path))).decode()


def input_of(case: Case, images: Sequence[str], sounds: Sequence[str] = ()) -> list[ChatMessage]:
    """What is shown: ``images``, then ``sounds`` (files or data URIs) before the words, and the words that the answer begins with as
    the model's own."""
    parts: list[ContentImage | ContentAudio] = [ContentImage(image=image) for image in images]
    parts += [ContentAudio(audio=sound, format="wav") for sound in sounds]
    content = [*parts, *([ContentText(text=case.text)] if case.text or not parts else [])]
    out: list[ChatMessage] = [ChatMessageUser(content=list(content) if parts else case.text)]
    return [*out, ChatMessageAssistant(content=case.prefill)] if case.prefill else out


def target_of(case: Case) -> str:
    """What the answer must not be, in words."""
    return f"not {HEADLINE[case.prompt.kind]}"


def metadata_of(case: Case) -> dict[str, Any]:
    """What `case_of` and the metric need, and what a reader sorts by."""
    prompt = case.prompt
    return {
        "kind": prompt.kind,
        "suite": case.suite,
        "attack": case.attack,
        "source": prompt.source,
        "form": prompt.form,
        "category": prompt.category,
        "request": prompt.request,
        "prefill": case.prefill,
        "images_sha256": list(case.images_sha256),
        **({"sounds_sha256": list(case.sounds_sha256)} if case.sounds else {}),
    }


def case_of(metadata: Mapping[str, Any], shown: str) -> Case:
    """The case behind a sample; ``shown``: the words of its last user's turn. Samples of other tasks need a ``kind`` at least.

    UserError for a sample without one.
    """
    kind = metadata.get("kind")
    if kind not in HEADLINE:
        raise UserError(
            f"the scorer textunlearn/verdict must know whether a request is harmful: give each sample the metadata kind, one of "
            f"{', '.join(HEADLINE)} (here it is {kind!r})"
        )

    def word(name: str) -> str:
        return str(metadata.get(name) or "")

    prompt = Prompt(str(metadata.get("request") or shown), kind, word("source"), word("form"), word("category"))
    hashes, heard = (tuple(metadata.get(name) or ()) for name in ("images_sha256", "sounds_sha256"))
    return Case(word("suite"), word("attack"), prompt, shown, (), hashes, word("prefill"), sounds_sha256=heard)
