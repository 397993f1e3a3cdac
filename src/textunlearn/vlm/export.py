"""Take a run's result out of its folder: the adapter, or the whole model as plain transformers code loads it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textunlearn.errors import UserError
from textunlearn.files import PARTIAL, read_json, require_space, sync, sync_tree, write_json, write_text
from textunlearn.lock import NAME, claim
from textunlearn.result import adapter_of, stored_recipe

if TYPE_CHECKING:
    import torch

    from textunlearn.recipe import ModelSpec
    from textunlearn.vlm.load import Vlm

BUILTIN_LICENCE = "apache-2.0"
SECONDS = 5
"""How long the hub may take to say what licence a model has."""
BUILTIN_NOTES = """\
## What the vision side sees

Rendered text, and nothing else: no objects, faces or scenes. A photo without large, clear lettering is blank to it.
"""


def export_adapter(run: Path, folder: Path, licence: str = "") -> Path:
    """Write the run's peft adapter and a model card into ``folder`` (new or empty). ``licence``: the base model's."""
    adapter, spec = adapter_of(run), stored_recipe(run).model
    with fresh(folder) as partial:
        for name in ("adapter_model.safetensors", "adapter_config.json"):
            shutil.copyfile(adapter / name, partial / name)
        config = read_json(partial / "adapter_config.json")
        # peft wrote where the model lay on this machine; say which model it is instead.
        config |= {"base_model_name_or_path": _public_name(spec), "revision": spec.revision}
        write_json(partial / "adapter_config.json", config)
        _card(run, partial, spec, licence, folder.name, adapter=True, loading=_load_adapter_text(spec))
    return folder


def export_merged(run: Path, folder: Path, licence: str = "", dtype: str = "float32") -> Path:
    """Write the model with the adapter merged in, its processor and a model card into ``folder`` (new or empty).

    The merge is done in ``dtype`` (float32 loses nothing; a 7B model then takes 28 GB of disk and memory). What was
    written is loaded again as plain transformers code would, and must give the same logits, with and without an image.
    """
    from textunlearn.vlm.load import load, merge_adapter

    adapter, spec = adapter_of(run), stored_recipe(run).model
    with fresh(folder) as partial:
        vlm = load(spec.model_copy(update={"dtype": dtype, "device": "cpu", "quantize": None}))
        vlm.model = merge_adapter(vlm.base, str(adapter)).eval()
        weights = {p.data_ptr(): p.numel() * p.element_size() for p in vlm.model.parameters()}
        require_space(partial, 1.05 * sum(weights.values()), "the merged model")
        vlm.model.save_pretrained(partial, safe_serialization=True)
        vlm.processor.save_pretrained(partial)
        _card(run, partial, spec, licence, folder.name, adapter=False, loading=_load_merged_text(vlm, spec))
        expected = _logits(vlm)
        del vlm  # two copies of a large model need not fit
        _check(partial, spec, dtype, expected)
    return folder


@contextmanager
def fresh(folder: Path) -> Iterator[Path]:
    """A temporary folder that becomes ``folder`` when the block ends without an error: never half an export.

    It has one name, so that the next export takes away what a killed one left.
    """
    folder = folder.resolve()  # "." has no name to put a temporary folder beside
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not an empty folder; choose another place to export to")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.parent / f"{PARTIAL}{folder.name}"
    partial.mkdir(exist_ok=True)
    lock = claim(partial)
    try:
        for left in partial.iterdir():
            if left.name != NAME:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield partial
        sync_tree(partial)
        lock.close()  # not every system moves a folder with an open file
        (partial / NAME).unlink()
        if folder.exists():
            folder.rmdir()  # empty; not every system renames onto a folder
        partial.rename(folder)
        sync(folder.parent)
    finally:
        lock.close()
        shutil.rmtree(partial, ignore_errors=True)


def _check(folder: Path, spec: ModelSpec, dtype: str, expected: list[torch.Tensor]) -> None:
    import torch

    from textunlearn.vlm.load import load

    again = load(
        spec.model_copy(
            update={
                "id": str(folder),
                "adapter": None,
                "revision": None,
                "dtype": dtype,
                "device": "cpu",
                "quantize": None,
            }
        )
    )
    for before, after in zip(expected, _logits(again), strict=True):
        if not torch.allclose(before, after, rtol=1e-4, atol=1e-4):
            gap = float((before - after).abs().max())
            raise RuntimeError(f"the exported model gives other logits than the merged one (by up to {gap:.2g})")


def _logits(vlm: Vlm) -> list[torch.Tensor]:
    """Logits ``(length, vocabulary)`` of a typed question and, where the model takes pictures or sound, of one beside such."""
    import torch

    from textunlearn.attacks import ATTACKS
    from textunlearn.records import Prompt
    from textunlearn.sounds import silence

    batches = [{"input_ids": torch.tensor([vlm.prompt_ids("Name three kinds of tea.")])}]
    if vlm.image_token_id is not None:
        shown = ATTACKS.get("typography_short")(Prompt("Name three kinds of tea.", "ordinary", "export"))
        rendered = vlm.text_of(shown.text, images=1)
        ids, given = vlm.with_images(rendered, shown.images)
        batches.append({"input_ids": torch.tensor([ids]), **given})
    elif vlm.audio_token_id is not None:
        ids, given = vlm.with_images(vlm.text_of("Name three kinds of tea.", sounds=1), [], [silence(1)])
        batches.append({"input_ids": torch.tensor([ids]), **given})
    dtype = vlm.model.dtype
    out = []
    with torch.inference_mode():
        for batch in batches:
            inputs = {k: v.to(dtype) if v.is_floating_point() else v for k, v in batch.items()}
            out.append(vlm.model(**inputs).logits[0].float())
    return out


def _public_name(spec: ModelSpec) -> str:
    """What a model is called elsewhere: no path of this machine."""
    return Path(spec.id).name if Path(spec.id).is_dir() else spec.id


def stated_licence(spec: ModelSpec) -> str:
    """The licence that the original model's own card names, a name of its own in words; "" where there is no card or it names none."""
    from huggingface_hub import ModelCard, model_info

    place = Path(spec.id)
    try:
        if place.is_dir():
            data = ModelCard.load(place / "README.md").data
        else:
            data = model_info(spec.id, revision=spec.revision, timeout=SECONDS).card_data or {}
    except Exception:  # no such file, no network, a gated model, a card with a broken head: then it is not known
        return ""
    named, own = (str(data.get(key) or "") for key in ("license", "license_name"))
    return f"{own} (the original's own)" if named == "other" and own else named


def _card(run: Path, folder: Path, spec: ModelSpec, licence: str, name: str, *, adapter: bool, loading: str) -> None:
    from textunlearn.report.model_card import model_card
    from textunlearn.vlm.load import BUILTIN

    builtin = spec.id == BUILTIN
    on_hub = not builtin and not Path(spec.id).is_dir()
    text = model_card(
        run,
        licence or (BUILTIN_LICENCE if builtin else stated_licence(spec)),
        name=name,
        base_model="HuggingFaceTB/SmolLM2-135M-Instruct" if builtin else spec.id if on_hub else "",
        adapter=adapter,
        notes=f"## How to load it\n\n```python\n{loading}```\n" + (f"\n{BUILTIN_NOTES}" if builtin else ""),
    )
    write_text(folder / "README.md", text)


def _load_merged_text(vlm: Vlm, spec: ModelSpec) -> str:
    from textunlearn.vlm.load import BUILTIN, auto_class

    auto = auto_class(vlm.base.config).__name__
    lines = [f"from transformers import AutoProcessor, {auto}", ""]
    if spec.id == BUILTIN:
        lines.insert(0, "import textunlearn  # tells transformers the vision tower's class; pip install textunlearn")
    lines += [f'model = {auto}.from_pretrained("DIR")', 'processor = AutoProcessor.from_pretrained("DIR")', ""]
    return "\n".join(lines)


def _load_adapter_text(spec: ModelSpec) -> str:
    from textunlearn.vlm.load import BUILTIN

    options = f', adapter="{Path(spec.adapter).name}"' if spec.adapter else ""
    if spec.id == BUILTIN or options:
        lines: list[Any] = [
            "from textunlearn.recipe import ModelSpec",
            "from textunlearn.vlm.load import load, merge_adapter",
            "",
            f'vlm = load(ModelSpec(id="{_public_name(spec)}"{options}))',
            'model, processor = merge_adapter(vlm.base, "DIR"), vlm.processor',
        ]
    else:
        lines = [
            "from peft import PeftModel",
            "from transformers import AutoModelForImageTextToText  # AutoModelForMultimodalLM for one of sound, ...CausalLM of text alone",
            "",
            f'model = AutoModelForImageTextToText.from_pretrained("{_public_name(spec)}")',
            'model = PeftModel.from_pretrained(model, "DIR")',
        ]
    return "\n".join([*lines, ""])
