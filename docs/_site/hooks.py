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


GROUPS: dict[str, tuple[str, ...]] = {
    "Start": ("index", "start", "concepts", "paper_terms", "limits"),
    "How to": (
        "own_model", "own_data", "plan", "training", "several_gpus", "measuring", "attacks", "spoken", "judges", "data_sets",
        "ci_gate", "report", "chat", "serving", "endpoints", "inspect", "harnesses", "tracking",
    ),
    "Add a part": ("contributing", "adding_a_method", "adding_an_attack", "adding_a_judge", "adding_a_data_set"),
    "Results": ("results", "comparison", "recipe_development", "speed"),
    "Reference": ("reference/recipe", "reference/commands", "json", "models", "builtin_model"),
    "The project": ("changes", "reliability", "threat_model"),
}  # fmt: skip
"""Heading -> pages, in their order. One that is not there is left out; one that is there and not named stands under "More"."""


def navigation(pages: set[str]) -> list[dict[str, list[str]]]:
    """mkdocs' ``nav`` for ``pages`` (paths below docs/), every one of them once."""
    nav = [
        {heading: there}
        for heading, names in GROUPS.items()
        if (there := [f"{n}.md" for n in names if f"{n}.md" in pages])
    ]
    named = {page for group in nav for there in group.values() for page in there}
    return [*nav, {"More": rest}] if (rest := sorted(pages - named)) else nav


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
    config.nav = navigation({file.src_uri for file in files.documentation_pages()})
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Show links to files of the repository that are no pages as their names: the site has nothing to open there."""
    pages = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changes.md"}

    def link(match: re.Match[str]) -> str:
        text, target = match.groups()
        name = target.removeprefix("../")
        if name in pages:
            return f"[{text}]({pages[name]})"
        outside = (ROOT / name).exists() and (target.startswith("../") or page.file.src_uri == "index.md")
        return f"{text} (`{name}`)" if outside and text != name else f"`{name}`" if outside else match[0]

    return OUTSIDE.sub(link, markdown)
