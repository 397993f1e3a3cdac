"""One case of a run, what a model said to it and what judges say of that, as a sample of an Inspect log; redacted as the report is."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from inspect_ai.event import ModelEvent, ScoreEvent
from inspect_ai.log import EvalSample
from inspect_ai.model import GenerateConfig, ModelUsage

from textunlearn.endpoint.messages import data_uri
from textunlearn.inspect_bridge.provider import output
from textunlearn.inspect_bridge.samples import input_of, metadata_of, sound_uri, target_of
from textunlearn.inspect_bridge.scoring import score_of
from textunlearn.pictures import open_picture
from textunlearn.records import Answer, Case, Verdict, digest
from textunlearn.report.redaction import answer_hidden, blocks

SHOWN = 240
"""Pixels a side of a redacted picture."""


@dataclass(frozen=True)
class Side:
    """One of a run's models with what it said."""

    key: str
    """As the run's files call it."""
    name: str
    """As Inspect calls it."""
    args: dict[str, Any]
    base_url: str | None
    created: str
    """When its answers were written (ISO 8601, UTC)."""
    answers: Mapping[str, Answer]
    verdicts: Mapping[str, Mapping[str, Verdict]]
    """Judge -> case id -> verdict; first the judge whose verdicts the report shows."""

    @property
    def score_names(self) -> dict[str, str]:
        """Judge -> what its scores are called, as Inspect numbers several scorers of one name."""
        return {judge: f"verdict{number or ''}" for number, judge in enumerate(self.verdicts)}


@dataclass(frozen=True)
class Redaction:
    """What a log does not show. ``fixed``: (suite, words) that say nothing of any one request (`report.redaction`)."""

    fixed: frozenset[tuple[str, str]]

    def case(self, case: Case) -> Case:
        """The case without its request; as it is where that is harmless."""
        if case.prompt.kind != "harmful":
            return case
        prompt = replace(case.prompt, text=redacted(case.prompt.request), asked="")
        return replace(case, prompt=prompt, text=self._words(case, case.text), prefill=self._words(case, case.prefill))

    def _words(self, case: Case, text: str) -> str:
        return text if not text or (case.suite, text) in self.fixed else redacted(text)


def redacted(text: str) -> str:
    """What stands in place of ``text``."""
    return f"[redacted · {len(text):,} characters · SHA-256 {hashlib.sha256(text.encode()).hexdigest()[:12]}]"


def sample_of(run: Path, case: Case, name: str, side: Side, redaction: Redaction | None) -> EvalSample:
    """The sample called ``name``. ``run``: the folder that the case's image paths are relative to."""
    answer = side.answers[case.id]
    found = {judge: verdicts[case.id] for judge, verdicts in side.verdicts.items() if case.id in verdicts}
    label = next(iter(found.values())).label if found else ""
    hidden = redaction is not None and answer_hidden(case, answer.text, label)
    shown = redaction.case(case) if redaction is not None else case
    sounds = [] if shown is not case else [sound_uri(run / sound) for sound in case.sounds]
    asked = input_of(shown, [_picture(run / image, hidden=shown is not case) for image in case.images], sounds)
    # A log's output is what comes after the words that the answer had begun with, as models of Inspect give it.
    said = redacted(answer.text) if hidden else answer.text
    after = said if hidden else said.removeprefix(case.prefill)
    result = output(side.name, after, "stop" if answer.finished else "max_tokens", 0, answer.tokens, None)
    scores = {
        # a reason may quote the answer
        side.score_names[judge]: score_of(replace(v, reason="redacted with the answer") if hidden else v, said)
        for judge, v in found.items()
    }
    when = datetime.fromisoformat(side.created)
    # the transcript, which is what the viewer opens a sample with
    asking = ModelEvent(
        model=side.name,
        input=asked,
        tools=[],
        tool_choice="none",
        config=GenerateConfig(),
        output=result,
        timestamp=when,
        working_start=0,
    )
    scoring = [
        ScoreEvent(score=score, target=target_of(case), scorer=scorer, timestamp=when, working_start=0)
        for scorer, score in scores.items()
    ]
    return EvalSample(
        id=name,
        epoch=1,
        input=asked,
        target=target_of(case),
        messages=[*asked, result.message],
        output=result,
        scores=scores,
        metadata=metadata_of(shown),
        events=[asking, *scoring],
        model_usage={side.name: result.usage or ModelUsage()},
        started_at=side.created,
        completed_at=side.created,
        uuid=digest("inspect sample", side.name, side.key, case.suite, name, length=22),
    )


def _picture(path: Path, *, hidden: bool) -> str:
    """The picture as a data URI; if ``hidden``, as blocks. UserError for one that cannot be read."""
    if not hidden:
        return data_uri(path)
    from PIL import Image

    buffer = io.BytesIO()
    # drawn larger, since the viewer shows pictures in their own size
    blocks(open_picture(path)).resize((SHOWN, SHOWN), Image.Resampling.NEAREST).save(
        buffer, format="PNG", optimize=True
    )
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def used(side: Side, cases: Sequence[Case]) -> ModelUsage:
    """Tokens of the answers to ``cases``; a run does not say how many it asked with."""
    tokens = sum(side.answers[case.id].tokens for case in cases)
    return ModelUsage(output_tokens=tokens, total_tokens=tokens)
