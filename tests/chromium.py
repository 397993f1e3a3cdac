"""A real Chromium of the system's, driven by playwright (the fixture `browser`). A test file that imports this is skipped, with the
reason, where either is missing."""

from __future__ import annotations

import shutil

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if CHROMIUM is None:
    pytest.skip("there is no Chromium on this machine (Debian: apt install chromium)", allow_module_level=True)
playwright = pytest.importorskip(
    "playwright.sync_api", reason="driving Chromium needs playwright (pip install 'textunlearn[browser]')"
)
