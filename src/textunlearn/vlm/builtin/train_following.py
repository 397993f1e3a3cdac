"""Teach the built-in model to follow what it reads: distil its own typed answers onto the same requests in the image slots.

    python -m textunlearn.vlm.builtin.train_following --steps 160 --out following.safetensors

Harmless requests only (this project's own). Text only: the words stand in the image slots as the reader would say them, so
neither images nor the vision tower take part. The teacher is the model itself, answering the typed request.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import TrainerCallback

from textunlearn.data.sources import SOURCES
from textunlearn.evaluation.generation import Request, generate
from textunlearn.files import atomic
from textunlearn.methods.distillation import Distillation
from textunlearn.recipe import TrainingSpec
from textunlearn.training.plan import Plan
from textunlearn.training.reference import reference_states
from textunlearn.training.rows import Row, Target
from textunlearn.training.slots import NEUTRAL, drawn, misread
from textunlearn.training.trainer import UnlearningTrainer, add_lora
from textunlearn.vlm.builtin.build import READER, assemble, merge_following
from textunlearn.vlm.load import Vlm, wrap


class Say(TrainerCallback):
    def on_log(self, args, state, control, logs=None, **kwargs):  # type: ignore[no-untyped-def]
        if state.global_step % 5 == 0 and logs and "kl" in logs:
            print(
                f"step {state.global_step}  KL {logs['kl']:.3f}  {logs['tokens'] / logs['seconds']:.0f} tokens/s",
                flush=True,
            )


def twins(vlm: Vlm, requests: list[str], answers: list[str], rng: random.Random) -> tuple[list[Row], list[Row]]:
    """For each request the typed row and the row in the image slots, with the same answer."""
    typed, slots = [], []
    for text, answer in zip(requests, answers, strict=True):
        target = (Target("benign", tuple(vlm.tokenizer.encode(answer, add_special_tokens=False)[:32])),)
        typed.append(Row("typed", tuple(vlm.prompt_ids(text)), target))
        words = misread(drawn(text, rng), 0.01 if rng.random() < 0.5 else 0.0, rng)
        ids, where = vlm.slot_prompt(rng.choice(NEUTRAL), vlm.tokenizer.encode(words, add_special_tokens=False))
        slots.append(Row("slots", tuple(ids), target, tuple(where)))
    return typed, slots


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reader", type=Path, default=READER)
    parser.add_argument("--out", type=Path, default=Path("following.safetensors"))
    parser.add_argument("--init", type=Path, help="go on from these weights")
    parser.add_argument("--requests", type=int, default=900)
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--lr", type=float, default=4e-4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    rng = random.Random(options.seed)

    model, processor = assemble(options.reader)
    vlm = wrap(model.to(torch.bfloat16), processor, "builtin")
    vlm.model.requires_grad_(False)
    prompts = [p.text for name in ("ordinary", "lookalikes") for p in SOURCES.get(name)() if len(p.text) <= 110]
    prompts = rng.sample(prompts, min(options.requests, len(prompts)))
    print(f"{len(prompts)} harmless requests; the model answers them typed", flush=True)
    answers = [a.text for a in generate(vlm, [Request(tuple(vlm.prompt_ids(p))) for p in prompts], 32)]
    pairs = [(p, a) for p, a in zip(prompts, answers, strict=True) if len(a) > 3]
    typed, slots = twins(vlm, [p for p, _ in pairs], [a for _, a in pairs], rng)
    with tempfile.TemporaryDirectory() as folder:
        teacher = reference_states(vlm, typed, Path(folder) / "teacher.safetensors")
        reference: dict[str, Tensor] = dict(teacher)
        reference |= {s.key: teacher[t.key] for t, s in zip(typed, slots, strict=True)}
        if options.init:
            merge_following(vlm.model, options.init)  # the teacher stays the original
        add_lora(vlm, options.rank, 2 * options.rank)
        plan = Plan({"slots": slots, "typed": typed}, {"slots": 8, "typed": 3}, options.steps, seed=options.seed)
        spec = TrainingSpec(steps=options.steps, lr=options.lr, validate_every=options.steps)
        trainer = UnlearningTrainer(
            vlm, Distillation(), plan, reference, spec, Path(folder) / "trainer", seed=options.seed, callbacks=[Say()]
        )
        vlm.model.train()
        trainer.train()
    save(vlm, options.out)


def save(vlm: Vlm, path: Path) -> None:
    """The low-rank updates as ``<module>.A (rank, in)`` and ``<module>.B (out, rank)``, scale folded into B, float16."""
    state = {}
    for name, module in vlm.decoder.named_modules():
        if hasattr(module, "lora_A"):
            state[f"{name}.A"] = module.lora_A["default"].weight.detach().half().contiguous()
            state[f"{name}.B"] = (
                (module.lora_B["default"].weight.detach().float() * module.scaling["default"]).half().contiguous()
            )
    with atomic(path) as temporary:
        save_file(state, temporary)


if __name__ == "__main__":
    main()
