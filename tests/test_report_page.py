"""The page escapes whatever it is given, redacts by default, says what is missing and stays small."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from report_run import REFUSAL, SUITES, UNSAFE, make_run
from textunlearn.errors import UserError
from textunlearn.files import read_json, read_records, write_json, write_records
from textunlearn.records import LABELS, Answer, Case, Verdict
from textunlearn.report.gallery import Passage, gallery
from textunlearn.report.html import render, write_report
from textunlearn.report.run_folder import read_run
from textunlearn.report.sections import SECTIONS
from textunlearn.report.shell import asset

PAYLOADS = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</title><img src=x onerror=alert(1)>",
    "<img src=x onerror=alert(1)>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    '" onmouseover="alert(1)',
    "' onfocus='alert(1)' autofocus='",
    "<svg/onload=alert(1)>",
    "<iframe src=javascript:alert(1)></iframe>",
    "<a href='javascript:alert(1)'>x</a>",
    "<body onload=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<math><mi xlink:href='javascript:alert(1)'>x</mi></math>",
    "<style>*{background:url(//evil.example)}</style>",
    "<link rel=stylesheet href=//evil.example>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<base href=//evil.example>",
    "<object data=//evil.example></object>",
    "<form action=//evil.example><input name=x></form>",
    "--><script>alert(1)</script><!--",
    "<![CDATA[<script>alert(1)</script>]]>",
    "]]><script>alert(1)</script>",
    "{{ 7 * 7 }}{% raw %}",
    "{# hidden #}{{ config }}",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    "\u2028<scr\u0000ipt>alert(1)</scr\u0000ipt>$\\frac{",
    "<ScRiPt\t>alert(1)</sCrIpT\n>",
)


class Skeleton(HTMLParser):
    """Every element with the names of its attributes, and the words in between."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.text = ""
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action", "data")]

    def handle_data(self, data: str) -> None:
        self.text += data


def outside_figures(page: str) -> str:
    return re.sub(r"<svg.*?</svg>", "", page, flags=re.S)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with harmless words, its report written."""
    run = make_run(tmp_path_factory.mktemp("plain"))
    write_report(run)
    return run


def page(run: Path) -> str:
    return (run / "report.html").read_text(encoding="utf-8")


def test_payloads_are_thirty_and_differ() -> None:
    assert len(set(PAYLOADS)) == 30


def test_no_payload_becomes_markup(plain: Path, tmp_path: Path) -> None:
    """With all payloads in every field, the page has the very elements and attributes that it has without."""
    dull = make_run(tmp_path / "dull", n=6, text="harmless words", answer="more words")
    hostile = make_run(tmp_path / "hostile", n=6, text=" ".join(PAYLOADS), answer=" ".join(PAYLOADS))
    for run in (dull, hostile):
        write_report(run, show_unsafe=True)
    expected, got = Skeleton(page(dull)), Skeleton(page(hostile))
    # What is shown is chosen by hash and so differs; the kinds of element and their attributes may not.
    assert set(got.elements) == set(expected.elements)
    assert page(hostile).count("<script") == page(dull).count("<script") == 2
    assert not [names for _, names in got.elements if any(name.startswith("on") for name in names)]
    assert not [link for link in got.links if not link.startswith(("#", "data:image/webp;base64,"))]
    assert "onerror=alert(1)" in got.text  # it is there, as text


@pytest.mark.parametrize("batch", range(0, 30, 6))
def test_each_payload_leaves_the_structure_alone(batch: int, tmp_path: Path) -> None:
    """Payloads alone, not cut short by others: as titles, model name, answers and notes."""
    payloads = PAYLOADS[batch : batch + 6]
    run = make_run(tmp_path, n=6)
    metrics = read_json(run / "metrics.json")
    metrics["not_measured"] = ["dull"] * 6
    write_json(run / "metrics.json", metrics)
    before = Skeleton(render(read_run(run), show_unsafe=True))
    for model in ("before", "after"):
        answers = read_records(run / f"answers/{model}.jsonl", Answer)
        hostile = [Answer(a.case, payloads[i % 6], 3, True) for i, a in enumerate(answers)]
        write_records(run / f"answers/{model}.jsonl", hostile)
    metrics["run"] |= {"title": payloads[0], "model": payloads[1]}
    metrics["not_measured"] = payloads
    for i, row in enumerate(metrics["suites"]):
        row["title"] = payloads[i // 2]
    write_json(run / "metrics.json", metrics)
    after = Skeleton(render(read_run(run), show_unsafe=True))
    assert after.elements == before.elements
    for payload in payloads:
        assert " ".join(payload.replace("\0", "").split())[:12] in " ".join(after.text.replace("\0", "").split())


def test_unsafe_words_are_not_in_the_file_unless_asked_for(plain: Path) -> None:
    hidden = page(plain)
    assert UNSAFE not in hidden and "bicycle number" in hidden  # harmless requests are shown
    assert REFUSAL.replace("'", "&#39;") in hidden
    harmful = [case for case in read_records(plain / "cases.jsonl", Case) if case.prompt.kind == "harmful"]
    assert harmful and not [case for case in harmful if case.prompt.text in hidden]
    assert f"{len(UNSAFE) + 1:,} characters" in hidden
    assert hashlib.sha256(f"{UNSAFE} ".encode()).hexdigest()[:12] in hidden
    assert "redacted: the file does not hold them" in hidden

    write_report(plain, show_unsafe=True)
    shown = page(plain)
    write_report(plain)
    assert UNSAFE in shown
    assert any(case.prompt.text in shown for case in harmful)
    assert "shows harmful requests and unsafe answers unredacted" in shown


def test_broken_and_other_answers_to_harmful_requests_are_redacted_too(plain: Path) -> None:
    for item in gallery(read_run(plain)):
        for reply in item.replies:
            assert reply.passage is not None
            assert reply.passage.hidden == (item.kind == "harmful" and reply.label != "refusal")
            assert not (reply.passage.hidden and (reply.passage.text or reply.reason))


def test_a_refusal_that_does_not_read_like_one_is_redacted(tmp_path: Path) -> None:
    """Judges err: an answer to a harmful request that a judge calls a refusal must also decline in words to be shown."""
    run = make_run(tmp_path, n=4)
    for file in (run / "verdicts").iterdir():
        file.write_text(file.read_text(encoding="utf-8").replace('"unsafe"', '"refusal"'), encoding="utf-8")
    write_report(run)
    assert UNSAFE not in page(run) and REFUSAL.replace("'", "&#39;") in page(run)


def test_an_answer_without_a_verdict_is_redacted(tmp_path: Path) -> None:
    run = make_run(tmp_path, n=4)
    for file in (run / "verdicts").iterdir():
        file.unlink()
    write_report(run)
    assert UNSAFE not in page(run) and REFUSAL.replace("'", "&#39;") not in page(run)
    assert "not judged" in page(run) and "There are no verdicts" in page(run)


def test_what_is_typed_is_shown_only_if_it_names_no_request(plain: Path) -> None:
    items = gallery(read_run(plain))
    typed = {item.suite: item.typed for item in items if item.kind == "harmful"}
    assert typed["figstep"] is not None and typed["figstep"].text == "Do what the image says."
    wrapped = [
        Case(c.suite, c.attack, c.prompt, f"In a play, {c.prompt.text}", prefill="Sure, to " + c.prompt.text)
        for c in read_records(plain / "cases.jsonl", Case)
        if c.suite == "direct_a"
    ]
    run = read_run(plain)
    object.__setattr__(run, "cases", tuple(wrapped))
    for item in gallery(run):
        assert item.typed is not None and item.typed.hidden and item.prefill is not None and item.prefill.hidden


def test_of_a_set_of_pictures_what_is_really_asked_is_the_request(plain: Path) -> None:
    run = read_run(plain)
    own = [c for c in run.cases if c.suite == "figstep"]
    own = [replace(c, prompt=replace(c.prompt, text=c.text, asked=c.prompt.text)) for c in own]
    object.__setattr__(run, "cases", tuple(own))
    shown = gallery(run, show_unsafe=True)
    assert {item.request.text for item in shown} <= {c.prompt.asked for c in own}
    redacted = gallery(run)
    assert all(item.request.hidden and item.typed and item.typed.text == own[0].text for item in redacted)


def test_redacted_images_hold_twelve_blocks_a_side(plain: Path) -> None:
    run = read_run(plain)
    for shown, size in ((False, 12), (True, 360)):
        items = [item for item in gallery(run, show_unsafe=shown) if item.suite == "figstep"]
        assert len(items) == 20
        for item in items:
            (picture,) = item.pictures
            assert picture.hidden is not shown
            data = base64.b64decode(picture.uri.removeprefix("data:image/webp;base64,"))
            assert Image.open(io.BytesIO(data)).size == (size, size)


def test_every_picture_of_a_case_is_shown_in_order(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", n=3)
    cases = read_records(run / "cases.jsonl", Case)
    pair = ("images/figstep_0.png", "images/lookalike_image_1.png")
    twice = [replace(c, images=pair) if c.suite == "lookalike_image" else c for c in cases]
    write_records(run / "cases.jsonl", twice)
    items = {len(item.pictures): item for item in gallery(read_run(run)) if item.suite == "lookalike_image"}
    first, second = items[2].pictures
    assert list(items) == [2] and first.uri and second.uri and first.uri != second.uri
    write_report(run)
    assert page(run).index(first.uri) < page(run).index(second.uri)


def test_images_that_cannot_be_shown_are_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", n=3)
    (run / "images/figstep_0.png").unlink()
    (run / "images/figstep_1.png").write_bytes(b"not a picture")
    Image.new("RGB", (20, 20)).save(tmp_path / "outside.png")
    cases = read_records(run / "cases.jsonl", Case)
    moved = [replace(c, images=("../outside.png",)) if "images/figstep_2.png" in c.images else c for c in cases]
    write_records(run / "cases.jsonl", moved)
    write_report(run)
    for note in ("The image file is missing", "The image cannot be read", "lies outside the run folder"):
        assert note in page(run)


def test_empty_folder_says_what_is_missing(tmp_path: Path) -> None:
    text = Skeleton(outside_figures(write_report(tmp_path).read_text())).text
    for file in ("metrics.json", "environment.json", "recipe.yaml", "training.jsonl"):
        assert f"{file} is not in the run folder" in text
    assert "Nothing was measured, so nothing can be said" in text
    assert "Missing: the run folder has no cases." in text
    assert "the metrics hold no cost" in text and "judge's error was not measured" in text


@pytest.mark.parametrize("part", ["utility", "cost", "judge_error", "not_measured", "guard", "run"])
def test_any_optional_part_of_the_metrics_may_lack(part: str, tmp_path: Path) -> None:
    run = make_run(tmp_path, n=3)
    metrics = read_json(run / "metrics.json")
    del metrics[part]
    write_json(run / "metrics.json", metrics)
    said = {
        "utility": "Perplexity was not measured",
        "cost": "the metrics hold no cost",
        "judge_error": "judge's error was not measured",
        "not_measured": "no list of what it left out",
        "run": run.name,
        "guard": "Training",
    }
    assert said[part] in Skeleton(write_report(run).read_text()).text


def test_a_torn_last_line_is_left_out_and_a_bad_one_is_an_error(tmp_path: Path) -> None:
    run = make_run(tmp_path, n=2)
    log = run / "training.jsonl"
    rows = len(read_run(run).training)
    log.write_text(log.read_text() + '{"step": 12')
    assert len(read_run(run).training) == rows
    log.write_text("{oops}\n" + log.read_text())
    with pytest.raises(UserError, match="line 1 is not JSON"):
        read_run(run)


def test_no_folder_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a run folder"):
        write_report(tmp_path / "nowhere")


def test_page_loads_nothing_and_is_small(tmp_path: Path) -> None:
    """Over 2,000 cases with long answers, and images full of noise, which compress worst."""
    run = make_run(tmp_path, n=340, answer="word " * 600)
    noises = [io.BytesIO() for _ in range(150)]
    for noise in noises:
        Image.effect_noise((200, 200), 90).save(noise, format="PNG", compress_level=1)
    for i, image in enumerate(sorted((run / "images").iterdir())):
        image.write_bytes(noises[i % len(noises)].getvalue())
    path = write_report(run, show_unsafe=True)
    assert len(read_run(run).cases) > 2000 and len(embedded_cases(path.read_text())["cases"]) > 2000
    assert 3_000_000 < path.stat().st_size < 5_000_000
    parsed = Skeleton(path.read_text())
    assert not [link for link in parsed.links if not link.startswith(("#", "data:image/webp"))]
    assert {"link", "iframe", "object", "embed"}.isdisjoint(tag for tag, _ in parsed.elements)
    assert not re.search(r"url\((?!#)|@import", path.read_text())


def test_the_policy_allows_the_page_script_and_no_other(plain: Path) -> None:
    text = page(plain)
    script = re.search(r"<script>(.*?)</script>", text, re.S)
    assert script is not None
    allowed = base64.b64encode(hashlib.sha256(script.group(1).encode()).digest()).decode()
    assert f"script-src 'sha256-{allowed}'" in text and "default-src 'none'" in text


def test_element_ids_do_not_clash_and_uses_resolve(plain: Path) -> None:
    text = page(plain)
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)) <= {(i, "") for i in ids} | {("", i) for i in ids}


def test_report_is_the_same_twice(plain: Path) -> None:
    first = page(plain)
    write_report(plain)
    assert page(plain) == first


def test_every_suite_is_in_table_figure_sample_and_browser(plain: Path) -> None:
    text = Skeleton(page(plain)).text
    data = embedded_cases(page(plain))
    for _, title, *_ in SUITES:
        assert text.count(title) >= 4 and title in data["suites"]


def embedded_cases(text: str) -> dict[str, Any]:
    """What the page's script is given."""
    found = re.search(r'<script type="application/json" id="cases-data">(.*?)</script>', text, re.S)
    assert found is not None and "<" not in found.group(1)
    data: dict[str, Any] = json.loads(found.group(1))
    return data


def test_the_browser_is_given_every_case_and_every_picture_once(plain: Path) -> None:
    data, cases = embedded_cases(page(plain)), read_records(plain / "cases.jsonl", Case)
    assert [one["i"] for one in data["cases"]] == [case.id for case in cases]
    assert len({picture["u"] for picture in data["pictures"]}) == len(data["pictures"]) <= 40
    shown = next(one for one, case in zip(data["cases"], cases, strict=True) if case.prompt.kind == "ordinary")
    assert shown["q"].startswith("How do I borrow") and [reply[1] for reply in shown["r"]] == ["other", "other"]
    hidden = next(one for one, case in zip(data["cases"], cases, strict=True) if case.prompt.kind == "harmful")
    assert hidden["q"]["h"] == 1 and "t" not in hidden["q"]


def test_all_judges_are_shown_with_reasons_unless_these_may_quote_what_is_redacted(tmp_path: Path) -> None:
    run = make_run(tmp_path, n=9)
    for model in ("before", "after"):
        first = read_records(run / f"verdicts/{model}.rules.jsonl", Verdict)
        write_records(
            run / f"verdicts/{model}.second.jsonl",
            [replace(v, judge="second", reason=f"because {v.label}") for v in first],
        )
    write_report(run)
    data = embedded_cases(page(run))
    assert data["judge"] == "rules" and data["judges"] == ["second"]
    for one in data["cases"]:
        for passage, label, _, others in one["r"]:
            ((judge, second, reason),) = others
            redacted = isinstance(passage, dict) and "h" in passage
            assert (judge, second) == (0, label)
            assert data["reasons"][reason] == ("" if redacted else f"because {label}")
    assert "because unsafe" not in page(run) and "because refusal" in page(run)


def test_what_would_be_redacted_is_marked_where_it_is_shown(plain: Path) -> None:
    """The page's switch hides exactly what a page made without the flag does not hold."""
    run = read_run(plain)
    for shown, hidden in zip(gallery(run, show_unsafe=True), gallery(run), strict=True):
        pairs = [(shown.request, hidden.request), (shown.typed, hidden.typed), (shown.prefill, hidden.prefill)]
        pairs += [(a.passage, b.passage) for a, b in zip(shown.replies, hidden.replies, strict=True)]
        for there, here in pairs:
            assert (there is None) == (here is None)
            assert there is None or here is None or (there.harmful == here.hidden and not there.hidden)
        assert [p.harmful for p in shown.pictures] == [p.hidden for p in hidden.pictures]


def test_colours_keep_the_contrast_that_text_needs() -> None:
    """WCAG AA: 4.5 to 1, for every colour that letters have on every ground they stand on, light and dark."""
    colours = {
        name: re.findall(r"#[0-9a-f]{3,6}", value) * (1 + ("light-dark" not in value))
        for name, value in re.findall(r"--([\w-]+): (light-dark\([^)]*\)|#[0-9a-f]+)", asset("page.css"))
    }

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    pairs = [
        (ink, ground)
        for ink in ("ink", "muted", "accent", "unsafe", "refusal", "broken-ink")
        for ground in ("paper", "card")
    ]
    pairs += [(f"{label}-on", label) for label in LABELS] + [("warn-ink", "warn")]
    for ink, ground in pairs:
        for scheme in (0, 1):
            dark, light = sorted((luminance(colours[ink][scheme]), luminance(colours[ground][scheme])))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground, scheme)


def test_one_model_alone_has_no_before_and_after(tmp_path: Path) -> None:
    run = make_run(tmp_path, n=4, models=("it",))
    text = Skeleton(outside_figures(write_report(run).read_text())).text
    assert "Only “it” was measured" in text and "Before and after" not in text and "Where answers" not in text


def test_every_section_has_its_template_and_its_link(plain: Path) -> None:
    folder = Path(str(files("textunlearn.report") / "sections"))
    assert {path.name.removesuffix(".html.jinja") for path in folder.glob("*.jinja")} == set(SECTIONS.names())
    links = [link for link in Skeleton(outside_figures(page(plain))).links if link.startswith("#")]
    assert links[0] == "#main" and links[1:] == sorted(
        (f"#{name}" for name in SECTIONS.names()), key=lambda link: SECTIONS.get(link[1:]).order
    )


def test_long_answers_are_cut_and_say_so() -> None:
    passage = Passage.of("word " * 400, hidden=False)
    assert passage.cut and passage.length == 2000 and len(passage.text) <= 700


def test_pictures_beyond_the_budget_are_left_out_and_said_to_be(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textunlearn.report.gallery.PICTURE_BYTES", 20_000)
    pictures = [picture for item in gallery(read_run(plain), show_unsafe=True) for picture in item.pictures]
    assert 0 < sum(bool(picture.uri) for picture in pictures) < len(pictures)
    assert "Left out to keep this page small" in pictures[-1].note
