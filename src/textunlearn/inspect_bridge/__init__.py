"""Inspect (package inspect_ai, extra ``textunlearn[inspect]``): our models, suites and runs as its models, tasks and logs.

`registry` is what Inspect finds by the entry point ``inspect_ai``. Nothing here is imported unless Inspect or ``inspect-logs`` asks.
"""
