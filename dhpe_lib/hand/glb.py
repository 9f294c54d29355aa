"""Binary glTF files (GLB): numbers packed into one buffer, described by JSON. Nothing here knows what a hand is.

Source: the glTF 2.0 specification of the Khronos Group, sections *Binary data storage* and *GLB file format*.
"""

import json
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from dhpe_lib.common.arguments import checked

COMPONENTS = {"float32": 5126, "uint8": 5121, "uint16": 5123, "uint32": 5125}
TYPES = {(): "SCALAR", (2,): "VEC2", (3,): "VEC3", (4,): "VEC4", (4, 4): "MAT4"}
VERTEX_DATA, INDEX_DATA = 34962, 34963
MAGIC, VERSION, JSON_CHUNK, BINARY_CHUNK = b"glTF", 2, b"JSON", b"BIN\0"


@dataclass
class GlbBuffer:
    """The binary part of a file under construction.

    Attributes:
        data: Bytes so far.
        views: glTF's bufferViews, one for each array.
        accessors: glTF's accessors, one for each array.
    """

    data: bytearray = field(default_factory=bytearray)
    views: list[dict[str, Any]] = field(default_factory=list)
    accessors: list[dict[str, Any]] = field(default_factory=list)

    @checked()
    def add(self, array: Shaped[ndarray, "n ..."], target: int | None = None, bounds: bool = False) -> int:
        """Append an array.

        Args:
            array: float32 or unsigned integers; one item in a row. A matrix is given row by row; glTF keeps it column
                by column.
            target: ``VERTEX_DATA``, ``INDEX_DATA``, or None for what is not drawn.
            bounds: Whether the accessor names the smallest and largest values; glTF wants them for positions and times.

        Returns:
            Number of the accessor.

        Raises:
            ValueError: glTF has no such item, or its rows are not whole multiples of 4 bytes.
        """
        kind = TYPES.get(array.shape[1:])
        component = COMPONENTS.get(str(array.dtype))
        if kind is None or component is None:
            raise ValueError(f"glTF holds no items of shape {array.shape[1:]} and type {array.dtype}")
        if target == VERTEX_DATA and array[0].nbytes % 4:
            raise ValueError(f"a row of {array[0].nbytes} bytes is not a multiple of 4 bytes; add a column")
        self.data += bytes(-len(self.data) % 4)
        view: dict[str, Any] = {"buffer": 0, "byteOffset": len(self.data), "byteLength": array.nbytes}
        self.views.append(view | ({} if target is None else {"target": target}))
        self.data += np.ascontiguousarray(array.swapaxes(1, 2) if kind == "MAT4" else array).tobytes()
        accessor = {"bufferView": len(self.views) - 1, "componentType": component, "count": len(array), "type": kind}
        if bounds:
            accessor |= {"min": _row(array.min(0)), "max": _row(array.max(0))}
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def add_file(self, content: bytes) -> int:
        """Append a file, such as an image.

        Returns:
            Number of its bufferView.
        """
        self.data += bytes(-len(self.data) % 4)
        self.views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(content)})
        self.data += content
        return len(self.views) - 1

    def pack(self, document: dict[str, Any]) -> bytes:
        """Make the file.

        Args:
            document: glTF's JSON without asset, buffers, bufferViews and accessors.

        Returns:
            The content of a ``.glb`` file.
        """
        binary = bytes(self.data) + bytes(-len(self.data) % 4)
        whole = {
            "asset": {"version": "2.0", "generator": "dhpe"},
            **document,
            "buffers": [{"byteLength": len(binary)}],
            "bufferViews": self.views,
            "accessors": self.accessors,
        }
        text = json.dumps(whole, separators=(",", ":"), allow_nan=False).encode()
        text += b" " * (-len(text) % 4)
        chunks = b"".join(
            struct.pack("<I4s", len(chunk), kind) + chunk
            for kind, chunk in ((JSON_CHUNK, text), (BINARY_CHUNK, binary))
        )
        return struct.pack("<4sII", MAGIC, VERSION, 12 + len(chunks)) + chunks


def _row(values: ndarray | np.generic) -> list[float]:
    return [float(value) for value in np.atleast_1d(values)]
