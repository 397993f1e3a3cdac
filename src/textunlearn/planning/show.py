"""A plan for people: a table, what was assumed, and the commands of what fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from textunlearn.planning.machines import Machine
    from textunlearn.planning.plan import Estimate, Planned
    from textunlearn.recipe import Recipe


def duration(seconds: float) -> str:
    """Seconds in the unit in which one would say them."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def best(planned: Planned) -> Estimate | None:
    """The quickest way of the first method that fits, LoRA before all weights; None if nothing does."""
    fitting = [one for one in planned.estimates if one.fits]
    return min(
        fitting, key=lambda one: (one.way.method != fitting[0].way.method, one.way.full, one.seconds), default=None
    )


def print_plan(planned: Planned, machine: Machine, recipe: Recipe, named: str, console: Console) -> None:
    """The table; below it notes, and the command of the way to take."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    priced = any(one.cost is not None for one in planned.estimates)
    for column in (
        "method",
        "trained",
        "memory",
        "of",
        "model",
        "training state",
        "rows",
        "time",
        *(["cost"] if priced else []),
        "",
    ):
        right = column in ("memory", "of", "model", "training state", "rows", "time", "cost")
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    for one in planned.estimates:
        table.add_row(*_cells(one, priced), style="" if one.fits else "dim")
    size = f"{planned.parameters / 1e9:.2f} billion weights, {planned.language / 1e9:.2f} of them in the language model"
    console.print(f"{planned.model} ({size}) on {machine.name}", markup=False, highlight=False, soft_wrap=True)
    console.print(table, soft_wrap=True)
    for line in (*planned.notes, *_about(machine, recipe, planned)):
        console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)
    for why in dict.fromkeys(one.why for one in planned.estimates if one.why):
        console.print(f"✗ {why}", markup=False, highlight=False, soft_wrap=True)
    chosen = best(planned)
    if chosen is None:
        said = "Nothing fits: name more or larger GPUs (several split the model), or a smaller model."
    else:
        said = f"Fits: {chosen.way.title}: {chosen.command(recipe, named, planned.needed)}"
    console.print(said, style="bold", markup=False, highlight=False, soft_wrap=True)


def _cells(one: Estimate, priced: bool) -> list[str]:
    if one.why:
        return [one.way.method, one.way.title, *["–"] * (6 + priced), "cannot be"]
    sizes = (one.memory, one.has, one.weights, one.state, one.activations)
    cost = [] if not priced else ["–" if one.cost is None else f"{one.cost:.2f}"]
    mark = "fits" if one.fits else "does not fit"
    if one.fits and (one.accumulate > 1 or one.checkpointing):
        mark += f", accumulate={one.accumulate}" + (", gradient_checkpointing" if one.checkpointing else "")
    return [
        one.way.method,
        one.way.title,
        *(f"{size / 1e9:.1f} GB" for size in sizes),
        duration(one.seconds),
        *cost,
        mark,
    ]


def _about(machine: Machine, recipe: Recipe, planned: Planned) -> list[str]:
    from textunlearn.planning.machines import ALLOCATOR, CONTEXT, GPU_USE
    from textunlearn.planning.plan import CPU_USE

    steps = f"Time: {recipe.training.steps} steps; the model's own answers before, and testing after, come on top."
    if machine.gpu is None:
        took = f"{CPU_USE:.0%} of the rate at matrix products that was measured just now"
        libraries = max((one.libraries for one in planned.estimates), default=0.0)
        return [f"Memory: {libraries / 1e9:.2f} GB for Python and libraries in it. {steps} At {took}."]
    like = f" taken for {machine.gpu.name}s" if machine.assumed else ""
    on_top = f"{CONTEXT / 1e9:.1f} GB for CUDA and {ALLOCATOR:.0%} for the allocator in it"
    return [f"Memory: of each GPU, {on_top}. {steps} At {GPU_USE:.0%} of the peak of GPUs{like}: an assumption."]


def plan_json(planned: Planned, machine: Machine, recipe: Recipe, named: str) -> dict[str, Any]:
    """The same for machines: bytes, seconds, and the price's unit."""
    chosen = best(planned)
    return {
        "model": planned.model,
        "machine": machine.name,
        "parameters": planned.parameters,
        "language_parameters": planned.language,
        "steps": recipe.training.steps,
        "ways": [one.to_json() for one in planned.estimates],
        "notes": list(planned.notes),
        "command": None if chosen is None else chosen.command(recipe, named, planned.needed),
    }
