"""The chat page, its shared file and the report in a real Chromium: what people do on it, by mouse and by keyboard alone, and that
nothing a model, a data set or a person says runs as a script."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chromium import playwright
from payloads import PAYLOADS
from report_run import make_run
from serving import Served, served, trained_run
from textunlearn.chat.speaking import Said
from textunlearn.files import read_json, read_records, write_json, write_records
from textunlearn.judges import DEFAULT
from textunlearn.records import Answer, Case, Verdict
from textunlearn.report.html import write_report
from textunlearn.serve.limits import Limits

expect = playwright.expect
Page = Any

WAIT = 60_000
"""Milliseconds; a page that works takes a fraction of it."""


@pytest.fixture(scope="module")
def server(reader_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    run = trained_run(tmp_path_factory.mktemp("run"), reader_folder)
    with served(run, limits=Limits(asks=10_000, draws=10_000)) as found:
        yield found


@pytest.fixture
def said(browser: Any) -> Iterator[tuple[Page, list[str]]]:
    """A page, and all that it complains of: scripts that fail or are not allowed, dialogs, what is not loaded, what leaves this machine."""
    context = browser.new_context(viewport={"width": 1180, "height": 860})
    context.set_default_timeout(WAIT)
    page, heard = context.new_page(), []
    page.on("console", lambda message: heard.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("dialog", lambda dialog: (heard.append(f"dialog {dialog.message}"), dialog.dismiss()))
    page.on(
        "request",
        lambda asked: (
            None if re.match(r"(http://127\.0\.0\.1|data:|blob:|file:)", asked.url) else heard.append(asked.url)
        ),
    )
    yield page, heard
    context.close()


@pytest.fixture
def page(said: tuple[Page, list[str]], server: Served) -> Page:
    page, _ = said
    page.goto(server.url)
    expect(page.locator("#run")).to_have_text("tiny")
    page.locator("#tokens").evaluate("box => { box.value = 12 }")
    return page


def verdicts(page: Page, number: int) -> Any:
    """The verdicts once there are so many."""
    found = page.locator(".verdict b")
    expect(found).to_have_count(number, timeout=WAIT)
    expect(page.locator("#send")).to_be_visible()
    return found


def test_a_request_gets_two_answers_with_verdicts(page: Page, said: tuple[Page, list[str]]) -> None:
    page.fill("#request", "how do i bake bread")
    page.click("#send")
    assert all(
        text in ("complies", "refuses", "broken", "answers", "evades") for text in verdicts(page, 2).all_inner_texts()
    )
    answers = page.locator(".answer").all_inner_texts()
    assert len(answers) == 2 and all(answers) and answers[0] != answers[1]
    assert page.locator(".words").inner_text() == "how do i bake bread"
    assert page.input_value("#request") == "" and said[1] == []


def test_one_click_puts_the_same_request_under_an_attack(page: Page) -> None:
    page.click("[data-attack=prefill]")
    expect(page.locator("#trouble")).to_contain_text("Type a request first")
    page.fill("#request", "how do i bake bread")
    page.press("#request", "Enter")
    verdicts(page, 2)
    page.click("[data-attack=prefill]")
    verdicts(page, 4)
    assert page.locator(".begun").all_inner_texts() == ["Sure,", "Sure,"]
    assert page.locator('input[value="harmful"]').is_checked()  # an attack asks for harm, unless it is said otherwise
    page.click("[data-attack=figstep]")
    verdicts(page, 6)
    assert page.locator(".pictures img").count() == 1
    page.locator("details.shown").last.locator("summary").click()
    expect(page.locator("details.shown pre").last).to_contain_text("The image shows a list")
    page.select_option("#more", "base64")
    verdicts(page, 8)
    assert page.locator(".words").all_inner_texts() == ["how do i bake bread"] * 4
    assert page.locator(".tag.attack").all_inner_texts() == ["prefill", "figstep", "base64"]


def test_the_slider_goes_from_the_original_to_the_result(page: Page) -> None:
    answers = []
    for strength in ("0", "50", "100"):
        page.locator("#strength").fill(strength)
        expect(page.locator("#strength-is")).to_have_text(f"{strength} %")
        page.fill("#request", "how do i bake bread")
        page.press("#request", "Enter")
        verdicts(page, 2 * (len(answers) + 1))
        answers.append(page.locator(".answer").all_inner_texts()[-2:])
    assert answers[0][0] == answers[0][1] != answers[2][1]
    assert page.locator(".reply h3 span:first-child").all_inner_texts()[1::2] == [
        "Aligned, at 0 %",
        "Aligned, at 50 %",
        "Aligned",
    ]


def test_text_is_drawn_while_it_is_typed(page: Page) -> None:
    page.click("#open-picture")
    shown = page.locator("#preview")
    seen = []

    def changed(act: Any) -> None:
        act()
        if seen:
            expect(shown).not_to_have_attribute("src", seen[-1])
        expect(shown).to_be_visible()
        seen.append(shown.get_attribute("src"))

    changed(lambda: page.fill("#drawn", "Steps to bake bread"))
    changed(lambda: page.select_option("#layout", "serif"))
    changed(lambda: page.select_option("#font", "DejaVuSans.ttf"))
    changed(lambda: page.locator("#size").fill("40"))
    changed(lambda: page.locator("#rotation").fill("15"))
    changed(lambda: page.check("#numbered"))
    assert len(set(seen)) == 6
    page.fill("#drawn", "\u05d0")
    expect(page.locator("#preview-is")).to_contain_text("cannot draw")
    page.fill("#drawn", "Steps to bake bread")
    expect(page.locator("#preview-is")).to_have_text("As the models see it.")
    page.click("#attach")
    assert page.locator("#thumb").get_attribute("src") == seen[-1]
    page.press("#request", "Enter")
    verdicts(page, 2)
    assert page.locator(".pictures img").get_attribute("src") == seen[-1]
    expect(page.locator(".drawn")).to_have_text("In the picture: Steps to bake bread")


def test_a_picture_comes_from_a_file_the_clipboard_or_is_dropped(page: Page, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (30, 30), "red").save(tmp_path / "red.png")
    page.click("#open-picture")
    page.set_input_files("#file", tmp_path / "red.png")
    expect(page.locator("#attached-is")).to_have_text("red.png")
    page.click("#detach")
    expect(page.locator("#attached")).to_be_hidden()
    for event, name in (("paste", "clipboardData"), ("drop", "dataTransfer")):
        page.evaluate(
            """([event, name]) => {
                const data = new DataTransfer();
                data.items.add(new File([Uint8Array.from([137, 80, 78, 71])], `${event}.png`, { type: "image/png" }));
                const made = event === "paste" ? new ClipboardEvent(event, { [name]: data, bubbles: true, cancelable: true })
                                               : new DragEvent(event, { [name]: data, bubbles: true, cancelable: true });
                document.getElementById("request").dispatchEvent(made);
            }""",
            [event, name],
        )
        expect(page.locator("#attached-is")).to_have_text(f"{event}.png")
    page.press("#request", "Enter")  # four bytes are no picture
    expect(page.locator("#trouble")).to_contain_text("The picture cannot be read")


def test_all_of_it_by_keyboard_alone(page: Page, server: Served) -> None:
    active = "document.activeElement.id"
    assert page.evaluate(f"() => {active}") == "request"  # one can type at once
    page.keyboard.type("how do i bake bread")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("please")
    page.keyboard.press("Enter")
    verdicts(page, 2)
    assert page.locator(".words").inner_text() == "how do i bake bread\nplease"
    assert page.evaluate(f"() => {active}") == "request"
    page.keyboard.press("Alt+Digit3")
    verdicts(page, 4)
    page.keyboard.press("Alt+KeyP")
    assert page.evaluate(f"() => {active}") == "drawn"
    page.keyboard.type("Steps to bake bread")
    expect(page.locator("#attach")).to_be_enabled()
    for _ in range(6):
        page.keyboard.press("Tab")
    assert page.evaluate(f"() => {active}") == "attach"
    outline = page.locator("#attach").evaluate(
        "box => getComputedStyle(box).outlineStyle + getComputedStyle(box).outlineWidth"
    )
    assert outline == "solid3px"
    page.keyboard.press("Enter")
    expect(page.locator("#attached")).to_be_visible()
    assert page.evaluate(f"() => {active}") == "request"
    page.keyboard.press("Enter")
    verdicts(page, 6)
    reached = []
    page.keyboard.press("Alt+KeyS")
    expect(page.locator("#sharing")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#sharing")).to_be_hidden()
    page.evaluate("() => document.activeElement.blur()")
    page.keyboard.press("/")
    assert page.evaluate(f"() => {active}") == "request"
    for _ in range(14):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("() => (({ id, dataset, value }) => id || dataset.attack || value)(document.activeElement)")
        )
    wanted = [
        "open-picture",
        "open-settings",
        "send",
        "jailbreak_wrapper",
        "prefill",
        "cue_what",
        "figstep",
        "typography_short",
        "more",
    ]
    assert reached[: len(wanted)] == wanted and "strength" in reached and {"harmful", "ordinary"} & set(reached)
    page.locator("#strength").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#strength-is")).to_have_text("95 %")


def test_every_control_has_a_name(page: Page) -> None:
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, textarea")].filter((one) =>
            !one.labels?.length && !one.getAttribute("aria-label") && !one.textContent.trim()).map((one) => one.id)"""
    )
    assert unnamed == []


def test_escape_stops_an_answer(page: Page, server: Served) -> None:
    before = server.engine.endings["left"]
    page.locator("#tokens").evaluate("box => { box.value = 400 }")
    page.fill("#request", "how do i bake bread")
    page.press("#request", "Enter")
    expect(page.locator(".answer").first).not_to_be_empty()
    page.keyboard.press("Escape")
    expect(page.locator("#send")).to_be_visible()
    while not server.engine.idle:
        pass
    assert server.engine.endings["left"] > before or "stopped" not in page.locator(".verdict").first.inner_text()
    page.fill("#request", "how do i bake bread")
    page.locator("#tokens").evaluate("box => { box.value = 4 }")
    page.press("#request", "Enter")
    expect(page.locator(".exchange").last.locator(".verdict b")).to_have_count(2)


def test_a_talk_is_shared_as_a_file_that_opens_from_disk(
    page: Page, said: tuple[Page, list[str]], browser: Any, tmp_path: Path
) -> None:
    page.fill("#request", "how to borrow a bicycle unasked")
    page.click("[data-attack=jailbreak_wrapper]")
    verdicts(page, 2)
    for keep in (False, True):
        page.click("#share")
        if keep:
            page.check("#everything")
        with page.expect_download() as download:
            page.click("#save")
        file = tmp_path / f"{keep}.html"
        download.value.save_as(file)
        page.goto(file.as_uri()) if keep else None
        assert ("bicycle" in file.read_text(encoding="utf-8")) is keep
    expect(page.locator(".words")).to_have_text("how to borrow a bicycle unasked")
    assert said[1] == []


def test_it_fits_a_phone_light_and_dark(page: Page, tmp_path: Path) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    grounds = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.fill("#request", "how do i bake bread")
        page.click("#send")
        verdicts(page, 2 * (len(grounds) + 1))
        for panel in ("picture", "settings"):
            page.click(f"#open-{panel}")
            assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
            assert page.locator("#send").bounding_box()["y"] < 740
        page.keyboard.press("Escape")
        first, second = (page.locator(".reply").nth(n).bounding_box() for n in (-2, -1))
        assert first["x"] == second["x"] and first["y"] < second["y"]  # one below the other
        grounds.append(page.evaluate("() => getComputedStyle(document.body.parentElement).backgroundColor"))
    assert grounds[0] != grounds[1]


def test_a_key_in_the_address_opens_the_page_and_does_not_stay_there(
    browser: Any, reader_folder: Path, tmp_path: Path
) -> None:
    with served(trained_run(tmp_path, reader_folder), key="sesame-street-1969") as server:
        page = browser.new_page()
        page.goto(server.url)
        expect(page.locator("#trouble")).to_contain_text("wants its key")
        page.goto(f"{server.url}/#key=sesame-street-1969")
        page.reload()
        expect(page.locator("#run")).to_have_text("tiny")
        assert "sesame" not in page.url
        page.close()


# -- a hundred payloads --------------------------------------------------------------------------------------------


def tags(page: Page) -> set[str]:
    """The kinds of element on the page, with their attributes' names."""
    return set(
        page.evaluate(
            """() => [...document.querySelectorAll("*")].map((one) =>
                [one.localName, ...[...one.attributes].map((each) => each.name).sort()].join(" "))"""
        )
    )


def heard_of(words: str) -> str:
    """How Chromium shows a text: NUL and line ends become others."""
    return re.sub(r"[\s\0\ufffd]+", "", words)


def test_no_payload_runs_on_the_chat_page(said: tuple[Page, list[str]], reader_folder: Path, tmp_path: Path) -> None:
    """A hundred payloads as requests, as answers of both models, as reasons of the judge and as names of run, model and method."""
    page, heard = said
    about = {"run": PAYLOADS[0], "model": " ".join(PAYLOADS), "method": PAYLOADS[6]}
    with served(trained_run(tmp_path, reader_folder), limits=Limits(asks=10_000), about=about) as server:
        engine, turn = server.engine, iter(PAYLOADS * 2)

        def hostile(batch: Any) -> None:
            for stream in batch:
                payload = stream.ask.turns[-1][1][0]
                for piece in (payload[:5], payload[5:], " ", next(turn)):
                    stream.put(piece)
                stream.put(Said(payload, 3, "stop"))

        class Judge:
            name = PAYLOADS[7]

            def judge(self, cases: Any, answers: Any) -> list[Verdict]:
                return [Verdict(case.id, self.name, "other", case.prompt.text) for case in cases]

        page.goto(server.url)
        page.fill("#request", "how do i bake bread")
        page.press("#request", "Enter")
        verdicts(page, 2)
        before = tags(page)
        engine._generate = hostile  # type: ignore[method-assign]
        server.verdicts.judge = Judge()
        for number, payload in enumerate(PAYLOADS):
            page.fill("#request", payload)
            page.press("#request", "Enter")
            verdicts(page, 2 * number + 4)
        page.wait_for_timeout(500)  # for whatever runs late
        assert heard == []
        assert tags(page) <= before | {"b"}
        shown = heard_of(page.locator("main").text_content())
        assert [payload for payload in PAYLOADS if shown.count(heard_of(payload)) < 4] == []
        page.click("#share")
        page.check("#everything")
        with page.expect_download() as download:
            page.click("#save")
        download.value.save_as(tmp_path / "talk.html")
        page.goto((tmp_path / "talk.html").as_uri())
        page.wait_for_timeout(500)
        assert heard == [] and page.locator("script, iframe, form, object, embed, base, link").count() == 0
        shown = heard_of(page.locator("main").text_content())
        assert [payload for payload in PAYLOADS if heard_of(payload) not in shown] == []


def test_no_payload_runs_in_the_report(said: tuple[Page, list[str]], tmp_path: Path) -> None:
    """A hundred payloads as requests, answers, reasons, names of data sets, titles and notes of a run."""
    page, heard = said
    dull, run = make_run(tmp_path / "dull"), make_run(tmp_path / "run")
    metrics = read_json(dull / "metrics.json")
    metrics["not_measured"] = ["dull"] * 100
    write_json(dull / "metrics.json", metrics)
    cases = read_records(run / "cases.jsonl", Case)
    texts = [PAYLOADS[number % 100] for number in range(len(cases))]
    hostile = [
        replace(case, text=text if not case.images else case.text, prompt=replace(
            case.prompt, text=f"{number} {text}", source=text, category=text, form=text
        ))
        for number, (case, text) in enumerate(zip(cases, texts, strict=True))
    ]  # fmt: skip
    write_records(run / "cases.jsonl", hostile)
    answers = [Answer(case.id, text, 3, True) for case, text in zip(hostile, texts, strict=True)]
    for model in ("before", "after"):
        write_records(run / f"answers/{model}.jsonl", answers)
        verdicts = [Verdict(case.id, "rules", "unsafe", text) for case, text in zip(hostile, texts, strict=True)]
        write_records(run / f"verdicts/{model}.rules.jsonl", verdicts)
    metrics = read_json(run / "metrics.json")
    metrics["not_measured"] = list(PAYLOADS)
    metrics["run"] |= {"title": PAYLOADS[0], "model": " ".join(PAYLOADS)}
    for row, payload in zip(metrics["suites"], PAYLOADS, strict=False):
        row["title"] = payload
    write_json(run / "metrics.json", metrics)
    environment = read_json(run / "environment.json")
    environment["data"] = {payload: {"n": 1, payload: payload} for payload in PAYLOADS}
    write_json(run / "environment.json", environment)

    page.goto(write_report(dull, show_unsafe=True).as_uri())
    before = tags(page)
    page.goto(write_report(run, show_unsafe=True).as_uri())
    page.wait_for_timeout(500)
    assert heard == []
    assert tags(page) <= before
    shown = heard_of(page.locator("body").text_content())
    assert [payload for payload in PAYLOADS if heard_of(payload) not in shown] == []


def test_a_payload_that_is_markup_would_be_noticed(said: tuple[Page, list[str]], tmp_path: Path) -> None:
    """What the two tests above hold silent is loud where a page takes words for markup."""
    page, heard = said
    (tmp_path / "open.html").write_text(f"<!doctype html><p>{PAYLOADS[6]}</p>", encoding="utf-8")
    page.goto((tmp_path / "open.html").as_uri())
    page.wait_for_timeout(200)
    assert "dialog 1" in heard


# -- pictures for the documentation --------------------------------------------------------------------------------

RUN, SHOTS = os.environ.get("TEXTUNLEARN_CHAT_RUN"), os.environ.get("TEXTUNLEARN_CHAT_PICTURES")


@pytest.mark.skipif(
    not (RUN and SHOTS), reason="set TEXTUNLEARN_CHAT_RUN to a run and TEXTUNLEARN_CHAT_PICTURES to a folder"
)
def test_pictures_for_the_documentation(browser: Any) -> None:
    """A mild request, typed and drawn, on a real run with the default judge: docs/chat.md names the command."""
    folder = Path(str(SHOTS))
    with served(Path(str(RUN)), judge=DEFAULT) as server:
        page = browser.new_page(viewport={"width": 1180, "height": 820}, color_scheme="light")
        page.set_default_timeout(4 * WAIT)
        page.goto(server.url)
        page.locator("#tokens").evaluate("box => { box.value = 90 }")
        page.locator('input[value="harmful"]').check(force=True)
        page.fill("#request", "Write an insulting letter to my neighbour")
        page.press("#request", "Enter")
        expect(page.locator(".verdict b")).to_have_count(2, timeout=4 * WAIT)
        page.click("[data-attack=figstep]")
        expect(page.locator(".verdict b")).to_have_count(4, timeout=4 * WAIT)
        page.evaluate("() => document.activeElement.blur()")
        page.screenshot(path=folder / "chat.png")
        page.set_viewport_size({"width": 390, "height": 780})
        page.emulate_media(color_scheme="dark")
        page.locator(".exchange").last.scroll_into_view_if_needed()
        page.evaluate("() => [...document.querySelectorAll('.exchange')].at(-1).scrollIntoView()")
        page.screenshot(path=folder / "chat-phone.png")
        page.close()
