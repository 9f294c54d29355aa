"""Names that a folder exports without importing its modules: they are imported at the first use."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy_exports(
    folder: str, modules: Mapping[str, Sequence[str]]
) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """Make the ``__all__``, ``__getattr__`` and ``__dir__`` of a folder's ``__init__.py``.

    Args:
        folder: ``__name__`` of the folder.
        modules: For each module of the folder the names that it exports.

    Returns:
        The three, in this order.

    Source: PEP 562.
    """
    home = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {folder!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{folder}.{home[name]}"), name)

    return sorted(home), get, lambda: sorted(home)
