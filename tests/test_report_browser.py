"""The report in a real Chromium: what its script does, how it looks on a phone and on paper."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import chromium  # noqa: F401 - skips this file where there is none
from report_run import UNSAFE, make_run
from textunlearn.files import read_records
from textunlearn.records import Case
from textunlearn.report.html import write_report

PER_PAGE = 24


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"), n=20)


def opened(browser: Any, path: Path, **options: Any) -> Any:
    """The page from disk; a test fails for whatever it logs or asks for."""
    page = browser.new_page(**options)
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.on("console", lambda message: pytest.fail(message.text) if message.type == "error" else None)
    page.goto(path.as_uri())
    return page


@pytest.fixture
def page(browser: Any, run: Path) -> Iterator[Any]:
    page = opened(browser, write_report(run))
    yield page
    page.close()


def test_all_cases_can_be_gone_through(page: Any, run: Path) -> None:
    cases = read_records(run / "cases.jsonl", Case)
    assert page.locator("#shown").inner_text() == f"{len(cases)} of {len(cases)} cases, {PER_PAGE} shown"
    for _ in range(len(cases) // PER_PAGE - 1):
        page.locator("#more").click()
    assert page.locator("#more").is_hidden()
    assert page.locator("#found .tags code").all_inner_texts() == [case.id for case in cases]
    assert not page.locator("ul.cases.unscripted").is_visible(), "the sample is for those without a script"


def test_filters_search_and_the_table_of_moves_agree_with_the_files(page: Any, run: Path) -> None:
    def ids() -> set[str]:
        while page.locator("#more").is_visible():
            page.locator("#more").click()
        return set(page.locator("#found .tags code").all_inner_texts())

    cases = read_records(run / "cases.jsonl", Case)
    labels = {
        model: {one["case"]: one["label"] for one in map(json.loads, (run / f"verdicts/{model}.rules.jsonl").open())}
        for model in ("before", "after")
    }
    page.locator("select[name=suite]").select_option(label="Look-alikes, in an image")
    assert ids() == {case.id for case in cases if case.suite == "lookalike_image"}
    page.get_by_role("button", name="Clear").click()
    page.locator("select[name=kind]").select_option("harmful")
    page.locator("select[name=after]").select_option("changed")
    harmful = [case.id for case in cases if case.prompt.kind == "harmful"]
    assert ids() == {one for one in harmful if labels["before"][one] != labels["after"][one]}
    page.get_by_role("button", name="Clear").click()
    moved = {one.id for one in cases if (labels["before"][one.id], labels["after"][one.id]) == ("unsafe", "refusal")}
    page.get_by_role("button", name=f"before unsafe, after refused: {len(moved)} cases").click()
    assert ids() == moved and page.locator("select[name=before]").input_value() == "unsafe"
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("searchbox").fill("NUMBER 13 ordinary")
    assert ids() == {case.id for case in cases if case.suite == "ordinary" and "number 13 " in case.text}
    page.get_by_role("searchbox").fill(cases[3].id)
    assert ids() == {cases[3].id}
    page.get_by_role("searchbox").fill(UNSAFE)
    assert page.locator("#shown").inner_text().startswith("0 of "), "nothing that is redacted can be found"


def test_it_works_by_keyboard(page: Any) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the results"
    page.locator("#more").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.matches('#found > li:nth-child(25)')"), (
        "goes on where the list went on"
    )


def test_the_switch_hides_unsafe_text_and_exists_only_where_there_is_some(browser: Any, run: Path) -> None:
    page = opened(browser, write_report(run))
    assert page.get_by_role("checkbox").count() == 0
    page.goto(write_report(run, show_unsafe=True).as_uri())
    found, images = page.locator("#found"), page.locator("#found .picture img")
    page.locator("select[name=suite]").select_option(label="Harmful, in an image, FigStep's prompt")
    assert UNSAFE in found.inner_text() and images.count() == 20 and "redacted" not in found.inner_text()
    page.get_by_label("Show harmful text").uncheck()
    assert UNSAFE not in found.inner_text() and images.count() == 0 and "answer redacted" in found.inner_text()
    page.get_by_role("searchbox").fill(UNSAFE)
    assert page.locator("#shown").inner_text().startswith("0 of ")
    page.get_by_label("Show harmful text").check()
    assert not page.locator("#shown").inner_text().startswith("0 of ")
    page.close()
    write_report(run)


def test_light_and_dark_follow_the_system_until_somebody_chooses(page: Any) -> None:
    def ground() -> str:
        return str(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))

    page.emulate_media(color_scheme="light")
    light = ground()
    page.emulate_media(color_scheme="dark")
    dark = ground()
    assert light != dark
    page.get_by_label("Colours").select_option("light")
    assert ground() == light
    page.get_by_label("Colours").select_option("")
    assert ground() == dark
    letters = page.evaluate("getComputedStyle(document.querySelector('figure svg text')).fill")
    assert letters not in ("rgb(0, 0, 0)", dark)


@pytest.mark.parametrize("width", [360, 768])
def test_nothing_sticks_out_on_narrow_screens(browser: Any, run: Path, width: int) -> None:
    page = opened(browser, write_report(run), viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.close()


def test_without_a_script_verdict_table_picture_and_a_sample_are_there(browser: Any, run: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(write_report(run).as_uri())
    for part in (".verdict", ".summary", ".families", "#attacks .results", "ul.cases.unscripted .case >> nth=0"):
        assert page.locator(part).is_visible(), part
    assert not page.locator("#filter").is_visible() and not page.locator("#theme").is_visible()
    context.close()


def test_on_paper_nothing_is_folded_and_there_are_no_controls(page: Any) -> None:
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0 and page.locator("details pre").is_visible()
    for control in (".bar", "#filter", "#more", "#found"):
        assert not page.locator(control).is_visible(), control
    assert page.locator("ul.cases.unscripted .case >> nth=0").is_visible()
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0
