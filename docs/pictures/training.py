"""Draws docs/pictures/loss.svg and collapse.svg from the training curves of a comparison.

textunlearn compare comparison --only bounded,published,published_full
python docs/pictures/training.py runs/comparison
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from drawing import COLOURS, matplotlib_style, write_figure
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from textunlearn.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HERE = Path(__file__).parent
RUNS = {
    "bounded": "bounded (the default), LoRA",
    "published": "as published, LoRA",
    "published_full": "as published, all weights",
}
SMOOTH = 10
"""Steps a curve is the mean of: the guards look at as many."""


def rows(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's training.jsonl, one a step or look. UserError where there are none."""
    path = run / "training.jsonl"
    if not path.is_file():
        raise UserError(f"{path} is not there; run textunlearn compare comparison --only {','.join(RUNS)} first")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def mean(values: list[float]) -> list[float]:
    """Each value's mean with the ones before it, `SMOOTH` together at most."""
    return [sum(part) / len(part) for i in range(len(values)) if (part := values[max(0, i - SMOOTH + 1) : i + 1])]


def loss(folder: Path) -> None:
    figure = Figure(figsize=(8.4, 3.2))
    panes: list[Axes] = list(figure.subplots(1, 2))
    figure.subplots_adjust(left=0.055, right=0.985, top=0.76, bottom=0.14, wspace=0.14)
    for colour, (name, title) in zip(COLOURS, RUNS.items(), strict=False):
        steps = [row for row in rows(folder / name) if "harm_nll" in row]
        for pane, key in zip(panes, ("harm_nll", "kl"), strict=True):
            pane.plot(
                [row["step"] for row in steps],
                mean([row[key] for row in steps]),
                color=colour,
                linewidth=1.8,
                label=title,
            )
    for pane, title in zip(
        panes, ("NLL of harmful answers, nats a token", "KL to the original, nats a token"), strict=True
    ):
        pane.set_title(title)
        pane.set_xlabel("step")
        pane.set_ylim(bottom=0)
        pane.grid(axis="y")
        pane.tick_params(length=0)
    handles, labels = panes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="upper left", ncols=3, frameon=False, bbox_to_anchor=(0.04, 1.0), handlelength=1.2
    )
    write_figure(HERE / "loss.svg", figure, "Likelihood of harmful answers and distance to the original over training")


def collapse(folder: Path) -> None:
    looks = [row for row in rows(folder / "published_full") if "validation" in row]
    figure = Figure(figsize=(8.4, 3.0))
    pane = figure.add_axes((0.065, 0.15, 0.92, 0.68))
    lines = {
        "harmful requests let through": "asr",
        "harmless look-alikes refused": "lookalike_refusal",
        "ordinary requests refused": "ordinary_refusal",
        "answers broken": "broken",
    }
    for colour, (title, key) in zip((COLOURS[0], COLOURS[1], COLOURS[3], COLOURS[2]), lines.items(), strict=True):
        pane.plot(
            [row["step"] for row in looks], [row["validation"][key] for row in looks],
            color=colour, linewidth=1.8, marker="o", markersize=4, label=title,
        )  # fmt: skip
    pane.set_ylim(-0.02, 1)
    pane.set_xlabel("step")
    pane.yaxis.set_major_formatter(PercentFormatter(1.0))
    pane.grid(axis="y")
    pane.tick_params(length=0)
    figure.legend(
        loc="upper left",
        ncols=4,
        frameon=False,
        bbox_to_anchor=(0.02, 1.0),
        handlelength=1.0,
        columnspacing=0.9,
        fontsize=8,
    )
    write_figure(HERE / "collapse.svg", figure, "Held-out prompts over training with all weights and no bound")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("comparison", type=Path, help="folder of the comparison, e.g. runs/comparison")
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    with mpl.rc_context(matplotlib_style()):
        loss(given.comparison / f"seed-{given.seed}")
        collapse(given.comparison / f"seed-{given.seed}")
