"""How far the original model's own states tell harm from harmless: what a recipe can hope for before any training.

    python benchmarks/separability.py [--layers 14 16 20] [--more harmbench_validation] [--also harmbench strongreject]

A logistic regression on the state at the last token of the prompt is fitted to training prompts (AdvBench and the authored
harmless ones; with `--more`, once more with further harmful sources), and asked about the development sets
(`development_sets.py`) and the sources of `--also`. Printed are the shares it calls harmful at the threshold that calls 5 % of
the harmless ones (look-alikes among them) harmful, and at its own.
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
from textunlearn.data.loading import load as source
from textunlearn.data.training_set import make_splits
from textunlearn.progress import bar
from textunlearn.recipe import ModelSpec
from textunlearn.records import Prompt
from textunlearn.vlm.load import Vlm, load

BATCH = 32


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
    parser.add_argument("--layers", type=int, nargs="+", default=[14, 16, 20])
    parser.add_argument("--more", nargs="*", default=[], help="harmful sources beside AdvBench")
    parser.add_argument(
        "--also", nargs="*", default=[], help="sources that are asked about beside the development sets"
    )
    parser.add_argument("--limit", type=int, default=100, help="prompts a development set, at most")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    options = parser.parse_args()
    fitted = {"advbench": make_splits(("advbench",))}
    if options.more:
        fitted[" + ".join(["advbench", *options.more])] = make_splits(("advbench", *options.more))
    asked = development_sets(options.data, 0, options.limit) | {name: source(name) for name in options.also}
    trained = [prompt for splits in fitted.values() for part in splits.parts().values() for prompt in part]
    texts = [prompt.text for prompt in (*trained, *(p for some in asked.values() for p in some))]
    states = last_states(load(ModelSpec()), texts, options.layers)

    def of(some: Sequence[Prompt], place: int) -> Tensor:
        return torch.stack([states[prompt.text][place] for prompt in some])

    for place, layer in enumerate(options.layers):
        for data, splits in fitted.items():
            harmful = of(splits.harmful_train, place)
            harmless = of([*splits.lookalike_train, *splits.ordinary_train], place)
            both = torch.cat([harmful, harmless])
            mean, spread = both.mean(0), both.std(0) + 1e-3
            weights, bias = fit((harmful - mean) / spread, (harmless - mean) / spread)
            scores = {name: (of(some, place) - mean) / spread @ weights + bias for name, some in asked.items()}
            kept = torch.cat([scores[name] for name, some in asked.items() if some[0].kind != "harmful"])
            for what, limit in (("at 5 % of the harmless", kept.quantile(0.95)), ("at its own threshold", 0.0)):
                rates = "  ".join(f"{name} {(s > limit).float().mean():.0%}" for name, s in scores.items())
                print(f"layer {layer}, {data}, {what}:  {rates}", flush=True)


if __name__ == "__main__":
    main()
