"""A GLB file read back by a parser of its own, and skinned in numpy as a player does."""

import json
import struct
from pathlib import Path

import numpy as np

DTYPES = {5126: np.float32, 5121: np.uint8, 5123: np.uint16, 5125: np.uint32}
ITEMS = {"SCALAR": (), "VEC2": (2,), "VEC3": (3,), "VEC4": (4,), "MAT4": (4, 4)}


class Glb:
    """A GLB file, parsed from its bytes."""

    def __init__(self, path: Path):
        data = path.read_bytes()
        magic, version, length = struct.unpack("<4sII", data[:12])
        assert (magic, version, length) == (b"glTF", 2, len(data))
        size, kind = struct.unpack("<I4s", data[12:20])
        assert kind == b"JSON"
        self.json = json.loads(data[20 : 20 + size])
        rest = data[20 + size :]
        assert struct.unpack("<I4s", rest[:8]) == (len(rest) - 8, b"BIN\0")
        self.binary = rest[8:]

    def array(self, accessor: int) -> np.ndarray:
        about = self.json["accessors"][accessor]
        view = self.json["bufferViews"][about["bufferView"]]
        shape = (about["count"], *ITEMS[about["type"]])
        array = np.frombuffer(
            self.binary, DTYPES[about["componentType"]], np.prod(shape, dtype=int), view["byteOffset"]
        )
        array = array.reshape(shape)
        return array.swapaxes(1, 2) if about["type"] == "MAT4" else array

    def curves(self):
        """Values by node and property."""
        if "animations" not in self.json:
            return {}
        animation = self.json["animations"][0]
        found = {}
        for channel in animation["channels"]:
            sampler = animation["samplers"][channel["sampler"]]
            key = (channel["target"]["node"], channel["target"]["path"])
            found[key] = (self.array(sampler["input"]), self.array(sampler["output"]))
        return found

    def parents(self):
        return {child: k for k, node in enumerate(self.json["nodes"]) for child in node.get("children", [])}

    def play(self, mesh_node: int, key: int) -> np.ndarray:
        """The vertices of a mesh at a key, as a player skins them."""
        node = self.json["nodes"][mesh_node]
        skin, mesh = self.json["skins"][node["skin"]], self.json["meshes"][node["mesh"]]
        primitive, curves, parents = mesh["primitives"][0], self.curves(), self.parents()
        read = {name: self.array(k).astype(float) for name, k in primitive["attributes"].items()}
        rest = read["POSITION"].copy()
        if (mesh_node, "weights") in curves:
            coefficients = curves[mesh_node, "weights"][1].reshape(-1, len(primitive["targets"]))[key]
            rest += sum(c * self.array(t["POSITION"]) for c, t in zip(coefficients, primitive["targets"], strict=True))

        def world(joint):
            values = {
                path: curves[joint, path][1][key] if (joint, path) in curves else self.json["nodes"][joint].get(path)
                for path in ("rotation", "translation")
            }
            local = np.eye(4)
            if values["rotation"] is not None:
                local[:3, :3] = matrix(values["rotation"])
            if values["translation"] is not None:
                local[:3, 3] = values["translation"]
            return (world(parents[joint]) if joint in parents else np.eye(4)) @ local

        binds = self.array(skin["inverseBindMatrices"])
        motion = np.stack([world(joint) @ bind for joint, bind in zip(skin["joints"], binds, strict=True)])
        mixed = np.einsum("vk,vkrc->vrc", read["WEIGHTS_0"], motion[read["JOINTS_0"].astype(int)])
        return np.einsum("vrc,vc->vr", mixed, np.c_[rest, np.ones(len(rest))])[:, :3]


def matrix(quaternion):
    x, y, z, w = np.asarray(quaternion, float)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def mesh_nodes(glb: Glb) -> list[int]:
    return [k for k, node in enumerate(glb.json["nodes"]) if "mesh" in node]
