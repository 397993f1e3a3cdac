"""Where the curves of training go beside ``training.jsonl``: TensorBoard, Trackio, W&B or MLflow, by the Trainer's own callbacks.

Figures alone leave the trainer, never a prompt or an answer. Nothing here goes to a network unless the user's own settings of a
tracker say so (``WANDB_MODE=online``, ``TRACKIO_SPACE_ID``, ``MLFLOW_TRACKING_URI``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textunlearn.errors import UserError

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from textunlearn.recipe import Tracker

FOLDER = "tensorboard"
"""Of the run: `tensorboard --logdir runs` shows all runs."""
PROJECT = "textunlearn"
_ALONE = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_SILENT": "true",
    "MLFLOW_EXPERIMENT_NAME": PROJECT,
}
"""Reports of use that these libraries send by themselves are off, unless the user has set them."""


@dataclass(frozen=True, slots=True)
class _Place:
    """What a tracker is told: the run's folder and name, and the step it goes on from."""

    run: Path
    name: str
    step: int


def _tensorboard(place: _Place) -> TrainerCallback:
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import TensorBoardCallback

    # After a kill, what was logged past the checkpoint is logged again: the reader drops the first of it.
    purge = place.step + 1 if (place.run / FOLDER).is_dir() else None
    writer = SummaryWriter(str(place.run / FOLDER), purge_step=purge, flush_secs=10)
    return TensorBoardCallback(writer)


def _wandb(place: _Place) -> TrainerCallback:
    """Offline into the run's folder; `wandb sync` sends it. Begun here, for the Trainer's callback has no say in where it goes."""
    import wandb
    from transformers.integrations import WandbCallback

    class Ended(WandbCallback):
        def on_train_end(self, *args: Any, **kwargs: Any) -> None:
            super().on_train_end(*args, **kwargs)
            wandb.finish()

    wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        name=place.name,
        dir=os.environ.get("WANDB_DIR", str(place.run)),
        mode=os.environ.get("WANDB_MODE", "offline"),  # type: ignore[arg-type]
        settings=wandb.Settings(console="off"),  # figures alone: what the terminal shows stays there
    )
    return Ended()


def _trackio(place: _Place) -> TrainerCallback:
    from transformers.integrations import TrackioCallback

    return TrackioCallback()


def _mlflow(place: _Place) -> TrainerCallback:
    from transformers.integrations import MLflowCallback

    return MLflowCallback()


_MAKERS: dict[Tracker, Callable[[_Place], TrainerCallback]] = {
    "tensorboard": _tensorboard,
    "trackio": _trackio,
    "wandb": _wandb,
    "mlflow": _mlflow,
}


def chosen(report_to: Sequence[Tracker] | None) -> list[Tracker]:
    """The trackers that a recipe names; None: TensorBoard, where it is installed. UserError for one whose package is missing."""
    if report_to is None:
        return ["tensorboard"] if find_spec("tensorboard") else []
    for name in report_to:
        if find_spec(name) is None:
            raise UserError(
                f"training.report_to names {name}, whose package is not installed; run `pip install {name}`, or leave it out"
            )
    return list(dict.fromkeys(report_to))


def callbacks(names: Sequence[Tracker], run: Path, name: str, step: int) -> list[TrainerCallback]:
    """A callback a tracker, for training that goes on after ``step`` in the folder ``run``."""
    if names:
        for variable, value in _ALONE.items():
            os.environ.setdefault(variable, value)
    return [_MAKERS[tracker](_Place(run, name, step)) for tracker in names]
