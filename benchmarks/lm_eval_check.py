"""Are likelihoods of choices the same as lm-evaluation-harness finds? On TruthfulQA's questions, in both likelihood forms.

    pip install lm_eval
    python benchmarks/lm_eval_check.py TRUTHFULQA [--model builtin] [--questions 40]

TRUTHFULQA: the set's folder, or one of its files (see `textunlearn datasets truthfulqa`). Both sides see the same questions through the
model's chat template (``--apply_chat_template`` there), in float32. Printed: accuracies of both, questions on which they choose
differently, and the largest difference of a log-likelihood, in nats.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from textunlearn.data.questions import LETTERS
from textunlearn.evaluation.benchmarks import Benchmark, Prepared, chosen, measure, prepare, store_file
from textunlearn.evaluation.forms import ByLikelihood
from textunlearn.files import read_records
from textunlearn.recipe import ModelSpec, UtilitySpec
from textunlearn.records import Likelihoods
from textunlearn.vlm.load import Vlm, load


def ours(vlm: Vlm, prepared: Prepared) -> list[tuple[float, ...]]:
    with tempfile.TemporaryDirectory() as name:
        folder, label = Path(name), prepared.benchmark.label
        prepared.write(folder)
        measure(vlm, prepared, folder, "model")
        found = {one.question: one.values for one in read_records(store_file(folder, "model", label), Likelihoods)}
    return [found[question.id] for question in prepared.questions]


def theirs(vlm: Vlm, prepared: Prepared) -> tuple[list[tuple[float, ...]], dict[str, float]]:
    """Their log-likelihoods and accuracies on a task of theirs: the question is worded by their template from the parts of ours."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    benchmark = prepared.benchmark
    vlm.tokenizer.chat_template = vlm.processor.chat_template or vlm.tokenizer.chat_template
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [
            {
                "question": q.text,
                "choices": list(q.choices),
                "right": q.right,
                "letters": list(LETTERS[: len(q.choices)]),
            }
            for q in prepared.questions
        ]
        (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        (folder / "task.yaml").write_text(yaml.safe_dump(task(benchmark, folder)), encoding="utf-8")
        found: Any = lm_eval.simple_evaluate(
            HFLM(pretrained=vlm.model, tokenizer=vlm.tokenizer, backend="causal", batch_size=8),
            tasks=["check"],
            task_manager=TaskManager(include_path=str(folder), include_defaults=False),
            apply_chat_template=True,
            log_samples=True,
            bootstrap_iters=0,
        )
    samples = sorted(found["samples"]["check"], key=lambda sample: sample["doc_id"])
    values = [tuple(float(pair[0]) for pair in sample["filtered_resps"]) for sample in samples]
    results = found["results"]["check"]
    scores = {name: float(results[f"{name},none"]) for name in ("acc", "acc_norm")}
    return values, scores


def task(benchmark: Benchmark, folder: Path) -> dict[str, Any]:
    letters = benchmark.spec.form == "letters"
    wording = benchmark.form.wording if letters else benchmark.part.wording
    listed = "{% for c in choices %}\n{{letters[loop.index0]}}. {{c}}{% endfor %}" if letters else ""
    return {
        "task": "check",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "questions.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": wording.header + wording.before + "{{question}}" + listed + wording.after,
        "doc_to_choice": "{{letters}}" if letters else "{{choices}}",
        "doc_to_target": "{{right}}",
        "metric_list": [
            {"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm")
        ],
    }


def compare(vlm: Vlm, prepared: Prepared) -> str:
    form = prepared.benchmark.form
    assert isinstance(form, ByLikelihood)
    mine, (others, scores) = ours(vlm, prepared), theirs(vlm, prepared)
    lines = [(form.score(q, a), form.score(q, b)) for q, a, b in zip(prepared.questions, mine, others, strict=True)]
    apart = max(abs(a - b) for one, two in zip(mine, others, strict=True) for a, b in zip(one, two, strict=True))
    rates = form.rates(prepared.questions, [a for a, _ in lines])
    found = ", ".join(f"{key} {rate.k:g}/{rate.n}" for key, rate in rates.items())
    return (
        f"{prepared.benchmark.label}: {found}; lm_eval: {', '.join(f'{k} {v:.4f}' for k, v in scores.items())}; scored differently: "
        f"{sum(a != b for a, b in lines)} of {len(lines)}; largest difference {apart:.2g} nats"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("place", type=Path)
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--questions", type=int, default=40)
    given = parser.parse_args(arguments)
    vlm = load(ModelSpec(id=given.model, dtype="float32"))
    for form in (None, "letters"):
        (benchmark,) = chosen([UtilitySpec(source="truthfulqa", form=form, limit=given.questions)])
        print(compare(vlm, prepare(benchmark, {"truthfulqa": given.place})))


if __name__ == "__main__":
    main()
