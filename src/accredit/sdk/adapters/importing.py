"""A framework that a program imports is governed before the import is over, or the import fails.

Used by what `accredit run` puts on `PYTHONPATH`; nothing of a framework is loaded before the program does so itself.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import metadata
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from accredit.sdk.adapters import FRAMEWORKS, govern
from accredit.sdk.guarded import GuardedTools

__all__ = ["govern_on_import"]

_ADAPTERS: Final = {package: (adapter, distribution) for adapter, (package, distribution) in FRAMEWORKS.items()}

_ANYBODYS: Final = {"agents": "function_schema.py", "strands": "types/tools.py"}
"""Names that a program may have for something of its own, and what shows that it is the framework nevertheless."""


def govern_on_import(tools: GuardedTools) -> None:
    """From now on in this process; a framework that is imported already is governed at once.

    Raises:
        AccreditError, ImportError, AttributeError: as `govern`.
    """
    sys.meta_path.insert(0, _Finder(tools))
    for package, (adapter, distribution) in _ADAPTERS.items():
        loaded = sys.modules.get(package)
        if loaded is not None and (loaded.__spec__ is None or _is_of(distribution, package, loaded.__spec__)):
            govern(adapter, tools)


class _Finder(MetaPathFinder):
    def __init__(self, tools: GuardedTools) -> None:
        self._tools = tools

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The framework's own spec, with the loader of ours."""
        if fullname not in _ADAPTERS:
            return None
        adapter, distribution = _ADAPTERS[fullname]
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None and _is_of(distribution, fullname, spec):
                    spec.loader = _Governing(spec.loader, adapter, self._tools)
                return spec
        return None


class _Governing(Loader):
    """Loads a package as its own loader does, and then governs it. Whatever fails makes the import fail."""

    def __init__(self, loader: Loader, adapter: str, tools: GuardedTools) -> None:
        self._loader = loader
        self._adapter = adapter
        self._tools = tools

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        if spec is not None:
            spec.loader = module.__loader__ = self._loader  # what looks for resources finds the real one
        self._loader.exec_module(module)
        try:
            govern(self._adapter, self._tools)
        except Exception as error:
            raise ImportError(f"`{module.__name__}` cannot be governed, so it is not imported: {error!r}") from error


def _is_of(distribution: str, package: str, spec: ModuleSpec) -> bool:
    """Whether a module of a framework's name is the framework, from wherever it was loaded."""
    within = _ANYBODYS.get(package)
    if within is None or spec.origin is None:
        return True
    found = Path(spec.origin).resolve()
    if (found.parent / within).exists():
        return True
    try:
        its = metadata.distribution(distribution).locate_file(f"{package}/__init__.py")
    except metadata.PackageNotFoundError:
        return False
    return Path(str(its)).resolve() == found
