"""The key of an endpoint shows nowhere: not in errors, tracebacks, logs, stores, nor in what is printed of the objects."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from endpoint_server import Asked, Said, completion, echo, serve
from textunlearn.endpoint import Endpoint, EndpointSpec
from textunlearn.endpoint.key import Key
from textunlearn.errors import UserError
from textunlearn.evaluation.generation import answer_cases
from textunlearn.records import Case, Prompt

KEY = "sk-planted-0123456789-abcdefXYZ"
STARRED = f"{KEY[:8]}***********{KEY[-4:]}"


def hidden(text: str) -> None:
    """Neither the key nor what servers leave of it."""
    for piece in (KEY, KEY[:8], KEY[3:20]):
        assert piece not in text


def quoting(status: int) -> Callable[[Asked], Said]:
    """A server that quotes the header it was sent, whole and starred out."""
    return lambda asked: Said({"error": {"message": f"bad key: {asked.headers['Authorization']} ({STARRED})"}}, status)


FAILING: dict[str, Callable[[Asked], Said]] = {
    **{f"HTTP {status}": quoting(status) for status in (307, 400, 401, 402, 403, 404, 422, 429, 500, 503)},
    "200 with an error": quoting(200),
    "plain text": lambda asked: Said(f"no: {asked.headers['Authorization']}".encode(), 500),
    "far into a long message": lambda asked: Said({"detail": "x" * 270 + asked.headers["Authorization"]}, 400),
    "validation": lambda asked: Said({"detail": [{"input": dict(asked.headers)}]}, 422),
    "broken JSON": lambda asked: Said(f'{{"choices": {asked.headers["Authorization"]}'.encode()),
    "dropped": lambda asked: Said(completion(asked.headers["Authorization"]), drop=True),
    "too slow": lambda asked: Said(completion(asked.headers["Authorization"]), delay=0.5),
    "long rest": lambda asked: Said({"error": asked.headers["Authorization"]}, 429, {"Retry-After": "9999"}),
    "said as the answer": lambda asked: Said(completion(f"You sent {asked.headers['Authorization']}")),
    "model's name": lambda asked: Said({**completion("fine"), "model": asked.headers["Authorization"]}),
    "bad header": lambda _: Said(completion("x"), headers={"Content-Encoding": "gzip"}),
}


def case(text: str, **more: Any) -> Case:
    return Case("s", "direct", Prompt(text, "ordinary", "t"), text, **more)


@pytest.mark.parametrize("behave", FAILING.values(), ids=FAILING)
@pytest.mark.parametrize("prefill", ["", "Sure,"])
def test_no_failure_shows_the_key(
    behave: Callable[[Asked], Said],
    prefill: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PLANTED_KEY", KEY)
    store, failures, shown = tmp_path / "answers.jsonl", {}, []
    with caplog.at_level(logging.DEBUG), serve(behave) as served:
        spec = EndpointSpec(
            base_url=served.url, model="m", key_env="PLANTED_KEY", timeout=0.25, retries=1, first_wait=0.01
        )
        own = Endpoint(spec)
        try:
            answers = answer_cases(own, [case("a", prefill=prefill), case("b")], tmp_path, store, 5, failures=failures)
            shown += [repr(answers)]
        except UserError as error:
            # The frame of this test is left out: it holds `behave`, and the server's threads hold what they were sent.
            inner = error.__traceback__.tb_next if error.__traceback__ else None
            for locals_too in (False, True):
                found = traceback.TracebackException(type(error), error, inner, capture_locals=locals_too)
                shown += ["".join(found.format())]
            shown += [str(error), repr(error), repr(error.__cause__), repr(error.__context__)]
        assert served.asked and served.asked[0].headers["Authorization"] == f"Bearer {KEY}"
    shown += [
        repr(failures),
        repr(own),
        repr(vars(own)),
        repr(spec),
        spec.model_dump_json(),
        repr(own.served),
        caplog.text,
    ]
    shown += [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    shown += list(capfd.readouterr())
    for text in shown:
        hidden(text)


def test_no_server_no_key_in_the_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PLANTED_KEY", KEY)
    with serve(echo) as served:
        url = served.url
    spec = EndpointSpec(base_url=url, model="m", key_env="PLANTED_KEY", retries=0)
    failures: dict[str, str] = {}
    answer_cases(Endpoint(spec), [case("a")], tmp_path, tmp_path / "s.jsonl", 5, failures=failures)
    assert len(failures) == 1
    hidden(repr(failures))


@pytest.mark.parametrize("value", ["", "  ", f"{KEY}\n{KEY}", f"{KEY} {KEY}", f"{KEY}é", f"{KEY}\x00"])
def test_a_key_that_is_no_key_is_refused_unseen(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {"PLANTED_KEY": value})  # setenv takes no NUL
    with pytest.raises(UserError, match="PLANTED_KEY") as caught:
        Key.read("PLANTED_KEY")
    inner = caught.tb.tb_next
    found = traceback.TracebackException(caught.type, caught.value, inner, capture_locals=True)
    hidden("".join(found.format()))


WRONG: list[dict[str, Any]] = [
    {"key_env": KEY},
    {"key_env": KEY.replace("-", "_")},
    {"api_key": KEY},
    {"api_key": KEY, "model": None},
    {"extra": {"api_key": KEY}},
    {"extra": {"Authorization": KEY}},
    {"base_url": f"http://user:{KEY}@host/v1"},
    {"base_url": f"http://host/v1?key={KEY}"},
    {"base_url": f"{KEY}"},
    {"key_header": f"Authorization: {KEY}"},
    {"timeout": KEY},
    {"model": {"key": KEY}},
]


@pytest.mark.parametrize("settings", WRONG, ids=[" ".join(wrong) for wrong in WRONG])
def test_settings_that_hold_the_key_are_refused_without_saying_it(settings: dict[str, Any]) -> None:
    data = {"base_url": "http://h/v1", "model": "m", **settings}
    data = {name: value for name, value in data.items() if value is not None}
    with pytest.raises(UserError) as caught:
        EndpointSpec.parse(data, "judge.yaml")
    hidden(str(caught.value))
    hidden("".join(traceback.format_exception(caught.value)))


def test_an_unset_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLANTED_KEY", raising=False)
    with pytest.raises(UserError, match=r"PLANTED_KEY, which endpoint\.key_env names, is not set"):
        Endpoint(EndpointSpec(base_url="http://h/v1", model="m", key_env="PLANTED_KEY"))


def test_a_word_for_a_key_stays_in_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers without keys are given a word such as EMPTY, which an answer may hold as well."""
    monkeypatch.setenv("PLANTED_KEY", "EMPTY")
    assert Key.read("PLANTED_KEY").redact("the set is EMPTY") == "the set is EMPTY"
    assert Key.read(None).redact_error("nothing to hide") == "nothing to hide"
    monkeypatch.setenv("PLANTED_KEY", "token-abc123")
    assert Key.read("PLANTED_KEY").redact("token-based") == "token-based"


def test_settings() -> None:
    spec = EndpointSpec.parse({"base_url": " http://h:1/v1/chat/completions ", "model": "m"}, "x")
    assert spec.base_url == "http://h:1/v1"
    assert Key("abc").header("api-key") == {"api-key": "abc"}
    for wrong, words in (
        ({"modle": "m"}, "no key 'modle'"),
        ({"extra": {"max_tokens": 3}}, "max_tokens cannot be set here"),
        ({"base_url": "localhost:8000"}, "http://"),
        ({"concurrency": 0}, "concurrency"),
    ):
        with pytest.raises(UserError, match=words):
            EndpointSpec.parse({"base_url": "http://h/v1", "model": "m", **wrong}, "x.yaml")
    with pytest.raises(UserError, match=r"x\.yaml: model: Field required"):
        EndpointSpec.parse({"base_url": "http://h/v1"}, "x.yaml")
    with pytest.raises(UserError, match="does not describe an endpoint"):
        EndpointSpec.parse("http://h", "x.yaml")
    other = spec.model_copy(update={"concurrency": 1, "retries": 0})
    assert spec.identity == other.identity != spec.model_copy(update={"temperature": 1.0}).identity
