"""The vision tower of the built-in model: it reads rendered text and says it in the language model's word pieces.

    pixels -> small CNN: for each 4 x 16 px cell a character, blank, and "a word starts here"
           -> characters in reading order -> the language model's own BPE -> one slot a word piece
           -> slot vector = mean of word-piece embeddings, weighted by how well each spells the characters seen

Only the CNN is learned. The rest follows from the tokenizer: the byte-pair merges say where pieces end, so an image gives the
very pieces that the typed text would give; the spelling weights keep the tower differentiable down to the pixels and let its
doubts (``i`` or ``l``?) reach the language model. It sees rendered text and nothing else: a photo gives blank slots.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

CHARACTERS = "".join(chr(code) for code in range(33, 127))
"""Printable ASCII without the space; class 0 of the CNN is blank, class ``i + 1`` is ``CHARACTERS[i]``."""
CELL_WIDTH, CELL_HEIGHT = 4, 16
MAX_PIECE = 14
"""Longest word piece that a slot can hold, in characters; longer vocabulary entries are left out."""
_PIECES = re.compile(r" ?[0-9]|'(?:s|t|re|ve|m|ll|d)| ?[A-Za-z]+| ?[^\sA-Za-z0-9]+")


class ReaderVisionConfig(PreTrainedConfig):
    """Shape of the tower. ``vocabulary`` and ``merges`` count the rows of the tables made from the tokenizer."""

    model_type = "textunlearn_reader"

    def __init__(
        self,
        hidden_size: int = 576,
        image_size: int = 160,
        patch_size: int = 22,
        widths: tuple[int, ...] = (24, 48, 96, 160),
        blocks: int = 3,
        vocabulary: int = 0,
        merges: int = 0,
        **kwargs: Any,
    ) -> None:
        self.hidden_size, self.image_size, self.patch_size = hidden_size, image_size, patch_size
        self.widths, self.blocks = list(widths), blocks
        self.vocabulary, self.merges = vocabulary, merges
        self.num_channels = 3
        super().__init__(**kwargs)


class ConvNorm(nn.Sequential):
    """Convolution (same padding) and batch norm."""

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int] = (1, 1)) -> None:
        padding = (kernel[0] // 2, kernel[1] // 2)
        super().__init__(nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False), nn.BatchNorm2d(outputs))


class CharacterCNN(nn.Module):
    """Grey image ``(batch, 1, height, width)`` in [-1, 1] -> logits ``(batch, 96, height / 16, width / 4)``.

    Channel 0 is blank, 1..94 the characters, 95 the logit of "this character starts a word".
    """

    def __init__(self, widths: tuple[int, ...], blocks: int) -> None:
        super().__init__()
        a, b, c, d = widths
        self.stem = nn.ModuleList(
            [
                ConvNorm(1, a, (5, 5), (2, 2)),
                ConvNorm(a, b, (3, 3), (2, 2)),
                ConvNorm(b, b, (3, 3)),
                ConvNorm(b, c, (3, 3), (2, 1)),
                ConvNorm(c, d, (3, 3), (2, 1)),
            ]
        )
        # Along the line: neighbouring letters tell rn from m, and where a word starts.
        self.line = nn.ModuleList([ConvNorm(d, d, (1, 7)) for _ in range(blocks)])
        self.head = nn.Conv2d(d, len(CHARACTERS) + 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = image
        for layer in self.stem:
            x = F.relu(layer(x))
        for layer in self.line:
            x = x + F.relu(layer(x))
        return self.head(x)


def occupied(logits: Tensor) -> Tensor:
    """Cells that hold a character: bool ``(batch, rows, columns)`` from CNN logits.

    A character on a border gets part of its probability in each of two cells. The stronger cell keeps it, if together they
    have enough; between rows the one with more ink nearby wins, so that a whole line stays in one row.
    """
    p = logits[:, :-1].float().softmax(1)
    best, character = p[:, 1:].max(1)
    ink = F.avg_pool2d(F.pad(1 - p[:, :1], (15, 15, 0, 0)), (1, 31), 1).squeeze(1)
    rows, columns = best.shape[1:]
    padded, padded_ink = F.pad(p, (1, 1, 1, 1)), F.pad(ink, (1, 1, 1, 1))
    total, wins = best.clone(), torch.ones_like(best, dtype=torch.bool)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            if down == right == 0:
                continue
            window = (..., slice(1 + down, 1 + down + rows), slice(1 + right, 1 + right + columns))
            theirs = padded[window].gather(1, (character + 1).unsqueeze(1)).squeeze(1)
            total = total + theirs
            if down == 0:
                beaten = theirs > best if right > 0 else theirs >= best
            else:
                mine, other = best + 5 * ink, theirs + 5 * padded_ink[window]
                beaten = (other > mine if down > 0 else other >= mine) & (theirs > 0.15)
            wins &= ~beaten
    # Thresholds chosen on drawings of this project's own requests.
    return (best > 0.8) | (wins & (total > 0.3) & (best > 0.2))


class ReaderVisionModel(PreTrainedModel):
    """``pixel_values (batch, 3, 160, 160)`` -> ``last_hidden_state (batch, 49, hidden_size)``: text first, then blanks."""

    config_class = ReaderVisionConfig
    config: ReaderVisionConfig
    main_input_name = "pixel_values"
    base_model_prefix = "reader"
    input_modalities = ("image",)  # type: ignore[assignment]  # a tuple in transformers' own models too
    _no_split_modules: list[str] = []  # noqa: RUF012
    embeddings: Tensor
    spelling: Tensor
    merge_table: Tensor

    def __init__(self, config: ReaderVisionConfig) -> None:
        super().__init__(config)
        self.cnn = CharacterCNN(tuple(config.widths), config.blocks)
        v = config.vocabulary
        # Tables made from the tokenizer by `fill_tables`; kept as weights' neighbours so that a checkpoint is complete.
        self.register_buffer("embeddings", torch.zeros(v + 1, config.hidden_size))  # last row: blank
        self.register_buffer("spelling", torch.zeros(v, MAX_PIECE + 1, dtype=torch.int32))
        self.register_buffer("merge_table", torch.zeros(config.merges, 3, dtype=torch.int32))
        self._bpe: WordPieces | None = None
        self.post_init()

    def train(self, mode: bool = True) -> ReaderVisionModel:
        """Stays in evaluation mode: its batch norms must not drift while the language model is trained (`train_reader` trains the CNN)."""
        return super().train(False)

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing here is trained from scratch outside `train_reader`; PyTorch's own initialisation stands."""

    @property
    def slots(self) -> int:
        return (self.config.image_size // self.config.patch_size) ** 2

    @property
    def pieces(self) -> WordPieces:
        if self._bpe is None:
            self._bpe = WordPieces(self.spelling, self.merge_table)
        return self._bpe

    def characters(self, pixel_values: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What stands where, in reading order.

        Returns ``(log_p (n, 94), starts (n,) bool, image (n,) long, first (batch + 1,) long)`` over all n characters of the
        batch; image b has the characters ``first[b]:first[b + 1]``.
        """
        grey = pixel_values.mean(1, keepdim=True).to(self.cnn.head.weight.dtype)
        logits = self.cnn(grey).float()
        cells = occupied(logits).nonzero()  # sorted by image, row, column: reading order
        image, row, column = cells.unbind(1)
        seen = logits[image, :, row, column]
        first = torch.searchsorted(image.contiguous(), torch.arange(len(grey) + 1, device=image.device))
        return seen[:, 1:-1].log_softmax(-1).clamp(min=-12), seen[:, -1] > 0, image, first

    def read(self, pixel_values: Tensor) -> list[str]:
        """The text of each image, words separated by one space."""
        with torch.no_grad():
            log_p, starts, _, first = self.characters(pixel_values)
        return [_text(log_p[a:b], starts[a:b]) for a, b in zip(first[:-1].tolist(), first[1:].tolist(), strict=True)]

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        log_p, starts, _, first = self.characters(pixel_values)
        batch, dtype = len(pixel_values), self.embeddings.dtype
        hidden = self.embeddings[-1].expand(batch, self.slots, -1).clone()
        where: list[tuple[int, int]] = []
        spans: list[tuple[int, int, int]] = []  # last character, length, leading space
        for b in range(batch):
            begin, end = int(first[b]), int(first[b + 1])
            position = begin
            for slot, (space, length) in enumerate(
                self.pieces(_text(log_p[begin:end], starts[begin:end]))[: self.slots]
            ):
                position += length
                where.append((b, slot))
                spans.append((position - 1, length, space))
        if where:
            index = torch.tensor(where, device=hidden.device)
            vectors = self._spell(log_p, torch.tensor(spans, device=hidden.device))
            hidden = hidden.index_put((index[:, 0], index[:, 1]), vectors.to(dtype))
        return BaseModelOutputWithPooling(last_hidden_state=hidden, pooler_output=hidden[:, 0], hidden_states=(hidden,))

    def _spell(self, log_p: Tensor, spans: Tensor) -> Tensor:
        """Expected embedding ``(m, hidden)`` of m spans: pieces of the span's length, weighted by their characters' probability."""
        ends, lengths, spaces = spans.unbind(1)
        back = torch.arange(MAX_PIECE, device=log_p.device)
        window = (ends[:, None] - back).clamp(min=0)
        scores = (
            log_p[window] * (back < lengths[:, None]).unsqueeze(-1)
            if len(log_p)
            else log_p.new_zeros(len(ends), MAX_PIECE, 94)
        )
        flat = torch.cat([scores.new_zeros(len(scores), 1), scores.flatten(1)], 1)  # (m, 1 + 14 * 94); entry 0 pads
        out = torch.empty(len(spans), self.embeddings.shape[1], device=log_p.device, dtype=torch.float32)
        parts = []
        group = lengths * 2 + spaces
        for g in group.unique():
            rows = (group == g).nonzero().squeeze(1)
            members = (self.spelling[:, MAX_PIECE] == g).nonzero().squeeze(1)
            columns = self.spelling[members, :MAX_PIECE].long()
            match = F.embedding_bag(columns, flat[rows].t().contiguous(), mode="sum", padding_idx=0)  # (members, rows)
            parts.append((rows, match.t().softmax(-1) @ self.embeddings[members].float()))
        for rows, vectors in parts:
            out = out.index_put((rows,), vectors)
        return out


def _text(log_p: Tensor, starts: Tensor) -> str:
    out: list[str] = []
    for character, start in zip(log_p.argmax(-1).tolist() if len(log_p) else [], starts.tolist(), strict=True):
        if start and out:
            out.append(" ")
        out.append(CHARACTERS[character])
    return "".join(out)


class WordPieces:
    """Byte-pair encoding of ASCII text with the language model's merges: text -> [(leading space 0/1, characters), ...]."""

    def __init__(self, spelling: Tensor, merges: Tensor) -> None:
        table = spelling.tolist()
        self.lengths = [(row[MAX_PIECE] % 2, row[MAX_PIECE] // 2) for row in table]
        self.singles = {_spelled(row): i for i, row in enumerate(table) if row[MAX_PIECE] in (1, 2)}
        self.ranks = {(a, b): (rank, c) for rank, (a, b, c) in enumerate(merges.tolist())}
        self._known: dict[str, list[tuple[int, int]]] = {}

    def __call__(self, text: str) -> list[tuple[int, int]]:
        return [piece for word in _PIECES.findall(text) for piece in self._word(word)]

    def _word(self, word: str) -> list[tuple[int, int]]:
        if word not in self._known:
            ids = [self.singles[c] for c in word]
            while not word[-1].isdigit():  # the tokenizer isolates digits: the space before one stands alone
                known = [(self.ranks[pair], at) for at, pair in enumerate(pairwise(ids)) if pair in self.ranks]
                if not known:
                    break
                (_, merged), at = min(known)  # best rank, then leftmost
                ids[at : at + 2] = [merged]
            self._known[word] = [self.lengths[i] for i in ids]
        return self._known[word]


def _spelled(row: list[int]) -> str:
    length, space = row[MAX_PIECE] // 2, row[MAX_PIECE] % 2
    return " " * space + "".join(CHARACTERS[(row[k] - 1) % 94] for k in reversed(range(length)))


def tables(tokenizer_json: dict[str, Any]) -> tuple[list[int], Tensor, Tensor]:
    """From a byte-level BPE ``tokenizer.json``: vocabulary ids, spelling table and merge table of its printable ASCII pieces.

    Returns ``(ids [v], spelling (v, 15) int32, merges (m, 3) int32)``. Spelling row: ``1 + 94 k + c`` for the character c that
    stands k from the end (0 pads), then ``2 * length + leading space``. Merge rows hold indices into ``ids``, best rank first.
    """
    ids: list[int] = []
    rows: list[list[int]] = []
    index: dict[str, int] = {}
    for piece, number in sorted(tokenizer_json["model"]["vocab"].items(), key=lambda item: item[1]):
        word = piece[1:] if piece.startswith("Ġ") else piece
        plain = len(word) <= MAX_PIECE and all(33 <= ord(c) < 127 for c in word)
        if plain and not (piece.startswith("<") and piece.endswith(">") and len(piece) > 2):
            row = [1 + 94 * k + ord(c) - 33 for k, c in enumerate(reversed(word))]
            rows.append(row + [0] * (MAX_PIECE - len(row)) + [2 * len(word) + piece.startswith("Ġ")])
            index[piece] = len(ids)
            ids.append(number)
    merges = []
    for merge in tokenizer_json["model"]["merges"]:
        left, right = merge if isinstance(merge, list) else merge.split(" ")
        if left in index and right in index and left + right in index:
            merges.append([index[left], index[right], index[left + right]])
    return ids, torch.tensor(rows, dtype=torch.int32), torch.tensor(merges, dtype=torch.int32)


AutoConfig.register(ReaderVisionConfig.model_type, ReaderVisionConfig, exist_ok=True)
AutoModel.register(ReaderVisionConfig, ReaderVisionModel, exist_ok=True)
