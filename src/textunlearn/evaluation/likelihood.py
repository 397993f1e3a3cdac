"""How likely each of several continuations of a request is, in batches.

The engine is that of `evaluation.generation`: rows padded on the left, what all rows begin with encoded once, pictures' features kept. A
row is a request with a continuation but for its last token; continuations that differ in that token alone, as letters do, share one row.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from textunlearn.evaluation.batching import BATCH, in_batches
from textunlearn.evaluation.generation import Request, run
from textunlearn.vlm.image_features import ImageFeatures

if TYPE_CHECKING:
    from textunlearn.vlm.load import Vlm

LOGITS = 64_000_000
"""Logits held at once, at most (float32: 256 MB): rows x positions looked at x vocabulary."""


@dataclass(frozen=True, slots=True)
class Choices:
    """A request and what may follow it: token ids of each continuation."""

    request: Request
    continuations: tuple[tuple[int, ...], ...]


def choices(vlm: Vlm, request: Request, rendered: str, texts: Sequence[str]) -> Choices:
    """``request`` (of the chat ``rendered``) with ``texts`` as beginnings of the model's turn.

    Both are encoded together, as a model would see them; where a token would reach over the seam, it is scored whole.
    """
    alone = vlm.encode(rendered)
    wholes = [vlm.encode(rendered + vlm.as_words(text)) for text in texts]
    seam = next((i for i, ids in enumerate(zip(alone, *wholes, strict=False)) if len(set(ids)) > 1), len(alone))
    kept = len(request.ids) - (len(alone) - seam)  # pictures take more tokens in the request, all before the seam
    return Choices(replace(request, ids=request.ids[:kept]), tuple(tuple(whole[seam:]) for whole in wholes))


def likelihoods(
    vlm: Vlm,
    asked: Sequence[Choices],
    done: Callable[[list[int], list[tuple[float, ...]]], None] | None = None,
    batch_size: int | None = None,
    features: ImageFeatures | None = None,
) -> list[tuple[float, ...]]:
    """Log-likelihood in nats of each continuation, summed over its tokens, for each of ``asked``.

    Args:
        done: ``done(indices, values)`` is called for what is complete after each batch (to store it, to show progress).
        features: where pictures' features are kept; without it each batch encodes its pictures anew.
    """
    order = sorted(range(len(asked)), key=lambda i: (len(asked[i].request.images), _length(asked[i])))
    rows: dict[tuple[int, tuple[int, ...]], list[tuple[int, int]]] = {}
    for i in order:  # of one question side by side, so that it is complete soon
        for j, tokens in enumerate(asked[i].continuations):
            rows.setdefault((i, tokens[:-1]), []).append((i, j))
    keys = list(rows)
    tails = [1 + len(begun) for _, begun in keys]
    found: list[list[float | None]] = [[None] * len(one.continuations) for one in asked]
    out: list[tuple[float, ...]] = [()] * len(asked)
    widest = max(tails, default=1)
    table: Any = vlm.embed.weight
    size = max(1, min(batch_size or BATCH, LOGITS // (widest * table.shape[0])))

    def work(some: list[int]) -> list[list[float]]:
        requests = []
        for row in some:
            i, begun = keys[row]
            requests.append(replace(asked[i].request, ids=asked[i].request.ids + begun))
        logs = _log_softmax(vlm, requests, max(tails[row] for row in some), features)
        return [
            [_sum(logs[number], asked[i].continuations[j]) for i, j in rows[keys[row]]]
            for number, row in enumerate(some)
        ]

    def alike(row: int) -> int:
        return len(asked[keys[row][0]].request.images)

    for some, values in in_batches(range(len(keys)), size, alike, work):
        complete = []
        for row, sums in zip(some, values, strict=True):
            for (i, j), value in zip(rows[keys[row]], sums, strict=True):
                found[i][j] = value
            i = keys[row][0]
            if None not in found[i]:
                out[i] = tuple(value for value in found[i] if value is not None)
                complete.append(i)
        if done is not None and complete:
            done(complete, [out[i] for i in complete])
    return out


def _length(one: Choices) -> int:
    return len(one.request.ids) + max(map(len, one.continuations))


def _log_softmax(vlm: Vlm, requests: Sequence[Request], positions: int, features: ImageFeatures | None) -> Any:
    """Log-probabilities at the last ``positions`` of each row: rows x positions x vocabulary, float32.

    ``generate`` is asked for one token, since it knows how each family wants its positions, its cache and its pictures' features; what
    the model gave on the way is taken down.
    """
    taken: list[Any] = []
    handle = vlm.base.register_forward_hook(lambda _module, _given, output: taken.append(output.logits))
    takes = "logits_to_keep" in inspect.signature(vlm.base.forward).parameters
    options: dict[str, Any] = {"logits_to_keep": positions} if takes else {}
    try:
        run(vlm, requests, features, apart=positions, max_new_tokens=1, **options)
    finally:
        handle.remove()
    return taken[-1][:, -positions:].float().log_softmax(-1)


def _sum(logs: Any, tokens: tuple[int, ...]) -> float:
    """Of one row; its last position tells of the last of ``tokens``."""
    import torch

    index = torch.tensor(tokens, device=logs.device)
    return float(logs[-len(tokens) :].gather(-1, index[:, None]).sum())
