"""``python -m textunlearn``: the command line."""

from textunlearn.cli import main

main()
