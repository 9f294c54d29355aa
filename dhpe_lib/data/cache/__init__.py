"""The prepared cache: the crops of a dataset on disk, with random access."""

from dhpe_lib.common.lazy import lazy_exports

__all__, __getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "reader": ["Prepared"],
        "writer": ["PreparedWriter"],
        "preparation": ["Job", "prepare"],
    },
)
