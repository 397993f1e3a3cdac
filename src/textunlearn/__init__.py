"""textunlearn: make a vision-language model unlearn harmful behaviour with text alone, and prove what that did.

Importing this package makes the built-in model's classes known to transformers' Auto classes, without importing
transformers itself: they are registered when (or if) it is imported.
"""

from __future__ import annotations

import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

__version__ = "0.1.0"


def _register() -> None:
    importlib.import_module("textunlearn.vlm.builtin.reader")  # registers its classes at its end


class _AfterTransformers(MetaPathFinder, Loader):
    """Runs `_register` once, right after transformers has been imported."""

    def __init__(self) -> None:
        self.inner: Any = None

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "transformers":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None:
            self.inner, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__.loader = self.inner  # type: ignore[union-attr]
        self.inner.exec_module(module)
        _register()


if "transformers" in sys.modules:
    _register()
else:
    sys.meta_path.insert(0, _AfterTransformers())
