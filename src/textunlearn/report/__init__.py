(
    """What a run showed, for people: terminal table, self-contained HTML page, model card.

Reads a run folder; measures nothing itself.
"""
    ""
)
