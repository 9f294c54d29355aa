"""Lazy exports of a package: a module is imported when one of its names is first used."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy_exports(
    folder: str, modules: Mapping[str, Sequence[str]]
) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """Make the ``__all__``, ``__getattr__`` and ``__dir__`` of a package's ``__init__.py``.

    Args:
        folder: ``__name__`` of the package.
        modules: Maps each module of the package to the names that it exports.

    Returns:
        ``__all__``, ``__getattr__`` and ``__dir__``.

    Source: PEP 562.
    """
    home = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {folder!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{folder}.{home[name]}"), name)

    return sorted(home), get, lambda: sorted(home)
