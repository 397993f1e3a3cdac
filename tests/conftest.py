"""Models shared by the tests: written and loaded once; tests that change one load their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

import tiny
from terminal import terminal  # noqa: F401 - a fixture
from textunlearn.vlm import image_features
from textunlearn.vlm.load import Vlm

# The same examples on every machine, so that red or green says something about the commit;
# `pytest --hypothesis-profile explore` draws new ones.
settings.register_profile("same", derandomize=True)
settings.register_profile("explore", derandomize=False, max_examples=2000)
settings.load_profile("same")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from chromium import CHROMIUM, playwright

    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="session")
def reader_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.reader_vlm(tmp_path_factory.mktemp("reader"))


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.clip_vlm(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def llm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.llm(tmp_path_factory.mktemp("llm"))


@pytest.fixture(scope="session")
def reader(reader_folder: Path) -> Vlm:
    return tiny.loaded(reader_folder)


@pytest.fixture(scope="session")
def clip(clip_folder: Path) -> Vlm:
    return tiny.loaded(clip_folder)


@pytest.fixture(scope="session", autouse=True)
def _own_image_features(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test writes features of its pictures into the user's cache."""
    folder = tmp_path_factory.mktemp("image_features")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_features, "cache_dir", lambda *_: folder)
        yield
