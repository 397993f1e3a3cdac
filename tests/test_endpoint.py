"""Endpoints: what is asked, in which order and how fast; what becomes of every kind of failure."""

from __future__ import annotations

import base64
import email.utils
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from endpoint_server import Asked, Said, chats, completion, echo, endpoint, serve
from textunlearn.endpoint import Message, Reply, wire
from textunlearn.endpoint.client import IN_A_ROW
from textunlearn.errors import UserError

# -- asking -----------------------------------------------------------------------------------------------------------


def test_replies_come_in_order_and_no_more_requests_run_than_allowed() -> None:
    together, third = threading.Barrier(4), threading.Event()

    def first_last(asked: Asked) -> Said:
        if asked.number < 4:
            together.wait(20)  # breaks, and the request fails, unless four are there at once
        if asked.text == "question 0":
            third.wait(20)
        if asked.text == "question 3":
            third.set()
        return echo(asked)

    seen: list[int] = []
    with serve(first_last) as served:
        replies = endpoint(served, concurrency=4, retries=0).ask(chats(24), 9, lambda i, _: seen.append(i))
    assert replies == [Reply(f"answer to question {i}", 4, True) for i in range(24)]
    assert sorted(seen) == list(range(24))
    assert served.most_at_once == 4
    assert set(served.texts.values()) == {1}


def test_replies_are_handed_on_as_they_come() -> None:
    later = threading.Event()

    def waits_for_the_other(asked: Asked) -> Said:
        if asked.text == "question 0":
            later.wait(20)
        return echo(asked)

    seen: list[int] = []
    with serve(waits_for_the_other) as served:
        endpoint(served, concurrency=2).ask(chats(2), 5, lambda i, _: (seen.append(i), later.set()))
    assert seen == [1, 0]


def test_what_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "abcdefgh12345678")
    for colour in ("red", "blue"):
        Image.new("RGB", (3, 2), colour).save(tmp_path / f"{colour}.png")
    chat = [Message("system", "be brief"), Message("user", "what is this?", (tmp_path / "red.png",))]
    with serve() as served:
        own = endpoint(served, key_env="MY_KEY", extra={"seed": 3}, max_tokens_field="max_completion_tokens")
        own.ask([chat, [Message("user", "", (tmp_path / "red.png", tmp_path / "blue.png"))]], 7)
    first, second = sorted(served.asked, key=lambda asked: len(asked.body["messages"]), reverse=True)
    assert first.headers["Authorization"] == "Bearer abcdefgh12345678"
    parts = first.body["messages"][1]["content"]
    uri = parts[0]["image_url"]["url"]
    assert uri.startswith("data:image/png;base64,")
    assert base64.b64decode(uri.split(",")[1]) == (tmp_path / "red.png").read_bytes()
    assert parts[1] == {"type": "text", "text": "what is this?"}
    sent = [part["image_url"]["url"].split(",")[1] for part in second.body["messages"][0]["content"]]
    files = [(tmp_path / name).read_bytes() for name in ("red.png", "blue.png")]
    assert list(map(base64.b64decode, sent)) == files, "several pictures, in order, and nothing typed"
    rest = {name: value for name, value in first.body.items() if name != "messages"}
    assert rest == {"model": "m", "temperature": 0.0, "max_completion_tokens": 7, "seed": 3}
    assert own.served == {"m-1"}


def test_a_picture_that_cannot_be_sent_is_named_before_anything_is_asked(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with serve() as served:
        for name, words in (("missing.png", "there is no image"), ("bad.png", "no PNG")):
            with pytest.raises(UserError, match=words):
                endpoint(served).ask([*chats(3), [Message("user", "", (tmp_path / name,))]], 5)
    assert served.asked == []


# -- trouble that passes ----------------------------------------------------------------------------------------------

PASSING = {
    "too many": Said({"error": {"message": "slow down"}}, 429),
    "fault": Said({"error": {"message": "oh"}}, 500),
    "gateway": Said(b"<html>bad gateway</html>", 502),
    "overloaded": Said({"error": {"message": "busy"}}, 529),
    "broken JSON": Said(b'{"choices": [{"mess'),
    "no JSON": Said(b"hello"),
    "no choices": Said({"object": "chat.completion"}),
    "dropped": Said(completion("half of this never comes"), drop=True),
    "too slow": Said(completion("late"), delay=1.5),
    "upstream": Said({"error": {"code": 502, "message": "provider is down"}}),
    "broken off": Said(completion("", finish="error")),
}


@pytest.mark.parametrize("trouble", PASSING.values(), ids=PASSING)
def test_trouble_that_passes_is_tried_again(trouble: Said) -> None:
    with serve(lambda asked: trouble if asked.before < 2 else echo(asked)) as served:
        replies = endpoint(served, timeout=1.0).ask(chats(2), 5)
    assert replies == [Reply(f"answer to question {i}", 4, True) for i in range(2)]
    assert set(served.texts.values()) == {3}


@pytest.mark.parametrize("trouble", PASSING.values(), ids=PASSING)
def test_trouble_that_stays_is_an_error_and_no_answer(trouble: Said) -> None:
    with serve(lambda asked: trouble if asked.text == "question 0" else echo(asked)) as served:
        replies = endpoint(served, timeout=1.0, retries=2).ask(chats(3), 5)
    assert replies[0].error.endswith("(tried 3 times)") and replies[0].text == "" and not replies[0].finished
    assert [reply.error for reply in replies[1:]] == ["", ""]
    assert served.texts["question 0"] == 3


def test_everybody_waits_as_long_as_the_endpoint_asks() -> None:
    busy = Said({"error": {"message": "slow down"}}, 429, {"Retry-After": "1"})
    with serve(lambda asked: busy if asked.number == 0 else echo(asked)) as served:
        replies = endpoint(served, concurrency=1).ask(chats(3), 5)
    assert all(reply.error == "" for reply in replies)
    assert served.asked[1].at - served.asked[0].at >= 1.0


def test_an_endpoint_that_wants_a_long_rest_is_left_alone() -> None:
    busy = Said({"error": {"message": "daily limit"}}, 429, {"Retry-After": "86400"})
    with serve(lambda _: busy) as served, pytest.raises(UserError, match=r"86400 s.*daily limit"):
        endpoint(served, concurrency=1).ask(chats(3), 5)
    assert len(served.asked) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert wire.pause(headers) == seconds


def test_retry_after_as_a_date() -> None:
    found = wire.pause({"retry-after": email.utils.formatdate(time.time() + 100, usegmt=True)})
    assert found is not None and 90 < found <= 100


def test_the_pace_stays_below_the_limits() -> None:
    with serve() as served:
        endpoint(served, requests_per_minute=600).ask(chats(6), 5)
    times = [asked.at for asked in served.asked]
    assert times[-1] - times[0] >= 5 * 0.1 * 0.9  # the requests' ways differ a little
    with (
        serve() as served
    ):  # each counts as its prompt (3 + 8 + 20) and the longest answer (69): 100 of 60,000 a minute
        endpoint(served, tokens_per_minute=60_000).ask(chats(6), 69)
    times = [asked.at for asked in served.asked]
    assert times[-1] - times[0] >= 5 * 0.1 * 0.9


# -- trouble that does not pass ---------------------------------------------------------------------------------------

STOPPING = {
    "key": (Said({"error": {"message": "Incorrect API key"}}, 401), "HTTP 401: Incorrect API key"),
    "credit": (Said({"error": {"message": "no credit"}}, 402), "credit"),
    "not allowed": (Said({"error": {"message": "not yours"}}, 403), "HTTP 403"),
    "address": (Said({"detail": "Not Found"}, 404), "base_url"),
    "model, OpenAI": (Said({"error": {"message": "no such", "code": "model_not_found"}}, 404), "no such"),
    "model, 400": (Said({"error": {"message": "The model `m` does not exist"}}, 400), "check the model's name"),
    "quota": (Said({"error": {"message": "pay", "code": "insufficient_quota"}}, 429), "account's credit"),
    "redirect": (Said(b"", 307, {"Location": "http://127.0.0.1:1/"}), "address it leads to"),
}


@pytest.mark.parametrize(("trouble", "words"), STOPPING.values(), ids=STOPPING)
def test_what_concerns_every_request_stops_at_once(trouble: Said, words: str) -> None:
    with serve(lambda _: trouble) as served, pytest.raises(UserError, match=words):
        endpoint(served, concurrency=2).ask(chats(50), 5)
    assert len(served.asked) <= 2


CASES_OWN = {
    "too long": (Said({"error": {"message": "maximum context length is 8"}}, 400), "HTTP 400: maximum context"),
    "fastapi": (Said({"detail": [{"msg": "field required"}]}, 422), "field required"),
    "filter, Azure": (Said({"error": {"message": "x", "code": "content_filter"}}, 400), "HTTP 400: x"),
    "filter, OpenRouter": (Said({"error": {"message": "Your input was flagged"}}, 403), "flagged"),
    "filtered answer": (Said(completion("", finish="content_filter")), "content filter"),
    "thinking": (Said(completion("", finish="length", reasoning_content="hmm")), "thinking"),
    "tool": (Said(completion(None, finish="tool_calls", tool_calls=[{}])), "called a tool"),
    "nothing": (Said(completion(None)), "without text"),
}


@pytest.mark.parametrize(("trouble", "words"), CASES_OWN.values(), ids=CASES_OWN)
def test_what_concerns_one_request_is_its_error_and_not_tried_again(trouble: Said, words: str) -> None:
    with serve(lambda asked: trouble if asked.text == "question 0" else echo(asked)) as served:
        replies = endpoint(served).ask(chats(3), 5)
    assert words in replies[0].error and [reply.error for reply in replies[1:]] == ["", ""]
    assert set(served.texts.values()) == {1}


def test_an_empty_answer_is_an_answer() -> None:
    said = {"question 0": completion(""), "question 1": completion("cut", finish="length")}
    said["question 2"] = completion(None, refusal="I will not")
    with serve(lambda asked: Said(said[asked.text])) as served:
        replies = endpoint(served).ask(chats(3), 5)
    assert [(r.text, r.finished, r.error) for r in replies] == [
        ("", True, ""),
        ("cut", False, ""),
        ("I will not", True, ""),
    ]


def test_an_endpoint_out_of_order_is_not_asked_on_and_on() -> None:
    with serve(lambda _: Said({"error": "oh"}, 500)) as served, pytest.raises(UserError, match=f"failed {IN_A_ROW} "):
        endpoint(served, concurrency=1, retries=0).ask(chats(100), 5)
    assert len(served.asked) == IN_A_ROW
    withheld = Said({"error": {"message": "x", "code": "content_filter"}}, 400)
    with serve(lambda _: withheld) as served:  # of a filter every case may hear
        replies = endpoint(served).ask(chats(2 * IN_A_ROW), 5)
    assert len(replies) == 2 * IN_A_ROW and all(reply.error for reply in replies)


def test_nobody_there() -> None:
    with serve() as served:
        gone = endpoint(served, retries=0)
    (reply,) = gone.ask(chats(1), 5)
    assert "ConnectError" in reply.error


# -- robustness -------------------------------------------------------------------------------------------------------

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "code", "message", "detail", "choices", "usage"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(st.sampled_from([200, 204, 302, 400, 401, 403, 422, 429, 500]), anything | st.binary(max_size=20))
def test_any_response_is_an_answer_or_trouble(status: int, data: Any) -> None:
    found = wire.read(status, {}, data if isinstance(data, bytes) else json.dumps(data).encode())
    assert isinstance(found, wire.Completion | wire.Trouble)
    if isinstance(found, wire.Completion):
        assert isinstance(found.text, str) and found.tokens >= 0
