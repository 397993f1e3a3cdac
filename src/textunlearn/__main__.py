"""``python -m textunlearn``: the command line, also for launchers such as ``accelerate launch -m textunlearn``."""

from textunlearn.cli import main

main()
