"""What a training row costs at the size of real models, computed from their configurations: nothing here was run.

Counted, as PyTorch's flop counter counts, are the matrix products: the linear layers of the language model, its attention (all
pairs of positions, backward twice the forward), the head at the answer positions only, and vision tower and projector, which are
frozen, once a picture. Left out: norms, activations, rotations, the loss, the optimizer and a method's reference model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Training = Literal["lora", "full"]


@dataclass(frozen=True, slots=True)
class Decoder:
    """The language model, as its configuration has it. ``head_dim`` 0: hidden / heads."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vocabulary: int
    head_dim: int = 0

    @property
    def attention_width(self) -> int:
        """Numbers a position that queries have over all heads."""
        return self.heads * (self.head_dim or self.hidden // self.heads)

    @property
    def key_width(self) -> int:
        """Numbers a position that keys (and values) have over all heads."""
        return self.kv_heads * (self.head_dim or self.hidden // self.heads)

    def linear(self) -> Iterator[tuple[int, int, bool]]:
        """(inputs, outputs, reads the layer's own input) of the linear layers in one layer: q, k, v, o, gate, up, down."""
        h, q, k, i = self.hidden, self.attention_width, self.key_width, self.intermediate
        yield from ((h, q, True), (h, k, True), (h, k, True), (q, h, False))
        yield from ((h, i, False), (h, i, False), (i, h, False))


@dataclass(frozen=True, slots=True)
class Vision:
    """Vision tower and projector for one picture.

    Attributes:
        grid: patches a side of one view.
        views: tiles that the picture is cut into, the overview among them.
        extra: tokens of a view beside its patches (CLIP: the class token).
        frames: copies of the picture a patch reads (Qwen2.5-VL: 2).
        gated: three matrices in the MLP, not two.
        window: patches a side of an attention window, 0 = all see all; ``full`` layers see all nevertheless.
        merge: patches a side that become one image token.
        projector: widths of the projector from first input to last output.
    """

    hidden: int
    layers: int
    intermediate: int
    patch: int
    grid: int
    projector: tuple[int, ...]
    views: int = 1
    extra: int = 0
    frames: int = 1
    gated: bool = False
    window: int = 0
    full: int = 0
    merge: int = 1

    @property
    def image_tokens(self) -> int:
        """What one picture takes of the language model's input."""
        return self.views * (self.grid // self.merge) ** 2


@dataclass(frozen=True, slots=True)
class Geometry:
    """A model by its configuration; ``note`` says what was assumed."""

    name: str
    decoder: Decoder
    vision: Vision
    note: str


@dataclass(frozen=True, slots=True)
class RowLengths:
    """Mean tokens of training rows.

    Attributes:
        typed: the prompt of a typed row, chat template included.
        beside: the prompt of a row with a picture, image tokens left out.
        words: image slots that the words of a request fill.
        answers: answer tokens of a row, all its answers together.
        measured: counted in a run; otherwise assumed.
    """

    typed: float
    beside: float
    words: float
    answers: float
    measured: bool = True


ASSUMED = RowLengths(typed=60, beside=45, words=20, answers=24, measured=False)
"""Where a run recorded no row lengths."""


@dataclass(frozen=True, slots=True)
class GeometryCost:
    """FLOPs of one training row of each kind at one geometry, computed."""

    name: str
    note: str
    image_tokens: int
    typed: float
    words: float
    """Text in the image slots, blanks left out."""
    slots: float
    """Text in the image slots, all of them in use."""
    picture: float
    """A row with a picture, without vision encoding."""
    vision: float
    """Vision encoding of one picture."""

    @property
    def ratio(self) -> float:
        """Picture row over typed row if every picture is encoded once and then kept for ever."""
        return self.picture / self.typed

    @property
    def ratio_encoding(self) -> float:
        """Picture row over typed row if the picture is encoded each time the row is used, as an ordinary trainer does."""
        return (self.picture + self.vision) / self.typed


def training_flops(
    decoder: Decoder, length: float, answers: float, training: Training = "lora", rank: int = 0, skip: int = 0
) -> float:
    """FLOPs, forward and backward, of one row of ``length`` tokens of which ``answers`` positions are read by the head.

    With LoRA a frozen matrix costs 2 FLOPs a weight forward and 2 backward (4 P a token), trained in full 2 and 4 (6 P); head and
    embeddings are frozen in both. With LoRA, what reads the first trained layer's input passes no gradient on; in full training
    it does, for the norm before it is trained too.

    Args:
        rank: of LoRA, on all seven linear layers of a layer.
        skip: layers, from the input on, that are not trained: only their forward pass runs.
    """
    full = training == "full"
    total = 0.0
    for layer in range(decoder.layers):
        trained = layer >= skip
        for inputs, outputs, first in decoder.linear():
            backward = trained and (full or not (first and layer == skip))
            products = 1 + backward + (trained and full)
            total += 2 * inputs * outputs * products * length
            if trained and not full:
                # A and B forward; both weight gradients; B's input gradient; A's, where it is needed
                total += 2 * rank * ((inputs + outputs) * 2 + outputs + backward * inputs) * length
        total += (3 if trained else 1) * 4 * decoder.attention_width * length**2
    return total + 2 * 2 * decoder.hidden * decoder.vocabulary * answers


def vision_flops(vision: Vision) -> float:
    """FLOPs of encoding one picture: the whole tower, every layer of it, and the projector; forward only."""
    patches = vision.grid**2
    tokens = patches + vision.extra
    h, i = vision.hidden, vision.intermediate
    embed = 2 * patches * 3 * vision.frames * vision.patch**2 * h
    linear = vision.layers * 2 * tokens * (4 * h * h + (3 if vision.gated else 2) * h * i)
    full = vision.full if vision.window else vision.layers
    pairs = full * tokens**2 + (vision.layers - full) * _window_pairs(vision)
    projector = sum(a * b for a, b in zip(vision.projector, vision.projector[1:], strict=False))
    return float(vision.views * (embed + linear + 4 * h * pairs) + 2 * vision.image_tokens * projector)


def _window_pairs(vision: Vision) -> int:
    """Pairs of patches that see each other in windows; the last window of a row may be narrower."""
    if not vision.window:
        return 0
    whole, rest = divmod(vision.grid, vision.window)
    return (whole * vision.window**2 + rest**2) ** 2


VICUNA = Decoder(hidden=4096, layers=32, heads=32, kv_heads=32, intermediate=11008, vocabulary=32064)
CLIP = Vision(hidden=1024, layers=24, intermediate=4096, patch=14, grid=24, projector=(1024, 4096, 4096), extra=1)
QWEN_VISION = Vision(
    hidden=1280,
    layers=32,
    intermediate=3420,
    patch=14,
    grid=54,
    projector=(5120, 5120, 3584),
    frames=2,
    gated=True,
    window=8,
    full=4,
    merge=2,
)
GEOMETRIES: tuple[Geometry, ...] = (
    Geometry(
        "LLaVA-1.5-7B",
        VICUNA,
        CLIP,
        "Vicuna-7B and CLIP ViT-L/14 at 336 pixels: 576 image tokens, whatever the picture.",
    ),
    Geometry(
        "LLaVA-NeXT (Vicuna-7B)",
        VICUNA,
        replace(CLIP, views=5),
        "A square picture of 672 pixels: four tiles and the overview, 5 × 576 = 2,880 image tokens, its most; newline tokens left out.",
    ),
    Geometry(
        "Qwen2.5-VL-7B",
        Decoder(hidden=3584, layers=28, heads=28, kv_heads=4, intermediate=18944, vocabulary=152064),
        QWEN_VISION,
        "Image tokens follow the picture's size: FigStep's 760 pixels become 756, 54 × 54 patches, 729 image tokens.",
    ),
)
"""From the models' published configurations."""


def cost_table(
    rows: RowLengths = ASSUMED,
    training: Training = "lora",
    rank: int = 16,
    geometries: Sequence[Geometry] = GEOMETRIES,
) -> list[GeometryCost]:
    """One entry a geometry. Rows are as long as ``rows`` says, only the image tokens are the geometry's own."""

    def row(decoder: Decoder, prompt: float) -> float:
        return training_flops(decoder, prompt + rows.answers, rows.answers, training, rank)

    return [
        GeometryCost(
            one.name,
            one.note,
            one.vision.image_tokens,
            typed=row(one.decoder, rows.typed),
            words=row(one.decoder, rows.beside + min(rows.words, one.vision.image_tokens)),
            slots=row(one.decoder, rows.beside + one.vision.image_tokens),
            picture=row(one.decoder, rows.beside + one.vision.image_tokens),
            vision=vision_flops(one.vision),
        )
        for one in geometries
    ]
