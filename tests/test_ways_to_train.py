"""Kinds of adapters, weights in four bits, layers computed again, float16: each trains what it should."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

import tiny
from test_training import Log, pools
from textunlearn.errors import UserError
from textunlearn.methods import METHODS
from textunlearn.recipe import ModelSpec, Recipe, TrainingSpec
from textunlearn.training.memory import checkpoint
from textunlearn.training.optimizer import LossScale, MasterAdamW
from textunlearn.training.packing import LAST, answer_states, lay_out
from textunlearn.training.plan import Plan
from textunlearn.training.reference import reference_states
from textunlearn.training.trainer import UnlearningTrainer, add_lora
from textunlearn.vlm import quantize
from textunlearn.vlm.load import Vlm, auto_class, choose, config_of, load, merge_adapter, wrap

BNB = importlib.util.find_spec("bitsandbytes") is not None


def logits(vlm: Vlm) -> torch.Tensor:
    with torch.no_grad():
        return vlm.model(input_ids=torch.tensor([vlm.prompt_ids("tell me of birds")])).logits.float()


def trainer(vlm: Vlm, folder: Path, log: Log, steps: int = 2) -> UnlearningTrainer:
    rows = pools(vlm)
    every = [row for some in rows.values() for row in some]
    loss = METHODS.get("textual_unlearning")()
    with vlm.model.disable_adapter():
        reference = reference_states(vlm, every, folder / "reference.safetensors", roles=loss.reference)
    plan = Plan(rows, {"harmful": 2, "ordinary": 3}, steps, seed=3)
    spec = TrainingSpec(steps=steps, lr=1e-2, validate_every=steps)
    vlm.model.train()
    return UnlearningTrainer(vlm, loss, plan, reference, spec, folder / "trainer", callbacks=[log])


@pytest.mark.parametrize("kind", ["dora", "rslora"])
def test_each_kind_of_adapter_is_trained_saved_and_merged(kind: str, clip_folder: Path, tmp_path: Path) -> None:
    vlm, log = tiny.loaded(clip_folder), Log()
    vision, before = vlm.vision_hash(), logits(vlm)
    torch.manual_seed(0)
    add_lora(vlm, 4, 8, kind=kind)
    config = vlm.model.peft_config["default"]
    assert (config.use_dora, config.use_rslora) == (kind == "dora", kind == "rslora")
    trainer(vlm, tmp_path, log).train()
    vlm.model.eval()
    after = logits(vlm)
    assert (after - before).abs().max() > 1e-3 and vlm.vision_hash() == vision and len(log.entries) == 2
    merged = merge_adapter(tiny.loaded(clip_folder).base, str(tmp_path / "trainer/checkpoint-2"))
    torch.testing.assert_close(logits(wrap(merged, vlm.processor, "merged")), after, rtol=1e-4, atol=1e-4)


def gradients(vlm: Vlm) -> tuple[torch.Tensor, dict[str, torch.Tensor], int]:
    """Loss and gradients of a packed step with typed rows, slots and an adapter whose two halves are both at work, and how many times
    the first layer was computed for it."""
    torch.manual_seed(5)
    for name, weight in vlm.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    packed = lay_out(vlm, [row for some in pools(vlm).values() for row in some])
    vlm.model.train()
    computed: list[int] = []
    vlm.decoder.layers[0].input_layernorm.register_forward_hook(lambda *_: computed.append(1))  # type: ignore[union-attr, index]
    states = answer_states(vlm.decoder, vlm.embed, packed)[LAST]
    loss = torch.nn.functional.cross_entropy(vlm.logits(states).float(), packed.targets)
    loss.backward()
    return loss.detach(), {n: p.grad for n, p in vlm.model.named_parameters() if p.grad is not None}, len(computed)


def test_layers_computed_again_give_the_same_loss_and_gradients(clip_folder: Path) -> None:
    found = []
    for again in (False, True):
        vlm = tiny.loaded(clip_folder)
        torch.manual_seed(0)
        add_lora(vlm, 4, 8)
        if again:
            checkpoint(vlm)
        found.append(gradients(vlm))
    (loss, grads, once), (other, others, twice) = found
    assert (once, twice) == (1, 2), "it was computed again"
    torch.testing.assert_close(loss, other, rtol=1e-5, atol=1e-6)
    assert grads.keys() == others.keys() and len(grads) > 10
    for name, grad in grads.items():
        torch.testing.assert_close(others[name], grad, rtol=1e-3, atol=1e-5)


def test_a_model_that_cannot_compute_its_layers_again_is_refused(clip_folder: Path) -> None:
    vlm = tiny.loaded(clip_folder)
    vlm.base.supports_gradient_checkpointing = False
    with pytest.raises(UserError, match=r"training\.gradient_checkpointing to false"):
        checkpoint(vlm)


def test_float16_takes_the_steps_of_float32(clip_folder: Path, tmp_path: Path) -> None:
    logs = {}
    for dtype in ("float32", "float16"):
        vlm = load(ModelSpec(id=str(clip_folder), dtype=dtype, device="cpu"))
        torch.manual_seed(0)
        add_lora(vlm, 4, 8)
        log = Log()
        running = trainer(vlm, tmp_path / dtype, log)
        assert running.scale.active is (dtype == "float16")
        running.train()
        logs[dtype] = log.entries
    for key in ("loss", "grad_norm"):
        mine, theirs = ([entry[key] for entry in logs[dtype]] for dtype in ("float16", "float32"))
        assert mine == pytest.approx(theirs, rel=0.05), key


def test_an_overflow_costs_a_step_and_halves_the_scale() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    scale = LossScale.of(torch.float16)
    optimizer = MasterAdamW([weight], lr=0.1, scale=scale)
    first = scale.factor
    weight.grad = torch.tensor([1.0, float("inf"), 0.0])
    optimizer.step()
    assert torch.equal(weight.detach(), torch.ones(3)) and scale.factor == first / 2
    plain = torch.nn.Parameter(torch.ones(3))
    other = MasterAdamW([plain], lr=0.1)
    for _ in range(scale.GROWS):
        weight.grad, plain.grad = torch.full((3,), 1e-3 * scale.factor), torch.full((3,), 1e-3)
        optimizer.step()
        other.step()
    torch.testing.assert_close(weight, plain)
    assert scale.factor == first and other.scale.factor == 1


def test_old_gpus_that_only_imitate_bfloat16_use_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert choose(ModelSpec()) == ("cuda", torch.float16)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert choose(ModelSpec()) == ("cuda", torch.bfloat16)


# -- four bits -----------------------------------------------------------------------------------------------------


def test_only_the_language_models_layers_are_held_in_four_bits(clip_folder: Path) -> None:
    config = config_of(ModelSpec(id=str(clip_folder)))
    kept = quantize.kept_whole(config, auto_class(config))
    vlm = tiny.loaded(clip_folder)
    linear = {n for n, m in vlm.base.named_modules() if isinstance(m, torch.nn.Linear)}
    assert set(kept) < linear and "lm_head" in kept and any("vision" in name for name in kept)
    assert {name.split(".layers.")[0] for name in linear - set(kept)} == {vlm.decoder_path}
    assert len(linear - set(kept)) == 2 * 7


def test_four_bits_need_their_package_and_a_device_that_has_them(
    clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(ModelSpec(id=str(clip_folder)))
    with pytest.raises(UserError, match=r"this run is on 'mps'; leave model\.quantize out"):
        quantize.loading(config, auto_class(config), "mps", torch.float32)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"textunlearn\[quantized\]"):
        load(ModelSpec(id=str(clip_folder), device="cpu", quantize="4bit"))


@pytest.mark.parametrize(
    "settings",
    [
        {"training": {"full": True}},
        {"evaluation": {"shallowness": True}},
        {"model": {"quantize": "4bit", "adapter": "a"}},
    ],
)
def test_what_four_bits_cannot_do_is_refused_when_the_recipe_is_read(settings: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"model\.quantize holds in four bits; leave one out"):
        Recipe.parse({"model": {"quantize": "4bit"}} | settings, "mine.yaml")
    Recipe.parse({"model": {"quantize": "4bit"}}, "mine.yaml")


def test_dora_is_not_scaled_by_one_factor() -> None:
    with pytest.raises(UserError, match="DoRA"):
        Recipe.parse({"training": {"lora_kind": "dora", "interpolate": [0.8]}}, "mine.yaml")


@pytest.mark.skipif(not BNB, reason="bitsandbytes is not installed (textunlearn[quantized])")
def test_an_adapter_is_trained_on_weights_in_four_bits(tmp_path: Path) -> None:
    import bitsandbytes
    from transformers import LlavaForConditionalGeneration

    small, folder = tiny.loaded(tiny.clip_vlm(tmp_path / "small")), tmp_path / "model"
    config = small.base.config
    # bitsandbytes has four bits for CPUs in blocks of 64
    config.text_config.hidden_size, config.text_config.intermediate_size, config.text_config.head_dim = 64, 128, 16
    torch.manual_seed(0)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    small.processor.save_pretrained(folder)
    spec = ModelSpec(id=str(folder), dtype="float32", device="cpu", quantize="4bit")
    vlm, log = load(spec), Log()
    packed = {n for n, m in vlm.base.named_modules() if isinstance(m, bitsandbytes.nn.Linear4bit)}
    assert len(packed) == 2 * 7 and all(vlm.in_language(name) for name in packed)
    before, vision = logits(vlm), vlm.vision_hash()
    assert 0 < (before - logits(tiny.loaded(folder))).abs().mean() < 0.5 * before.std()
    torch.manual_seed(0)
    add_lora(vlm, 4, 8)
    trainer(vlm, tmp_path, log).train()
    vlm.model.eval()
    after = logits(vlm)
    assert (after - before).abs().max() > 1e-3 and vlm.vision_hash() == vision
    again = load(spec)
    result = wrap(merge_adapter(again.base, str(tmp_path / "trainer/checkpoint-2")).eval(), again.processor, "result")
    # On the weights, not rounded into them; bitsandbytes computes in bfloat16 here, and repacks the weights when it has trained.
    error, learned, whole = ((one - after).norm() for one in (logits(result), before, torch.zeros_like(after)))
    assert error < 0.02 * whole and error < 0.2 * learned, (error, learned, whole)
    assert result.decoder_path == vlm.decoder_path and result.hash != load(spec).hash
