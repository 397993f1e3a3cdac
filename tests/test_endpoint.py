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

from endpoint_server import Asked, Said, Served, completion, echo, serve
from textunlearn.endpoint import Endpoint, EndpointSpec, Message, Reply, estimate, estimate_cases, wire
from textunlearn.endpoint.client import IN_A_ROW
from textunlearn.errors import UserError
from textunlearn.evaluation.generation import answer_cases
from textunlearn.files import read_records, write_records
from textunlearn.records import Answer, Case, Prompt


def endpoint(served: Served, **settings: Any) -> Endpoint:
    quick = {"first_wait": 0.01, "retries": 3, "timeout": 10.0}
    return Endpoint(EndpointSpec(base_url=served.url, model="m", **{**quick, **settings}))


def chats(n: int) -> list[list[Message]]:
    return [[Message("user", f"question {i}")] for i in range(n)]


def cases(n: int) -> list[Case]:
    prompts = [Prompt(f"question {i}", "ordinary", "test") for i in range(n)]
    return [Case("typed", "direct", prompt, prompt.text) for prompt in prompts]


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


# -- answers that have begun ------------------------------------------------------------------------------------------


def _words(asked: Asked) -> int:
    return sum(len(message["content"].split()) for message in asked.body["messages"])


def vllm(asked: Asked) -> Said:
    """Goes on where the fields ask for it; a turn costs a token to begin and one to end."""
    on, opens = asked.body.get("continue_final_message", False), asked.body.get("add_generation_prompt", True)
    if on and opens:
        return Said({"message": "cannot set both"}, 400)
    text = " goes on" if on else "begins anew"
    return Said(completion(text, prompt=_words(asked) + 2 * len(asked.body["messages"]) - on + opens))


def half(asked: Asked) -> Said:
    """Leaves out the next turn's beginning where it is asked to, but ends the last one."""
    opens = asked.body.get("add_generation_prompt", True)
    return Said(completion("begins anew", prompt=_words(asked) + 2 * len(asked.body["messages"]) + opens))


def llama_cpp(asked: Asked) -> Said:
    """Always goes on, and repeats what it was given."""
    last = asked.body["messages"][-1]
    begun = last["content"] if last["role"] == "assistant" else ""
    return Said(completion(begun + " goes on", prompt=_words(asked) + 2))


def silent_llama_cpp(asked: Asked) -> Said:
    return Said(completion(" goes on", prompt=_words(asked) + 2))


def openai(asked: Asked) -> Said:
    """Pays unknown fields no heed, and begins a new turn."""
    return Said(completion("begins anew", prompt=_words(asked) + 4 * len(asked.body["messages"])))


def strict(asked: Asked) -> Said:
    if "continue_final_message" in asked.body:
        return Said({"detail": "Unexpected fields in the request"}, 422)
    return openai(asked)


def uncounted(asked: Asked) -> Said:
    return Said(completion("begins anew"))


BEGUN = [[Message("user", "how?"), Message("assistant", "Sure,")], [Message("user", "why?")]]


@pytest.mark.parametrize("server", [vllm, llama_cpp, silent_llama_cpp])
def test_an_answer_that_has_begun_is_gone_on_with(server: Any) -> None:
    with serve(server) as served:
        replies = endpoint(served).ask(BEGUN, 5)
    assert replies[0].text == " goes on" and all(reply.error == "" for reply in replies)


@pytest.mark.parametrize("server", [openai, strict, half, uncounted])
def test_an_endpoint_that_cannot_go_on_is_found_out_before_the_cases_are_asked(server: Any, tmp_path: Path) -> None:
    prompt = Prompt("how?", "harmful", "test")
    case = Case("prefill", "prefill", prompt, prompt.text, prefill="Sure,")
    with serve(server) as served, pytest.raises(UserError, match="does not go on with an answer that has begun"):
        answer_cases(endpoint(served), [*cases(3), case], tmp_path, tmp_path / "s.jsonl", 5)
    assert "question 0" not in served.texts


def test_what_the_user_knows_of_prefill_is_believed() -> None:
    with serve(uncounted) as served:
        assert endpoint(served, prefill="plain").ask(BEGUN, 5)[0].error == ""
        with pytest.raises(UserError, match="does not go on"):
            endpoint(served, prefill="no").ask(BEGUN, 5)
    with serve(vllm) as served:
        endpoint(served, prefill="fields").ask(BEGUN, 5)
        assert served.asked[-1].body.get("continue_final_message") or served.asked[-2].body["continue_final_message"]


# -- cases and the store ----------------------------------------------------------------------------------------------


def test_cases_are_stored_as_they_come_and_failures_asked_again(tmp_path: Path) -> None:
    down = {"question 1", "question 3"}
    store, some = tmp_path / "answers.jsonl", cases(5)
    counts: list[tuple[int, int]] = []
    failures: dict[str, str] = {}
    with serve(lambda asked: Said({"error": "oh"}, 500) if asked.text in down else echo(asked)) as served:
        own = endpoint(served, retries=0)
        answers = answer_cases(own, some, tmp_path, store, 5, lambda *c: counts.append(c), failures=failures)
        assert [a.case for a in answers] == [some[i].id for i in (0, 2, 4)]
        assert failures == {some[i].id: "HTTP 500: oh" for i in (1, 3)}
        assert counts[0] == (0, 5) and counts[-1] == (3, 5)
        assert {a.case for a in read_records(store, Answer)} == {a.case for a in answers}
        with pytest.raises(UserError, match=r"2 of 5 cases without an answer \(the first: HTTP 500: oh\)"):
            answer_cases(own, some, tmp_path, store, 5)
        down.clear()
        failures.clear()
        whole = answer_cases(own, some, tmp_path, store, 5, failures=failures)
        assert failures == {} and [a.case for a in whole] == [case.id for case in some]
        assert whole[1] == Answer(some[1].id, "answer to question 1", 4, True)
        assert [served.texts[f"question {i}"] for i in range(5)] == [1, 3, 1, 3, 1]
        answer_cases(own, some, tmp_path, store, 5)
    assert sum(served.texts.values()) == 9


def test_the_answer_holds_the_words_it_began_with(tmp_path: Path) -> None:
    prompt = Prompt("how?", "ordinary", "test")
    case = Case("prefill", "prefill", prompt, prompt.text, prefill="Sure,")
    for number, server in enumerate((vllm, llama_cpp)):
        with serve(server) as served:
            (answer,) = answer_cases(endpoint(served), [case], tmp_path, tmp_path / f"{number}.jsonl", 5)
        assert answer.text == "Sure, goes on"


def test_an_interrupt_ends_the_asking_and_keeps_what_was_answered(tmp_path: Path) -> None:
    def interrupted(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    store = tmp_path / "answers.jsonl"
    with serve(lambda asked: Said(completion("x"), delay=0.02)) as served:
        with pytest.raises(KeyboardInterrupt):
            answer_cases(endpoint(served, concurrency=2), cases(200), tmp_path, store, 5, interrupted)
        asked = len(served.asked)
        time.sleep(0.2)
        assert len(served.asked) == asked < 20
    assert len(read_records(store, Answer)) == 3


# -- what it will cost ------------------------------------------------------------------------------------------------


def test_the_estimate_counts_what_is_left_to_ask(tmp_path: Path) -> None:
    spec = EndpointSpec(base_url="http://h/v1", model="m", price_in=2.0, price_out=10.0)
    some = [*cases(4), Case("pictures", "figstep", Prompt("x", "ordinary", "t"), "x" * 40, ("images/1.png",), ("sha",))]
    write_records(tmp_path / "s.jsonl", [Answer(some[0].id, "known", 1, True)])
    found = estimate_cases(spec, [*some, some[1]], tmp_path, tmp_path / "s.jsonl", 100)
    assert (found.requests, found.pictures, found.answer_tokens) == (4, 1, 400)
    assert found.prompt_tokens == 3 * (3 + 8 + 20) + (10 + 8 + 20)  # 10 bytes are 3 tokens; 8 around, 20 ahead
    assert found.price == pytest.approx((131 * 2 + 400 * 10) / 1e6)
    assert "4 requests to m" in found.sentence() and "not known" in found.sentence()
    counted = estimate(spec, [[Message("user", "one two")]], 5, lambda text: len(text.split()))
    assert counted.prompt_tokens == 30 and "counted" in counted.sentence() and "pictures" not in counted.sentence()
    free = spec.model_copy(update={"price_in": None, "price_out": None})
    assert estimate(free, chats(1), 5).price is None and "prices" not in estimate(free, chats(1), 5).sentence()


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
