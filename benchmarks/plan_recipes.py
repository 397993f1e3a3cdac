"""What the shipped recipes take on the machines that they are for, by `textunlearn plan`, from the models' published shapes.

    python benchmarks/plan_recipes.py --write docs/plan.md     # some minutes; reads nothing from the hub

Configs are made here with the numbers of the models' `config.json`; their processors are not here, so lengths of rows are assumed.
"""

from __future__ import annotations

import argparse
import re
import shlex
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

MACHINES = ("1x24GB", "1x80GB", "8x80GB")


def configs() -> dict[str, Any]:
    """By recipe, the config of its model."""
    from transformers import (
        CLIPVisionConfig,
        Gemma3Config,
        LlamaConfig,
        LlavaConfig,
        LlavaNextConfig,
        MistralConfig,
        Qwen2_5_VLConfig,
        SmolVLMConfig,
    )

    clip = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
    )
    siglip = {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "patch_size": 14,
    }

    def qwen(hidden: int, inner: int, layers: int, heads: int, keys: int, words: int, tied: bool) -> Any:
        text = {
            "hidden_size": hidden,
            "intermediate_size": inner,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": keys,
            "vocab_size": words,
            "tie_word_embeddings": tied,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
        }
        vision = {
            "depth": 32,
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "num_heads": 16,
            "out_hidden_size": hidden,
        }
        return Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=tied)

    smol = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24, "num_attention_heads": 32}
    gemma = {"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34, "num_attention_heads": 8}
    gemma |= {"num_key_value_heads": 4, "head_dim": 256, "vocab_size": 262208, "sliding_window": 1024}
    return {
        "llava-1.5-7b": LlavaConfig(vision_config=clip, text_config=LlamaConfig(vocab_size=32064)),
        "llava-next-mistral-7b": LlavaNextConfig(
            vision_config=clip,
            text_config=MistralConfig(vocab_size=32064, sliding_window=None),
            image_grid_pinpoints=[[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]],
        ),
        "qwen2.5-vl-3b": qwen(2048, 11008, 36, 16, 2, 151936, True),
        "qwen2.5-vl-7b": qwen(3584, 18944, 28, 28, 4, 152064, False),
        "smolvlm2-2.2b": SmolVLMConfig(
            vision_config={**siglip, "image_size": 384},
            text_config={**smol, "model_type": "llama", "num_key_value_heads": 32, "vocab_size": 49280},
            scale_factor=3,
        ),
        "gemma-3-4b": Gemma3Config(
            text_config=gemma,
            vision_config={**siglip, "image_size": 896, "vision_use_head": False},
            mm_tokens_per_image=256,
        ),
    }


def commands(name: str) -> list[tuple[list[str], str]]:
    """The changes and the machine of each command in the recipe's own comment."""
    from textunlearn import recipes

    text = recipes.find(name).read_text(encoding="utf-8")
    lines = [
        shlex.split(re.split(r" {3,}", line)[0][2:])
        for line in text.splitlines()
        if line.startswith(f"# textunlearn run {name}")
    ]
    return [
        ([value for flag, value in pairwise(words) if flag == "--set"], on)
        for words, on in zip(lines, MACHINES, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--only", action="append", help="this recipe; may be repeated")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table between its marks in this file")
    given = parser.parse_args()
    import transformers

    from textunlearn import recipes
    from textunlearn.planning.machines import machine
    from textunlearn.planning.plan import plan
    from textunlearn.planning.show import duration

    transformers.logging.set_verbosity_error()
    lines = [
        "| recipe | weights | machine | memory of each GPU | model | training state | rows | 1 step |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, config in configs().items():
        if given.only and name not in given.only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            config.save_pretrained(folder)
            for changes, on in commands(name):
                wanted = recipes.read(name, changes, model__id=folder)
                spread = "copies" if machine(on).count > 1 else "one"
                found = plan(
                    wanted,
                    machine(on),
                    only=lambda way, spread=spread: way.spread == spread and not way.full and not way.quantized,
                )
                (one,) = found.estimates
                as_is = (
                    one.accumulate == wanted.training.accumulate
                    and one.checkpointing == wanted.training.gradient_checkpointing
                )
                said = (
                    f"{one.memory / 1e9:.1f} of {one.has / 1e9:.0f} GB"
                    if one.fits and as_is
                    else f"**does not fit as it is** ({one.why})"
                )
                parts = " | ".join(f"{part / 1e9:.1f} GB" for part in (one.weights, one.state, one.activations))
                step = duration(one.seconds / wanted.training.steps)
                lines.append(f"| `{name}` | {found.parameters / 1e9:.1f} billion | {on} | {said} | {parts} | {step} |")
                print(lines[-1], one.accumulate, one.checkpointing, flush=True)
    lines += [
        "",
        "Made by `python benchmarks/plan_recipes.py`: computed, nothing was run on a GPU. Lengths of rows are assumed.",
    ]
    if given.write:
        from textunlearn.report.markdown import put_between_marks

        put_between_marks(given.write, "plan-recipes", lines)


if __name__ == "__main__":
    main()
