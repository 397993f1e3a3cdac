"""The command `compare`: every run of a comparison, then comparison.json and the report. What is finished is left alone."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from textunlearn import recipes
from textunlearn.comparison import NAME, collect
from textunlearn.comparison.runs import Failure, Run, require_same, run_all
from textunlearn.comparison.spec import Comparison
from textunlearn.errors import UserError
from textunlearn.files import named_path, read_json, write_json
from textunlearn.judges.spec import fetch_needs, make
from textunlearn.lock import claim


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        recipe: a file, or a shipped comparison's name.
        model: in place of the recipe's.
        only: entries, in place of all (or of the quick form's).
        changes: ``key.path=value`` for every entry.
        out: folder; by default below runs/, named after comparison, model and form.
        jobs: runs at a time; None: 2 with the built-in model where there are two cores, else 1.
    """

    recipe: str = recipes.COMPARISON
    model: str | None = None
    seeds: Sequence[int] = (0,)
    quick: bool = False
    only: Sequence[str] = ()
    changes: Sequence[str] = ()
    out: Path | None = None
    jobs: int | None = None

    @property
    def command(self) -> str:
        """What gives the same results again; where they go and how many run at a time does not change them."""
        words = ["textunlearn", "compare", self.recipe]
        words += ["--model", self.model] if self.model else []
        words += [word for seed in self.seeds for word in ("--seed", str(seed))] if list(self.seeds) != [0] else []
        words += ["--quick"] if self.quick else []
        words += ["--only", ",".join(self.only)] if self.only else []
        words += [word for change in self.changes for word in ("--set", change)]
        return shlex.join(words)


@dataclass
class Compare:
    """One comparison in one folder: OUT/seed-N/ENTRY is a run folder, OUT/comparison.json what all of them showed.

    Raises:
        UserError: a bad recipe or run, unknown entries, a folder in use or of other runs; before any work is done.
    """

    request: Request
    console: Console
    failures: list[Failure] = field(default_factory=list)

    def __post_init__(self) -> None:
        asked = self.request
        path = recipes.find(asked.recipe)
        self.comparison, self.text = Comparison.read(path), path.read_text(encoding="utf-8-sig")
        self.runs = {seed: self._runs(seed) for seed in dict.fromkeys(asked.seeds)}
        first = next(iter(self.runs[asked.seeds[0]].values()))
        self.jobs = asked.jobs or (min(2, os.cpu_count() or 1) if first.recipe.model.id == "builtin" else 1)
        for by_entry in self.runs.values():
            require_same(list(by_entry.values()))
        self.out.mkdir(parents=True, exist_ok=True)
        self._lock = claim(self.out)

    @property
    def out(self) -> Path:
        if self.request.out is not None:
            return self.request.out
        model = named_path(self.request.model).name if self.request.model else ""
        return Path("runs") / "-".join(filter(None, [self.comparison.name, model, "quick" * self.request.quick]))

    def close(self) -> None:
        self._lock.close()

    def _runs(self, seed: int, everything: bool = False) -> dict[str, Run]:
        """The run of each entry; entries with the same recipe share one. ``everything``: also of entries not asked for."""
        asked = self.request
        only = () if everything else asked.only
        chosen = self.comparison.recipes(asked.model, seed, asked.quick, asked.changes, only)
        made: dict[str, Run] = {}
        for recipe in chosen.values():
            made.setdefault(recipe.name, Run(self.out / f"seed-{seed}" / recipe.name, recipe))
        return {name: made[recipe.name] for name, recipe in chosen.items()}

    def run(self) -> Path:
        """Make what is not done yet, and report. What failed stands in ``failures``."""
        wanted = list(dict.fromkeys(run for by_entry in self.runs.values() for run in by_entry.values()))
        kept = [run for seed in self._seeds() for run in self._others(seed).values() if run.done]
        if left := [run for run in wanted if not run.done]:
            # Once, and not in every run: all entries are judged by the same one (`spec` sees to that).
            fetch_needs(make(left[0].recipe.evaluation.judge), self.console)
        self.failures = run_all(wanted, self.jobs, self.console, kept)
        return self.report()

    def report(self) -> Path:
        """Gather what is done, of other seeds and entries too, write it and its page, and print its tables."""
        return self._write(self.collected())

    def join(self, parts: Sequence[Path]) -> Path:
        """The same of comparisons made elsewhere: their comparison.json, or the folders that hold it."""
        from textunlearn.comparison.join import join, read_parts

        return self._write(join(read_parts(parts)))

    def _write(self, data: dict[str, Any]) -> Path:
        from textunlearn.report.comparison import print_comparison, write_comparison

        write_json(self.out / NAME, data)
        page: Path = write_comparison(self.out)
        print_comparison(read_json(self.out / NAME), self.console)
        return page

    def collected(self) -> dict[str, Any]:
        """comparison.json: the entries of this form that were asked for or that are done, of every seed in the folder."""
        asked = self.request
        seeds = self._seeds()
        entries = self.comparison.chosen(asked.quick)
        entries |= self.comparison.chosen(only=asked.only) if asked.only else {}
        runs: dict[str, dict[int, Run]] = {name: {} for name in self.comparison.entries if name in entries}
        for seed in seeds:
            mine = self.runs.get(seed, {})
            for name, run in {**self._others(seed), **mine}.items():
                if name in mine or run.done:
                    runs[name][seed] = run
        shown = {name: by_seed for name, by_seed in runs.items() if by_seed}
        about = {
            "name": self.comparison.name,
            "title": self.comparison.title,
            "about": self.comparison.about,
            "seeds": [seed for seed in seeds if any(seed in by_seed for by_seed in shown.values())],
            "quick": asked.quick,
            "recipe": self.text,
            "changes": list(asked.changes),
            "command": asked.command,
        }
        why = {failure.run.folder: failure.sentence for failure in self.failures}
        return collect.collect(about, {name: self.comparison.entries[name] for name in shown}, shown, why)

    def _seeds(self) -> list[int]:
        """Those asked for, and those in the folder."""
        found = {int(n) for p in self.out.glob("seed-*") if (n := p.name.removeprefix("seed-")).isdecimal()}
        return sorted({*self.request.seeds, *found})

    def _others(self, seed: int) -> dict[str, Run]:
        """Runs of this form in the folder that were not asked for this time; those of another recipe are left out."""
        kept = {}
        for name, run in self._runs(seed, everything=True).items():
            try:
                require_same([run])
            except UserError:
                continue
            kept[name] = run
        return kept

    @property
    def failed(self) -> str:
        """One sentence on the runs that failed."""
        said = "; ".join(f"{f.run.folder} failed: {f.sentence} (its log: {f.run.log})" for f in self.failures)
        return f"{said}; run the same command again to go on, what is finished is kept"
