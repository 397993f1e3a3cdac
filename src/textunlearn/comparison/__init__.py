"""Many methods side by side: the recipe (`spec`), its runs (`runs`), what is gathered from them (`collect`), the command (`job`)."""

NAME = "comparison.json"
"""What a comparison showed, in its folder."""
