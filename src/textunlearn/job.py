"""The main job, step by step over files: prepare, sample, evaluate before, train, evaluate after, judge, report.

Each step looks for its own result in the run folder first, so a run that was cut off goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

from rich.console import Console

from textunlearn import processes
from textunlearn.data import own_answers
from textunlearn.errors import UserError
from textunlearn.evaluation.run import EvaluationRun
from textunlearn.files import read_json, write_json, write_records, write_text
from textunlearn.progress import bar
from textunlearn.recipe import Recipe
from textunlearn.records import KINDS, Answer, Prompt

BEFORE, AFTER = "before", "after"


class Job(EvaluationRun[Recipe]):
    """One run in one folder: see `EvaluationRun`."""

    models = (BEFORE, AFTER)

    def __init__(
        self, folder: Path, recipe: Recipe, console: Console, processes: int = 1, sharded: bool = False
    ) -> None:
        """``processes``: how many train together on this machine, one a GPU (a launcher's own number wins); ``sharded``: the language
        model is split over them. Neither is part of the run: it may go on with others."""
        super().__init__(folder, recipe, console)
        self.processes, self.sharded = processes, sharded

    # -- the whole job --------------------------------------------------------------------------------------------

    def run(self) -> Path:
        """Everything, in order. Returns the report's path."""
        self.prepare()
        self.sample()
        self.evaluate(BEFORE)
        self.train()
        self.evaluate(AFTER)
        return self.report()

    # -- steps ----------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Read the data, split it, build the test cases, and record what was used."""
        from textunlearn.data.training_set import TESTS, make_splits
        from textunlearn.environment import describe
        from textunlearn.evaluation.suites import case_set_hash
        from textunlearn.training import tracking
        from textunlearn.vlm.load import check, choose

        data, spec = self.recipe.data, self.recipe.training
        tracking.chosen(spec.report_to)  # one that is missing is said now
        self.fetch_for_judge()
        images = check(self.recipe.model)
        processes.require_devices(choose(self.recipe.model)[0], self.processes)
        limits = {  # no more than the steps will see: each prompt costs an answer
            "harmful": min(data.max_harmful, spec.steps * spec.harmful_rows),
            "lookalike": min(data.max_lookalike, max(1, spec.steps * spec.lookalike_rows)),
            "ordinary": min(data.max_ordinary, max(1, spec.steps * spec.ordinary_rows)),
        }
        with self.console.status("reading data"):
            questions = self.prepare_benchmarks(images)
            splits = make_splits(
                data.harmful,
                data.lookalike,
                data.ordinary,
                # nothing near any set that is tested on is trained on
                tests=list(dict.fromkeys([*TESTS, *(name for suite in self.suites() for name in suite.sources)])),
                seed=self.recipe.seed,
                limits=limits,
                forms=data.forms,
                topics=data.topics,
                places=data.places,
                asked=[case.prompt for one in self._prepared for case in one.cases],
            )
        parts = splits.parts()
        self.train_prompts: dict[str, list[Prompt]] = {kind: list(parts[f"{kind}_train"]) for kind in KINDS}
        self.validation_prompts: dict[str, list[Prompt]] = {
            kind: list(parts[f"{kind}_validation"][: data.validation]) for kind in KINDS
        }
        report: dict[str, Any] = {
            name: {
                "n": len(prompts),
                "hash": splits.hashes()[name],
                "forms": splits.forms()[name],
                "cut": {k.split(": ", 1)[1]: n for k, n in splits.cut.items() if name == k.split(":")[0] + "_train"},
            }
            for name, prompts in parts.items()
        }
        cases, tests = self.build_cases()
        report |= tests | questions
        self.require_pictures(cases, images)
        if not images:
            self._require_text_only()
        environment = self.folder / "environment.json"
        if environment.exists():
            self._require_same_data(read_json(environment)["data"], splits.hashes())
        self._cases = cases
        write_text(self.folder / "recipe.yaml", self.recipe.to_yaml())
        write_records(self.folder / "cases.jsonl", cases)
        for split, sets in (("train", self.train_prompts), ("validation", self.validation_prompts)):
            write_records(self.folder / f"data/{split}.jsonl", [p for some in sets.values() for p in some])
        if not environment.exists():  # of the first sitting: its versions made the answers that are there
            about = {**describe(self.recipe.model), "seed": self.recipe.seed}
            write_json(environment, {**about, "data": report, "cases_hash": case_set_hash(cases)})

    def _require_text_only(self) -> None:
        """Said before any work is done, for a model without pictures; text may stand in the slots of one that takes sound."""
        from textunlearn.vlm.hearing import hears

        for part in ("pictures",) if hears(self.recipe.model) else ("slots", "pictures"):
            if getattr(self.recipe, part).share:
                raise UserError(
                    f"{self.recipe.model.id} takes no images, so nothing can stand in image slots; set {part}.share to 0"
                )

    def _require_same_data(self, first: dict[str, Any], now: dict[str, str]) -> None:
        """A run goes on with the data it began with, or not at all."""
        for name, value in now.items():
            if first[name]["hash"] != value:
                raise UserError(
                    f"the data changed since the run in {self.folder} began ({name.replace('_', ' ')} set); "
                    "undo that, or choose another folder"
                )

    def sample(self) -> None:
        """The original model's own answers to every training prompt: what is unlearned, and what is kept."""
        from textunlearn.evaluation.generation import answer_cases

        prompts = [p for some in self.train_prompts.values() for p in some]
        known = own_answers.given(prompts)
        cases = [own_answers.asked(p) for p in prompts if p.id not in known]
        data, store = self.recipe.data, self.folder / "data/answers.jsonl"
        lengths = {True: data.answer_tokens, False: data.kept_tokens}
        answers: list[Answer] = []
        with self.costs.step("sample") as cost, bar(self.console, "the model's own answers", len(cases)) as progress:
            for harmful, tokens in lengths.items():
                some = [c for c in cases if (c.prompt.kind == "harmful") == harmful]
                before = len(answers)
                answers += answer_cases(
                    self.vlm,
                    some,
                    self.folder,
                    store,
                    tokens,
                    lambda done, _, before=before: progress.set(before + done, len(cases)),  # type: ignore[misc]
                    self._batch(),
                )
            cost["tokens"] = sum(a.tokens for a in answers)
        self.answers = own_answers.answers_to(prompts, answers)

    def train(self) -> None:
        """Unlearn; the best adapter by validation ends in ``adapter/`` and is merged into the model in memory."""
        from textunlearn.training import worker
        from textunlearn.training.unlearn import BEFORE_TRAINING, unlearn
        from textunlearn.vlm.load import merge_adapter, wrap

        done = self.folder / "trained.json"
        if processes.world() > 1:  # a launcher started the others, which wait
            self._vlm = None
            with self.costs.step("train"):
                worker.train(self.folder, self.recipe, self.sharded)
            processes.leave()
        if not done.exists():
            with self.costs.step("train") as cost:
                if self.processes > 1:
                    self._vlm = None  # its memory is theirs now
                    processes.start(self.processes, worker.work, str(self.folder), self.sharded)
                vlm = self.vlm
                result = unlearn(  # after training together: takes the best adapter, there are no steps left
                    vlm,
                    self.recipe,
                    self.folder,
                    self.train_prompts,
                    self.answers,
                    self.validation_prompts,
                    self.console,
                )
                vlm.model = vlm.model.unload()
                cost |= {"tokens": result.tokens, "steps": result.steps, "flops": result.flops}
            self.costs.put(read_json(self.folder / BEFORE_TRAINING))  # part of it
            write_json(done, dataclasses.asdict(result))
        shutil.rmtree(
            self.folder / "checkpoints", ignore_errors=True
        )  # only now: a full disk must not cost the training
        # From its files also when it was trained just now: what is evaluated is what `chat` and `export` load.
        vlm = self.vlm
        model = merge_adapter(vlm.base, str(self.folder / "adapter"))
        self._vlm = wrap(model.eval().requires_grad_(False), vlm.processor, vlm.name)

    def more_metrics(self) -> dict[str, Any]:
        from textunlearn.training.checked import checked

        trained = self.folder / "trained.json"
        decisions = read_json(trained)["guard"] if trained.exists() else []
        return {"guard": decisions, "checks": checked(self.folder, self.recipe.training)}
