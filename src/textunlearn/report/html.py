"""A run's page: one file, made of the parts in `report.sections`."""

from __future__ import annotations

from pathlib import Path

from textunlearn.files import write_text
from textunlearn.report.aims import aims, headline
from textunlearn.report.gallery import Progress
from textunlearn.report.run_folder import RunFolder, read_run, section
from textunlearn.report.sections import View, built
from textunlearn.report.shell import environment, render_page
from textunlearn.report.table import read_table
from textunlearn.report.verdict import verdict

NAME = "report.html"


def render(run: RunFolder, *, show_unsafe: bool = False, progress: Progress | None = None) -> str:
    """The page of ``run`` as HTML text. ``progress`` is told of (cases done, all)."""
    table = read_table(run.metrics)
    parts = built(View(run, table, show_unsafe, progress))
    about = section(run.metrics, "run")
    return render_page(
        environment(),
        "report.html.jinja",
        styles=["report.css"],
        scripts=["cases.js"],
        sort="report",
        title=about.get("title") or about.get("name") or run.path.resolve().name,
        headline=headline(table),
        finding=verdict(table),
        aims=aims(table),
        parts=parts,
        links=parts,
        footer="Made by textunlearn from a run folder.",
    )


def write_report(run: Path, *, show_unsafe: bool = False, progress: Progress | None = None) -> Path:
    """Write ``report.html`` into the run folder ``run`` and return its path.

    One file without any outside part, below 5 MB for 2,000 cases. Parts that the folder lacks are named on the page.

    Args:
        show_unsafe: show harmful requests, their images and unsafe answers, which are redacted otherwise.
        progress: is told of (cases done, all).

    UserError if ``run`` is no folder or one of its files is malformed.
    """
    page = run / NAME
    write_text(page, render(read_run(run), show_unsafe=show_unsafe, progress=progress))
    return page
