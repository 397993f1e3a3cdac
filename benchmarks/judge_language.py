"""Make src/textunlearn/judges/english.json: what `judges.language` knows of English, and its weights.

    python benchmarks/judge_language.py [--data ../shared/data] [--model]

Lexicon and pairs: the requests and answers that ship (authored, Self-Instruct's user-oriented ones). Weights: a logistic regression of
salads against everything else, on judge_salads.jsonl (answers of the built-in model with damaged weights to authored requests, other
damage than in the labelled set), on the tuning halves of the labelled answers, of XSTest's completions, of Dolly's answers and of
Self-Instruct's seed tasks. False alarms are then counted on what took no part: the held-out halves and AlpacaEval's outputs.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
from pathlib import Path

import numpy as np

import textunlearn
from textunlearn.files import write_text
from textunlearn.judges import fluency, language
from textunlearn.judges.brokenness import broken
from textunlearn.judges.rules import declines

DATA = Path(textunlearn.__file__).parent / "data"


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def shipped_texts() -> list[str]:
    out = [row["text"] for name in ("ordinary", "lookalikes") for row in lines(DATA / f"authored/{name}.jsonl")]
    safe = json.loads((DATA / "authored/safe_answers.json").read_text(encoding="utf-8"))
    out += [answer for topic in safe["topics"] for answer in topic["answers"]] + safe["fallback"]
    for row in lines(DATA / "third_party/self_instruct_user.jsonl"):
        out += [f"{row['instruction']} {row['input']}", row["reference"]]
    return out


def tuning(text: str) -> bool:
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % 2 == 0


def normal_texts(shared: Path) -> list[tuple[str, bool]]:
    """Human and model answers that are language, with whether they are for tuning."""
    out = []
    for path in sorted((shared / "xstest").glob("judge_check_*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            out += [(row["completion"], tuning(row["prompt"])) for row in csv.DictReader(file)]
    out += [(row["response"], tuning(row["response"])) for row in lines(shared / "dolly/dolly_sample.jsonl")]
    for row in lines(shared / "self_instruct/seed_tasks.jsonl"):
        out += [(one["output"], tuning(one["output"])) for one in row["instances"][:1]]
    out += [(row["output"], False) for row in lines(shared / "alpaca_eval/instructions_outputs.jsonl")]
    return [(text, part) for text, part in out if text.strip()]


def fit(salads: np.ndarray, normal: np.ndarray) -> tuple[np.ndarray, float]:
    """Ridge-penalised logistic regression (Newton), one salad weighing as much as the normal texts' share asks for a fifth."""
    x, y = np.vstack([salads, normal]), np.r_[np.ones(len(salads)), np.zeros(len(normal))]
    mean, spread = x.mean(0), x.std(0)
    z = np.c_[(x - mean) / spread, np.ones(len(x))]
    weight = np.where(y == 1, len(normal) / len(salads) / 5, 1.0)
    ridge = np.diag([0.03 * len(x)] * x.shape[1] + [0.0])
    w = np.zeros(z.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-z @ w))
        hessian = (z.T * (weight * p * (1 - p))) @ z + ridge
        w -= np.linalg.solve(hessian + 1e-9 * np.eye(len(w)), z.T @ (weight * (p - y)) + ridge @ w)
    return w[:-1] / spread, float(w[-1] - (w[:-1] * mean / spread).sum())


def count_more(texts: list[str], table: language.English) -> int:
    """How many of ``texts`` the model calls no language and the rules do not."""
    left = [text for text in texts if not broken(text) and (language.score(text, table) or -9.0) <= 0]
    return sum(fluency.salads(left, [declines(text) for text in left]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of public data sets")
    parser.add_argument(
        "--model", action="store_true", help="count as well what `judges.fluency` finds and the rules do not"
    )
    arguments = parser.parse_args()
    table = language.count(shipped_texts())
    blank = language.English.from_json(table | {"weights": dict.fromkeys(language.FEATURES, 0.0), "bias": 0.0})
    labelled = lines(DATA / "labelled/judge_answers.jsonl")[1:]
    salads = [(row["answer"], row["split"] == "tuning") for row in labelled if row["group"] == "salad"]
    salads += [(row["answer"], True) for row in lines(Path(__file__).parent / "judge_salads.jsonl")]
    normal = [(row["answer"], row["split"] == "tuning") for row in labelled if row["label"] != "broken"]
    normal += normal_texts(arguments.data)

    def rows(texts: list[tuple[str, bool]]) -> np.ndarray:
        cleaned = [language.prose(text) for text, part in texts if part]
        return np.array([language.features(text, blank) for text in cleaned if not language.unjudged(text, blank)])

    ordinary = rows(normal)
    weights, bias = fit(rows(salads), ordinary)
    bias -= max(0.0, float((ordinary @ weights + bias).max()))  # of the normal texts for tuning, none is called a salad
    table |= {"weights": dict(zip(language.FEATURES, weights.round(3).tolist(), strict=True)), "bias": round(bias, 3)}
    write_text(language.TABLE, json.dumps(table, ensure_ascii=False, separators=(",", ":")) + "\n")
    done = language.English.from_json(table)
    print(table["weights"], table["bias"])
    for part, name in ((True, "tuning"), (False, "held out, and AlpacaEval")):
        found = [(language.score(text, done) or -9.0) > 0 for text, p in salads if p is part]
        alarms = [(language.score(text, done) or -9.0) > 0 for text, p in normal if p is part]
        print(f"{name}: {sum(found)} of {len(found)} salads, {sum(alarms)} false alarms in {len(alarms)}")
        if arguments.model:
            more = [count_more([text for text, p in texts if p is part], done) for texts in (salads, normal)]
            print(f"  and by the language model: {more[0]} salads, {more[1]} false alarms")
        if part:
            shown = [text for text, p in normal if p and (language.score(text, done) or -9.0) > 0]
            print(*("  " + " ".join(text.split())[:110] for text in shown), sep="\n")


if __name__ == "__main__":
    main()
