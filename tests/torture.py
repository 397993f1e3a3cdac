"""Strike every verb that writes, again and again: killed, stopped, out of memory, on a full disk, without power.

    python tests/torture.py                                # 100 strikes a verb, about 40 minutes on two cores
    python tests/torture.py --points 5 --verb run --verb export
    python tests/torture.py --out mine.json                # figures go there after each trial, and it goes on from there

A trial starts a command, strikes it at a random moment, starts the same command again, up to three times over, and at last lets it
end. Then nothing that was finished before a strike may be lost, changed, left half or done twice, and the result must be the same byte
for byte as that of a command that nobody struck (adapter, answers, verdicts, metrics, tables; clocks apart). Whatever else happens is a
find; with any, the exit code is 1. The same seed strikes at the same moments, as far as the clock allows. Linux; a full disk needs the
right to mount a small file system and is left out, with the reason, where that is not given.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torture_process
import torture_state
import torture_verbs
from textunlearn.files import write_json
from textunlearn.report.markdown import put_between_marks
from torture_process import WAYS, Seen
from torture_verbs import LENGTHS, VERBS, Bench

MEGABYTES = 64
"""Size of the small file system."""


@dataclass
class Known:
    """What a command does that nobody strikes."""

    events: int
    seconds: float
    rows: dict[int, int]
    result: dict[str, Any]


@dataclass
class Strike:
    way: str
    moment: str
    code: int
    landed: bool
    torn: int = 0


@dataclass
class Trial:
    number: int
    strikes: list[Strike] = field(default_factory=list)
    finds: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def points(self) -> int:
        return sum(strike.landed for strike in self.strikes)


class Campaign:
    """All trials of a bench. ``without``: ways that are left out."""

    def __init__(self, bench: Bench, seed: int, without: tuple[str, ...] = ()) -> None:
        self.bench, self.seed = bench, seed
        self.ways = [way for way in WAYS if way not in without]
        self._known: dict[str, Known] = {}

    def known(self, name: str) -> Known:
        """The undisturbed command; what it begins with is made first."""
        if name not in self._known:
            verb = VERBS[name]
            if verb.begins:
                self.known(verb.begins)
            place = self.bench.begin(verb)
            stored = torture_state.stored_rows(place, LENGTHS)
            seen = self._start(name)
            if seen.code:
                raise SystemExit(f"{name} fails without being struck: {seen.said[-2000:]}")
            result = torture_state.result(place / verb.result)
            now = torture_state.stored_rows(place, LENGTHS)
            for tokens, rows in seen.rows.items():
                fresh = now.get(tokens, 0) - stored.get(tokens, 0)
                if tokens in LENGTHS.values() and name != "compare" and rows != fresh:
                    raise SystemExit(f"{name} generated {rows} answers of {tokens} tokens and stored {fresh}")
            self._known[name] = Known(seen.events, seen.seconds, seen.rows, result)
            if name in {one.begins for one in VERBS.values()}:
                self.bench.keep(name)
        return self._known[name]

    def _start(self, name: str, *strike: Any) -> Seen:
        place = self.bench.place
        arguments = VERBS[name].arguments(place, self.bench.inputs)
        return torture_process.run(arguments, self.bench.disk, place, self.bench.work, *strike)

    def trial(self, name: str, number: int) -> Trial:
        known, began = self.known(name), time.monotonic()
        chance = random.Random(f"{self.seed}/{name}/{number}")
        trial, place, ended = Trial(number), self.bench.begin(VERBS[name]), False
        begun = torture_state.stored_rows(place, LENGTHS)
        left = 1.0  # of the work, about, so that most strikes find it going on
        for _ in range(chance.randint(1, 3)):
            way = self.ways[(number + len(trial.strikes)) % len(self.ways)]
            share = chance.random() * left
            by_operation = chance.random() < 0.6
            at: int | float = 1 + int(share * known.events) if by_operation else share * known.seconds
            before, sizes = torture_state.finished(place), torture_process.sizes(place)
            stored = torture_state.stored_rows(place, LENGTHS)
            seen = self._start(name, way, at, chance)
            (self.bench.disk / torture_process.FILLER).unlink(missing_ok=True)
            strike = Strike(way, f"operation {at}" if isinstance(at, int) else f"{at:.2f} s", seen.code, seen.struck)
            trial.strikes.append(strike)
            if WAYS[way].tears and seen.struck:
                strike.torn = torture_process.tear(place, seen, sizes, chance)
            self._look(name, trial, seen, before, stored, begun)
            ended, left = seen.code == 0, max(0.1, left - 0.8 * share)
            if ended:
                break
        if not ended:
            before, stored = torture_state.finished(place), torture_state.stored_rows(place, LENGTHS)
            seen = self._start(name)
            refused = bool(VERBS[name].refuses) and VERBS[name].refuses in seen.said
            if seen.code and not refused:
                trial.finds.append(f"could not go on ({seen.code}): {seen.said[-300:]}")
            self._repeated(name, trial, seen, before, stored, begun)
        found = torture_state.result(place / VERBS[name].result)
        trial.finds += torture_state.differences(known.result, found)
        trial.finds += [f"{path.name} is left beside the result" for path in place.glob(".partial.*")]
        trial.seconds = round(time.monotonic() - began, 2)
        return trial

    def _look(
        self, name: str, trial: Trial, seen: Seen, before: dict[str, Any], stored: dict[int, int], begun: dict[int, int]
    ) -> None:
        """After a strike: did it end as it should, and is all there that was there?"""
        way = WAYS[trial.strikes[-1].way]
        if seen.code and seen.code not in way.codes:
            trial.finds.append(f"{trial.strikes[-1].way} ended with code {seen.code}: {seen.said[-300:]}")
        said = seen.said.strip().splitlines()
        if seen.code == 2 and not (said and way.says and way.says in seen.said.replace("\n", " ")):
            trial.finds.append(f"{trial.strikes[-1].way} was told otherwise: {seen.said[-300:]}")
        if "Traceback" in seen.said and seen.code > 0:
            trial.finds.append(f"{trial.strikes[-1].way} showed a traceback: {seen.said[-300:]}")
        trial.finds += torture_state.lost(before, torture_state.finished(self.bench.place))
        self._repeated(name, trial, seen, before, stored, begun)

    def _repeated(
        self, name: str, trial: Trial, seen: Seen, before: dict[str, Any], stored: dict[int, int], begun: dict[int, int]
    ) -> None:
        """Did this start generate what was stored, or train what a checkpoint had?"""
        for tokens in set(LENGTHS.values()) & seen.rows.keys():
            missing = self.known(name).rows.get(tokens, 0) - (stored.get(tokens, 0) - begun.get(tokens, 0))
            if name != "compare" and seen.rows[tokens] > missing:
                trial.finds.append(
                    f"{seen.rows[tokens]} answers of {tokens} tokens were generated, {missing} were missing"
                )
        for folder, steps in seen.steps.items():
            there = before["checkpoints"].get(str(Path(folder).relative_to(self.bench.place)), 0)
            if min(steps) != there or len(set(steps)) != len(steps):
                trial.finds.append(f"steps {steps} were taken with a checkpoint at {there}")


@contextmanager
def small_disk(work: Path) -> Iterator[tuple[Path, str]]:
    """A folder on a file system of its own, and "" or why it is none."""
    disk = work / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", str(disk)]
    try:
        made = subprocess.run(["mount", *options], capture_output=True, text=True)
        why = made.stderr.strip() if made.returncode else ""
    except OSError as error:
        why = str(error)
    try:
        yield disk, why
    finally:
        if not why:
            subprocess.run(["umount", "--lazy", str(disk)], check=False)


def table(figures: dict[str, Any]) -> list[str]:
    """The figures as Markdown."""
    ways = list(WAYS)
    lines = [f"| verb | strikes | {' | '.join(ways)} | files torn | finds |", "|---" * (len(ways) + 4) + "|"]
    for name, trials in figures["trials"].items():
        strikes = [one for trial in trials for one in trial["strikes"] if one["landed"]]
        counted = Counter(one["way"] for one in strikes)
        finds = sum(bool(trial["finds"]) for trial in trials)
        torn = sum(one["torn"] for one in strikes)
        cells = [f"`{name}`", len(strikes), *(counted[way] for way in ways), torn, finds]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=100, help="strikes on each verb that find it at work")
    parser.add_argument("--verb", action="append", choices=VERBS, help="this one alone; may be repeated")
    parser.add_argument("--way", action="append", choices=WAYS, help="this way alone; may be repeated")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=40.0, help="stop after so long; start it again to go on")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/torture.json"),
        help="figures; trials that stand there are not made again",
    )
    parser.add_argument(
        "--docs", type=Path, help="Markdown file: the table goes between its marks torture:start and :end"
    )
    given = parser.parse_args()
    figures: dict[str, Any] = {"seed": given.seed, "left_out": {}, "trials": {}}
    if given.out.exists():
        figures = json.loads(given.out.read_text(encoding="utf-8"))
        if figures["seed"] != given.seed:
            parser.error(f"{given.out} has the figures of seed {figures['seed']}; name another file by --out")
    torture_verbs.import_all()
    until = time.monotonic() + 60 * given.minutes
    left = tuple(way for way in WAYS if given.way and way not in given.way)
    with tempfile.TemporaryDirectory() as folder, small_disk(Path(folder)) as (disk, why):
        os.environ["TEXTUNLEARN_CACHE"] = str(Path(folder) / "cache")
        if why:
            left, figures["left_out"] = (*left, "full disk"), {"full disk": why}
        campaign = Campaign(Bench(disk, Path(folder)), given.seed, left)
        for name in given.verb or VERBS:
            trials = figures["trials"].setdefault(name, [])
            points = sum(one["landed"] for trial in trials for one in trial["strikes"])
            while points < given.points and time.monotonic() < until:
                trial = campaign.trial(name, len(trials))
                points += trial.points
                trials.append(asdict(trial))
                write_json(given.out, figures)
                for find in trial.finds:
                    ways = ", ".join(f"{s.way} at {s.moment}: {s.code}" for s in trial.strikes)
                    print(f"{name}, trial {trial.number} ({ways}): {find}", flush=True)
            print(f"{name}: {points} strikes in {len(trials)} trials", flush=True)
    print(*table(figures), sep="\n")
    for way, why in figures["left_out"].items():
        print(f"left out: {way} ({why})")
    if given.docs:
        put_between_marks(given.docs, "torture", table(figures))
    return int(any(trial["finds"] for trials in figures["trials"].values() for trial in trials))


if __name__ == "__main__":
    sys.exit(main())
