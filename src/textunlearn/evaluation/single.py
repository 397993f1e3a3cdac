"""Evaluate one model as it is: cases, answers, verdicts, report. Nothing is trained; the model may be behind an endpoint."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from textunlearn.data.places import Mapped
from textunlearn.endpoint.spec import EndpointSpec
from textunlearn.errors import UserError
from textunlearn.evaluation.run import EvaluationRun
from textunlearn.files import named_path, read_json, read_yaml, write_json, write_records, write_text
from textunlearn.progress import bar
from textunlearn.recipe import EvaluationSpec, ModelSpec, Part, check_evaluation, check_places
from textunlearn.records import Answer, Case
from textunlearn.settings import sentence

MODEL = "model"
"""What the folder calls the model that it evaluates."""
UNANSWERED = 0.05
"""Share of the cases that an endpoint may leave without an answer (its own filters, say); beyond it the run stops."""


class SingleSpec(Part):
    """What is evaluated: a model that can be loaded, or one behind an ``endpoint``."""

    name: str = Field(pattern=r"^[^/\\\x00-\x1f]*\w[^/\\\x00-\x1f]*$", description="of the run folder and the report")
    seed: int = Field(0, ge=0, lt=2**31)
    model: ModelSpec = ModelSpec()
    endpoint: EndpointSpec | None = None
    places: dict[str, Path | Mapped] = Field({}, description="where data sets lie")
    evaluation: EvaluationSpec = EvaluationSpec()

    @classmethod
    def parse(cls, data: Any, where: str) -> SingleSpec:
        """Checked as a whole; UserError naming the first thing that is wrong."""
        if not isinstance(data, dict):
            raise UserError(f"{where} does not describe an evaluation: expected keys such as name, model, evaluation")
        if data.get("endpoint") is not None:  # by itself: no message of its own quotes what was given
            data = {**data, "endpoint": EndpointSpec.parse(data["endpoint"], f"{where}: endpoint")}
        try:
            spec = cls.model_validate(data)
        except ValidationError as error:
            raise UserError(f"{where}: {sentence(error, cls)}") from None
        check_places(spec.places, f"{where}: places")
        check_evaluation(spec.evaluation, where)
        if spec.endpoint is not None:
            from textunlearn.evaluation.benchmarks import chosen, require_no_likelihoods

            try:
                require_no_likelihoods(chosen(spec.evaluation.utility))
            except UserError as error:
                raise UserError(f"{where}: evaluation.utility: {error}") from None
        if spec.endpoint is not None and spec.evaluation.shallowness:
            raise UserError(
                f"{where}: evaluation.shallowness fine-tunes the model, which an endpoint does not allow; leave it out"
            )
        return spec

    @classmethod
    def read(cls, path: Path) -> SingleSpec:
        return cls.parse(read_yaml(path, "evaluation"), str(path))

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json", exclude_defaults=True), sort_keys=False, allow_unicode=True)


def name_of(model: str) -> str:
    """A folder's name for a model's id, path or address; an adapter in a run folder is called as the run."""
    place = named_path(model)
    last = (place.parent.name if place.name == "adapter" else "") or place.name or model
    return re.sub(r"[^\w.-]+", "-", last).strip("-.") or "model"


class SingleRun(EvaluationRun[SingleSpec]):
    """One model in one folder: see `EvaluationRun`."""

    description = "evaluation.yaml"
    models = (MODEL,)

    def run(self) -> Path:
        """Everything, in order. Returns the report's path."""
        self.prepare()
        self.evaluate(MODEL)
        return self.report()

    def prepare(self) -> None:
        """Build the cases and record what was used."""
        from textunlearn.environment import describe, machine, versions
        from textunlearn.evaluation.suites import case_set_hash
        from textunlearn.vlm.load import check

        spec = self.recipe
        self.fetch_for_judge()
        takes_images = True if spec.endpoint else check(spec.model)
        with self.console.status("reading data"):
            cases, about = self.build_cases()
            about |= self.prepare_benchmarks(takes_images)
        self.require_pictures(cases, takes_images)
        self._cases = cases
        write_text(self.folder / self.description, spec.to_yaml())
        write_records(self.folder / "cases.jsonl", cases)
        path, hash_ = self.folder / "environment.json", case_set_hash(cases)
        if not path.exists():
            made = {"versions": versions(), "machine": machine()} if spec.endpoint else describe(spec.model)
            model = self.name_of_model
            write_json(path, {**made, "model": model, "seed": spec.seed, "data": about, "cases_hash": hash_})
        elif read_json(path)["cases_hash"] != hash_:
            raise UserError(
                f"the test cases changed since the run in {self.folder} began (other data or another version of the package); "
                "choose another folder"
            )
        said = [f"{len({c.id for c in cases}):,} cases; case set {hash_}"] if cases else []
        said += [f"{one.benchmark.label}: {len(one.questions):,} questions" for one in self._prepared]
        self.console.print("; ".join(said), highlight=False, soft_wrap=True)

    @property
    def name_of_model(self) -> str:
        spec = self.recipe
        if spec.endpoint is not None:
            return f"{spec.endpoint.model} at {spec.endpoint.base_url}"
        return spec.model.id + (f" with {spec.model.adapter}" if spec.model.adapter else "")

    @property
    def answerer(self) -> Any:
        if self.recipe.endpoint is None:
            return self.vlm
        from textunlearn.endpoint import Endpoint

        return Endpoint(self.recipe.endpoint)

    @property
    def in_memory(self) -> bool:
        return self.recipe.endpoint is None

    def answer(self, model: str) -> list[Answer]:
        """As `EvaluationRun.answer`; says what an endpoint will be asked beforehand, and lets it leave a few cases unanswered."""
        spec, store = self.recipe, self.folder / f"answers/{model}.jsonl"
        if spec.endpoint is None:
            return super().answer(model)
        from textunlearn.endpoint import estimate_cases

        self._same_endpoint(spec.endpoint)
        if self.cases:
            costs = estimate_cases(spec.endpoint, self.cases, self.folder, store, spec.evaluation.max_new_tokens)
            self.console.print(costs.sentence(), highlight=False, soft_wrap=True)
        self.failures = {}
        answers = super().answer(model)
        self._require_answers(len({case.id for case in self.cases}))
        write_json(self.folder / "unanswered.json", self.failures)
        self._cases = None  # without those that got no answer
        return answers

    def measure_benchmarks(self, model: str) -> None:
        """As `EvaluationRun.measure_benchmarks`; an endpoint may leave a few questions unanswered here too."""
        from textunlearn.evaluation.benchmarks import answer_length, measure, store_file

        if self.recipe.endpoint is None:
            super().measure_benchmarks(model)
            return
        from textunlearn.endpoint import estimate_cases

        for one in self._prepared:
            label = one.benchmark.label
            store = store_file(self.folder, model, label)
            costs = estimate_cases(self.recipe.endpoint, one.cases, self.folder, store, answer_length(one.benchmark))
            self.console.print(f"{label}: {costs.sentence()}", highlight=False, soft_wrap=True)
            self.failures = {}
            with self.costs.step(f"utility {model}"), bar(self.console, label) as progress:
                measure(self.answerer, one, self.folder, model, progress.set, failures=self.failures)
            self._require_answers(len(one.cases))

    def _require_answers(self, total: int) -> None:
        """UserError where the endpoint left too many of ``total`` unanswered."""
        if self.failures and len(self.failures) > UNANSWERED * total:
            first = next(iter(self.failures.values()))
            raise UserError(
                f"{self.name_of_model} left {len(self.failures)} of {total} cases without an answer (the first: {first}); the others "
                "are kept, so run the same command again to ask these once more"
            )

    def _same_endpoint(self, endpoint: EndpointSpec) -> None:
        """Stored answers are those of the endpoint that the run began with."""
        path = self.folder / "model.json"
        if not path.exists():
            write_json(path, {"id": self.name_of_model, "hash": endpoint.identity})
        elif read_json(path)["hash"] != endpoint.identity:
            raise UserError(f"the run in {self.folder} began with another endpoint or model; choose another folder")

    @property
    def cases(self) -> list[Case]:
        """Those that got an answer, once that is known."""
        if self._cases is None:
            self._cases = [case for case in super().cases if case.id not in self._unanswered]
        return self._cases

    @property
    def _unanswered(self) -> dict[str, str]:
        path = self.folder / "unanswered.json"
        return read_json(path) if path.exists() else {}

    def more_metrics(self) -> dict[str, Any]:
        gone = self._unanswered
        return {"unanswered": {"n": len(gone), "why": sorted(set(gone.values()))}} if gone else {}

    def not_measured(self) -> list[str]:
        lines = super().not_measured()
        if not self.in_memory:
            lines = [
                *lines,
                "Perplexity and whatever else needs more of a model than its answers: an endpoint gives only these.",
            ]
        if gone := self._unanswered:
            first = next(iter(gone.values()))
            lines = [f"{len(gone)} cases got no answer, and stand in no rate (the first: {first}).", *lines]
        return lines


def reopen(folder: Path, console: Any) -> EvaluationRun[Any]:
    """The run in ``folder``, of whichever kind, with the cases that were answered. UserError if it is none, or not evaluated yet."""
    from textunlearn import result
    from textunlearn.job import Job

    if (folder / SingleRun.description).is_file():
        if not (folder / f"answers/{MODEL}.jsonl").is_file():
            raise UserError(
                f"{folder} is not evaluated yet; give the command that began it again (`textunlearn evaluate …`)"
            )
        return SingleRun(folder, SingleSpec.read(folder / SingleRun.description), console)
    recipe = result.stored_recipe(folder)
    result.require_evaluated(folder)
    return Job(folder, recipe, console)
