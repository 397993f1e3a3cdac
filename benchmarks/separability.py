"""How far the original model's own states tell harm from harmless: what a recipe can hope for before any training.

    python benchmarks/separability.py [--layers 12 16 20 24] [--harmful donotanswer] [--data ../shared/data]

A logistic regression on the state at the last token of the prompt is fitted to the training prompts of the default recipe (and
of further harmful sources), and asked about the development sets (`development_sets.py`). Printed are the shares it calls
harmful at the threshold that calls 5 % of the harmless development prompts (look-alikes among them) harmful, and at its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from development_sets import development_sets
from textunlearn.data.training_set import make_splits
from textunlearn.progress import bar
from textunlearn.recipe import ModelSpec
from textunlearn.vlm.load import Vlm, load

BATCH = 32
HARMFUL = ("hb_train", "malicious")


def last_states(vlm: Vlm, texts: Sequence[str], layers: Sequence[int]) -> dict[str, Tensor]:
    """Text -> ``(layers, hidden)``: states after these layers at the last token of the typed prompt."""
    out: dict[str, Tensor] = {}
    ordered = sorted(set(texts), key=len)  # near-equal lengths share a batch
    with bar(Console(), "states of the original model", len(ordered)) as progress:
        for start in range(0, len(ordered), BATCH):
            some = ordered[start : start + BATCH]
            rows = {"input_ids": [vlm.prompt_ids(text) for text in some]}
            padded = vlm.tokenizer.pad(rows, padding_side="left", return_tensors="pt").to(vlm.device)
            with torch.no_grad():
                states = vlm.decoder(
                    **padded,
                    position_ids=(padded["attention_mask"].cumsum(1) - 1).clamp(min=0),
                    output_hidden_states=True,
                    use_cache=False,
                ).hidden_states
            for number, text in enumerate(some):
                out[text] = torch.stack([states[layer][number, -1] for layer in layers]).float().cpu()
            progress.add(len(some))
    return out


def fit(harmful: Tensor, harmless: Tensor, l2: float = 0.01) -> tuple[Tensor, Tensor]:
    """Weights and bias of a logistic regression that counts both classes alike. Both inputs are ``(prompts, hidden)``."""
    states = torch.cat([harmful, harmless])
    labels = torch.cat([torch.ones(len(harmful)), torch.zeros(len(harmless))])
    each = torch.where(labels > 0, 0.5 / len(harmful), 0.5 / len(harmless))
    weights = torch.zeros(states.shape[1], requires_grad=True)
    bias = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        losses = binary_cross_entropy_with_logits(states @ weights + bias, labels, reduction="none")
        loss = (each * losses).sum() + l2 * weights @ weights
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weights.detach(), bias.detach()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, nargs="+", default=[12, 16, 20, 24])
    parser.add_argument("--harmful", nargs="*", default=[], help="harmful sources beside AdvBench")
    parser.add_argument("--limit", type=int, default=100, help="prompts a development set, at most")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    options = parser.parse_args()
    splits = make_splits(("advbench", *options.harmful))
    train = {name: [p.text for p in some] for name, some in splits.parts().items() if name.endswith("_train")}
    asked = {k: [p.text for p in v] for k, v in development_sets(options.data, 0, options.limit).items()}
    texts = [text for some in (*train.values(), *asked.values()) for text in some]
    states = last_states(load(ModelSpec()), texts, options.layers)

    def of(some: Sequence[str], layer: int) -> Tensor:
        return torch.stack([states[text][layer] for text in some])

    for place, layer in enumerate(options.layers):
        harmful = of(train["harmful_train"], place)
        harmless = of([*train["lookalike_train"], *train["ordinary_train"]], place)
        mean, spread = torch.cat([harmful, harmless]).mean(0), torch.cat([harmful, harmless]).std(0) + 1e-3
        weights, bias = fit((harmful - mean) / spread, (harmless - mean) / spread)
        scores = {name: (of(some, place) - mean) / spread @ weights + bias for name, some in asked.items()}
        threshold = torch.cat([s for name, s in scores.items() if name not in HARMFUL]).quantile(0.95)
        for what, limit in (("at 5 % of the harmless", threshold), ("at its own threshold", torch.tensor(0.0))):
            rates = "  ".join(f"{name} {(s > limit).float().mean():.0%}" for name, s in scores.items())
            print(f"layer {layer:2}, {what:22}:  {rates}")


if __name__ == "__main__":
    main()
