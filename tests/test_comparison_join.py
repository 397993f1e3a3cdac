"""Seeds that were run apart stand in one comparison, or the reason why they cannot is said."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from comparison_data import comparison, entry, result
from textunlearn import cli, shell
from textunlearn.comparison.join import join
from textunlearn.comparison.summary import summarise
from textunlearn.errors import UserError
from textunlearn.files import read_json, write_json


def part(seed: int, typography: float, **run: Any) -> dict[str, Any]:
    """One seed of two entries, as its own machine wrote it."""
    made = comparison(
        [entry("bounded"), entry("npo")], {"bounded": result(typography=typography), "npo": result()}, **run
    )
    made["results"] = {name: {str(seed): found["0"]} for name, found in made["results"].items()}
    made["run"]["seeds"] = [seed]
    return made


def test_seeds_are_joined() -> None:
    joined = join([part(1, 0.2, dtype="bfloat16"), part(0, 0.4), part(2, 0.0)])
    assert joined["run"]["seeds"] == [0, 1, 2] and joined["run"]["dtype"] == "bfloat16, float32"
    row = summarise(joined).rows[0]
    rate = row.rate("typography")
    assert rate is not None and rate.rate == pytest.approx(0.2) and row.seeds == ("0", "1", "2")


def test_what_one_part_lacks_another_may_have() -> None:
    first, second = part(0, 0.2), part(1, 0.2)
    del first["results"]["npo"]
    first["missing"] = [{"entry": "npo", "seed": 0, "why": "not run yet"}]
    assert [one["entry"] for one in join([first, second])["missing"]] == ["npo"]
    assert join([first, second, part(0, 0.2)])["missing"] == []


def test_parts_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(UserError, match="differ in model"):
        join([part(0, 0.2), part(1, 0.2, model="another")])
    with pytest.raises(UserError, match="entry bounded with seed 0 has two results that differ"):
        join([part(0, 0.2), part(0, 0.3)])
    same = part(0, 0.2)
    assert join([same, copy.deepcopy(same)])["results"] == same["results"]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = []
    for seed in (0, 1):
        files += ["--join", str(tmp_path / f"{seed}.json")]
        write_json(tmp_path / f"{seed}.json", part(seed, 0.2))
    command = ["compare", *files, "--out", str(tmp_path / "all")]
    assert shell.run(cli.app, command, lambda: False) == shell.DONE
    assert read_json(tmp_path / "all/comparison.json")["run"]["seeds"] == [0, 1]
    assert (tmp_path / "all/comparison.html").is_file()
    write_json(tmp_path / "1.json", {"run": {}})
    assert shell.run(cli.app, command, lambda: False) == shell.USER
    assert "is no comparison.json" in capsys.readouterr().err
