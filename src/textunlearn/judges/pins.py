"""The labelled sets that judges are measured on, out of packages of the index; see `textunlearn.data.pins`."""

from __future__ import annotations

import dataclasses

from textunlearn.data.pins import PYRIT

PYRIT_REFUSALS = dataclasses.replace(
    PYRIT,
    members=tuple(f"pyrit/datasets/scorer_evals/refusal_scorer/{name}.csv" for name in ("refusal", "refusal_extra")),
    homepage="https://github.com/microsoft/PyRIT",
)
