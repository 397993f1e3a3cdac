"""YAML as users write it: plain values, every key once. Whatever else YAML can say is refused in one sentence."""

from __future__ import annotations

from typing import Any

import yaml

from textunlearn.errors import UserError

MOST_VALUES = 100_000
"""Values of a file, each alias counted as often as it is used: a few lines of aliases of aliases stand for billions."""
DEEPEST = 60
"""Groups inside groups."""


class _Loader(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys without a word, and follows aliases wherever they lead."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)  # `<<: *alias`
        if len(node.value) > MOST_VALUES:
            raise yaml.constructor.ConstructorError(
                None, None, "more merged keys than any settings have", node.start_mark
            )

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise yaml.composer.ComposerError(
                        None, None, f"the key {key.value!r} stands there twice", key.start_mark
                    )
                seen.add((key.tag, key.value))
        return node


def parse(text: str, where: str) -> Any:
    """What ``text`` says; UserError (``where``: what to call it) for what is not YAML, a key given twice, and aliases without end."""
    try:
        # Not a safe_load: the loader above is PyYAML's safe one, and makes no objects either.
        data = yaml.load(text, _Loader)
    except MemoryError:
        raise
    except Exception as error:  # beside YAMLError: ValueError for a date that is none, AttributeError for a tag on the wrong value, ...
        said = str(error) or type(error).__name__
        if isinstance(error, RecursionError):
            said = f"more than {DEEPEST} groups inside groups"
        raise UserError(f"{where} is not valid YAML: {said}; correct it there") from None
    _require_small(data, where)
    return data


def _require_small(data: Any, where: str) -> None:
    left, waiting = MOST_VALUES, [(data, 0)]
    while waiting:
        value, depth = waiting.pop()
        left -= 1
        if left < 0 or depth > DEEPEST:
            raise UserError(
                f"{where} has more values than any settings have, or aliases (*name) that lead back to themselves; write them out"
            )
        if isinstance(value, dict):
            waiting += [(part, depth + 1) for pair in value.items() for part in pair]
        elif isinstance(value, list | tuple | set):
            waiting += [(part, depth + 1) for part in value]
