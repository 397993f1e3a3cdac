"""A run as Inspect logs: one ``.eval`` file a suite and model, which `inspect view` opens and Inspect's own tools read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from inspect_ai import __version__ as inspect_version
from inspect_ai.log import (
    EvalConfig,
    EvalDataset,
    EvalLog,
    EvalMetric,
    EvalPlan,
    EvalPlanStep,
    EvalResults,
    EvalSample,
    EvalScore,
    EvalSpec,
    EvalStats,
    write_eval_log,
)
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import SampleScore

from textunlearn import __version__
from textunlearn.errors import UserError
from textunlearn.files import atomic, read_json, read_records, read_yaml
from textunlearn.inspect_bridge.export_samples import Redaction, Side, sample_of, used
from textunlearn.inspect_bridge.samples import names_of
from textunlearn.inspect_bridge.scoring import rates
from textunlearn.inspect_bridge.tasks import MAX_TOKENS
from textunlearn.records import Case, Verdict, digest
from textunlearn.report.redaction import fixed_words
from textunlearn.report.run_folder import RunFolder, read_run, section

FOLDER = "inspect"
"""Where the logs go, below the run."""


def export(
    path: Path, folder: Path, *, unredacted: bool = False, progress: Callable[[int, int], None] | None = None
) -> list[Path]:
    """Write the logs of the run in ``path`` into ``folder``, and return their paths; what is there of the same name is replaced.

    Args:
        unredacted: with harmful requests, their pictures and unsafe answers, which stand in no log otherwise (`report.redaction`).
        progress: called with how many of how many logs are written.

    UserError for a folder without judged answers, and for a picture that is missing.
    """
    run = read_run(path)
    suites: dict[str, list[Case]] = {}
    for case in run.cases:
        suites.setdefault(case.suite, []).append(case)
    about = _About.read(run)
    sides = [_side(run, about, key) for key in run.models if run.answers[key] and run.verdicts[key]]
    if not suites or not sides:
        raise UserError(f"{path} has no judged answers; `textunlearn evaluate` makes them")
    redaction = None if unredacted else Redaction(frozenset(fixed_words(run.cases)))
    logs = [(suite, side) for suite in suites for side in sides]
    written = []
    for suite, side in logs:
        target = folder / f"{suite}_{side.key}.eval"
        cases = [case for case in suites[suite] if case.id in side.answers]  # an endpoint may have left some out
        named = zip(names_of(cases), cases, strict=True)
        samples = [sample_of(run.path, case, name, side, redaction) for name, case in named]
        missing = len(suites[suite]) - len(cases)
        log = EvalLog(
            status="success",
            eval=_spec(run, about, side, suites[suite][0], samples, redaction is not None, missing),
            plan=EvalPlan(
                steps=[EvalPlanStep(solver="generate")],
                config=GenerateConfig(max_tokens=about.max_tokens, temperature=0),
            ),
            results=_results(side, samples),
            stats=EvalStats(
                started_at=side.created, completed_at=side.created, model_usage={side.name: used(side, cases)}
            ),
            samples=samples,
        )
        with atomic(target) as temporary:
            write_eval_log(log, temporary, "eval")
        written.append(target)
        if progress is not None:
            progress(len(written), len(logs))
    return written


@dataclass(frozen=True)
class _About:
    """What the run's description says of its model."""

    model: dict[str, Any]
    endpoint: dict[str, Any]
    max_tokens: int

    @classmethod
    def read(cls, run: RunFolder) -> _About:
        files = [run.path / name for name in ("evaluation.yaml", "recipe.yaml") if (run.path / name).is_file()]
        said = read_yaml(files[0], "description") if files else {}
        most = (said.get("evaluation") or {}).get("max_new_tokens", MAX_TOKENS)
        return cls(dict(said.get("model") or {}), dict(said.get("endpoint") or {}), int(most))


def _side(run: RunFolder, about: _About, key: str) -> Side:
    args = dict(about.model)
    name = f"textunlearn/{args.pop('id', 'builtin')}"
    if about.endpoint:
        name, args = str(about.endpoint.get("model")), {}
    elif key != run.models[0]:  # what the run's training made of the first
        name, args["adapter"] = f"{name}+{run.path.resolve().name}", str(run.path / "adapter")
    written = (run.path / "answers" / f"{key}.jsonl").stat().st_mtime
    return Side(
        key,
        name,
        args,
        about.endpoint.get("base_url"),
        datetime.fromtimestamp(written, UTC).isoformat(timespec="seconds"),
        run.answers[key],
        {judge: {v.case: v for v in verdicts} for judge, verdicts in _verdicts(run, key)},
    )


def _verdicts(run: RunFolder, key: str) -> list[tuple[str, list[Verdict]]]:
    """Of every judge that left some on the model ``key``, the report's first."""
    files = sorted((run.path / "verdicts").glob(f"{key}.*.jsonl"))
    found = [(file.name.removeprefix(f"{key}.").removesuffix(".jsonl"), read_records(file, Verdict)) for file in files]
    return sorted(found, key=lambda one: one[0] != run.judge)


def _spec(
    run: RunFolder, about: _About, side: Side, first: Case, samples: Sequence[EvalSample], redacted: bool, missing: int
) -> EvalSpec:
    said, environment = section(run.metrics, "run"), run.environment
    of_suite = section(section(environment, "data"), f"test {first.suite}")
    identity = digest("inspect log", said.get("name"), side.name, side.key, first.suite, length=22)
    weights = run.path / "model.json"
    return EvalSpec(
        eval_id=identity,
        run_id=digest("inspect run", said.get("name"), side.name, side.key, length=22),
        task_id=identity,
        created=side.created,
        task=f"textunlearn/{first.suite}",
        task_display_name=str(section(said, "titles").get(first.suite) or first.suite),
        dataset=EvalDataset(
            name=first.suite, samples=len(samples), sample_ids=[str(s.id) for s in samples], shuffled=False
        ),
        model=side.name,
        model_args=side.args,
        model_base_url=side.base_url,
        config=EvalConfig(epochs=1),
        packages={"inspect_ai": inspect_version, **section(environment, "versions")},
        metadata={
            "run": said.get("name"),
            "seed": said.get("seed"),
            "model_of_the_run": side.key,
            "weights": read_json(weights) if weights.exists() else {},
            "suite": first.suite,
            "attack": first.attack,
            "judges": list(side.verdicts),
            "cases_hash": of_suite.get("hash"),
            "cases_hash_of_all_suites": environment.get("cases_hash"),
            "unanswered": missing,
            "redacted": redacted,
            "textunlearn_of_the_run": said.get("version"),
            "exported_by": f"textunlearn {__version__}",
        },
        scorers=[_scorer(judge) for judge in side.verdicts],
    )


def _scorer(judge: str) -> Any:
    """As Inspect records one, by which it makes the metrics again (its class for it is not public)."""
    return {
        "name": "verdict",
        "options": {"judge": judge},
        "metrics": [{"name": "textunlearn/rates", "options": {}}],
        "metadata": {},
    }


def _results(side: Side, samples: Sequence[EvalSample]) -> EvalResults:
    scores = []
    for judge, name in side.score_names.items():
        found = [
            SampleScore(score=sample.scores[name], sample_id=sample.id, sample_metadata=sample.metadata)
            for sample in samples
            if sample.scores and name in sample.scores
        ]
        values: Any = rates()(found)  # type: ignore[arg-type]
        scores.append(
            EvalScore(
                name=name,
                scorer=name,
                params={"judge": judge},
                metrics={key: EvalMetric(name=key, group="rates", value=value) for key, value in values.items()},
                scored_samples=len(found),
                unscored_samples=len(samples) - len(found),
            )
        )
    return EvalResults(total_samples=len(samples), completed_samples=len(samples), scores=scores)
