"""A folder of test cases and of what models said to them: answers, verdicts, metrics, report.

Each step looks for its own result in the folder first, so a run that was cut off goes on where it stopped. The main job
(`textunlearn.job`) adds training between two of its models; `textunlearn.evaluation.single` evaluates one model as it is.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeVar

from rich.console import Console

from textunlearn import __version__
from textunlearn.cost import Costs
from textunlearn.data.filters import Kept
from textunlearn.data.places import PlaceSpec
from textunlearn.errors import UserError
from textunlearn.files import read_json, read_records, require_space, sweep, write_json, write_records
from textunlearn.lock import claim
from textunlearn.progress import Bar, bar
from textunlearn.recipe import EvaluationSpec, ModelSpec
from textunlearn.records import Answer, Case, Prompt, Verdict

if TYPE_CHECKING:
    from textunlearn.evaluation.benchmarks import Benchmark, Prepared
    from textunlearn.judges import Judge


LEAST_SPACE = 10e6
"""Bytes that must be free for a run to be begun: answers, verdicts and report of a small one."""


class Described(Protocol):
    """What a run's description must say."""

    @property
    def name(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def model(self) -> ModelSpec: ...
    @property
    def evaluation(self) -> EvaluationSpec: ...
    @property
    def places(self) -> Mapping[str, PlaceSpec]: ...
    @classmethod
    def read(cls, path: Path) -> Self: ...
    def to_yaml(self) -> str: ...


R = TypeVar("R", bound=Described)


class EvaluationRun(Generic[R]):
    """One run in one folder.

    Args:
        folder: created if missing; a folder with another description is refused.
        recipe: what to do.
        console: where progress is shown.
    """

    description: ClassVar[str] = "recipe.yaml"
    """File of the folder that holds the description."""
    models: ClassVar[tuple[str, ...]]
    """Whose answers the folder holds: the names of the files; the first is the one that others are held against."""

    def __init__(self, folder: Path, recipe: R, console: Console) -> None:
        self.folder, self.recipe, self.console = folder, recipe, console
        self._vlm: Any = None
        self._cases: list[Case] | None = None
        self._prepared: list[Prepared] = []
        self.failures: dict[str, str] | None = None
        """Case id -> why it got no answer; None where that ends the run."""
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = claim(folder)
        sweep(folder)
        kept = folder / self.description
        try:
            if kept.exists() and type(recipe).read(kept) != recipe:
                raise UserError(
                    f"{folder} holds a run of another recipe; choose another folder, or remove it to start anew"
                )
            self.costs = Costs(folder / "cost.json")
            require_space(folder, LEAST_SPACE, f"the run in {folder}")
        except UserError:
            self.close()  # the error's traceback would keep this object, and with it the lock
            raise

    def close(self) -> None:
        """Let go of the folder and the model."""
        self._lock.close()
        self._vlm = None

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

    def build_cases(self) -> tuple[list[Case], dict[str, Any]]:
        """The test cases of all suites, and what environment.json says of each suite."""
        from textunlearn.attacks.speech import who_spoke
        from textunlearn.data.loading import load_counted
        from textunlearn.evaluation.suites import build_cases, case_set_hash, select

        places = self.recipe.places
        cases: list[Case] = []
        about: dict[str, Any] = {}
        sources: dict[str, Kept] = {}
        for suite in self.suites():
            prompts = []
            cut: Counter[str] = Counter()
            for name in suite.sources:
                if name not in sources:
                    sources[name] = load_counted(name, places)
                prompts += sources[name].prompts
                cut.update(sources[name].reasons)
            chosen, shown = select(suite, prompts), build_cases(suite, prompts, self.folder)
            cases += shown
            about[f"test {suite.name}"] = {
                "attack": suite.attack,
                "n": len(chosen.prompts),
                "pool": chosen.pool,
                "left_out": chosen.left_out,
                "cut": dict(cut),
                "from": {name: sources[name].origin for name in suite.sources if sources[name].origin},
                "hash": case_set_hash(shown),
                "hash_without_pixels": case_set_hash(shown, pixels=False),
                **who_spoke(shown),
            }
        return cases, about

    @property
    def benchmarks(self) -> list[Benchmark]:
        """The sets of questions with known answers."""
        from textunlearn.evaluation.benchmarks import chosen

        return chosen(self.recipe.evaluation.utility)

    def prepare_benchmarks(self, takes_images: bool) -> dict[str, Any]:
        """Read their questions into the folder; what environment.json says of each. UserError for what the model cannot be asked, or
        questions that are others than when the run began."""
        from textunlearn.evaluation.benchmarks import prepare, require_askable

        spec = self.recipe.evaluation
        self._prepared = [prepare(one, self.recipe.places, spec.limit) for one in self.benchmarks]
        require_askable(self._prepared, self.recipe.model.id, takes_images, lambda: self.in_memory and self.vlm)
        about = {f"utility {one.benchmark.label}": dict(one.about) for one in self._prepared}
        path = self.folder / "environment.json"
        first = read_json(path)["data"] if path.exists() else about
        for one in self._prepared:
            name = f"utility {one.benchmark.label}"
            if first.get(name, {}).get("hash") != about[name]["hash"]:
                raise UserError(
                    f"the questions of {one.benchmark.label} changed since the run in {self.folder} began (other data or another "
                    "version of the package); choose another folder"
                )
            one.write(self.folder)
        return about

    def require_pictures(self, cases: Sequence[Case], takes_images: bool) -> None:
        """Said before any work is done: UserError for suites whose pictures or sounds the model does not take."""
        from textunlearn.evaluation.generation import require_pictures
        from textunlearn.vlm.hearing import require_hearing

        if self.in_memory:
            require_hearing(self.recipe.model, cases)
        if not takes_images:
            if suites := dict.fromkeys(case.suite for case in cases if case.images):
                raise UserError(
                    f"{self.recipe.model.id} takes no images; leave the suites {', '.join(suites)} out of evaluation.suites"
                )
        elif any(len(case.images) > 1 for case in cases):  # only the model's processor knows; it is needed next anyway
            require_pictures(self.vlm, cases)

    def fetch_for_judge(self) -> None:
        """What the run's judge reads is there before any model is asked; UserError if it cannot be had."""
        from textunlearn.judges.spec import fetch_needs, make

        fetch_needs(make(self.recipe.evaluation.judge), self.console)

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

    @property
    def name_of_model(self) -> str:
        """What a report calls the model."""
        return self.recipe.model.id

    @property
    def answerer(self) -> Any:
        """Who answers the cases: the model in memory, unless a run says otherwise."""
        return self.vlm

    def answer(self, model: str) -> list[Answer]:
        """Answers to every case, from the store or asked for now; ``model`` names their file."""
        from textunlearn.evaluation.generation import answer_cases

        spec, store = self.recipe.evaluation, self.folder / f"answers/{model}.jsonl"
        if not self.cases:  # only questions with known answers are asked
            write_records(store, [])
            return []
        with bar(self.console, f"answers, {model}") as progress:
            return answer_cases(
                self.answerer,
                self.cases,
                self.folder,
                store,
                spec.max_new_tokens,
                progress.set,
                self._batch(),
                self.failures,
            )

    def evaluate(self, model: str) -> None:
        """Answer every case, judge the answers, measure usefulness. ``model`` names the answers' files."""
        spec = self.recipe.evaluation
        with self.costs.step(f"evaluate {model}") as cost:
            answers = self.answer(model)
            cost["tokens"] = sum(a.tokens for a in answers)
            if self.in_memory:
                self._measure_utility(model)
        self.measure_benchmarks(model)
        self.judge(model)
        if (spec.knowledge or spec.shallowness) and self.in_memory:
            self._measure_further(model, answers)

    def measure_benchmarks(self, model: str) -> None:
        """Put the questions with known answers to the model."""
        from textunlearn.evaluation.benchmarks import measure

        for one in self._prepared:
            label = one.benchmark.label
            with self.costs.step(f"utility {model}"), bar(self.console, f"{label}, {model}") as progress:
                measure(self.answerer, one, self.folder, model, progress.set, self._batch(), self.failures)

    @property
    def in_memory(self) -> bool:
        """Whether the model can be looked into, beyond what it says."""
        return True

    def _measure_utility(self, model: str) -> None:
        from textunlearn.evaluation.utility import utility

        path = self.folder / "utility.json"
        measured = read_json(path) if path.exists() else {}
        prompts, own = self._own_answers()
        reference = self.folder / "utility_reference.safetensors"
        first = model == self.models[0]
        wanted = model not in measured or (first and not reference.exists())  # the KL needs the original's states
        if not wanted or not prompts:
            return
        with bar(self.console, f"usefulness, {model}", len(prompts)) as progress:
            result = utility(self.vlm, prompts, own, reference, progress.add)
        measured[model] = dataclasses.asdict(result)
        write_json(path, measured)

    def _measure_further(self, model: str, answers: Sequence[Answer]) -> None:
        """What `evaluation.further` measures; ``model`` names whose it is."""
        from textunlearn.evaluation.further import measure
        from textunlearn.judges.spec import make

        spec = self.recipe.evaluation
        before = read_records(self.folder / f"answers/{self.models[0]}.jsonl", Answer)
        with self.costs.step(f"further {model}"), bar(self.console, f"further measures, {model}") as progress:
            measure(
                self.vlm,
                self.folder,
                model,
                self.cases,
                before,
                answers,
                make(spec.judge),
                knowledge=spec.knowledge,
                shallowness=spec.shallowness,
                seed=0 if model == self.models[0] else self.recipe.seed,  # no seed changes the original model
                progress=progress.set,
                batch_size=self._batch(),
            )

    def _batch(self) -> int | None:
        wanted = self.recipe.evaluation.batch_size
        return None if wanted == "auto" else wanted

    def _own_answers(self) -> tuple[list[Prompt], list[str]]:
        """The ordinary typed cases and the original model's answers to them."""
        said = {a.case: a.text for a in read_records(self.folder / f"answers/{self.models[0]}.jsonl", Answer)}
        cases = [c for c in self.cases if c.prompt.kind == "ordinary" and c.attack == "direct"]
        return [c.prompt for c in cases], [said[c.id] for c in cases]

    def judge(self, model: str, judge: Judge | str | None = None) -> str:
        """Verdicts on stored answers by ``judge`` (None: the run's own); nothing is generated. The judge's name, with its version."""
        from textunlearn.judges.spec import fetch_needs, make

        chosen = make(judge or self.recipe.evaluation.judge) if judge is None or isinstance(judge, str) else judge
        answers = read_records(self.folder / f"answers/{model}.jsonl", Answer)
        fetch_needs(chosen, self.console)
        with self.console.status(f"judging, {model} ({chosen.name})"):
            verdicts = chosen.judge(self.cases, answers)
        distinct = list({v.case: v for v in verdicts}.values())
        write_records(self.folder / f"verdicts/{model}.{chosen.name}.jsonl", distinct)
        return chosen.name

    def report(self, *, show_unsafe: bool = False) -> Path:
        """Metrics, and the page that shows them; ``show_unsafe``: harmful requests and unsafe answers are not redacted."""
        from textunlearn.report.html import write_report

        self.metrics()
        with ExitStack() as shown:
            bars: list[Bar] = []

            def told(done: int, total: int) -> None:
                if not bars:  # not before the run is read: a damaged one is told in one sentence
                    bars.append(shown.enter_context(bar(self.console, "cases into the report")))
                bars[0].set(done, total)

            return write_report(self.folder, show_unsafe=show_unsafe, progress=told)

    def metrics(self) -> dict[str, Any]:
        """Write metrics.json and metrics.csv of the verdicts that are there."""
        from textunlearn.evaluation.benchmarks import rows as benchmark_rows
        from textunlearn.evaluation.judge_error import described, with_corrected
        from textunlearn.evaluation.metrics import read_metrics, summarise, write_metrics
        from textunlearn.evaluation.second_opinion import opinions
        from textunlearn.judges.spec import make

        judge = make(self.recipe.evaluation.judge).name
        verdicts = {m: read_records(self.folder / f"verdicts/{m}.{judge}.jsonl", Verdict) for m in self.models}
        path = self.folder / "utility.json"
        measured = read_json(path) if path.exists() else {}
        useful = {
            m: {**values, "perplexity_ratio": values["perplexity"] / measured[self.models[0]]["perplexity"]}
            for m, values in measured.items()
        }
        further = self.folder / "further.json"
        extra = {
            "run": {
                "name": self.recipe.name,
                "model": self.name_of_model,
                "seed": self.recipe.seed,
                "judge": judge,
                "version": __version__,
                "titles": {s.name: s.title for s in self.suites()},
            },
            "cost": self.costs.steps,
            "further": read_json(further) if further.exists() else {},
            "judge_error": described(judge),
            "second_opinions": opinions(self.folder, self.models, judge),
            "not_measured": self.not_measured(),
        }
        if measured_questions := benchmark_rows(self.folder, self.models, self.benchmarks):
            extra["benchmarks"] = measured_questions
        rows = with_corrected(summarise(self.cases, verdicts), judge)
        write_metrics(self.folder, rows, useful, extra | self.more_metrics())
        return read_metrics(self.folder)

    def not_measured(self) -> list[str]:
        """What the report says that it cannot tell."""
        return NOT_MEASURED if self.recipe.evaluation.shallowness else [*NOT_MEASURED, NOT_RELEARNED]

    def more_metrics(self) -> dict[str, Any]:
        """Further entries of metrics.json."""
        return {}


NOT_MEASURED = [
    "Harm that only the picture shows: the suites' images carry text, so nothing here tests photos of harmful things.",
    "White-box attacks (optimised suffixes or pixels) and attacks over several turns.",
    "Any judge but the one named: it reads the answers' first words and cannot tell how harmful a compliant answer is.",
]

NOT_RELEARNED = "Whether the safety lasts when the model is fine-tuned further (evaluation.shallowness measures it)."
