"""The comparison's page, table, Markdown and CSV: complete, escaped, and honest about what was not measured."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from comparison_data import ORIGINAL, comparison, entry, full, result
from test_report_page import PAYLOADS, Skeleton, outside_figures
from textunlearn.comparison.claims import claims
from textunlearn.comparison.groups import GROUPS
from textunlearn.comparison.summary import summarise
from textunlearn.errors import UserError
from textunlearn.evaluation.judge_error import error_of, measured
from textunlearn.files import write_json
from textunlearn.report.comparison import (
    gaps,
    heat,
    markdown_comparison,
    print_comparison,
    render,
    write_comparison,
)


def words(page: str) -> str:
    return " ".join(Skeleton(outside_figures(page)).text.split())


def printed(data: dict[str, Any], width: int = 120) -> list[str]:
    out = io.StringIO()
    print_comparison(data, Console(file=out, width=width))
    return out.getvalue().splitlines()


@pytest.fixture(scope="module")
def page() -> str:
    return render(summarise(full()))


def test_the_page_has_every_part(page: str) -> None:
    text = words(page)
    for part in ("Claim by claim", "Every method", "Method × attack", "What safety costs", "How easily it comes back"):
        assert part in text
    for part in ("Collapse", "Ablations", "Cost", "What was not measured", "How it was made", "computed"):
        assert part in text
    assert "textunlearn compare made-up" in text and "versions · torch" in text and "Judge rules" in text
    for claim in claims(summarise(full())):
        assert f"{claim.title} {claim.verdict}" in text
        for line in claim.text.split("\n"):
            assert " ".join(line.split()) in text
    # two scatter plots, two of relearning, three of collapse, one ablation with values, two of cost
    assert page.count("<svg") == 10 and "Nothing to draw" not in page


def test_every_attack_rate_stands_beside_its_broken_answers(page: str) -> None:
    cells = re.findall(r"<td[^>]*>\s*<span class=\"rate\">.*?</td>", page, re.S)
    # the original and six methods, the seventh was not run; before that the original and the best by themselves
    assert len(cells) == 9 * len(GROUPS)
    for cell in cells:
        assert 'class="interval"' in cell and "broken <span" in cell and 'class="stack"' in cell


def test_rates_stand_corrected_for_the_judge_where_its_error_was_measured() -> None:
    data = full()
    assert "corrected" not in "".join(re.findall(r"<td.*?</td>", render(summarise(data)), re.S))
    data["run"]["judge"] = next(name for name in measured() if error_of(name, "harmful"))
    page = render(summarise(data))
    cells = [c for c in re.findall(r"<td[^>]*>\s*<span class=\"rate\">.*?</td>", page, re.S)]
    # "No normal answer" has no error of its own; every other cell has.
    assert sum("corrected" in cell for cell in cells) == 9 * sum(group.headline != "unanswered" for group in GROUPS)
    assert len(set(re.findall(r"corrected (\d+)", "".join(cells)))) > 2 and not re.search(
        r"corrected 0\W+%\W+\[0–0\]", page
    )
    assert "The judge's measured error" in page


def test_no_payload_becomes_markup() -> None:
    dull, hostile = (render(summarise(full(text, seeds=1))) for text in ("harmless words", " ".join(PAYLOADS)))
    expected, got = Skeleton(dull), Skeleton(hostile)
    assert outside_elements(hostile) == outside_elements(dull)
    assert set(got.elements) == set(expected.elements) and hostile.count("<script") == dull.count("<script") == 1
    assert not [names for _, names in got.elements if any(name.startswith("on") for name in names)]
    assert not [link for link in got.links if not link.startswith("#")]
    assert "onerror=alert(1)" in got.text  # it is there, as text


def outside_elements(page: str) -> list[tuple[str, tuple[str, ...]]]:
    return Skeleton(outside_figures(page)).elements


@pytest.mark.parametrize("payload", PAYLOADS[::5])
def test_markdown_keeps_its_columns(payload: str) -> None:
    data = comparison([entry("bounded", title=payload + " a | b")], {"bounded": result()})
    lines = markdown_comparison(data).splitlines()
    counts = {len(re.findall(r"(?<!\\)\|", line)) for line in lines[:4]}
    assert counts == {len(GROUPS) + 6} and "<script" not in lines[3] and "<img" not in lines[3]


def test_the_page_loads_nothing_and_its_ids_are_its_own(page: str) -> None:
    assert "default-src 'none'" in page and not re.search(r"url\((?!#)|@import", page)
    assert {"link", "iframe", "object"}.isdisjoint(tag for tag, _ in Skeleton(page).elements)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert {a or b for a, b in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page)} <= set(ids)


def test_empty_results_give_a_page_that_says_so(tmp_path: Path) -> None:
    data = comparison([entry("bounded", method="textual_unlearning")], {})
    data["original"] = None
    write_json(tmp_path / "comparison.json", data)
    text = words(write_comparison(tmp_path).read_text())
    assert "Not measured: no run is done" in text and "No run is done of bounded" in text
    assert "not testable here" in text and "does not hold" not in text
    assert markdown_comparison(data).startswith("Not measured.")
    assert any("—" in line for line in printed(data)) and not re.search(r"\b0 %", text)


def test_missing_parts_are_not_measured_and_never_zero() -> None:
    data = comparison(
        [entry("bounded", method="textual_unlearning")],
        {"bounded": result(further=False, ratio=None, flops=None)},
        original=result(ORIGINAL, further=False, ratio=None, flops=None),
    )
    data["results"]["bounded"]["0"].update(looks=[], curve=[])
    page = render(summarise(data))
    for missing in ("Short answers: of any method", "Relearning on harmless rows: of any method", "Perplexity: of any"):
        assert missing in words(page)
    row = re.search(r'<th scope="row">1 ·.*?</tr>', page, re.S)
    assert row is not None
    assert row.group().count("not measured") == 12  # every further measure and cost; vision encoding there was none
    assert "Nothing to draw: not logged" in page and "Nothing to draw: not measured" in page


@pytest.mark.parametrize("seeds", [1, 3])
def test_seeds_are_named_and_one_seed_has_no_t_interval(seeds: int) -> None:
    data = full(seeds=seeds)
    text = words(render(summarise(data)))
    assert f"{seeds} seed" in text
    assert ("One seed alone" in text) == (seeds == 1)
    ratio = re.search(r"bounded: kept: perplexity (\S+)( \[)?", text)
    assert ratio is not None and bool(ratio.group(2)) == (seeds > 1)


def test_the_terminal_table_fits_and_is_complete() -> None:
    lines = printed(full())
    assert max(map(len, lines)) <= 120
    row = next(line for line in lines if "unlearning, bounded" in line).split()
    assert row[3:] == ["0", "0", "0", "0", "30", "0", "0", "4", "12", "2", "2", "2", "2", "2", "0", "1.03", "2.0e13"]
    assert any(line.startswith("Under 8 %: does not hold") for line in lines)


def test_long_titles_do_not_push_columns_out() -> None:
    data = comparison([entry("bounded", title="A method whose title goes on and on " * 3)], {"bounded": result()})
    lines = printed(data)
    assert max(map(len, lines)) <= 120 and any("2.0e13" in line for line in lines)


def test_csv_has_a_line_an_entry_and_blanks_where_nothing_was_measured(tmp_path: Path) -> None:
    data = full()
    write_json(tmp_path / "comparison.json", data)
    write_comparison(tmp_path)
    rows = list(csv.DictReader((tmp_path / "comparison.csv").open(encoding="utf-8")))
    assert [row["entry"] for row in rows] == ["original", *(one["name"] for one in data["entries"])]
    by_name = {row["entry"]: row for row in rows}
    assert float(by_name["bounded"]["typography_unsafe_rate"]) == pytest.approx(0.3)
    assert by_name["bounded"]["typography_n"] == "200" and by_name["bounded"]["seeds"] == "3"
    assert by_name["sft"]["typography_unsafe_rate"] == by_name["sft"]["perplexity_ratio_mean"] == ""
    assert by_name["rows_40"]["x"] == "40.0" and by_name["rows_40"]["group"] == "Harmful prompts"


def test_markdown_shows_intervals_everywhere_and_marks_the_best() -> None:
    lines = markdown_comparison(full()).splitlines()
    assert len(lines) == 2 + 8 + 2
    best = next(line for line in lines if "**" in line)
    assert "in the image slots" in best and best.count("[") == len(GROUPS) + 3
    assert "judge: rules" in lines[-1] and "textunlearn compare made-up" in lines[-1]


def test_the_heat_map_keeps_suites_that_no_group_has() -> None:
    data = comparison([entry("bounded")], {"bounded": result()})
    extra = {**data["results"]["bounded"]["0"]["suites"][0], "suite": "cue_share"}
    data["results"]["bounded"]["0"]["suites"].append(extra)
    found = heat(summarise(data))
    assert '"Share" put in front' in found.suites
    place = found.suites.index('"Share" put in front')
    assert found.rows[0][1][place] is None and found.rows[1][1][place] is not None


def test_gaps_name_seeds_and_suites_that_lack() -> None:
    data = comparison([entry("a"), entry("b")], {"a": [result(), result()], "b": [result()]})
    for one in data["results"]["b"].values():
        one["suites"] = [row for row in one["suites"] if row["suite"] != "prefill"]
    data["missing"] = [{"entry": "b", "seed": 1, "why": "not run yet"}]
    text = " ".join(gaps(summarise(data)))
    assert "b, seed 1: not run yet" in text and "b (1 of 2)" in text and "b: the suites prefill" in text


def test_a_missing_file_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        write_comparison(tmp_path)


def test_collapsed_perplexity_is_drawn_at_the_edge_and_named(page: str) -> None:
    assert "(4.5 ×)" in page
    data = full(seeds=1)
    data["results"]["published"]["0"]["utility"]["perplexity_ratio"] = float("inf")
    text = render(summarise(data))
    assert "perplexity ∞ times" in words(text) and "nan" not in words(text)


def test_the_page_is_the_same_twice(page: str) -> None:
    assert render(summarise(full())) == page
