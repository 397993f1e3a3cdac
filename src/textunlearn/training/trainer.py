"""The training loop: transformers' Trainer around one packed forward a step."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerCallback, TrainingArguments

from textunlearn.errors import UserError
from textunlearn.methods import Answers, Method
from textunlearn.recipe import TrainingSpec
from textunlearn.training.optimizer import MasterAdamW
from textunlearn.training.packing import Packed, answer_states, pack
from textunlearn.training.plan import MicroBatch, Plan
from textunlearn.training.rows import Role
from textunlearn.vlm.load import Vlm

LINEAR = "q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj"


def add_lora(vlm: Vlm, rank: int, alpha: int, skip: float = 0.0) -> None:
    """Put LoRA on the linear layers of the language model, and nowhere else, in the model's own precision.

    ``skip``: share of its layers, from the input on, that are left as they are; the backward pass ends where they begin.
    """
    import re

    from peft import LoraConfig, get_peft_model

    inside = re.escape(vlm.decoder_path)
    pattern = rf"{inside}\..*\.({LINEAR})"
    if skip:
        layers = _layers(vlm)
        chosen = "|".join(str(number) for number in range(int(layers * skip), layers))
        pattern = rf"{inside}\.layers\.({chosen})\..*\.({LINEAR})"
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=pattern, task_type=None)
    names = [name for name, module in vlm.base.named_modules() if isinstance(module, nn.Linear)]
    if not any(re.fullmatch(pattern, name) for name in names):
        raise UserError(
            f"{vlm.name} has no layers called {LINEAR.replace('|', ', ')} in its language model; LoRA needs them"
        )
    vlm.model = get_peft_model(vlm.base, config, autocast_adapter_dtype=False)
    outside = [
        n for n, p in vlm.base.named_parameters() if p.requires_grad and not n.startswith(vlm.decoder_path + ".")
    ]
    if outside:
        raise UserError(
            f"the adapter reaches outside the language model (first: {outside[0]}); this is a fault of textunlearn"
        )


def _layers(vlm: Vlm) -> int:
    """How many layers the language model has."""
    layers = getattr(vlm.decoder, "layers", None)
    if not isinstance(layers, nn.ModuleList):
        raise UserError(f"{vlm.name}'s language model has no list of layers, so training.lora_skip must be 0")
    return len(layers)


class AnswerStates(nn.Module):
    """What the Trainer wraps: packed rows in, hidden states at the answer positions out. Gradients reach the LLM's adapter only."""

    def __init__(self, vlm: Vlm, noise: float = 0.0) -> None:
        super().__init__()
        self.model = vlm.model  # registered, so that wrappers see its parameters
        self._vlm, self.noise = vlm, noise

    def forward(self, packed: Packed) -> Tensor:
        return answer_states(self._vlm.decoder, self._vlm.embed, packed, self.noise if self.training else 0.0)


class UnlearningTrainer(Trainer):
    """Minimises a `Method` over a `Plan`.

    Args:
        reference: row key -> hidden states of the original model at its benign answers (see `reference_states`).
    """

    loss_is_scaled_for_ga = True  # every mean is over the whole step already

    def __init__(
        self,
        vlm: Vlm,
        method: Method,
        plan: Plan,
        reference: Mapping[str, Tensor],
        spec: TrainingSpec,
        folder: Path,
        *,
        seed: int = 0,
        noise: float = 0.0,
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        self.vlm, self.method, self.plan, self.reference = vlm, method, plan, reference
        self.tokens = 0
        self.earlier = 0.0  # seconds of sittings before this one
        self.started = time.monotonic()
        self._log: dict[str, float] = {}
        arguments = TrainingArguments(
            output_dir=str(folder),
            max_steps=len(plan) // spec.accumulate,
            per_device_train_batch_size=1,
            gradient_accumulation_steps=spec.accumulate,
            learning_rate=spec.lr,
            warmup_steps=spec.warmup,
            lr_scheduler_type="linear",
            max_grad_norm=1.0,
            logging_steps=1,
            logging_nan_inf_filter=False,
            save_strategy="steps",
            save_steps=spec.validate_every,
            save_total_limit=1,
            report_to=[],
            remove_unused_columns=False,
            dataloader_pin_memory=False,
            disable_tqdm=True,
            seed=seed,
            data_seed=seed,
            use_cpu=vlm.device.type == "cpu",
        )
        module = AnswerStates(vlm, noise)
        super().__init__(model=module, args=arguments, train_dataset=plan, data_collator=_only, callbacks=callbacks)
        self.remove_callback(_printer())

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            trained = [p for p in self.vlm.model.parameters() if p.requires_grad]
            self.optimizer = MasterAdamW(trained, lr=self.args.learning_rate)
        return self.optimizer

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler[int]:
        return SequentialSampler(self.plan)  # the plan is the order

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        micro: MicroBatch = inputs["micro"]
        packed = pack(micro.rows, self.vlm.blank_id).to(self.vlm.device)
        self.tokens += packed.tokens
        answers = self.answers(micro, packed, model(packed))
        loss = self.method.loss(answers)
        for key, value in {"loss_": loss.item(), **answers.log}.items():
            self._log[key] = self._log.get(key, 0.0) + value
        return loss

    def answers(self, micro: MicroBatch, packed: Packed, hidden: Tensor) -> Answers:
        """Logits at the answers, by role, and the original model's at the benign ones."""
        logits: dict[Role, Tensor] = {}
        targets: dict[Role, Tensor] = {}
        position: dict[Role, Tensor] = {}
        reference = None
        for role in self.method.roles:
            segments = [s for s in packed.segments if s.role == role]
            where = torch.tensor(
                [i for s in segments for i in range(s.start, s.stop)], dtype=torch.long, device=hidden.device
            )
            logits[role] = self.vlm.logits(hidden[where]).float()
            targets[role] = packed.targets[where]
            places = [i for s in segments for i in range(s.stop - s.start)]
            position[role] = torch.tensor(places, dtype=torch.long, device=hidden.device)
            if role == "benign" and self.method.needs_reference:
                # A micro-batch may hold no benign answer: then the reference is as empty as the logits.
                some = [self.reference[micro.rows[row].key] for row in dict.fromkeys(s.row for s in segments)]
                with torch.no_grad():
                    states = torch.cat([hidden[:0], *(s.to(hidden) for s in some)])
                    reference = self.vlm.logits(states).float()
        return Answers(logits, targets, position, reference, micro.step_tokens, micro.step_answers)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:  # one entry a step: the method's own figures instead of the Trainer's rounded ones
            mine = {"loss": self._log.pop("loss_", logs["loss"]), **self._log}
            self._log = {}
            logs = {**logs, **mine, "tokens": self.tokens, "seconds": self.earlier + time.monotonic() - self.started}
        super().log(logs, start_time)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        assert output_dir is not None
        self.vlm.model.save_pretrained(output_dir, safe_serialization=True)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        load_adapter(self.vlm, Path(resume_from_checkpoint))


def load_adapter(vlm: Vlm, folder: Path) -> None:
    """Set the weights of the adapter that `add_lora` made from a folder saved by peft; every key must be there."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    result: Any = set_peft_model_state_dict(vlm.model, load_file(folder / "adapter_model.safetensors"))
    missing = [key for key in result.missing_keys if "lora_" in key]
    if missing or result.unexpected_keys:
        first = (missing or result.unexpected_keys)[0]
        raise UserError(f"the adapter in {folder} does not belong to this model (key {first} does not match)")


def _only(items: list[MicroBatch]) -> dict[str, MicroBatch]:
    return {"micro": items[0]}  # the Trainer looks keys up in what a collator gives


def _printer() -> type[TrainerCallback]:
    from transformers.trainer_callback import PrinterCallback

    return PrinterCallback
