"""The site builds strictly, and asks nothing of other hosts when it is opened."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from textunlearn.recipe import Recipe

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("material", reason="the site needs mkdocs-material: pip install 'textunlearn[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_there(site: Path) -> None:
    written = {page.relative_to(ROOT / "docs").with_suffix(".html") for page in (ROOT / "docs").rglob("*.md")}
    made = {
        Path(name) for name in ("index.html", "contributing.html", "reference/recipe.html", "reference/commands.html")
    }
    assert [page for page in written | made if not (site / page).exists()] == []


def test_reference_names_every_top_key(site: Path) -> None:
    page = (site / "reference/recipe.html").read_text(encoding="utf-8")
    assert [key for key in Recipe.model_fields if f"<code>{key}</code>" not in page] == []


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loads = re.compile(
        r"<(?:script|img|iframe)[^>]+src=[\"']?https?:|<link[^>]+rel=[\"']?(?:stylesheet|preconnect)[^>]+https?:"
    )
    assert [page.name for page in site.rglob("*.html") if loads.search(page.read_text(encoding="utf-8"))] == []


def test_every_page_is_in_the_navigation_once(site: Path) -> None:
    start = (site / "start.html").read_text(encoding="utf-8")
    nav = start[start.index('data-md-level="0"') : start.index("</nav>", start.index("The project"))]
    links = re.findall(r'<a href="([^"#]+\.html)" class="md-nav__link', nav)
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")} - {"start"}
    assert sorted(link for link in links if Path(link).stem in pages) == sorted(f"{page}.html" for page in pages)


def test_the_recipe_reference_explains_its_keys(site: Path) -> None:
    text = (site / "reference/recipe.html").read_text(encoding="utf-8")
    row = re.search(r"<tr>\s*<td><code>seed</code></td>(.*?)</tr>", text, re.S)
    assert row and "the same seed gives the same run" in row[1]
    assert "share of rows that stand in the image slots" in text
