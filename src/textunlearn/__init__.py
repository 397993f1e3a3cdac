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


class _Registering(Loader):
    """transformers' own loader, and `_register` right after it."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = module.__spec__.loader = self.inner  # type: ignore[union-attr]
        self.inner.exec_module(module)
        _register()


class _AfterTransformers(MetaPathFinder):
    """Gives transformers the loader above; stays in place, for others may look for the package without importing it."""

    looking = False

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "transformers" or self.looking:
            return None
        self.looking = True
        try:
            spec = find_spec(name)
        finally:
            self.looking = False
        if spec is not None and spec.loader is not None:
            spec.loader = _Registering(spec.loader)
        return spec


if "transformers" in sys.modules:
    _register()
else:
    sys.meta_path.insert(0, _AfterTransformers())
