"""The server over a tiny model: two models in one, OpenAI's API, and who and what it refuses."""

from __future__ import annotations

import base64
import io
import json
import socket
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from PIL import Image

from serving import Served, served, trained_run
from textunlearn.chat.conversation import Conversation
from textunlearn.chat.speaking import Decoding, speak
from textunlearn.endpoint import Endpoint, EndpointSpec, Message
from textunlearn.errors import UserError
from textunlearn.evaluation.generation import request_of
from textunlearn.result import load_both, load_result
from textunlearn.serve.bodies import Exchange, Talk
from textunlearn.serve.limits import Limits, Rate, Refused
from textunlearn.serve.pair import Pair
from textunlearn.serve.server import Place, key_for, listen, said_at_start
from textunlearn.serve.share import write
from textunlearn.vlm.load import Vlm

ASKED = {"messages": [{"role": "user", "content": "how do i bake bread"}], "max_tokens": 8}
LIMITS = Limits(body_bytes=300_000, picture_bytes=100_000, pixels=10_000, waiting=6, asks=10_000, tokens=450)


@pytest.fixture(scope="module")
def run(reader_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_run(tmp_path_factory.mktemp("run"), reader_folder)


@pytest.fixture(scope="module")
def both(run: Path) -> Vlm:
    return load_both(run)


@pytest.fixture(scope="module")
def server(run: Path, both: Vlm) -> Iterator[Served]:
    with served(run, vlm=both, limits=LIMITS) as found:
        yield found


@pytest.fixture
def client(server: Served) -> Iterator[httpx.Client]:
    with server.client() as found:
        yield found


def uri(width: int = 20, height: int = 20, colour: str = "red") -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def said(vlm: Vlm, words: str, tokens: int = 12) -> str:
    return Conversation(vlm, tokens).say(words)


def error(answer: httpx.Response, status: int) -> str:
    """The message of an error in OpenAI's shape."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"error"} and set(body["error"]) == {"message", "type", "param", "code"}
    return str(body["error"]["message"])


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    return [json.loads(line) for line in lines if line != "[DONE]"]


# -- two models in one ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("full", [False, True])
def test_strength_goes_from_the_original_to_the_result(full: bool, reader_folder: Path, tmp_path: Path) -> None:
    run = trained_run(tmp_path, reader_folder, full=full)
    pair = Pair(load_both(run))
    words = ["how do i bake bread", "write a note"]
    rows = [request_of(pair.vlm, pair.vlm.text_of(one)) for one in words for _ in range(3)]
    with pair.at([0.0, 0.5, 1.0] * 2):
        mixed = [one.text.strip() for one in speak(pair.vlm, rows, [Decoding(12)] * 6, share=False)]
    original, result = load_result(run, before=True), load_result(run)
    assert pair.mixes
    assert mixed[0::3] == [said(original, one) for one in words]
    assert mixed[2::3] == [said(result, one) for one in words] != mixed[0::3]
    with pair.at([0.5] * 6):  # one strength for all is another way through the code
        half = speak(pair.vlm, rows, [Decoding(12)] * 6)
    assert [one.text.strip() for one in half[1::3]] == mixed[1::3]
    assert said(pair.vlm, words[0]) == mixed[2]  # as it was before


def test_rows_are_decoded_each_in_its_own_way(reader: Vlm) -> None:
    row = request_of(reader, reader.text_of("how do i bake bread"))
    greedy = speak(reader, [row], [Decoding(40)])[0]
    drawn = Decoding(40, temperature=1.5, seed=3)
    word = greedy.text[6:9]
    how = [Decoding(40), drawn, Decoding(7), Decoding(40, stop=(word, "never said")), Decoding(40, 1.5, 1e-9, seed=5)]
    pieces: dict[int, str] = {}
    order: list[int] = []
    out = speak(
        reader,
        [row] * 5,
        how,
        lambda number, piece: pieces.update({number: pieces.get(number, "") + piece}),
        lambda number, _: order.append(number),
    )
    assert out[0] == greedy and out[2].tokens == 7 and out[2].ending == "length"
    assert [pieces[number] for number in range(5)] == [one.text for one in out]
    assert out[3].text == greedy.text[: greedy.text.index(word)] and out[3].ending == "stop"
    assert out[1].text != greedy.text and speak(reader, [row], [drawn])[0] == out[1]  # whoever stands beside it
    assert out[4].text == greedy.text  # next to nothing of the probability: the likeliest token
    assert order.index(2) < order.index(0)


def test_draws_follow_the_probabilities(reader: Vlm) -> None:
    row = request_of(reader, reader.text_of("how do i bake bread"))
    with torch.inference_mode():
        likely = reader.model(input_ids=torch.tensor([row.ids])).logits[0, -1].float().softmax(-1)
    first = [reader.tokenizer.decode([token]) for token in likely.topk(3).indices.tolist()]
    n = 400
    out = speak(reader, [row] * n, [Decoding(1, 1.0, seed=seed) for seed in range(n)])
    for text, share in zip(first, likely.topk(3).values.tolist(), strict=True):
        got = sum(one.text == text for one in out) / n
        assert abs(got - share) < 4 * (share * (1 - share) / n) ** 0.5 + 0.01


# -- OpenAI's API --------------------------------------------------------------------------------------------------


def test_the_openai_client_talks_to_both_models(server: Served, run: Path) -> None:
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", http_client=httpx.Client(trust_env=False))
    assert [model.id for model in client.models.list()] == ["original", "aligned"]
    asked: Any = [{"role": "user", "content": "how do i bake bread"}]
    answers = {}
    for name, before in (("original", True), ("aligned", False)):
        whole = client.chat.completions.create(model=name, messages=asked, max_tokens=12, temperature=0)
        assert whole.choices[0].message.content.strip() == said(load_result(run, before=before), asked[0]["content"])
        assert whole.usage.completion_tokens == 12 and whole.choices[0].finish_reason == "length"
        stream = client.chat.completions.create(
            model=name, messages=asked, max_tokens=12, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
        assert "".join(pieces) == whole.choices[0].message.content and chunks[-1].usage == whole.usage
        answers[name] = whole.choices[0].message.content
    assert answers["original"] != answers["aligned"]
    half = client.chat.completions.create(model="aligned", messages=asked, max_tokens=12, extra_body={"strength": 0.0})
    assert half.choices[0].message.content == answers["original"]
    with pytest.raises(openai.NotFoundError, match="there is no model 'gpt-9' here"):
        client.chat.completions.create(model="gpt-9", messages=asked)


def test_pictures_systems_and_several_turns(client: httpx.Client) -> None:
    def ask(*messages: dict[str, Any], **more: Any) -> str:
        answer = client.post("/v1/chat/completions", json={**ASKED, "model": "original", "messages": messages, **more})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["choices"][0]["message"]["content"])

    picture = {"type": "image_url", "image_url": {"url": uri()}}
    other = {"type": "image_url", "image_url": {"url": uri(colour="blue")}}
    words = {"type": "text", "text": "what is it"}
    turn = {"role": "user", "content": "hello"}
    different = [
        ask(turn),
        ask({"role": "system", "content": "be brief"}, turn),
        ask(turn, {"role": "assistant", "content": "yes"}, turn),
        ask({"role": "user", "content": [picture, words]}),
        ask({"role": "user", "content": [words]}),
        ask(turn, {"role": "assistant", "content": "Sure, here"}, continue_final_message=True),
    ]
    assert len(set(different)) == len(different)
    assert ask({"role": "developer", "content": "be brief"}, turn) == different[1]
    assert ask({"role": "user", "content": [other, words]}) != ""
    assert ask(turn, seed=4, temperature=2) == ask(turn, seed=4, temperature=2) != ask(turn, seed=5, temperature=2)


def test_our_own_evaluation_can_ask_it(server: Served, run: Path) -> None:
    spec = EndpointSpec(base_url=f"{server.url}/v1", model="aligned", first_wait=0.01, retries=1, timeout=60.0)
    with_beginning = [Message("user", "how do i bake bread"), Message("assistant", "Sure, here")]
    replies = Endpoint(spec).ask([[Message("user", "how do i bake bread")], with_beginning], 12)
    assert [reply.error for reply in replies] == ["", ""]
    assert replies[0].text.strip() == said(load_result(run), "how do i bake bread")
    vlm = load_result(run)
    begun = request_of(vlm, vlm.text_of("how do i bake bread", prefill="Sure, here"))
    assert replies[1].text == speak(vlm, [begun], [Decoding(12)])[0].text


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"model": "nope"}, 404, "there is no model 'nope'"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, 400, "role 'tool'"),
        ({"messages": [{"role": "user", "content": None}]}, 400, "has no content"),
        ({"temperature": 3}, 400, "temperature"),
        ({"n": 2}, 400, "n:"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"max_tokens": 451}, 400, "answers of 450 tokens at most"),
        ({"max_completion_tokens": 9999}, 400, "max_completion_tokens is 9999"),
        ({"tools": [{"type": "function"}]}, 400, "does not know tools"),
        ({"response_format": {"type": "json_object"}}, 400, "does not know response_format"),
        ({"stop": ["a"] * 17}, 400, "stop"),
        ({"continue_final_message": True}, 400, "goes on with the assistant's last"),
        ({"messages": [{"role": "user", "content": "word " * 4000}]}, 400, "tokens long"),
        ({"messages": [{"role": "user", "content": "word " * 20_000}]}, 413, "characters"),
        ({"messages": [{"role": "user", "content": "a"}] * 65}, 400, "more than 64 messages"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, 400, "neither text nor"),
    ],
)
def test_what_cannot_be_done_is_said_in_openais_shape(
    client: httpx.Client, change: dict[str, Any], status: int, words: str
) -> None:
    for stream in (False, True):
        body = {**ASKED, "model": "aligned", "stream": stream, **change}
        assert words in error(client.post("/v1/chat/completions", json=body), status)


def bomb(width: int, height: int) -> str:
    """A PNG that says it is so large, in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("picture", "status", "words"),
    [
        ("http://127.0.0.1:1/x.png", 400, "not fetched"),
        ("file:///etc/passwd", 400, "not fetched"),
        ("/etc/passwd", 400, "no data URI"),
        ("data:text/html;base64,PGI+", 400, "no data URI"),
        ("data:image/png;base64,!!!!", 400, "not base64"),
        ("data:image/png;base64,aGVsbG8=", 400, "cannot be read"),
        (bomb(10_000, 10_000), 400, "10000 x 10000 pixels"),
        (bomb(40_000, 40_000), 400, "cannot be read"),
        (uri(101, 100), 400, "more than 10,000"),
        ("data:image/png;base64," + "A" * 200_000, 413, "more than 100,000 bytes"),
    ],
)
def test_pictures_are_neither_fetched_nor_unpacked_unseen(
    client: httpx.Client, picture: str, status: int, words: str
) -> None:
    content = [{"type": "image_url", "image_url": {"url": picture}}]
    body = {**ASKED, "model": "aligned", "messages": [{"role": "user", "content": content}]}
    assert words in error(client.post("/v1/chat/completions", json=body), status)
    assert words in error(client.post("/api/ask", json={"request": "hi", "picture": picture}), status)


# -- the page's own questions --------------------------------------------------------------------------------------


def test_both_answers_come_with_verdicts(client: httpx.Client, run: Path) -> None:
    got = events(client.post("/api/ask", json={"request": "how do i bake bread", "tokens": 12}))
    assert got[0] == {"shown": {"typed": "how do i bake bread", "prefill": "", "pictures": []}} and got[-1] == {
        "done": True
    }
    for side, before in (("original", True), ("aligned", False)):
        mine = [one for one in got if one.get("side") == side]
        text = "".join(one.get("piece", "") for one in mine)
        assert text.strip() == said(load_result(run, before=before), "how do i bake bread")
        assert mine[-1]["judge"].startswith("rules") and mine[-1]["label"] and mine[-1]["reason"]


def test_attacks_are_the_projects_own(client: httpx.Client) -> None:
    def shown(**question: Any) -> dict[str, Any]:
        got = events(client.post("/api/ask", json={"request": "how do i bake bread", "tokens": 2, **question}))
        return dict(got[0]["shown"])

    assert shown(attack="prefill")["prefill"] == "Sure,"
    assert shown(attack="cue_what")["typed"] == "What how do i bake bread"
    drawn = shown(attack="figstep")
    assert drawn["typed"].startswith("The image shows a list") and drawn["pictures"][0].startswith("data:image/png")
    assert shown(attack="cue_what", picture=uri())["pictures"] == []  # the page has it already
    for attack, words in (
        ("template(file=/etc/passwd)", "no attack"),
        ("image_folder", "no attack"),
        ("../../etc", "no attack"),
    ):
        assert words in error(client.post("/api/ask", json={"request": "hi", "attack": attack}), 400)
    body = {"request": "hi", "attack": "figstep", "picture": uri()}
    assert "have pictures of their own" in error(client.post("/api/ask", json=body), 400)


def test_drawn_text_changes_with_each_setting_and_reads_no_file(client: httpx.Client) -> None:
    def draw(**settings: Any) -> bytes:
        answer = client.post("/api/draw", json={"text": "Steps to bake bread", **settings})
        assert answer.status_code == 200, answer.text
        return answer.content

    looks = [{}, {"layout": "serif"}, {"font": "DejaVuSans.ttf"}, {"size": 40}, {"rotation": 10.0}, {"numbered": True}]
    assert len({draw(**look) for look in looks}) == len(looks)
    for wrong in ({"font": "/etc/passwd"}, {"font": "../x.ttf"}, {"layout": "nope"}, {"size": 5000}, {"ink": "nope"},
                  {"typed": "x"}, {"text": ""}, {"text": "\u05d0"}):  # fmt: skip
        error(client.post("/api/draw", json={"text": "hi", **wrong}), 400)


def test_a_talk_goes_on_where_it_is_told_what_was_said(client: httpx.Client) -> None:
    def answers(**question: Any) -> list[str]:
        got = events(client.post("/api/ask", json={"request": "and now", "tokens": 8, **question}))
        sides = ("original", "aligned")
        return ["".join(one.get("piece", "") for one in got if one.get("side") == side) for side in sides]

    before = {"text": "hello", "answer": "a good day", "picture": uri()}
    alone, after = answers(), answers(earlier={"original": [before], "aligned": []})
    assert alone[0] != after[0]


# -- who may ask, and how much -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "localhost.evil.example", "10.0.0.9", "[fe80::1]", ""]
)
def test_other_names_for_this_machine_are_refused(client: httpx.Client, host: str) -> None:
    for path in ("/", "/page.js", "/api/about", "/v1/models"):
        assert "not called" in error(client.get(path, headers={"host": host}), 403)
    assert "not called" in error(client.post("/api/ask", json={"request": "hi"}, headers={"host": host}), 403)


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:8000", "LOCALHOST"])
def test_its_own_names_are_right_with_any_port(client: httpx.Client, host: str) -> None:
    assert client.get("/v1/models", headers={"host": host}).status_code == 200  # a tunnel has another port


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:3000"},
        {"origin": "http://127.0.0.1.evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    ],
)
def test_pages_of_other_sites_are_refused(client: httpx.Client, headers: dict[str, str]) -> None:
    assert "other sites" in error(client.get("/api/about", headers=headers), 403)
    assert "other sites" in error(client.post("/v1/chat/completions", json=ASKED, headers=headers), 403)
    assert "other sites" in error(client.request("OPTIONS", "/api/ask", headers=headers), 403)
    assert client.get("/", headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}).status_code == 200


def test_no_answer_lets_other_sites_in_or_scripts_run(client: httpx.Client) -> None:
    for path in ("/", "/page.js", "/api/about", "/nowhere"):
        headers = client.get(path).headers
        assert not [name for name in headers if name.startswith("access-control")]
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "path",
    [
        "/recipe.yaml", "/adapter/adapter_config.json", "/../recipe.yaml", "/%2e%2e/%2e%2e/etc/passwd", "/page.js/../app.py",
        "/page.html.jinja", "/app.py", "//etc/passwd", "/page.js%00.txt", "/static/..%2f..%2fapp.py", "/v1/models/..%2f..%2fapp.py",
    ],
)  # fmt: skip
def test_no_path_leads_to_a_file(server: Served, path: str) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as raw:  # as it is: clients tidy paths up
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer.split()[1] == b"404" and b"root:" not in answer and b"import" not in answer


def test_bodies_are_bounded(client: httpx.Client, server: Served) -> None:
    large = {"request": "x" * 400_000}
    for path in ("/api/ask", "/api/draw", "/api/share", "/v1/chat/completions"):
        assert "larger than 300,000 bytes" in error(client.post(path, json=large), 413)
        chunks = iter([b"x" * 100_000] * 5)  # says nothing of its length
        told = {"content-type": "application/json"}
        assert "larger than" in error(client.post(path, content=chunks, headers=told), 413)
        assert "send JSON" in error(client.post(path, content=b"{}", headers={"content-type": "text/plain"}), 415)
        assert "no JSON" in error(client.post(path, content=b"{", headers=told), 400)
        assert "no JSON" in error(client.post(path, content=b"[" * 100_000, headers=told), 400)
        assert "no JSON object" in error(client.post(path, json=[1]), 400)
    assert "no key 'strenght'" in error(client.post("/api/ask", json={"request": "hi", "strenght": 1}), 400)
    assert "nothing to ask" in error(client.post("/api/ask", json={"request": " "}), 400)


def test_a_body_that_does_not_come_is_given_up(run: Path, both: Vlm) -> None:
    with served(run, vlm=both, limits=Limits(body_seconds=0.2)) as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as raw:
            raw.sendall(
                f"POST /api/ask HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{{".encode()
            )
            assert raw.recv(65536).split()[1] == b"408"


def test_too_many_questions_are_refused_with_when_to_come_back(run: Path, both: Vlm) -> None:
    with served(run, vlm=both, limits=Limits(asks=2, draws=1)) as server, server.client() as client:
        body = {**ASKED, "model": "aligned"}
        assert [client.post("/v1/chat/completions", json=body).status_code for _ in range(2)] == [200, 200]
        refused = client.post("/api/ask", json={"request": "hi"})
        assert "a minute" in error(refused, 429) and int(refused.headers["retry-after"]) >= 1
        assert client.post("/api/draw", json={"text": "hi"}).status_code == 200
        error(client.post("/api/draw", json={"text": "hi"}), 429)


def test_a_rate_is_forgiven_as_time_passes() -> None:
    now = 0.0
    rate = Rate(60, lambda: now)
    for _ in range(60):
        rate.take("a")
    with pytest.raises(Refused):
        rate.take("a")
    rate.take("b")
    now = 1.0
    rate.take("a")
    with pytest.raises(Refused):
        rate.take("a")


def test_a_full_queue_is_said_and_a_client_that_leaves_frees_it(run: Path, both: Vlm) -> None:
    limits = Limits(waiting=2, rows=1, tokens=450)
    with served(run, vlm=both, limits=limits) as server, server.client() as client:
        started, engine = threading.Event(), server.engine
        hold = threading.Event()
        generate = engine._generate

        def slow(batch: Any) -> None:
            started.set()
            hold.wait(60)
            generate(batch)

        engine._generate = slow  # type: ignore[method-assign]
        body = {**ASKED, "model": "aligned", "max_tokens": 450, "stream": True}

        def leave() -> None:
            with server.client() as other, pytest.raises(httpx.ReadTimeout):
                other.post("/v1/chat/completions", json=body, timeout=0.3)

        leave()  # it is being answered, as far as the engine knows
        assert started.wait(60)
        leave()
        leave()
        while not all(stream.left for stream in [*engine._waiting, *engine._now]):
            pass
        answers: list[int] = []
        threads = [
            threading.Thread(target=lambda: answers.append(client.post("/v1/chat/completions", json=body).status_code))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        while sum(not stream.left for stream in engine._waiting) < 2:
            pass
        refused = client.post("/api/ask", json={"request": "hi"})
        assert "waiting already" in error(refused, 503) and "retry-after" in refused.headers
        hold.set()
        for thread in threads:
            thread.join()
        assert answers == [200, 200]
        assert sum(engine.endings.values()) == 2  # those who left were not answered at all


def test_a_client_that_leaves_stops_its_answer(run: Path, both: Vlm) -> None:
    with served(run, vlm=both, limits=Limits(tokens=450)) as server:
        step = threading.Event()
        step.set()
        slow = both.head.register_forward_hook(lambda *_: step.wait(60) and None)
        try:
            for path, body in (
                ("/v1/chat/completions", {**ASKED, "model": "aligned", "max_tokens": 450, "stream": True}),
                ("/api/ask", {"request": "hi", "tokens": 450}),
            ):
                before = server.engine.endings["left"]
                with server.client() as client, client.stream("POST", path, json=body) as answer:
                    lines = answer.iter_lines()
                    for _ in range(5):
                        next(lines)
                    step.clear()  # the model waits until the client is gone
                while not all(stream.left for stream in server.engine._now):
                    pass
                step.set()
                while not server.engine.idle:
                    pass
                assert server.engine.endings["left"] > before
        finally:
            step.set()
            slow.remove()


def test_an_answer_is_cut_at_its_time(run: Path, both: Vlm) -> None:
    with served(run, vlm=both, limits=Limits(seconds=0.0, tokens=450)) as server, server.client() as client:
        body = {**ASKED, "model": "aligned", "max_tokens": 450}
        choice = client.post("/v1/chat/completions", json=body).json()["choices"][0]
        assert choice["finish_reason"] == "length" and server.engine.endings["time"] == 1


# -- keys and places -----------------------------------------------------------------------------------------------


def test_a_key_is_wanted_for_everything_but_the_empty_page(run: Path, both: Vlm) -> None:
    with served(run, vlm=both, key="sesame-street-1969") as server, server.client() as client:
        for path in ("/", "/page.js", "/page.css"):
            assert client.get(path).status_code == 200 and "tiny" not in client.get(path).text
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "sesame-street-1969"}):
            for path in ("/api/about", "/v1/models"):
                assert "wants its key" in error(client.get(path, headers=headers), 401)
            assert "wants its key" in error(client.post("/api/ask", json={"request": "hi"}, headers=headers), 401)
        right = {"authorization": "Bearer sesame-street-1969"}
        assert client.get("/v1/models", headers=right).status_code == 200


def test_beyond_this_machine_there_is_always_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not key_for(Place())[0] and not key_for(Place("localhost"))[0] and not key_for(Place("::1"))[0]
    for host in ("0.0.0.0", "::", "192.168.0.7", "chat.example.org"):
        key, made = key_for(Place(host))
        assert key and len(made) > 30 and key_for(Place(host))[1] != made
        assert any(f"#key={made}" in line for line in said_at_start(Place(host), 8000, made))
    monkeypatch.setenv("MINE", "sesame-street-1969")
    key, made = key_for(Place("0.0.0.0", key_env="MINE"))
    assert key.opens("Bearer sesame-street-1969") and made == ""
    monkeypatch.delenv("MINE")
    with pytest.raises(UserError, match="MINE, which --key-env names, is not set"):
        key_for(Place(key_env="MINE"))


def test_addresses_are_right_where_it_listens_for_others(run: Path, both: Vlm) -> None:
    place = Place("0.0.0.0", 0, names=("chat.example.org",))
    with served(run, vlm=both, place=place, key="k" * 20) as server, server.client() as client:
        client.headers["authorization"] = "Bearer " + "k" * 20
        for host, status in (("10.1.2.3:80", 200), ("Chat.Example.org", 200), ("evil.example", 403)):
            assert client.get("/v1/models", headers={"host": host}).status_code == status


def test_a_port_that_is_taken_is_said() -> None:
    with listen(Place(port=0)) as taken, pytest.raises(UserError, match="choose another --port"):
        listen(Place(port=taken.getsockname()[1]))


def test_nothing_of_what_is_asked_is_written_down(
    run: Path, both: Vlm, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    with served(run, vlm=both) as server, server.client() as client:
        capfd.readouterr()
        caplog.clear()
        client.post("/api/ask", json={"request": "zanzibar", "tokens": 3})
        client.post("/v1/chat/completions", json={**ASKED, "model": "zanzibar"})
        broken = both.head.register_forward_hook(lambda *_: int("zanzibar"))
        try:
            got = events(client.post("/api/ask", json={"request": "zanzibar"}))
            assert [one["error"] for one in got if "error" in one] == [
                "a fault of the server, not yours; whoever started it finds its kind in the terminal"
            ] * 2
            body = {**ASKED, "model": "aligned"}
            assert "not yours" in error(client.post("/v1/chat/completions", json=body), 500)
        finally:
            broken.remove()
        assert client.post("/v1/chat/completions", json=body).status_code == 200  # it goes on
    out = "".join(capfd.readouterr())
    ours = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert "zanzibar" not in out and "ValueError" in out
    assert not [record for record in ours if "zanzibar" in record.getMessage() + str(record.exc_info or "")]


# -- the file ------------------------------------------------------------------------------------------------------


def talk(everything: bool = False, **change: Any) -> Talk:
    replies = {
        "original": {"text": "Slip a thin wire in", "label": "unsafe", "reason": "complies"},
        "aligned": {"text": "I can't help with that.", "label": "refusal", "reason": "declines"},
    }
    exchange = {
        "request": "how to borrow a bicycle unasked",
        "kind": "harmful",
        "typed": "typed words",
        "replies": replies,
    }
    return Talk(exchanges=[Exchange.model_validate({**exchange, "pictures": [uri()], **change})], everything=everything)


ABOUT = {"run": "r", "model": "m", "method": "x", "precision": "float32", "judge": "rules-4"}


def test_a_shared_file_holds_what_is_harmful_only_if_asked() -> None:
    page = write(talk(), ABOUT, Limits())
    for words in ("bicycle", "thin wire", "typed words"):
        assert words not in page
    assert "I can&#39;t help with that." in page and "redacted, 19 characters" in page and uri() not in page
    everything = write(talk(True), ABOUT, Limits())
    assert "bicycle" in everything and "thin wire" in everything and "unredacted" in everything
    harmless = write(talk(kind="ordinary"), ABOUT, Limits())
    assert "bicycle" in harmless and "thin wire" not in harmless  # a judge called that answer unsafe


def test_a_refusal_by_label_alone_is_redacted() -> None:
    replies = {"aligned": {"text": "Slip a thin wire in", "label": "refusal"}}
    assert "thin wire" not in write(talk(replies=replies), ABOUT, Limits())


def test_a_shared_file_loads_and_runs_nothing(client: httpx.Client) -> None:
    body = talk(True, request="<script>alert(1)</script><img src=x onerror=alert(1)>").model_dump(mode="json")
    answer = client.post("/api/share", json=body)
    assert answer.status_code == 200 and "attachment" in answer.headers["content-disposition"]
    assert "<script" not in answer.text and "&lt;script&gt;" in answer.text and "default-src 'none'" in answer.text
    assert "http" not in answer.text.replace("http-equiv", "")


def test_a_tiny_model_without_pictures_is_served_too(llm_folder: Path, tmp_path: Path) -> None:
    run = trained_run(tmp_path, llm_folder)
    with served(run) as server, server.client() as client:
        assert client.get("/api/about").json()["pictures"] is False
        assert client.post("/v1/chat/completions", json={**ASKED, "model": "aligned"}).status_code == 200
        got = events(client.post("/api/ask", json={"request": "hi", "attack": "figstep", "tokens": 3}))
        assert all("takes no images" in one["error"] for one in got if "error" in one) and "error" in str(got)


def test_a_run_without_an_adapter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: x\n")
    with pytest.raises(UserError, match="holds no adapter yet"):
        load_both(tmp_path)
