"""The main job, step by step over files: prepare, sample, evaluate before, train, evaluate after, judge, report.

Each step looks for its own result in the run folder first, so a run that was cut off goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from textunlearn import __version__
from textunlearn.cost import Costs
from textunlearn.errors import UserError
from textunlearn.files import read_json, read_records, write_json, write_records, write_text
from textunlearn.progress import bar
from textunlearn.recipe import ModelSpec, Recipe
from textunlearn.records import Answer, Case, Kind, Prompt, Verdict

BEFORE, AFTER = "before", "after"
KINDS: tuple[Kind, ...] = ("harmful", "lookalike", "ordinary")


class Job:
    """One run in one folder.

    Args:
        folder: created if missing; a folder with another recipe is refused.
        recipe: what to do.
        console: where progress is shown.
    """

    def __init__(self, folder: Path, recipe: Recipe, console: Console) -> None:
        self.folder, self.recipe, self.console = folder, recipe, console
        self._vlm: Any = None
        self._cases: list[Case] | None = None
        from textunlearn.lock import claim

        folder.mkdir(parents=True, exist_ok=True)
        self._lock = claim(folder)
        kept = folder / "recipe.yaml"
        try:
            if kept.exists() and Recipe.read(kept) != recipe:
                raise UserError(
                    f"{folder} holds a run of another recipe; choose another folder, or remove it to start anew"
                )
            self.costs = Costs(folder / "cost.json")
        except UserError:
            self.close()  # the error's traceback would keep this object, and with it the lock
            raise

    def close(self) -> None:
        """Let go of the folder and the model."""
        self._lock.close()
        self._vlm = None

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

    @property
    def vlm(self) -> Any:
        if self._vlm is None:
            from textunlearn.vlm.load import load

            with self.console.status(f"loading {self.recipe.model.id}"):
                vlm = load(self.recipe.model)
                self._require_same_model(vlm.hash, str(vlm.embed.weight.dtype).removeprefix("torch."))
            self._vlm = vlm
        return self._vlm

    def _require_same_model(self, now: str, dtype: str) -> None:
        """Stored answers are the first sitting's model's: a folder or branch of the same name may hold other weights since."""
        path = self.folder / "model.json"
        if not path.exists():
            write_json(path, {"id": self.recipe.model.id, "hash": now, "dtype": dtype})
        elif (began := read_json(path))["dtype"] != dtype:
            raise UserError(
                f"the run in {self.folder} began in {began['dtype']}, and this machine would go on in {dtype}; "
                f"go on where it began, or choose another folder"
            )
        elif began["hash"] != now:
            raise UserError(
                f"the weights of {self.recipe.model.id} changed since the run in {self.folder} began; "
                "undo that, or choose another folder"
            )

    def prepare(self) -> None:
        """Read the data, split it, build the test cases, and record what was used."""
        from textunlearn.data.sources import SOURCES
        from textunlearn.data.training_set import make_splits
        from textunlearn.environment import describe
        from textunlearn.evaluation.suites import build_cases, case_set_hash, select
        from textunlearn.vlm.load import check

        data, spec = self.recipe.data, self.recipe.training
        _require_one_process(self.recipe.model)
        images = check(self.recipe.model)
        limits = {  # no more than the steps will see: each prompt costs an answer
            "harmful": min(data.max_harmful, spec.steps * spec.harmful_rows),
            "lookalike": min(data.max_lookalike, max(1, spec.steps * spec.lookalike_rows)),
            "ordinary": min(data.max_ordinary, max(1, spec.steps * spec.ordinary_rows)),
        }
        with self.console.status("reading data"):
            splits = make_splits(
                data.harmful,
                data.lookalike,
                data.ordinary,
                seed=self.recipe.seed,
                limits=limits,
                forms=data.forms,
                topics=data.topics,
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
        cases: list[Case] = []
        sources: dict[str, list[Prompt]] = {}
        for suite in self.suites():
            prompts = []
            for name in suite.sources:
                sources.setdefault(name, SOURCES.get(name)())
                prompts += sources[name]
            chosen = select(suite, prompts)
            cases += build_cases(suite, prompts, self.folder)
            report[f"test {suite.name}"] = {"n": len(chosen.prompts), "pool": chosen.pool, "left_out": chosen.left_out}
        if not images:
            self._require_text_only(cases)
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

    def _require_text_only(self, cases: Sequence[Case]) -> None:
        """Said before any work is done, for a language model alone."""
        name = self.recipe.model.id
        if suites := dict.fromkeys(case.suite for case in cases if case.image):
            raise UserError(f"{name} takes no images; leave the suites {', '.join(suites)} out of evaluation.suites")
        for part in ("slots", "pictures"):
            if getattr(self.recipe, part).share:
                raise UserError(f"{name} takes no images, so nothing can stand in image slots; set {part}.share to 0")

    def _require_same_data(self, first: dict[str, Any], now: dict[str, str]) -> None:
        """A run goes on with the data it began with, or not at all."""
        for name, value in now.items():
            if first[name]["hash"] != value:
                raise UserError(
                    f"the data changed since the run in {self.folder} began ({name.replace('_', ' ')} set); "
                    "undo that, or choose another folder"
                )

    @property
    def cases(self) -> list[Case]:
        """The test cases, as prepared now or as the folder holds them."""
        if self._cases is None:
            self._cases = read_records(self.folder / "cases.jsonl", Case)
        return self._cases

    def suites(self) -> list[Any]:
        from textunlearn.evaluation.suites import chosen

        spec = self.recipe.evaluation
        suites = chosen(spec.suites)
        if spec.limit is not None:
            suites = [s.model_copy(update={"limit": min(s.limit, spec.limit)}) for s in suites]
        return suites

    def sample(self) -> None:
        """The original model's own answers to every training prompt: what is unlearned, and what is kept."""
        from textunlearn.evaluation.generation import answer_cases

        prompts = [p for some in self.train_prompts.values() for p in some]
        given = {p.id: p.reference for p in prompts if p.kind == "harmful" and p.reference}
        cases = [Case("train", "direct", p, p.text) for p in prompts if p.id not in given]
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
        said = {a.case: a.text for a in answers}
        self.answers = given | {c.prompt.id: said[c.id] for c in cases}

    def train(self) -> None:
        """Unlearn; the best adapter by validation ends in ``adapter/`` and is merged into the model in memory."""
        from textunlearn.training.unlearn import BEFORE_TRAINING, unlearn
        from textunlearn.vlm.load import merge_adapter, wrap

        done, vlm = self.folder / "trained.json", self.vlm
        if not done.exists():
            with self.costs.step("train") as cost:
                result = unlearn(
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
        model = merge_adapter(vlm.base, str(self.folder / "adapter"))
        self._vlm = wrap(model.eval().requires_grad_(False), vlm.processor, vlm.name)

    def evaluate(self, model: str) -> None:
        """Answer every case, judge the answers, measure usefulness. ``model`` names the answers' files."""
        from textunlearn.evaluation.generation import answer_cases
        from textunlearn.evaluation.utility import utility

        spec = self.recipe.evaluation
        store = self.folder / f"answers/{model}.jsonl"
        with self.costs.step(f"evaluate {model}") as cost:
            with bar(self.console, f"answers, {model}") as progress:
                tokens = spec.max_new_tokens
                answers = answer_cases(self.vlm, self.cases, self.folder, store, tokens, progress.set, self._batch())
            cost["tokens"] = sum(a.tokens for a in answers)
            path = self.folder / "utility.json"
            measured = read_json(path) if path.exists() else {}
            prompts, own = self._own_answers()
            reference = self.folder / "utility_reference.safetensors"
            wanted = model not in measured or (
                model == BEFORE and not reference.exists()
            )  # the KL needs the original's states
            if wanted and prompts:
                with bar(self.console, f"usefulness, {model}", len(prompts)) as progress:
                    result = utility(self.vlm, prompts, own, reference, progress.add)
                measured[model] = dataclasses.asdict(result)
                write_json(path, measured)
        self.judge(model)
        if spec.knowledge or spec.shallowness:
            self._measure_further(model, answers)

    def _measure_further(self, model: str, answers: Sequence[Answer]) -> None:
        """What `evaluation.further` measures; ``model`` names whose it is."""
        from textunlearn.evaluation.further import measure
        from textunlearn.judges import JUDGES

        spec = self.recipe.evaluation
        before = read_records(self.folder / f"answers/{BEFORE}.jsonl", Answer)
        with self.costs.step(f"further {model}"), bar(self.console, f"further measures, {model}") as progress:
            measure(
                self.vlm,
                self.folder,
                model,
                self.cases,
                before,
                answers,
                JUDGES.get(spec.judge)(),
                knowledge=spec.knowledge,
                shallowness=spec.shallowness,
                seed=0 if model == BEFORE else self.recipe.seed,  # no seed changes the original model
                progress=progress.set,
                batch_size=self._batch(),
            )

    def _batch(self) -> int:
        from textunlearn.evaluation.generation import BATCH

        wanted = self.recipe.evaluation.batch_size
        return BATCH if wanted == "auto" else wanted

    def _own_answers(self) -> tuple[list[Prompt], list[str]]:
        """The ordinary typed cases and the original model's answers to them."""
        said = {a.case: a.text for a in read_records(self.folder / f"answers/{BEFORE}.jsonl", Answer)}
        cases = [c for c in self.cases if c.prompt.kind == "ordinary" and c.attack == "direct"]
        return [c.prompt for c in cases], [said[c.id] for c in cases]

    def judge(self, model: str, judge: str | None = None) -> None:
        """Verdicts on stored answers; nothing is generated."""
        from textunlearn.judges import JUDGES

        chosen = JUDGES.get(judge or self.recipe.evaluation.judge)()
        answers = read_records(self.folder / f"answers/{model}.jsonl", Answer)
        verdicts = chosen.judge(self.cases, answers)
        distinct = list({v.case: v for v in verdicts}.values())
        write_records(self.folder / f"verdicts/{model}.{chosen.name}.jsonl", distinct)

    def report(self) -> Path:
        """Metrics, and the page that shows them."""
        from textunlearn.report.html import write_report

        self.metrics()
        return write_report(self.folder)

    def metrics(self, models: Sequence[str] = (BEFORE, AFTER)) -> dict[str, Any]:
        """Write metrics.json and metrics.csv of the verdicts that are there."""
        from textunlearn.evaluation.judge_error import described, with_corrected
        from textunlearn.evaluation.metrics import read_metrics, summarise, write_metrics
        from textunlearn.judges import JUDGES

        judge = JUDGES.get(self.recipe.evaluation.judge)().name
        verdicts = {m: read_records(self.folder / f"verdicts/{m}.{judge}.jsonl", Verdict) for m in models}
        path, trained = self.folder / "utility.json", self.folder / "trained.json"
        measured = read_json(path) if path.exists() else {}
        useful = {
            m: {**values, "perplexity_ratio": values["perplexity"] / measured[BEFORE]["perplexity"]}
            for m, values in measured.items()
        }
        write_metrics(
            self.folder,
            with_corrected(summarise(self.cases, verdicts), judge),
            useful,
            {
                "run": {
                    "name": self.recipe.name,
                    "model": self.recipe.model.id,
                    "seed": self.recipe.seed,
                    "judge": judge,
                    "version": __version__,
                    "titles": {s.name: s.title for s in self.suites()},
                },
                "cost": self.costs.steps,
                "further": read_json(further) if (further := self.folder / "further.json").exists() else {},
                "judge_error": described(judge),
                "guard": read_json(trained)["guard"] if trained.exists() else [],
                "not_measured": NOT_MEASURED if self.recipe.evaluation.shallowness else [*NOT_MEASURED, NOT_RELEARNED],
            },
        )
        return read_metrics(self.folder)


def _require_one_process(model: ModelSpec) -> None:
    """Said before any work is done: training runs on one device."""
    import torch

    from textunlearn.vlm.load import choose

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            "textunlearn runs as one process; start it without a launcher such as torchrun or accelerate launch"
        )
    if choose(model)[0].startswith("cuda") and torch.cuda.device_count() > 1:
        raise UserError(
            "several GPUs are visible and training uses one; choose it, for instance by CUDA_VISIBLE_DEVICES=0"
        )


NOT_MEASURED = [
    "Harm that only the picture shows: the suites' images carry text, so nothing here tests photos of harmful things.",
    "White-box attacks (optimised suffixes or pixels) and attacks over several turns.",
    "Any judge but the one named: it reads the answers' first words and cannot tell how harmful a compliant answer is.",
]

NOT_RELEARNED = "Whether the safety lasts when the model is fine-tuned further (evaluation.shallowness measures it)."
