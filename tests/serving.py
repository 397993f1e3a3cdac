"""A real server on a free port, over a tiny model with an adapter of random weights."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import torch

import tiny
from textunlearn.endpoint.key import Key
from textunlearn.judges.spec import make
from textunlearn.recipe import ModelSpec, Recipe
from textunlearn.result import load_both
from textunlearn.serve.engine import Engine
from textunlearn.serve.limits import Limits
from textunlearn.serve.server import Place, about_run, serving
from textunlearn.serve.verdicts import Verdicts
from textunlearn.training.trainer import add_lora
from textunlearn.vlm.load import Vlm


def trained_run(folder: Path, model: Path, *, full: bool = False, name: str = "tiny") -> Path:
    """A run folder of ``model`` whose training is done, with an adapter of random weights."""
    vlm = tiny.loaded(model)
    torch.manual_seed(1)
    add_lora(vlm, rank=4, alpha=8, full=full)
    with torch.no_grad():
        for key, weight in vlm.model.named_parameters():
            if "lora_B" in key:
                weight.normal_(std=0.3)
            elif "modules_to_save" in key:
                weight.add_(torch.randn_like(weight), alpha=0.1)
    folder.mkdir(parents=True, exist_ok=True)
    vlm.model.save_pretrained(folder / "adapter")
    recipe = Recipe(name=name, model=ModelSpec(id=str(model), dtype="float32", device="cpu"))
    (folder / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    (folder / "trained.json").write_text("{}", encoding="utf-8")
    return folder


@dataclass
class Served:
    """While it runs: its address, and what stands behind it."""

    url: str
    engine: Engine
    verdicts: Verdicts

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False, **options)


@contextmanager
def served(
    run: Path,
    *,
    vlm: Vlm | None = None,
    judge: str = "rules",
    place: Place | None = None,
    limits: Limits | None = None,
    key: str = "",
    about: dict[str, Any] | None = None,
) -> Iterator[Served]:
    model, judging, place = vlm or load_both(run), make(judge), place or Place(port=0)
    told = about_run(run, model, judging) | (about or {})
    with serving(model, judging, told, place, limits or Limits(), Key(key)) as ready:
        thread = threading.Thread(target=ready.run, daemon=True)
        thread.start()
        try:
            yield Served(f"http://127.0.0.1:{ready.port}", ready.engine, ready.verdicts)
        finally:
            ready.server.should_exit = True
            thread.join()
