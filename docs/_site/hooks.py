"""What the site has beyond the files in docs/: the README as its first page and two generated reference pages."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
OUTSIDE = re.compile(r"\[([^\]]+)\]\((?!https?:|#)([^)]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made rather than written."""
    sys.path.insert(0, str(Path(__file__).parent))  # mkdocs takes a hook's folder off the path once it is loaded
    import reference

    readme = (ROOT / "README.md").read_text(encoding="utf-8").replace("](docs/", "](")
    pages = {
        "index.md": readme,
        "contributing.md": (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").replace("](docs/", "]("),
        "changes.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").replace("](docs/", "]("),
        "reference/recipe.md": reference.recipe_page(),
        "reference/commands.md": reference.command_page(),
    }
    for place, text in pages.items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Show links to files of the repository that are no pages as their names: the site has nothing to open there."""
    pages = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changes.md"}

    def link(match: re.Match[str]) -> str:
        text, target = match.groups()
        name = target.removeprefix("../")
        if name in pages:
            return f"[{text}]({pages[name]})"
        outside = (ROOT / name).exists() and (target.startswith("../") or page.file.src_uri == "index.md")
        return f"{text} (`{name}`)" if outside and text != name else f"`{name}`" if outside else match[0]

    return OUTSIDE.sub(link, markdown)
