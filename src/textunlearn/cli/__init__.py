"""The command line: verbs, each a few lines over the modules that do the work. Exit codes: `textunlearn.shell`.

Whatever is heavy is imported inside the verbs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from textunlearn import __version__, shell
from textunlearn.cli import complete
from textunlearn.cli.shared import app

_debug = False


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"textunlearn {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="show where in the program an error came from")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    global _debug
    _debug = debug
    if not debug:
        shell.quiet()


# The order in which --help lists them.
from textunlearn.cli import running, measuring, results, choices, machine  # noqa: E402, F401, I001 - they register their verbs with the app


def main() -> None:
    """Entry point of the command ``textunlearn``; exits with the codes listed in `textunlearn.shell`."""

    def run() -> int:
        return shell.run(app, sys.argv[1:], lambda: _debug)

    sys.exit(complete.in_bash(run) if os.environ.get(complete.VARIABLE) == "complete_bash" else run())
