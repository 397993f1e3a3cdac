"""What a result was made with: versions, machine, model."""

from __future__ import annotations

import platform
import sys
import threading
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
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


CGROUPS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory"))
"""Where Linux says what a container may use (v2, v1)."""
_CGROUP_FILES = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))


def memory(device: str = "cpu", cgroups: tuple[Path, ...] = CGROUPS) -> tuple[int, int]:
    """Bytes of memory in all, and free, for a model on ``device``: main memory, within a container its limit, or the GPU's."""
    import psutil

    if device.startswith("cuda"):
        import torch

        free, total = torch.cuda.mem_get_info(device)
        return int(total), int(free)
    host = psutil.virtual_memory()
    total, free = int(host.total), int(host.available)
    for folder, (limit, used) in zip(cgroups, _CGROUP_FILES, strict=True):
        try:
            most, taken = (int((folder / name).read_text(encoding="ascii")) for name in (limit, used))
        except (OSError, ValueError):  # no container, or one without a limit ("max")
            continue
        total, free = min(total, most), min(free, max(0, most - taken))
    return total, free


def precision() -> tuple[str, str, str]:
    """Device and dtype that a model gets here unless a recipe says otherwise, and why."""
    from textunlearn.recipe import ModelSpec
    from textunlearn.vlm.load import choose

    device, kind = choose(ModelSpec())
    dtype = str(kind).removeprefix("torch.")
    why = {
        ("cuda", "bfloat16"): "the GPU computes in bfloat16",
        ("cuda", "float16"): "the GPU has no bfloat16",
        ("mps", "float32"): "half precision is not trusted on Apple's GPUs",
        ("cpu", "bfloat16"): "this processor multiplies bfloat16 itself (AVX-512 BF16 or AMX)",
        ("cpu", "float32"): "this processor has no bfloat16 of its own, and would be many times slower in it",
    }
    return device, dtype, why[device.split(":")[0], dtype]


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

    return int(torch.cuda.max_memory_allocated()) if torch.cuda.is_available() else peak_rss()


def peak_rss() -> int:
    """Most main memory this process has held so far, in bytes."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows what Intel's and AMD's processors count (RAPL)."""
_OFTEN = 60.0
"""Seconds between readings in the background: the counters start anew after some minutes at full load."""
_counted: dict[Path, tuple[int, int]] = {}
"""RAPL zone -> its counter when last read, and the sum that never starts anew; microjoules."""
_reading = threading.Lock()


def energy_joules(powercap: Path = POWERCAP) -> float | None:
    """Energy used so far, in joules, by the whole machine's processors and the GPUs that torch uses: take the difference of two
    readings. It only grows, whatever the counters below do.

    None where the machine does not report it: no RAPL or no right to read it (usually the administrator's alone), and where
    there is a GPU whose counter cannot be read, for the processors alone would hide most of the bill.
    """
    import torch

    processors = _packages(powercap)
    if not torch.cuda.is_available():
        return processors
    gpus = _gpus()
    return None if gpus is None else gpus + (processors or 0.0)


def _packages(powercap: Path) -> float | None:
    """Sum over the processors' packages (their parts, such as cores, are counted in them)."""
    with _reading:
        known = [total for zone in sorted(powercap.glob("intel-rapl:*")) if (total := _zone(zone)) is not None]
        if known and powercap == POWERCAP and not any(t.name == "energy" for t in threading.enumerate()):
            threading.Thread(target=_keep_reading, name="energy", daemon=True).start()
    return sum(known) / 1e6 if known else None


def _zone(zone: Path) -> int | None:
    """Microjoules of one package since it was first read here, on top of that reading; None for another kind of zone."""
    try:
        if not (zone / "name").read_text(encoding="ascii").startswith("package"):
            return None
        now = int((zone / "energy_uj").read_text(encoding="ascii"))
        last, total = _counted.get(zone, (now, now))
        more = now - last
        if more < 0:  # it started anew
            more += int((zone / "max_energy_range_uj").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    _counted[zone] = now, total + more
    return total + more


def _keep_reading() -> None:
    while True:
        time.sleep(_OFTEN)
        _packages(POWERCAP)


def _gpus() -> float | None:
    """Joules of the GPUs that torch sees, since their driver was loaded; None without NVIDIA's package ``nvidia-ml-py``."""
    import torch

    try:
        import pynvml

        pynvml.nvmlInit()
        ids = [f"GPU-{torch.cuda.get_device_properties(i).uuid}" for i in range(torch.cuda.device_count())]
        used = [pynvml.nvmlDeviceGetTotalEnergyConsumption(pynvml.nvmlDeviceGetHandleByUUID(name)) for name in ids]
    except (
        Exception
    ):  # no package, no driver, a GPU that does not count, one that is not NVIDIA's: each has its own error
        return None
    return float(sum(used)) / 1e3
