"""Which rows each step sees: drawn without repetition until a kind is used up, then shuffled anew; the same for one seed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch.utils.data import Dataset

from textunlearn.errors import UserError
from textunlearn.training.rows import Role, Row


@dataclass(frozen=True)
class MicroBatch:
    """Rows of one forward, and how many answer tokens and answers of each role their whole step has."""

    rows: tuple[Row, ...]
    step_tokens: dict[Role, int]
    step_answers: dict[Role, int]


class Plan(Dataset[MicroBatch]):
    """``steps`` steps of the given number of rows a kind, each cut into ``accumulate`` micro-batches of near-equal size."""

    def __init__(
        self,
        pools: Mapping[str, Sequence[Row]],
        per_step: Mapping[str, int],
        steps: int,
        accumulate: int = 1,
        seed: int = 0,
    ) -> None:
        rng = random.Random(seed)
        queues: dict[str, list[Row]] = {kind: [] for kind in per_step}
        self.micro: list[MicroBatch] = []
        for _ in range(steps):
            rows: list[Row] = []
            for kind, count in per_step.items():
                for _ in range(count if pools[kind] else 0):
                    if not queues[kind]:
                        queues[kind] = rng.sample(list(pools[kind]), len(pools[kind]))
                    rows.append(queues[kind].pop())
            if len(rows) < accumulate:
                raise UserError(f"training.accumulate is {accumulate}, but a step has only {len(rows)} rows; lower it")
            tokens: Counter[Role] = Counter()
            answers: Counter[Role] = Counter()
            for row in rows:
                for target in row.targets:
                    tokens[target.role] += len(target.ids)
                    answers[target.role] += 1
            parts = [tuple(rows[part::accumulate]) for part in range(accumulate)]
            self.micro += [MicroBatch(part, dict(tokens), dict(answers)) for part in parts]

    def __len__(self) -> int:
        return len(self.micro)

    def __getitem__(self, index: int) -> MicroBatch:
        return self.micro[index]

    def rows(self) -> list[Row]:
        """Every row that training will see, once."""
        return list({row.key: row for micro in self.micro for row in micro.rows}.values())

    def lengths(self, blank: int) -> dict[str, float]:
        """Mean tokens of the rows that training will see: ``typed`` prompts; of rows with image slots ``beside`` (their prompt
        without the slots) and ``words`` (slots up to the last word; a picture has none); ``answers`` of one row. What no row has is absent.
        """
        found: dict[str, list[int]] = {"typed": [], "beside": [], "words": [], "answers": []}
        for row in (row for micro in self.micro for row in micro.rows):
            found["answers"].append(sum(len(target.ids) for target in row.targets))
            if not row.slots:
                found["typed"].append(len(row.prompt))
                continue
            found["beside"].append(len(row.prompt) - len(row.slots))
            if not row.picture:
                spoken = [place for place, slot in enumerate(row.slots, 1) if row.prompt[slot] != blank]
                found["words"].append(max(spoken, default=0))
        return {key: sum(values) / len(values) for key, values in found.items() if values}
