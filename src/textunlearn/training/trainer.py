"""The training loop: transformers' Trainer around one packed forward a step."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME

from textunlearn.errors import UserError
from textunlearn.files import sync_tree, write_text
from textunlearn.methods import Answers, Method
from textunlearn.processes import first, total, world
from textunlearn.recipe import TrainingSpec
from textunlearn.training.flops import FlopCounter
from textunlearn.training.fused_lora import fuse_lora
from textunlearn.training.optimizer import LossScale, MasterAdamW
from textunlearn.training.packing import LAST, Packed, answer_states, lay_out, shared_prefix
from textunlearn.training.plan import MicroBatch, Plan
from textunlearn.training.reference import state_key
from textunlearn.training.sharding import Sharded, save_adapter, whole
from textunlearn.training.soundness import pattern_of, trained_layers
from textunlearn.training.tracking import PROJECT
from textunlearn.vlm.load import Vlm

COUNTED = 10
"""FLOPs are counted in one step of so many, and taken as the same for every position of the others."""


def add_lora(vlm: Vlm, rank: int, alpha: int, skip: float = 0.0, *, full: bool = False, kind: str = "lora") -> None:
    """Put LoRA on the linear layers of the language model, and nowhere else, in the model's own precision.

    Args:
        skip: share of its layers, from the input on, that are left as they are; the backward pass ends where they begin.
        kind: ``lora``, ``dora`` (arXiv 2402.09353) or ``rslora`` (arXiv 2312.03732).
        full: train these layers' own weights instead (all but one matrix, which stays LoRA for the adapter's format).
    """
    import re

    from peft import LoraConfig, get_peft_model

    names = trained_layers(vlm)
    if skip:
        first = int(_layers(vlm) * skip)
        inside = re.escape(vlm.decoder_path)
        names = [n for n in names if (at := re.match(rf"{inside}\.layers\.(\d+)\.", n)) and int(at[1]) >= first]
    if not names:
        raise UserError(f"{vlm.name} has no linear layers in its language model ({vlm.decoder_path}); LoRA needs them")
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=re.escape(names[-1]) if full else pattern_of(names),
        modules_to_save=names[:-1] if full else None,
        task_type=None,
        use_dora=kind == "dora",
        use_rslora=kind == "rslora",
    )
    vlm.model = get_peft_model(vlm.base, config, autocast_adapter_dtype=False)
    fuse_lora(vlm.model)
    outside = [n for n, p in vlm.base.named_parameters() if p.requires_grad and not vlm.in_language(n)]
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


def method_layers(vlm: Vlm, method: Method) -> tuple[int, ...]:
    """The layers whose states ``method`` works on."""
    return method.layers(int(vlm.base.config.get_text_config().num_hidden_layers))


class AnswerStates(nn.Module):
    """What the Trainer wraps: packed rows in, hidden states at the answer positions out. Gradients reach the LLM's adapter only."""

    def __init__(self, vlm: Vlm, noise: float = 0.0, layers: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.model = vlm.model  # registered, so that wrappers see its parameters
        self._vlm, self.noise, self.layers = vlm, noise, layers

    def forward(self, packed: Packed, shift: Tensor | None = None) -> dict[int, Tensor]:
        noise = self.noise if self.training else 0.0
        return answer_states(self._vlm.decoder, self._vlm.embed, packed, noise, self.layers, shift)


class UnlearningTrainer(Trainer):
    """Minimises a `Method` over a `Plan`.

    Args:
        reference: hidden states of the original model at the answers (see `reference_states`).
        noise: random noise in the image slots (see `answer_states`).
        adversarial: length of the latent adversarial noise on harmful prompts, in norms of each token's embedding; 0 = none.
        features: image features of rows with pictures.
        trackers: callbacks that are told the figures of each step, and what `track` is given.
        name: what trackers call the run.
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
        adversarial: float = 0.0,
        features: Mapping[str, Tensor] | None = None,
        callbacks: list[TrainerCallback] | None = None,
        trackers: Sequence[TrainerCallback] = (),
        name: str | None = None,
    ) -> None:
        self.vlm, self.method, self.plan, self.reference = vlm, method, plan, reference
        self.adversarial, self.features = adversarial, features
        # Noise must fall on the same tokens however a step is cut, so what is shared is what all rows of the training share.
        self.prefix = shared_prefix(plan.rows()) if adversarial else None
        self.tokens = 0
        self.positions = 0  # with padding: what is computed
        self.counted = {"flops": 0, "positions": 0}  # in the steps whose FLOPs are counted
        self.earlier = 0.0  # seconds of sittings before this one
        self.started = time.monotonic()
        self._log: dict[str, float] = {}
        self.scale = LossScale.of(vlm.embed.weight.dtype)  # type: ignore[arg-type, union-attr]
        arguments = TrainingArguments(
            output_dir=str(folder),
            max_steps=len(plan) // (spec.accumulate * world()),
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
            report_to=[],  # `trackers` are the callbacks that this would make
            run_name=name,
            project=PROJECT,
            remove_unused_columns=False,
            dataloader_pin_memory=False,
            disable_tqdm=True,
            seed=seed,
            data_seed=seed,
            use_cpu=vlm.device.type == "cpu",
            ddp_broadcast_buffers=False,
            ddp_find_unused_parameters=False,
        )
        if world() == 1 and arguments.n_gpu > 1:
            arguments._n_gpu = 1  # the Trainer would split each step over all GPUs it sees
        self.bare = AnswerStates(vlm, noise, method_layers(vlm, method))
        super().__init__(model=self.bare, args=arguments, train_dataset=plan, data_collator=_only)
        self.trackers = list(trackers)
        # Trackers first: they are ready when the first look is taken.
        for callback in (*self.trackers, *(callbacks or ())):
            self.add_callback(callback)
        self.remove_callback(_printer())

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            trained = [p for p in self.vlm.model.parameters() if p.requires_grad]
            self.optimizer = MasterAdamW(trained, lr=self.args.learning_rate, scale=self.scale)
        return self.optimizer

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler[int]:
        return SequentialSampler(self.plan)  # the plan is the order

    def _wrap_model(self, model: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
        if self.vlm.sharded:
            return model if isinstance(model, Sharded) else Sharded(model)
        wrapped: nn.Module = super()._wrap_model(model, *args, **kwargs)
        return wrapped

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        if not self.scale.active:
            norm: Tensor = super()._clip_grad_norm(model)
            return norm
        grads = [p.grad for p in self.vlm.model.parameters() if p.grad is not None]
        return self.scale.clip(grads, self.args.max_grad_norm)

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        if self.state.global_step % COUNTED:
            return super().training_step(*args, **kwargs)
        before = self.positions
        with FlopCounter() as counter:
            loss = super().training_step(*args, **kwargs)
        self.counted["flops"] += counter.total
        self.counted["positions"] += self.positions - before
        return loss

    def restore(self, spent: Mapping[str, float]) -> None:
        """Go on counting from a log entry of an earlier sitting, which holds the figures of all processes."""
        if not first():
            return
        self.tokens, self.positions = int(spent.get("tokens", 0)), int(spent.get("positions", 0))
        self.counted = {key: int(spent.get(f"counted_{key}", 0)) for key in self.counted}
        self.earlier = spent.get("seconds", 0.0)

    @property
    def flops(self) -> int:
        """Of all steps, over all sittings: counted in one step of `COUNTED`, the same for each position of the others."""
        return round(self.counted["flops"] / max(self.counted["positions"], 1) * self.positions)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        micro: MicroBatch = inputs["micro"]
        packed = lay_out(self.vlm, micro.rows, self.features, self.prefix)
        self.tokens += packed.tokens
        self.positions += packed.input_ids.numel()
        # By the model itself: what exchanges gradients counts on a backward pass for each forward one.
        shift = self.worst_shift(self.bare, micro, packed) if self.adversarial else None
        hidden = model(packed, shift)
        answers = self.answers(micro, packed, hidden)
        loss = self.method.loss(answers)
        for key, value in {"loss_": loss.item(), **answers.log}.items():
            self._log[key] = self._log.get(key, 0.0) + value
        loss = self.scale.factor * loss
        if world() == 1:
            return loss
        # Every mean is over the step of all processes, and what is done with gradients divides by their number. The term of
        # nothing reaches weights that this loss does not use: all processes must have the same gradients to exchange.
        return world() * loss + sum(0.0 * states.sum() for states in hidden.values())

    def worst_shift(self, model: nn.Module, micro: MicroBatch, packed: Packed) -> Tensor | None:
        """Noise on the embeddings of harmful prompts that brings harmful answers back: ``(sequences, length, hidden)``, or None.

        Latent adversarial training (Casper et al. 2024, arXiv 2403.05030; targeted: Sheshadri et al. 2024, arXiv 2407.15549),
        at the embeddings and in one gradient step of fixed length: the harmful answer likelier, the safe one less likely.
        """
        harmful = [number for number, row in enumerate(micro.rows) if row.kind == "harmful"]
        chosen = torch.isin(packed.row, torch.tensor(harmful, device=packed.row.device)).unsqueeze(-1)
        if not harmful:
            return None
        embeds = self.vlm.embed(packed.input_ids)
        shift = torch.zeros_like(embeds, dtype=torch.float32).requires_grad_()
        answers = self.answers(micro, packed, model(packed, shift * chosen), reference=False)
        signs = {"harmful": 1.0, "safe": -1.0}
        loss = sum(sign * answers.nll(role).sum() for role, sign in signs.items() if role in answers.logits)  # type: ignore[arg-type, index]
        (slope,) = torch.autograd.grad(self.scale.factor * loss, shift)  # type: ignore[arg-type]
        length = embeds.norm(dim=-1, keepdim=True) * self.adversarial
        return -length * slope / slope.norm(dim=-1, keepdim=True).clamp_min(1e-12) * chosen

    def answers(
        self, micro: MicroBatch, packed: Packed, hidden: Mapping[int, Tensor], *, reference: bool = True
    ) -> Answers:
        """Logits and states at the answers, by role, and (``reference``) the original model's where the method wants them."""
        last = hidden[LAST]
        layers = [layer for layer in hidden if layer != LAST]
        out = Answers({}, {}, {}, {}, {}, micro.step_tokens, micro.step_answers)
        out.states, out.reference_states = {layer: {} for layer in layers}, {layer: {} for layer in layers}
        out.progress = self.state.global_step / max(self.state.max_steps, 1)

        def numbers(values: list[int]) -> Tensor:
            return torch.tensor(values, dtype=torch.long, device=last.device)

        for role in self.method.roles:
            segments = [s for s in packed.segments if s.role == role]
            where = numbers([i for s in segments for i in range(s.start, s.stop)])
            out.logits[role] = _wide(self.vlm.logits(last[where]))
            out.targets[role] = packed.targets[where]
            out.position[role] = numbers(
                [micro.rows[s.row].begun + i for s in segments for i in range(s.stop - s.start)]
            )
            out.row[role] = numbers([s.row for s in segments for _ in range(s.start, s.stop)])
            for layer in layers:
                out.states[layer][role] = hidden[layer][where]
            if not reference or role not in self.method.reference:
                continue
            keys = [micro.rows[row].key for row in dict.fromkeys(s.row for s in segments)]
            # A micro-batch may hold no answer of the role: then the reference is as empty as the logits.
            with torch.no_grad():
                for layer in layers if role in self.method.states_only else (LAST, *layers):
                    some = [self.reference[state_key(key, role, layer)].to(last) for key in keys]
                    states = torch.cat([last[:0], *some])
                    if layer == LAST:
                        out.reference[role] = _wide(self.vlm.logits(states))
                    else:
                        out.reference_states[layer][role] = states
        return out

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:  # one entry a step: the method's own figures instead of the Trainer's rounded ones
            mine = {"loss": self._log.pop("loss_", logs["loss"]), **self._log}
            self._log = {}
            spent = {"tokens": self.tokens, "positions": self.positions}
            spent |= {f"counted_{key}": value for key, value in self.counted.items()}
            logs = {**logs, **total(mine | spent), "seconds": self.earlier + time.monotonic() - self.started}
        super().log(logs, start_time)

    def track(self, figures: Mapping[str, float]) -> None:
        """Tell the trackers alone, at the step that was last taken."""
        for tracker in self.trackers:
            tracker.on_log(self.args, self.state, self.control, logs=dict(figures), model=self.model)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """The Trainer's, on the disk and marked as whole before the checkpoint before it goes: what a power cut leaves of this one
        may be torn, though all its files have names."""
        super()._save_checkpoint(model, trial)
        if not self.args.should_save:
            return
        folder = Path(str(self.args.output_dir))
        fresh = checkpoint(folder, self.state.global_step)
        sync_tree(fresh)
        write_text(fresh / WHOLE, "")
        for path in folder.glob("checkpoint-*"):
            if path != fresh:
                (path / WHOLE).unlink(missing_ok=True)  # first: half of a checkpoint must not pass for one
                shutil.rmtree(path)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        assert output_dir is not None
        save_adapter(self.vlm, output_dir, self.args.should_save)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self.vlm.sharded:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        # Whole, so that training can go on in another number of processes. The names are the Trainer's own.
        state = whole(self.optimizer.state_dict())  # type: ignore[union-attr]
        if self.args.should_save:
            torch.save(state, Path(output_dir) / OPTIMIZER_NAME)
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER_NAME)  # type: ignore[union-attr]

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        if not self.vlm.sharded:  # else it was loaded before the model was split
            load_adapter(self.vlm, Path(resume_from_checkpoint))


WHOLE = "whole"
"""File that marks a checkpoint as whole."""


def checkpoint(folder: Path, step: int) -> Path:
    """Where the Trainer puts the checkpoint of ``step``."""
    return folder / f"checkpoint-{step}"


def last_checkpoint(folder: Path) -> int:
    """Step of the last whole checkpoint in ``folder``; 0 if there is none."""
    whole = [path.parent.name for path in folder.glob(f"checkpoint-*/{WHOLE}")]
    return max((int(name.rsplit("-", 1)[1]) for name in whole), default=0)


def load_adapter(vlm: Vlm, folder: Path) -> None:
    """Set the weights of the adapter that `add_lora` made from a folder saved by peft; every key must be there."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    result: Any = set_peft_model_state_dict(vlm.model, load_file(folder / "adapter_model.safetensors"))
    missing = [key for key in result.missing_keys if "lora_" in key or "modules_to_save" in key]
    if missing or result.unexpected_keys:
        first = (missing or result.unexpected_keys)[0]
        raise UserError(f"the adapter in {folder} does not belong to this model (key {first} does not match)")


def _wide(logits: Tensor) -> Tensor:
    """In float32 at least."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _only(items: list[MicroBatch]) -> dict[str, MicroBatch]:
    return {"micro": items[0]}  # the Trainer looks keys up in what a collator gives


def _printer() -> type[TrainerCallback]:
    from transformers.trainer_callback import PrinterCallback

    return PrinterCallback
