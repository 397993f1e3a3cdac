"""One of several processes that train together: all it needs lies in the run folder, and only the first one writes there."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from textunlearn import processes, shell
from textunlearn.data.own_answers import answers_to
from textunlearn.errors import UserError
from textunlearn.files import read_records
from textunlearn.recipe import Recipe
from textunlearn.records import KINDS, Answer, Prompt


def work(folder: str, sharded: bool) -> None:
    """Started by `processes.start`."""
    shell.quiet()
    shell.stop_without_parent()
    train(Path(folder), Recipe.read(Path(folder) / "recipe.yaml"), sharded)
    processes.leave()


def train(folder: Path, recipe: Recipe, sharded: bool) -> None:
    """Wait for the others, then take part in the training of the run in ``folder``, if it is not trained yet.

    The first process comes here when the data are prepared and the answers are sampled.
    """
    from textunlearn.training import unlearn
    from textunlearn.vlm.load import choose, load

    processes.join(choose(recipe.model)[0])
    if processes.from_first(lambda: (folder / "trained.json").exists()):
        return
    console = Console(quiet=not processes.first())
    vlm = load(recipe.model)
    # Said by all or by none: a process that fails alone would leave the others waiting.
    if len(set(processes.gathered(vlm.hash))) > 1:
        raise UserError(
            f"the processes have different weights under {recipe.model.id}; give all of them the same model"
        )
    prompts, validation = (read_prompts(folder, split) for split in ("train", "validation"))
    own = read_records(folder / "data/answers.jsonl", Answer)
    answers = answers_to([prompt for some in prompts.values() for prompt in some], own)
    unlearn.train(vlm, recipe, folder, prompts, answers, validation, console, sharded=sharded)


def read_prompts(folder: Path, split: str) -> dict[str, list[Prompt]]:
    """kind -> prompts of ``train`` or ``validation``, as `Job.prepare` wrote them."""
    prompts = read_records(folder / f"data/{split}.jsonl", Prompt)
    return {kind: [prompt for prompt in prompts if prompt.kind == kind] for kind in KINDS}
