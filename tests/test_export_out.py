"""Out of a run folder: GGUF by llama.cpp's converter, the hub, and what a card says of licences."""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from report_run import make_run
from terminal import Terminal
from test_result import trained_run
from textunlearn import result
from textunlearn.errors import UserError
from textunlearn.recipe import Recipe
from textunlearn.vlm.export import export_adapter, export_merged, stated_licence
from textunlearn.vlm.export_gguf import CONVERTER, export_gguf
from textunlearn.vlm.push import push

LLAMA_CPP = os.environ.get("TEXTUNLEARN_LLAMA_CPP", "")
"""A folder with llama.cpp's converter, for the test that runs it."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    return trained_run(make_run(folder / "run"), tiny.clip_vlm(folder / "model"))


# -- GGUF ----------------------------------------------------------------------------------------------------------------


@pytest.mark.builtin
@pytest.mark.skipif(not LLAMA_CPP, reason="TEXTUNLEARN_LLAMA_CPP names no folder with llama.cpp's converter")
def test_the_gguf_is_the_result(tmp_path: Path) -> None:
    """Of the built-in model: read back by transformers, the language model has the merged weights."""
    from transformers import AutoModelForCausalLM

    from textunlearn.vlm.builtin.build import path

    run = trained_run(make_run(tmp_path / "run"), path())
    folder, said = export_gguf(run, tmp_path / "mine", Path(LLAMA_CPP), dtype="float32")
    assert said, "there is no projector for its vision tower"
    assert sorted(file.name for file in folder.iterdir()) == ["README.md", "mine.gguf"]
    plain = AutoModelForCausalLM.from_pretrained(folder, gguf_file="mine.gguf", dtype=torch.float32)
    mine = dict(result.load_result(run).decoder.named_parameters())
    before = dict(result.load_result(run, before=True).decoder.named_parameters())
    theirs = dict(plain.model.named_parameters())
    assert len(theirs) == len(mine)
    for name, weight in mine.items():
        torch.testing.assert_close(theirs[name].float(), weight.float(), rtol=0, atol=1e-6)
    assert any(not torch.equal(mine[name], before[name]) for name in mine)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "library_name: gguf" in card and "llama-server -m mine.gguf" in card and "no projector" in card
    assert "from_pretrained" not in card


def _converter(folder: Path, code: str) -> Path:
    folder.mkdir()
    (folder / CONVERTER).write_text(code, encoding="utf-8")
    return folder


def test_no_converter_and_one_that_cannot(run: Path, terminal: Terminal, tmp_path: Path) -> None:
    terminal("export", run, "out", "--gguf").says("git clone", "--llama-cpp")
    terminal("export", run, "out", "--gguf", "--llama-cpp", tmp_path).says(f"holds no {CONVERTER}")
    terminal("export", run, "out", "--gguf", "--adapter").says("exclude each other")
    refuses = "import sys; print('ERROR:hf-to-gguf:Model Mine is not supported', file=sys.stderr); sys.exit(1)"
    with pytest.raises(UserError, match="Mine is not supported"):
        export_gguf(run, tmp_path / "out", _converter(tmp_path / "a", refuses))
    lies = "import sys; open(sys.argv[sys.argv.index('--outfile') + 1], 'wb').write(b'GGUF')"
    with pytest.raises(UserError, match="cannot write this model"):
        export_gguf(run, tmp_path / "out", _converter(tmp_path / "b", lies))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"], "half an export was left"


# -- the hub ---------------------------------------------------------------------------------------------------------------


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's protocol as an upload of small files takes."""

    files: dict[str, bytes]
    asked: list[tuple[str, Any]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        name = "me/my-adapter"
        if self.path == "/api/repos/create":
            self.asked.append(("create", json.loads(body)))
            self.answer({"url": f"http://{self.headers['Host']}/{name}", "name": name})
        elif self.path.endswith("/preupload/main"):
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            self.answer({"files": files})
        elif self.path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.answer(
                {"commitUrl": f"http://{self.headers['Host']}/{name}/commit/1", "commitOid": "1", "hookOutput": ""}
            )
        else:
            self.answer({"warnings": [], "errors": []})

    def do_GET(self) -> None:
        self.answer({"id": "me/my-adapter", "siblings": [], "sha": "1"})

    def answer(self, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    kind = type("Own", (Hub,), {"files": {}, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_made_up")
    yield kind
    server.shutdown()
    server.server_close()


def test_an_export_goes_to_the_hub_and_is_private(
    run: Path, terminal: Terminal, hub: type[Hub], tmp_path: Path
) -> None:
    done = terminal("export", run, "my-adapter", "--adapter", "--push", "me/my-adapter")
    assert done.code == 0, done.err
    assert "on the hub: http" in done.out
    written = {file.name: file.read_bytes() for file in (tmp_path / "my-adapter").iterdir()}
    assert hub.files == written and "README.md" in written
    (kind, asked) = hub.asked[0]
    assert kind == "create" and (asked.get("private") is True or asked.get("visibility") == "private")


def test_what_keeps_an_export_from_the_hub(
    run: Path, terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    for name in ("just-a-name", "a/b/c", "me/-x"):
        terminal("export", run, "out", "--push", name).says("--push", name)
    assert not (tmp_path / "out").exists(), "said before anything is written"
    folder = export_adapter(run, tmp_path / "out")
    with pytest.raises(UserError, match="hf auth login"):
        push(folder, "me/my-adapter")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_made_up")
    with pytest.raises(UserError, match="could not be pushed to me/my-adapter"):
        push(folder, "me/my-adapter")
    assert (folder / "README.md").exists()


# -- the card ----------------------------------------------------------------------------------------------------------------


def test_a_card_names_the_licences_of_model_and_data(run: Path, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    recipe = Recipe.read(run / "recipe.yaml")
    base = Path(recipe.model.id)
    (base / "README.md").write_text("---\nlicense: other\nlicense_name: llama2\n---\n# A model\n", encoding="utf-8")
    own = {"harmful": [{"source": "advbench"}, {"source": "pku_saferlhf"}, {"file": "mine.csv"}]}
    (run / "recipe.yaml").write_text(
        Recipe.parse({**recipe.model_dump(mode="json", exclude_unset=True), "data": own}, "x").to_yaml(),
        encoding="utf-8",
    )
    card = ModelCard.load(export_adapter(run, tmp_path / "out") / "README.md")
    (base / "README.md").unlink()
    assert card.data.license == "other" and card.data.license_name.startswith("llama2")
    assert (
        card.data.datasets == ["walledai/AdvBench", "PKU-Alignment/PKU-SafeRLHF"]
        or "PKU-Alignment/PKU-SafeRLHF" in card.data.datasets
    )
    assert "- advbench: MIT" in card.text and "pku\\_saferlhf: CC BY-NC 4.0" in card.text
    assert "mine.csv (a file of the run's owner): licence not recorded" in card.text
    named = {result.metric_type for result in card.data.eval_results}
    assert {"unsafe_rate", "refusal_rate", "broken_rate"} <= named, "the hub's own reader takes the results"
    assert all(
        0 <= result.metric_value <= 1 for result in card.data.eval_results if result.metric_type.endswith("_rate")
    )


def test_licences_that_are_not_known(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe.read(run / "recipe.yaml")
    assert stated_licence(recipe.model) == "", "no card beside it"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert stated_licence(recipe.model.model_copy(update={"id": "nobody/nothing"})) == ""


def test_the_default_precision_of_an_export(run: Path, tmp_path: Path) -> None:
    from safetensors import safe_open

    folder = export_merged(run, tmp_path / "half", dtype="bfloat16")
    with safe_open(folder / "model.safetensors", "pt") as weights:
        assert {weights.get_tensor(name).dtype for name in weights.keys()} == {torch.bfloat16}  # noqa: SIM118
