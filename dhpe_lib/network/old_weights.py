"""Budget of files of weights from before torch 1.6: pickles that name storages, and the numbers of the storages.

Torch's reader allocates what such a file claims before it looks whether the numbers are there. This module reads the
pickles first, without looking up a name, and counts.
"""

from pathlib import Path
from typing import Any

from dhpe_lib.common.pickled_arrays import Placeholder
from dhpe_lib.common.unpickling import PickleReader

PICKLES = 5
"""Magic number, version, facts of the system, the state, and the keys of the storages."""


class Anything(Placeholder):
    """Placeholder for whatever the pickle makes; it takes items too."""

    def __setitem__(self, *_: Any) -> None:
        pass


class ClaimsReader(PickleReader):
    """An unpickler that makes nothing and notes the sizes of the storages.

    Attributes:
        claims: Claimed number of values of each storage, by key.
    """

    def __init__(self, path: Path, raw: bytes) -> None:
        super().__init__(path, raw)
        self.claims: dict[str, int] = {}

    def find_class(self, module: str, name: str) -> type[Anything]:
        """Return the placeholder; torch's own reader refuses names that are not weights."""
        return Anything

    def persistent_load(self, pid: Any) -> Anything:
        """Note a storage: ("storage", type, key, device, number of values, view)."""
        _, _, key, _, count, *_ = pid
        self.claims[str(key)] = int(count)
        return Anything()


def claimed_values(path: Path) -> int:
    """Return the number of values that an old file of weights claims to have.

    Args:
        path: The file.

    Raises:
        Exception: The file is damaged; a pickle is a program and can raise almost any error.

    Source: `torch.serialization`, the format that is not a zip archive.
    """
    reader = ClaimsReader(path, path.read_bytes())
    for _ in range(PICKLES):
        reader.load()
    return sum(reader.claims.values())
