"""What a result was made with: versions, machine, model."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textunlearn.recipe import ModelSpec

PACKAGES = (
    "textunlearn",
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "safetensors",
    "numpy",
    "pillow",
    "matplotlib",
)


def versions() -> dict[str, str]:
    out = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            out[package] = "not installed as a package"
    return out


def machine() -> dict[str, Any]:
    """Class of the machine, without its name."""
    import psutil
    import torch

    from textunlearn.vlm.load import fast_bf16

    out: dict[str, Any] = {
        "system": platform.system(),
        "processor": _processor(),
        "cores": psutil.cpu_count(logical=True),
        "threads": torch.get_num_threads(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "fast_bfloat16": fast_bf16(),
    }
    if torch.cuda.is_available():
        out["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return out


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def describe(model: ModelSpec) -> dict[str, Any]:
    from textunlearn.vlm.load import choose

    device, dtype = choose(model)
    return {
        "versions": versions(),
        "machine": machine(),
        "model": model.id,
        "device": device,
        "dtype": str(dtype).removeprefix("torch."),
    }


def peak_memory() -> int:
    """Most memory this process has held so far, in bytes (on the GPU, where it runs there)."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
