"""Train the reader's CNN on drawn text and write its weights.

    apt-get install fonts-freefont-ttf fonts-liberation fonts-urw-base35 fonts-crosextra-caladea fonts-cantarell \\
        fonts-crosextra-carlito fonts-ebgaramond fonts-firacode fonts-hack fonts-jetbrains-mono fonts-noto-core fonts-quicksand
    python -m textunlearn.vlm.builtin.train_reader --tokenizer tokenizer.json --minutes 30 --out reader.safetensors

Text: this project's own harmless requests, Python's language reference (on every machine that has Python) and the words of the
language model's vocabulary; no benchmark text. Families in UNSEEN are never drawn, so that reading can be measured on them.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from textunlearn.data.sources import SOURCES
from textunlearn.vlm.builtin.drawing import Corpus, Drawn, Glyphs, batches
from textunlearn.vlm.builtin.reader import CharacterCNN, ReaderVisionConfig

SIZES = (13, 14, 15, 16, 17, 18, 18.5, 19, 20)
"""Pixels an em after scaling to 160 px: FigStep's 80 of 760 px are 16.8."""
UNSEEN = ("Roboto-Regular", "OpenSans-Regular", "Inconsolata", "Lato-Regular", "CharisSIL-Regular", "mononoki-Regular")
WEIGHTS = {
    "FreeMonoBold": 8.0,
    "DejaVuSansMono-Bold": 6.0,
    "DejaVuSansMono": 4.0,
    "DejaVuSans": 3.0,
    "DejaVuSans-Bold": 3.0,
}
MATPLOTLIB = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
)
SYSTEM = (  # noqa: SIM905
    "FreeMono FreeMonoBold FreeSans FreeSansBold FreeSerif FreeSerifBold LiberationMono-Regular LiberationMono-Bold "
    "LiberationSans-Regular LiberationSans-Bold LiberationSerif-Regular LiberationSerif-Bold C059-Roman C059-Bold "
    "Caladea-Regular Caladea-Bold Cantarell-Regular Cantarell-Bold Carlito-Regular Carlito-Bold EBGaramond12-Regular "
    "FiraCode-Regular FiraCode-Bold Hack-Regular Hack-Bold JetBrainsMono-Regular JetBrainsMono-Bold NimbusMonoPS-Regular "
    "NimbusMonoPS-Bold NimbusSans-Regular NotoSans-Regular NotoSans-Bold NotoSerif-Regular P052-Roman Quicksand-Regular "
    "URWBookman-Light URWGothic-Book"
).split()


def font_files(names: list[str]) -> dict[str, Path]:
    """Path of each named font (file stem) among matplotlib's and the system's; missing ones are named on stderr."""
    import matplotlib

    folders = [Path("/usr/share/fonts"), Path(matplotlib.get_data_path()) / "fonts/ttf"]
    found = {p.stem: p for folder in folders for p in sorted(folder.rglob("*")) if p.suffix.lower() in {".ttf", ".otf"}}
    for name in names:
        if name not in found:
            print(f"no font {name}", file=sys.stderr)
    return {name: found[name] for name in names if name in found}


def corpus(tokenizer_json: dict[str, Any]) -> Corpus:
    """Sentences of this project's harmless requests and of Python's language reference; words of the tokenizer's vocabulary."""
    from pydoc_data.topics import topics

    text = re.sub(r"[^\x20-\x7e\n]|\|", "", "\n\n".join(topics.values()))
    paragraphs = [" ".join(p.split()) for p in text.split("\n\n")]
    reference = [s for p in paragraphs for s in re.split(r"(?<=[.?!]) ", p) if len(s) > 15]
    requests = [p.text for name in ("lookalikes", "ordinary") for p in SOURCES.get(name)()]
    words = [w[1:] for w in tokenizer_json["model"]["vocab"] if re.fullmatch(r"Ġ[A-Za-z]{2,14}", w)]
    longer = sorted({w.strip("\"'`()[],.:;") for s in reference for w in s.split(" ") if 3 < len(w) <= 16} - {""})
    return Corpus(reference + 5 * requests, words + longer)


def degrade(ink: Tensor, generator: torch.Generator) -> Tensor:
    """``ink (batch, 160, 160) uint8`` -> images ``(batch, 1, 160, 160)`` in [-1, 1]: blur or sharpen, contrast, inversion, noise."""

    def uniform() -> Tensor:
        return torch.rand(len(ink), 1, 1, 1, generator=generator)

    x = ink.float().div(255).unsqueeze(1)
    sharpness = torch.where(uniform() < 0.5, uniform() * 1.2 - 0.5, torch.zeros(()))
    x = (x + sharpness * (F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 1) - x)).clamp(0, 1)
    contrast = torch.where(uniform() < 0.5, uniform() * 0.5 + 0.5, torch.ones(()))
    x = uniform() * (1 - contrast) + contrast * x
    x = torch.where(uniform() < 0.15, 1 - x, x)
    x = x + torch.randn(x.shape, generator=generator) * (uniform() * 0.04)
    return (1 - x) * 2 - 1


def stack(drawn: list[Drawn]) -> tuple[Tensor, Tensor, Tensor]:
    ink, character, starts = (np.stack([getattr(d, f) for d in drawn]) for f in ("ink", "character", "starts"))
    return torch.from_numpy(ink), torch.from_numpy(character), torch.from_numpy(starts)


def loss_of(logits: Tensor, character: Tensor, starts: Tensor) -> Tensor:
    """Cross-entropy of every cell and of word starts, per character. Cells with a character count twice: blank ones are many
    and easy, and a character missed costs a word where a doubled one is merged away."""
    written = (character > 0).float()
    cells = (F.cross_entropy(logits[:, :-1], character, reduction="none") * (1 + written)).sum()
    begins = F.binary_cross_entropy_with_logits(logits[:, -1], starts.float(), reduction="none")
    return (cells + 0.5 * (begins * written).sum()) / written.sum().clamp(min=1)


def train(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    rng, generator = random.Random(options.seed), torch.Generator().manual_seed(options.seed)
    fonts = font_files([*MATPLOTLIB, *SYSTEM])
    assert not set(fonts) & set(UNSEEN)
    glyphs = [Glyphs.make(path, size) for path in fonts.values() for size in SIZES]
    weights = [WEIGHTS.get(name, 1.0) for name in fonts for _ in SIZES]
    print(f"{len(fonts)} fonts, {len(glyphs)} sizes of glyphs", flush=True)
    stream = batches(glyphs, weights, corpus(json.loads(options.tokenizer.read_text())), rng, options.batch)

    defaults = ReaderVisionConfig()
    net = CharacterCNN(tuple(defaults.widths), defaults.blocks).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if options.init:
        net.load_state_dict({k: v.float() for k, v in load_file(options.init).items()}, strict=False)
    optimiser = torch.optim.AdamW(net.parameters(), lr=options.lr, weight_decay=0.02, betas=(0.9, 0.99))
    start, seen, said = time.monotonic(), 0, 0.0
    while (share := (time.monotonic() - start) / (60 * options.minutes)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = options.lr * min(1, (seen / options.batch + 1) / 100) * max(1 - share, 0.01)
        ink, character, starts = stack(next(stream))
        image = degrade(ink, generator).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=options.bf16):
            logits = net(image)
        loss = loss_of(logits.float(), character, starts)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimiser.step()
        seen += options.batch
        elapsed = time.monotonic() - start
        if elapsed > said:
            said = elapsed + 60
            print(f"{elapsed:5.0f} s  {seen:7d} images ({seen / elapsed:.0f}/s)  loss {loss.item():.4f}", flush=True)
            save(net, options.out)
    save(net, options.out)


def save(net: CharacterCNN, path: Path) -> None:
    state = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in net.state_dict().items()}
    partial = path.with_suffix(".partial")
    save_file(state, partial)
    partial.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json of the language model")
    parser.add_argument("--out", type=Path, default=Path("reader.safetensors"))
    parser.add_argument("--init", type=Path, help="go on from these weights")
    parser.add_argument("--minutes", type=float, default=35)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=torch.cpu._is_avx512_bf16_supported())
    train(parser.parse_args())


if __name__ == "__main__":
    main()
