"""Generate answers in batches, and keep each as soon as it exists.

Rows are sorted by length and padded on the left; the chat's system text, the same in every row, is encoded once and its keys
and values are shared. An answer is stored under the model's hash and the case's id, so a run that was cut off goes on where
it stopped, and another judge or report never generates again.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from textunlearn.errors import UserError
from textunlearn.evaluation.batching import in_batches
from textunlearn.files import append_records, read_records
from textunlearn.pictures import open_picture, pixel_hash
from textunlearn.records import Answer, Case
from textunlearn.sounds import open_sound
from textunlearn.vlm import hearing
from textunlearn.vlm.image_features import ImageFeatures
from textunlearn.vlm.image_features import cached as image_features
from textunlearn.vlm.load import Vlm
from textunlearn.vlm.model import per_token

TOKEN_TYPES = ("mm_token_type_ids", "token_type_ids")
"""What processors (Qwen2-VL's, Gemma 3's) say of each token: 1 for an image's."""


@dataclass(frozen=True)
class Request:
    """What the model sees: token ids; with pictures and sounds, ``ids`` hold their tokens, ``images`` and ``sounds`` are the files.

    Attributes:
        pixels: hash of each picture's pixels (`pictures.pixel_hash`); () where nobody has looked at them yet.
        beside: what the processor says of the pictures beside their pixels (grids, sizes): tensors with a row for each.
    """

    ids: tuple[int, ...]
    images: tuple[Path, ...] = ()
    prefill: str = ""
    pixels: tuple[str, ...] = ()
    beside: Mapping[str, Any] = field(default_factory=dict, compare=False)
    sounds: tuple[Path, ...] = ()

    @property
    def media(self) -> tuple[int, int]:
        """How many pictures and sounds it has."""
        return len(self.images), len(self.sounds)

    @property
    def per_token(self) -> dict[str, Any]:
        """What of ``beside`` has an entry for each token: token types, Mllama's cross-attention mask."""
        return {k: v for k, v in self.beside.items() if per_token(v, len(self.ids))}


def requests(vlm: Vlm, cases: Sequence[Case], folder: Path) -> list[Request]:
    """Token ids of each case in the model's chat template. ``folder``: what the cases' image paths are relative to.

    UserError for pictures, or several in one turn, that the model does not take, and for one that cannot be read.
    """
    require_pictures(vlm, cases)
    out = []
    for case in cases:
        rendered = vlm.text_of(case.text, images=len(case.images), sounds=len(case.sounds), prefill=case.prefill)
        images, sounds = ([folder / path for path in paths] for paths in (case.images, case.sounds))
        request = request_of(vlm, rendered, images, case.prefill, sounds)
        vlm.require_fits(len(request.ids), f"the request {case.prompt.text[:40]!r} … of {case.suite}")
        out.append(request)
    return out


def request_of(
    vlm: Vlm, rendered: str, images: Sequence[Path] = (), prefill: str = "", sounds: Sequence[Path] = ()
) -> Request:
    """The request of a chat that is ``rendered`` in the model's template; ``images`` and ``sounds`` in the order of their tokens in it.

    UserError for a picture or a sound that cannot be read.
    """
    if not images and not sounds:
        return Request(tuple(vlm.encode(rendered)), (), prefill)
    # Image tokens must be as many as the processor makes for these very images.
    pictures = [open_picture(image) for image in images]
    try:
        ids, given = vlm.with_images(rendered, pictures, [open_sound(path) for path in sounds])
    except (
        ValueError,
        TypeError,
        LookupError,
        RuntimeError,
        ArithmeticError,
    ) as error:  # how processors refuse differs
        said = " ".join(str(error).split())[:200]
        sizes = [f"{path} ({p.width} x {p.height})" for path, p in zip(images, pictures, strict=True)]
        listed = ", ".join([*sizes, *map(str, sounds)])
        raise UserError(
            f"{vlm.name} cannot be shown {listed}: {said}; give the picture another shape, or leave it out"
        ) from error
    if sounds:  # what is heard is prepared again for each batch: its features are larger than pixels
        known = {k: v for k, v in given.items() if per_token(v, len(ids))}
        return Request(tuple(ids), tuple(images), prefill, beside=known, sounds=tuple(sounds))
    beside = {k: v for k, v in given.items() if not k.startswith("pixel_")}
    whole = all(hasattr(v, "is_floating_point") for v in beside.values())  # tensors; else they are asked for again
    hashes = tuple(map(pixel_hash, pictures)) if whole else ()
    return Request(tuple(ids), tuple(images), prefill, hashes, beside if whole else {})


def require_pictures(vlm: Vlm, cases: Sequence[Case]) -> None:
    """UserError naming the suites with more pictures in a turn than ``vlm`` takes, or with sounds where it takes none."""
    if vlm.audio_token_id is None and (heard := dict.fromkeys(case.suite for case in cases if case.sounds)):
        raise UserError(f"{vlm.name} takes no sound; leave the suites {', '.join(heard)} out of evaluation.suites")
    most = 0 if vlm.image_token_id is None else 1
    if suites := dict.fromkeys(case.suite for case in cases if len(case.images) > most):
        listed = ", ".join(map(repr, suites))
        if most == 0:
            raise UserError(f"{vlm.name} takes no images; leave image suites such as {listed} out of evaluation.suites")
        if not vlm.takes_several:
            raise UserError(
                f"{vlm.name} takes one picture in a turn, and {listed} show several; leave them out of evaluation.suites"
            )


def generate(
    vlm: Vlm,
    asked: Sequence[Request],
    max_new_tokens: int,
    done: Callable[[list[int], list[Answer]], None] | None = None,
    batch_size: int | None = None,
    features: ImageFeatures | None = None,
) -> list[Answer]:
    """Greedy answers, in the order asked.

    Args:
        done: ``done(indices, answers)`` is called after each batch (to store them, to show progress).
        batch_size: rows at once; None: found as it goes (`batching`).
        features: where pictures' features are kept; without it each batch encodes its pictures anew.
    """
    out: list[Answer | None] = [None] * len(asked)
    # Rows with as many pictures go in one batch: each kind then costs what it must, and no processor has to pad pictures.
    order = sorted(range(len(asked)), key=lambda i: (asked[i].media, len(asked[i].ids)))

    def work(some: list[int]) -> list[tuple[str, int, bool]]:
        return _batch(vlm, [asked[i] for i in some], max_new_tokens, features)

    for some, texts in in_batches(order, batch_size, lambda i: asked[i].media, work, vlm):
        answers = [
            Answer("", asked[i].prefill + text, tokens, finished)
            for i, (text, tokens, finished) in zip(some, texts, strict=True)
        ]
        for i, answer in zip(some, answers, strict=True):
            out[i] = answer
        if done is not None:
            done(some, answers)
    return [answer for answer in out if answer is not None]


def _batch(
    vlm: Vlm, asked: Sequence[Request], max_new_tokens: int, features: ImageFeatures | None = None
) -> list[tuple[str, int, bool]]:
    """Text, number of tokens, and whether it came to its end, of each answer."""
    generated, longest = run(vlm, asked, features, max_new_tokens=max_new_tokens)
    ends = set(vlm.stop_ids())
    out = []
    for row in generated[:, longest:].tolist():
        stop = next((i for i, token in enumerate(row) if token in ends), None)
        kept = row if stop is None else row[:stop]
        out.append((vlm.tokenizer.decode(kept, skip_special_tokens=True), len(kept), stop is not None))
    return out


def run(
    vlm: Vlm,
    asked: Sequence[Request],
    features: ImageFeatures | None,
    *,
    max_new_tokens: int,
    apart: int = 1,
    share: bool = True,
    **options: Any,
) -> tuple[Any, int]:
    """``generate`` of the model, greedy, for rows with equally many pictures, padded on the left behind what they share.

    Args:
        apart: tokens at each row's end that are not taken for shared, though they may be the same.
        share: whether the rows' common beginning may be run once for all: not where they are not put to the same weights.
        options: more of ``generate``.

    Returns:
        its token ids, rows x (length of the longest request + new tokens), and that length.
    """
    import torch

    from textunlearn.vlm.attention import quick_attention
    from textunlearn.vlm.roomy_cache import only_attends, roomy_cache

    pad = vlm.tokenizer.pad_token_id
    may_share = only_attends(vlm.base.config) and all(_goes_on(vlm, r) for r in asked)
    shared = _shared(asked, vlm.image_token_id, apart, vlm.audio_token_id) if may_share and share else 0
    longest = max(len(r.ids) for r in asked)
    gaps = [longest - len(r.ids) for r in asked]
    rows, mask = [], []
    for r, gap in zip(asked, gaps, strict=True):
        rows.append([*r.ids[:shared], *[pad] * gap, *r.ids[shared:]])
        mask.append([1] * shared + [0] * gap + [1] * (len(r.ids) - shared))
    inputs: dict[str, Any] = {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(mask)}
    if any(asked[0].media):
        extra, pixels = _looked_at(vlm, asked, features)
        told = [r.per_token for r in asked]
        known = set.intersection(*map(set, told))
        inputs |= {k: v for k, v in extra.items() if k not in (*TOKEN_TYPES, *known, "labels")}
        for name in known:  # what the processor said of each token, laid out as the tokens are
            inputs[name] = torch.cat([_spread(one[name], shared, gap) for one, gap in zip(told, gaps, strict=True)])
        inputs |= {
            k: (inputs["input_ids"] == vlm.image_token_id).long() for k in TOKEN_TYPES if k in extra and k not in known
        }
        if features is not None and asked[0].images:
            paths = [path for r in asked for path in r.images]
            inputs = features.without_pixels(inputs, list(zip(pixels, paths, strict=True)))
    dtype = vlm.embed.weight.dtype
    ready = {k: v for k, v in inputs.items() if not hasattr(v, "is_floating_point")}
    inputs = ready | {
        k: v.to(vlm.device, dtype) if v.is_floating_point() else v.to(vlm.device)
        for k, v in inputs.items()
        if k not in ready
    }
    _forget_positions(vlm)
    # Weights that are put together in inference mode could not be trained afterwards.
    mode = torch.no_grad() if vlm.sharded else torch.inference_mode()
    with mode, _head_in_one_piece(vlm), quick_attention(vlm.decoder):
        if shared:
            cache = _prefix_cache(vlm, asked[0].ids[:shared], len(asked), longest + max_new_tokens)
            inputs[_cache_name(vlm)] = cache
        elif may_share and not share:
            inputs[_cache_name(vlm)] = roomy_cache(vlm.base.config, longest + max_new_tokens)
        generated = vlm.model.generate(
            **inputs,
            **options,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            top_p=None,
            top_k=None,
            temperature=None,
        )
    return generated, longest


def _looked_at(vlm: Vlm, asked: Sequence[Request], features: ImageFeatures | None) -> tuple[dict[str, Any], list[str]]:
    """What the processor gives for the pictures of a batch but ids and mask, and (with ``features``) the hash of each one's pixels.

    Where features stand for the pixels and `requests` has looked at all pictures, none is opened again.
    """
    import torch

    beside = [{k: v for k, v in r.beside.items() if k not in r.per_token} for r in asked]
    rows = {tuple((k, v.shape[1:]) for k, v in one.items()) for one in beside}
    if features is not None and all(r.pixels for r in asked) and len(rows) == 1:
        joined = {k: torch.cat([one[k] for one in beside]) for k in beside[0]}
        return joined, [sha256 for r in asked for sha256 in r.pixels]
    images = [[open_picture(path) for path in r.images] for r in asked]
    # The processor is asked for the pixels and features only; the ids are those of `requests`.
    texts = [vlm.text_of("", images=len(asked[0].images), sounds=len(asked[0].sounds))] * len(images)
    # A list for each row: Gemma 3 takes a flat one for the pictures of a single row.
    if asked[0].sounds:
        heard = [[open_sound(path) for path in r.sounds] for r in asked]
        given = hearing.prepared(vlm, texts, heard, **({"images": images} if asked[0].images else {}))
    else:
        given = vlm.processor(images=images, text=texts, return_tensors="pt", padding=True)
    extra = {k: v for k, v in given.items() if k not in ("input_ids", "attention_mask")}
    return extra, [pixel_hash(image) for row in images for image in row] if features is not None else []


def _forget_positions(vlm: Vlm) -> None:
    """Qwen2-VL and its kin keep by how much the pictures of the last batch shifted the positions, and take that for the next one
    where it goes on from a cache: typed rows after pictured ones would stand in wrong places and be answered otherwise."""
    for module in vlm.base.modules():
        if getattr(module, "rope_deltas", None) is not None:
            module.rope_deltas = None


@contextmanager
def _head_in_one_piece(vlm: Vlm) -> Iterator[None]:
    """The states of each row's last position are a view with gaps, for which PyTorch multiplies row by row and copies the head's
    weights for every row: gigabytes, and most of the time of a batch in bfloat16. In one piece it is one product."""
    handle = vlm.head.register_forward_pre_hook(lambda _, given: (given[0].contiguous(), *given[1:]))
    try:
        yield
    finally:
        handle.remove()


def _spread(value: Any, shared: int, gap: int) -> Any:
    """A row's ``(1, tokens, ...)`` with ``gap`` zeros behind the first ``shared`` tokens."""
    import torch

    zeros = value.new_zeros(1, gap, *value.shape[2:])
    return torch.cat([value[:, :shared], zeros, value[:, shared:]], 1)


def _goes_on(vlm: Vlm, request: Request) -> bool:
    """Whether what stands before a picture or sound is as it would be without: not where a picture is attended to from the side
    (Mllama) or the prompt in both directions (PaliGemma, whose token types do not tell pictures from words)."""
    media = [i for i, token in enumerate(request.ids) if token in (vlm.image_token_id, vlm.audio_token_id)]
    return all(value.dim() == 2 and all(bool(value[0, i]) for i in media) for value in request.per_token.values())


def _shared(asked: Sequence[Request], image_token: int | None, apart: int = 1, audio_token: int | None = None) -> int:
    """How many tokens every row begins with (at least ``apart`` are left, and images and sounds are not shared)."""
    n = 0
    for column in zip(*(r.ids[:-apart] for r in asked), strict=False):
        if len(set(column)) > 1 or column[0] in (image_token, audio_token):
            break
        n += 1
    return n


def _cache_name(vlm: Vlm) -> str:
    """What the model calls its key/value cache: ``cache`` since transformers 5.24, which takes the old name away in 5.40."""
    return "cache" if "cache" in inspect.signature(vlm.base.forward).parameters else "past_key_values"


def _prefix_cache(vlm: Vlm, prefix: tuple[int, ...], rows: int, room: int) -> Any:
    """Keys and values of ``prefix`` for so many rows, with room for ``room`` tokens in all."""
    import torch

    from textunlearn.vlm.roomy_cache import roomy_cache

    ids = torch.tensor([prefix], device=vlm.device)
    cache = roomy_cache(vlm.base.config, room)  # filled in place
    vlm.model(input_ids=ids, use_cache=True, logits_to_keep=1, **{_cache_name(vlm): cache})
    cache.batch_repeat_interleave(rows)
    return cache


class Answerer(Protocol):
    """A model that is not in memory, such as an `Endpoint`: it may fail at single cases."""

    @property
    def name(self) -> str: ...

    def answer(
        self,
        cases: Sequence[Case],
        folder: Path,
        max_new_tokens: int,
        keep: Callable[[list[int], list[Answer]], None],
        failed: Callable[[int, str], None],
    ) -> None:
        """Put ``cases`` to the model. ``keep(indices, answers)`` takes answers as they come, ``failed(index, why)`` a failure."""


def answer_cases(
    model: Vlm | Answerer,
    cases: Sequence[Case],
    folder: Path,
    store: Path,
    max_new_tokens: int,
    progress: Callable[[int, int], None] | None = None,
    batch_size: int | None = None,
    failures: dict[str, str] | None = None,
) -> list[Answer]:
    """Answers to ``cases``, from ``store`` (JSON lines) where they are already, asked for and appended otherwise.

    Args:
        model: in memory, or behind an endpoint.
        folder: what the cases' image paths are relative to.
        progress: ``progress(done, total)`` counts distinct cases that are answered.
        batch_size: rows at once of a model in memory; None: found as it goes.
        failures: filled, while it goes on, with the ids of cases that got no answer, and why. They are not in the store, so the
            next start asks them again, and not in the result. Without it, failures are a UserError once all cases were tried.
    """
    distinct = {case.id: case for case in cases}
    known = {answer.case: answer for answer in read_records(store, Answer)}
    missing = [case for key, case in distinct.items() if key not in known]
    count = len(distinct) - len(missing)
    failed: dict[str, str] = {} if failures is None else failures
    if progress is not None:
        progress(count, len(distinct))

    def keep(indices: list[int], answers: list[Answer]) -> None:
        nonlocal count
        named = [Answer(missing[i].id, a.text, a.tokens, a.finished) for i, a in zip(indices, answers, strict=True)]
        append_records(store, named)
        known.update({a.case: a for a in named})
        count += len(named)
        if progress is not None:
            progress(count, len(distinct))

    if isinstance(model, Vlm):
        generate(model, requests(model, missing, folder), max_new_tokens, keep, batch_size, image_features(model))
    elif missing:
        model.answer(missing, folder, max_new_tokens, keep, lambda i, why: failed.update({missing[i].id: why}))
    if failed and failures is None:
        raise UserError(
            f"{model.name} left {len(failed)} of {len(distinct)} cases without an answer (the first: {next(iter(failed.values()))}); "
            "the others are kept, so run the same command again to ask these once more"
        )
    return [known[key] for key in distinct if key in known]
