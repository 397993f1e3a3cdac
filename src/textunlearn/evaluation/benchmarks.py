"""Benchmarks of usefulness: sets of questions whose right answers are known, put to a model and scored without a judge.

In a run folder: ``utility/<set>.jsonl`` holds the questions, ``utility/<model>/<set>.jsonl`` what the model said or its likelihoods, each
as soon as it exists, and ``utility/<model>/<set>.scores.jsonl`` the scores, from which metrics and `textunlearn diff` are made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textunlearn.data.places import PlaceSpec
from textunlearn.data.questions import QUESTION_SETS, QuestionSet, read_examples, read_questions
from textunlearn.errors import UserError
from textunlearn.evaluation.forms import FORMS, ByAnswer, ByLikelihood, Form
from textunlearn.evaluation.generation import Answerer, answer_cases, requests
from textunlearn.evaluation.likelihood import choices, likelihoods
from textunlearn.evaluation.suites import spread
from textunlearn.files import append_records, read_records, write_records
from textunlearn.records import Case, Likelihoods, Prompt, Question, Score, digest
from textunlearn.vlm.image_features import cached as image_features
from textunlearn.vlm.load import Vlm

if TYPE_CHECKING:
    from textunlearn.recipe import UtilitySpec

FOLDER = "utility"


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One entry of ``evaluation.utility``, looked up."""

    spec: UtilitySpec
    part: QuestionSet
    form: Form

    @property
    def _others(self) -> list[str]:
        """What sets it apart from the set as it is in the field."""
        form = self.spec.form or self.part.form
        shots = f"{self.spec.shots}-shot" if self.spec.shots else ""
        return list(filter(None, ["" if form == self.part.form else form, shots]))

    @property
    def label(self) -> str:
        """What files and metrics call it."""
        return "_".join([self.spec.source, *(text.replace("-", "") for text in self._others)])

    @property
    def title(self) -> str:
        return ", ".join([self.part.title, *self._others])


@dataclass(frozen=True, slots=True)
class Prepared:
    """A benchmark's questions, and as what the model is shown each (a case a question)."""

    benchmark: Benchmark
    questions: tuple[Question, ...]
    cases: tuple[Case, ...]
    about: Mapping[str, Any]
    """For environment.json: how many of how many, what was left out, where it was read, and a hash of what is shown."""

    def write(self, folder: Path) -> None:
        """Into the run folder, without paths of this machine."""
        path = _questions_file(folder, self.benchmark.label)
        write_records(path, [replace(question, images=()) for question in self.questions])


def chosen(specs: Sequence[UtilitySpec]) -> list[Benchmark]:
    """UserError for a set or form that there is not, examples of a set that has none, or the same thing twice."""
    out: list[Benchmark] = []
    for spec in specs:
        part = QUESTION_SETS.get(spec.source)
        form = FORMS.get(spec.form or part.form)
        if spec.shots and part.examples is None:
            raise UserError(f"{spec.source} has no examples apart from its test; leave its shots out")
        if spec.max_new_tokens and not isinstance(form, ByAnswer):
            raise UserError(
                f"{spec.source} is scored by likelihood, nothing is generated; leave its max_new_tokens out"
            )
        out.append(Benchmark(spec, part, form))
    labels = [one.label for one in out]
    for label in labels:
        if labels.count(label) > 1:
            raise UserError(f"{label} stands there twice; leave one out")
    return out


def require_no_likelihoods(benchmarks: Sequence[Benchmark]) -> None:
    """UserError for what an endpoint cannot do."""
    for one in benchmarks:
        if isinstance(one.form, ByLikelihood):
            raise UserError(
                f"{one.label} is scored by the likelihood of each choice, which needs a model in memory; "
                f"have an endpoint asked for the letter instead ({one.spec.source}:generated)"
            )


def require_askable(prepared: Sequence[Prepared], name: str, takes_images: bool, vlm: Callable[[], Vlm | bool]) -> None:
    """Said before any work is done: UserError for pictures that the model called ``name`` does not take.

    Args:
        vlm: gives the model, where it can be looked at; called only if a question shows several pictures.
    """
    for one in prepared:
        label, most = one.benchmark.label, max(len(question.images_sha256) for question in one.questions)
        if most and not takes_images:
            raise UserError(f"{name} takes no images; leave {label} out of evaluation.utility")
        if most > 1 and isinstance(model := vlm(), Vlm) and not model.takes_several:
            single = [known for known in QUESTION_SETS.names() if known == f"{one.benchmark.spec.source}_single"]
            instead = f"; name {single[0]} instead" if single else ""
            raise UserError(f"{name} takes one picture in a turn, and questions of {label} show several{instead}")


def prepare(benchmark: Benchmark, places: Mapping[str, PlaceSpec], limit: int | None = None) -> Prepared:
    """Read, choose and word the questions.

    Args:
        limit: at most this many, beside the benchmark's own limit.

    UserError if they cannot be had, or cannot be put in the benchmark's form.
    """
    spec, form = benchmark.spec, benchmark.form
    limits = [number for number in (spec.limit, limit) if number is not None]
    read = read_questions(spec.source, places, lambda found: pick(found, min(limits) if limits else None))
    for question in read.questions:
        if why := form.unfit(question):
            raise UserError(f"{spec.source} cannot be put in the form {spec.form or benchmark.part.form}: {why}")
    examples = read_examples(spec.source, places) if spec.shots else []
    shown = [worded(benchmark, question, examples) for question in read.questions]
    cases = tuple(_case(benchmark, q, text) for q, text in zip(read.questions, shown, strict=True))
    about = {
        "form": spec.form or benchmark.part.form,
        "shots": spec.shots,
        "n": len(read.questions),
        "pool": read.pool,
        "cut": dict(read.reasons),
        "from": read.origin,
        "hash": digest([(q.id, case.id) for q, case in zip(read.questions, cases, strict=True)]),
    }
    return Prepared(benchmark, read.questions, cases, about)


def pick(questions: Sequence[Question], limit: int | None) -> list[Question]:
    """At most ``limit`` questions (whole groups; at least one), evenly over categories and chosen by hash, so that the choice does
    not depend on their order and a larger one contains the smaller. All, in their order, without a limit."""
    if limit is None:
        return list(questions)
    groups: dict[str, list[Question]] = {}
    for question in sorted(questions, key=lambda q: q.id):
        groups.setdefault(question.group or question.id, []).append(question)
    out: list[Question] = []
    for first in spread([group[0] for group in groups.values()], ("category",)):
        group = groups[first.group or first.id]
        if out and len(out) + len(group) > limit:
            break
        out += group
    return out


def worded(benchmark: Benchmark, question: Question, examples: Sequence[Question] = ()) -> str:
    """What is typed: the set's own wording in its own form; examples of the question's category, if those have categories."""
    form = benchmark.form
    own = benchmark.spec.form in (None, benchmark.part.form)
    wording = benchmark.part.wording if own else form.wording
    alike = [e for e in examples if not e.category or e.category == question.category][: benchmark.spec.shots]
    if len(alike) < benchmark.spec.shots:
        raise UserError(
            f"{benchmark.spec.source} has {len(alike)} examples for the category {question.category!r}, "
            f"fewer than {benchmark.spec.shots}; lower its shots"
        )

    def one(asked: Question) -> str:
        return wording.before + form.body(asked) + wording.after

    header = wording.header.replace("{category}", question.category.replace("_", " "))
    return header + "\n\n".join([*(f"{one(e)} {form.shown_answer(e)}" for e in alike), one(question)])


def _case(benchmark: Benchmark, question: Question, shown: str) -> Case:
    prompt = Prompt(question.text, "ordinary", question.source, category=question.category)
    return Case(benchmark.label, "direct", prompt, shown, question.images, question.images_sha256)


def _questions_file(folder: Path, label: str) -> Path:
    return folder / FOLDER / f"{label}.jsonl"


def store_file(folder: Path, model: str, label: str) -> Path:
    """Where a run keeps what ``model`` said, or its likelihoods."""
    return folder / FOLDER / model / f"{label}.jsonl"


def scores_file(folder: Path, model: str, label: str) -> Path:
    return folder / FOLDER / model / f"{label}.scores.jsonl"


def answer_length(benchmark: Benchmark) -> int:
    """New tokens, at most; 0 where nothing is generated."""
    form = benchmark.form
    return (benchmark.spec.max_new_tokens or form.max_new_tokens) if isinstance(form, ByAnswer) else 0


def measure(
    vlm: Vlm | Answerer,
    prepared: Prepared,
    folder: Path,
    model: str,
    progress: Callable[[int, int], None] | None = None,
    batch_size: int | None = None,
    failures: dict[str, str] | None = None,
) -> None:
    """Put the questions to ``vlm``, which the run calls ``model``, and write its scores; what is stored is not asked again.

    Args:
        failures: as in `generation.answer_cases`; questions without an answer have no score.
    """
    benchmark = prepared.benchmark
    store, form = store_file(folder, model, benchmark.label), benchmark.form
    if isinstance(form, ByAnswer):
        length = answer_length(benchmark)
        answers = answer_cases(vlm, prepared.cases, folder, store, length, progress, batch_size, failures)
        said = {answer.case: answer.text for answer in answers}
        pairs = [(q, said[c.id]) for q, c in zip(prepared.questions, prepared.cases, strict=True) if c.id in said]
        scores = [Score(question.id, form.score(question, text)) for question, text in pairs]
    else:
        assert isinstance(form, ByLikelihood) and isinstance(vlm, Vlm)
        values = _likelihoods(vlm, form, prepared, folder, store, progress, batch_size)
        scores = [Score(question.id, form.score(question, values[question.id])) for question in prepared.questions]
    write_records(scores_file(folder, model, benchmark.label), scores)


def _likelihoods(
    vlm: Vlm,
    form: ByLikelihood,
    prepared: Prepared,
    folder: Path,
    store: Path,
    progress: Callable[[int, int], None] | None,
    batch_size: int | None,
) -> dict[str, tuple[float, ...]]:
    known = {one.question: one.values for one in read_records(store, Likelihoods)}
    missing = [(q, c) for q, c in zip(prepared.questions, prepared.cases, strict=True) if q.id not in known]
    total = len(prepared.questions)
    if progress is not None:
        progress(total - len(missing), total)
    cases = [case for _, case in missing]
    asked = [
        choices(vlm, request, vlm.text_of(case.text, images=len(case.images)), form.continuations(question))
        for (question, case), request in zip(missing, requests(vlm, cases, folder), strict=True)
    ]

    def keep(indices: list[int], found: list[tuple[float, ...]]) -> None:
        named = [Likelihoods(missing[i][0].id, values) for i, values in zip(indices, found, strict=True)]
        append_records(store, named)
        known.update({one.question: one.values for one in named})
        if progress is not None:
            progress(len(known), total)

    likelihoods(vlm, asked, keep, batch_size, image_features(vlm) if any(case.images for case in cases) else None)
    return known


def rows(folder: Path, models: Sequence[str], benchmarks: Sequence[Benchmark]) -> list[dict[str, Any]]:
    """``metrics.json``'s entry "benchmarks": one a set, measure and model, for what was measured."""
    out: list[dict[str, Any]] = []
    for benchmark in benchmarks:
        form, questions = (
            benchmark.form,
            {q.id: q for q in read_records(_questions_file(folder, benchmark.label), Question)},
        )
        for model in models:
            scores = read_records(scores_file(folder, model, benchmark.label), Score)
            if not scores:
                continue
            asked, values = [questions[score.question] for score in scores], [score.values for score in scores]
            chances, totals = form.chances(asked), form.totals(asked, values)
            for number, (key, rate) in enumerate(form.rates(asked, values).items()):
                row: dict[str, Any] = {
                    "set": benchmark.label,
                    "title": f"{benchmark.title}: {form.measures[key]}",
                    "measure": key,
                    "model": model,
                    **rate.to_json(),
                    "chance": chances[key],
                }
                if number == 0:
                    row |= {"unanswered": len(questions) - len(scores)} | ({"totals": totals} if totals else {})
                out.append(row)
    return out
