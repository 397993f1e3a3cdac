"""Inspect (the package inspect_ai, extra ``textunlearn[inspect]``): our models as its models, our suites as its tasks, our runs as its logs.

`registry` is what Inspect finds by the entry point ``inspect_ai``. Nothing here is imported unless Inspect or ``inspect-logs`` asks.
"""
