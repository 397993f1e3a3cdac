"""Endpoints and cases: answers that have begun, the store, the estimate."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from endpoint_server import Asked, Said, cases, chats, completion, echo, endpoint, serve
from textunlearn.endpoint import EndpointSpec, Message, estimate, estimate_cases
from textunlearn.errors import UserError
from textunlearn.evaluation.generation import answer_cases
from textunlearn.files import read_records, write_records
from textunlearn.records import Answer, Case, Prompt

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
