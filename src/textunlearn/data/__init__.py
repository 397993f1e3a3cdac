"""Prompts and where they come from: pinned packages, the user's files, hub data sets; filters, forms and splits.

No harmful text stands in this folder: harmful requests are read from their publishers' packages (``pins.py``).
"""
