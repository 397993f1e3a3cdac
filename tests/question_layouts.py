"""Sets of questions in their publishers' exact layouts, with made-up questions and tiny pictures.

Each builder fills a folder and returns what every set of that family must read: ``{set: [(text, choices, right or answers, category)]}``.
What a loader must leave out stands in the files too.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from publisher_layouts import parquet, png, put, table

Entry = tuple[str, tuple[str, ...], object, str]
Expected = dict[str, list[Entry]]
FOUR = ("a kettle", "a lamp", "a door", "a bell")


def picture(seed: int) -> dict[str, Any]:
    return {"bytes": png(seed), "path": f"{seed}.png"}


def lines(path: Path, rows: list[dict[str, Any]]) -> None:
    put(path, "".join(json.dumps(row) + "\n" for row in rows))


def mmlu(root: Path) -> Expected:
    out: Expected = {"mmlu": []}
    for split in ("test", "dev", "validation"):
        rows = [
            {"question": f" What is {thing} of {split}? ", "subject": subject, "choices": list(FOUR), "answer": number}
            for number, (subject, thing) in enumerate(
                (s, f"{s} {n}") for s in ("world_religions", "virology") for n in "ab"
            )
        ]
        parquet(root / f"all/{split}-00000-of-00001.parquet", rows)
        if split == "test":
            out["mmlu"] = [(row["question"].strip(), FOUR, row["answer"], row["subject"]) for row in rows]
    return out


def _truthful(shuffled: bool) -> Expected:
    return {
        "truthfulqa": [("What rings?", ("a bell", "a door", "a lamp"), "a bell", "Misconceptions" if shuffled else "")]
    }


def truthfulqa(root: Path) -> Expected:
    """The authors' table: the second question has no false answer."""
    columns = "Type,Category,Question,Best Answer,Correct Answers,Incorrect Answers,Source"
    rows = [
        ("Adversarial", "Misconceptions", "What rings?", "a bell", "a bell; bells", "a door; a lamp;", "x"),
        ("Adversarial", "Misconceptions", "What hums?", "a kettle", "a kettle", "", "x"),
    ]
    table(root / "TruthfulQA.csv", columns, rows)
    return _truthful(True)


def truthfulqa_authors(root: Path) -> Expected:
    targets = {"a bell": 1, "a door": 0, "a lamp": 0}
    put(
        root / "data/mc_task.json",
        json.dumps([{"question": "What rings?", "mc1_targets": targets, "mc2_targets": targets}]),
    )
    return _truthful(False)


def truthfulqa_hub(root: Path) -> Expected:
    targets = {"choices": ["a bell", "a door", "a lamp"], "labels": [1, 0, 0]}
    row = {"question": "What rings?", "mc1_targets": targets, "mc2_targets": targets}
    parquet(root / "multiple_choice/validation-00000-of-00001.parquet", [row])
    return _truthful(False)


def arc(root: Path) -> Expected:
    """AI2's own files; some questions number their choices."""
    out: Expected = {}
    for part, name in (("Easy", "arc_easy"), ("Challenge", "arc_challenge")):
        rows = []
        for labels, key in (("ABCD", "C"), ("1234", "2")):
            choices = [{"text": text, "label": label} for text, label in zip(FOUR, labels, strict=True)]
            rows.append({"id": key, "question": {"stem": f"{part} {key}?", "choices": choices}, "answerKey": key})
        lines(root / f"ARC-{part}/ARC-{part}-Test.jsonl", rows)
        out[name] = [(f"{part} C?", FOUR, 2, ""), (f"{part} 2?", FOUR, 1, "")]
    return out


def arc_hub(root: Path) -> Expected:
    out: Expected = {}
    for part, name in (("Easy", "arc_easy"), ("Challenge", "arc_challenge")):
        row = {
            "id": "x",
            "question": f"{part}?",
            "choices": {"text": list(FOUR), "label": list("ABCD")},
            "answerKey": "D",
        }
        for split in ("test", "train"):
            parquet(root / f"ARC-{part}/{split}-00000-of-00001.parquet", [row])
        out[name] = [(f"{part}?", FOUR, 3, "")]
    return out


def gsm8k(root: Path) -> Expected:
    solved = "Two and <<2+1000=1002>>two make 1,002.\n#### 1,002"
    for split in ("train", "test"):
        rows = [{"question": f"How many in {split} {n}?", "answer": solved} for n in range(3)]
        lines(root / f"grade_school_math/data/{split}.jsonl", rows)
    return {"gsm8k": [(f"How many in test {n}?", (), ("1,002",), "") for n in range(3)]}


def gsm8k_hub(root: Path) -> Expected:
    for split in ("train", "test"):
        parquet(
            root / f"main/{split}-00000-of-00001.parquet",
            [{"question": f"How many in {split}?", "answer": "So.\n#### 3"}],
        )
    return {"gsm8k": [("How many in test?", (), ("3",), "")]}


PEOPLE = ["bell"] * 7 + ["a bell", "kettle", "answering does not require reading text in the image"]


def textvqa(root: Path) -> Expected:
    """As downloaded, the pictures unpacked; one is missing."""
    data = [
        {"question": f"what is that {name}?", "image_id": name, "question_id": n, "answers": PEOPLE, "set_name": "val"}
        for n, name in enumerate(("one", "two", "gone"))
    ]
    put(root / "TextVQA_0.5.1_val.json", json.dumps({"dataset_type": "val", "dataset_version": "0.5.1", "data": data}))
    for seed, name in enumerate(("one", "two")):
        put(root / f"train_images/{name}.jpg", png(seed, "JPEG"))
    return {"textvqa": [(f"What is that {name}?", (), tuple(PEOPLE), "") for name in ("one", "two")]}


def textvqa_hub(root: Path) -> Expected:
    for part in range(2):
        row = {
            "image_id": "x",
            "question_id": part,
            "question": f"what is it {part}?",
            "answers": PEOPLE,
            "ocr_tokens": [],
        }
        parquet(root / f"data/validation-0000{part}-of-00002.parquet", [row | {"image": picture(part)}])
    return {"textvqa": [(f"What is it {part}?", (), tuple(PEOPLE), "") for part in range(2)]}


def mme(root: Path) -> Expected:
    rows, asked = [], []
    for seed, category in enumerate(("existence", "OCR", "code_reasoning")):
        for answer in ("Yes", "No"):
            question = f"Is there a {'bell' if answer == 'Yes' else 'lamp'}? Please answer yes or no."
            about = {"question_id": f"{category}/1.png", "category": category, "question": question, "answer": answer}
            rows.append(about | {"image": picture(seed)})
            asked.append((question, (), (answer.lower(),), category))
    parquet(root / "data/test-00000-of-00001.parquet", rows)
    return {"mme": asked}


def mmstar(root: Path) -> Expected:
    texts = (
        "Which?\nOptions: A: a kettle, B: a lamp, C: a door, D: a bell",
        "Hint: choose.\nChoices:\n(A) 1\n(B) 2\n(C) 3\n(D) 4",
    )
    rows = [
        {
            "index": n,
            "question": text,
            "image": png(n),
            "answer": "BD"[n],
            "category": "math",
            "l2_category": "geometry",
        }
        | {"meta_info": {"source": "x", "split": "val", "image_path": f"{n}.jpg"}}
        for n, text in enumerate(texts)
    ]
    parquet(root / "mmstar.parquet", rows)
    return {"mmstar": [(text, ("A", "B", "C", "D"), (1, 3)[n], "math") for n, text in enumerate(texts)]}


def mmmu(root: Path) -> Expected:
    """One folder a subject; a question with two pictures, and an open one."""
    for place, subject in enumerate(("Art_Theory", "Math")):
        rows = []
        for number, (kind, text, answer) in enumerate(
            (
                ("multiple-choice", "Which is <image 1>?", "B"),
                ("multiple-choice", "Is <image 2> like <image 1>?", "A"),
                ("open", "How many in <image 1>?", "24"),
            )
        ):
            pictures = {
                f"image_{i}": picture(i + number + 10 * place) if f"<image {i}>" in text else None for i in range(1, 8)
            }
            options = "['a kettle', \"a bell's\"]" if kind == "multiple-choice" else "[]"
            about = {"id": f"validation_{subject}_{number}", "question": text, "options": options, "answer": answer}
            rows.append(about | {"question_type": kind, "subfield": "x"} | pictures)
        parquet(root / f"{subject}/validation-00000-of-00001.parquet", rows)
    both = ("a kettle", "a bell's")
    return {
        "mmmu": [
            (text, both, right, subject)
            for subject in ("Art_Theory", "Math")
            for text, right in (("Which is <image 1>?", 1), ("Is <image 2> like <image 1>?", 0))
        ],
        "mmmu_single": [("Which is <image 1>?", both, 1, subject) for subject in ("Art_Theory", "Math")],
    }


def scienceqa(root: Path) -> Expected:
    plain = {"question": "What rings?", "choices": ["a bell", "a lamp"], "answer": 0, "hint": "", "topic": "physics"}
    rows = [
        plain | {"image": picture(1)},
        plain | {"image": picture(2), "hint": "It is metal."},
        plain | {"image": None},
    ]
    parquet(root / "data/test-00000-of-00001-f0e719df791966ff.parquet", rows)
    texts = ("What rings?", "Context: It is metal.\nWhat rings?")
    return {"scienceqa": [(text, ("a bell", "a lamp"), 0, "physics") for text in texts]}


QUESTION_LAYOUTS: dict[str, Callable[[Path], Expected]] = {
    build.__name__: build
    for build in (
        mmlu, truthfulqa, truthfulqa_authors, truthfulqa_hub, arc, arc_hub, gsm8k, gsm8k_hub, textvqa, textvqa_hub, mme,
        mmstar, mmmu, scienceqa,
    )
}  # fmt: skip
