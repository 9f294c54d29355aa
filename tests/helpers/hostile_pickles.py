"""Pickles that are made to run code, to crash, to stall or to fill the memory.

Used by tests/common/test_hostile_files.py and benchmarks/fuzz.py.
"""

import pickle
import struct
from pathlib import Path

import numpy as np


def csc(shape, data, rows, starts) -> bytes:
    """A pickle of a scipy matrix with any content."""
    fields = {"_shape": shape, "data": np.array(data), "indices": np.array(rows), "indptr": np.array(starts)}
    state = pickle.dumps(fields, 2)[2:-1]
    return (
        b"\x80\x02ccopy_reg\n_reconstructor\ncscipy.sparse.csc\ncsc_matrix\nc__builtin__\nobject\nN\x87R"
        + state
        + b"b."
    )


def memo_bomb(depth: int, kind: bytes = b"]") -> bytes:
    """A list that holds a list twice, which holds a list twice, and so on: 2^depth values."""
    raw = b"\x80\x02]q\x00"
    for k in range(depth):
        put, get = (b"r" + n.to_bytes(4, "little") for n in (k + 1, k))
        raw += b"](" + b"j" + get[1:] + b"j" + get[1:] + b"e" + put
    return raw + b"."


def same_hash(count: int) -> bytes:
    """A dict whose keys are different numbers with one hash; to make this dict here would take as long."""
    keys = (k * (2**61 - 1) for k in range(1, count))
    return b"\x80\x02}(" + b"".join(b"\x8a\x0b" + key.to_bytes(11, "little") + b"N" for key in keys) + b"u."


TOP = 2**63 - 1
HOSTILE_PICKLES = {
    "starts_wrap": (csc((3, 4), [1.0], [0], [0, 2**62, -(2**62), 2, 1]), "do not fit its columns"),
    "starts_wrap_to_0": (csc((1, 4), [], np.zeros(0, int), [0, TOP, -2, TOP, 0]), "do not fit its columns"),
    "starts_descend": (csc((3, 2), [1.0], [0], [0, 2, 1]), "do not fit its columns"),
    "negative_row": (csc((3, 1), [1.0], [-1], [0, 1]), "do not fit its columns"),
    "row_too_large": (csc((3, 1), [1.0], [3], [0, 1]), "do not fit its columns"),
    "billion_zeros": (csc((2**20, 2**10), [1.0], [3], np.append(np.zeros(2**10, int), 1)), "bytes of arrays"),
    "endless_shape": (csc((2**70, 1), [1.0], [3], [0, 1]), "something else than numbers"),
    "memo_bomb": (memo_bomb(60), "more than .* values"),
    "many_copies": (
        b"\x80\x02(" + pickle.dumps(np.zeros(2**20, np.uint8), 2)[2:-1] + b"q\xf0" + b"h\xf0" * 2000 + b"l.",
        "bytes of arrays",
    ),
    "claimed_bytes": (b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b"abc.", "damaged|truncated"),
    "claimed_text": (b"\x80\x04\x8d" + (2**40).to_bytes(8, "little") + b"abc.", "damaged|truncated"),
    "claimed_frame": (b"\x80\x04\x95" + (2**40).to_bytes(8, "little") + b"abc.", "damaged|truncated"),
    "deep_lists": (b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b".", "recursion"),
    "deep_key": (b"\x80\x02}N" + b"\x85" * 10**6 + b"Ns.", "a key of type tuple"),
    "deep_element": (b"\x80\x04\x8f(N" + b"\x85" * 10**6 + b"\x90.", "a key of type tuple"),
    "deep_frozen": (b"\x80\x04(N" + b"\x85" * 10**6 + b"\x91.", "a key of type tuple"),
    "one_hash": (same_hash(10**5), "a key of type int"),
    "long_text_in_list": (pickle.dumps(["a" * 10**6] + ["b"] * 10**5), "loaded"),
}
"""Pickles that ask for much, each with the expected message of the reader."""


RUNNERS = (
    "os.system", "posix.system", "subprocess.call", "subprocess.Popen", "builtins.eval", "builtins.exec",
    "builtins.__import__", "__builtin__.eval", "builtins.getattr", "numpy.testing._private.utils.runstring",
    "pty.spawn", "runpy.run_path", "ctypes.CDLL", "pickle.loads", "numpy.load", "importlib.import_module",
)  # fmt: skip


def argument(name: str, marker: Path) -> bytes:
    """Pickled argument with which a function makes the file `marker`, if it runs text at all."""
    is_python = name.partition(".")[2] in ("eval", "exec", "runstring")
    text = f"__import__('pathlib').Path({str(marker)!r}).touch()" if is_python else f"touch {marker}"
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def calls(name: str, marker: Path) -> dict[str, bytes]:
    """Pickles that call a function by each of the opcodes for calls."""
    module, _, function = name.rpartition(".")
    value = argument(name, marker)
    named = f"c{module}\n{function}\n".encode()
    short = b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, function)) + b"\x93"
    return {
        "REDUCE": named + value + b"\x85R.",
        "STACK_GLOBAL": b"\x80\x04" + short + value + b"\x85R.",
        "INST": b"(" + value + f"i{module}\n{function}\n.".encode(),
        "OBJ": b"(" + named + value + b"o.",
        "NEWOBJ": b"\x80\x02" + named + value + b"\x85\x81.",
        "NEWOBJ_EX": b"\x80\x04" + named + value + b"\x85}\x92.",
    }


def ndarray(shape: bytes, dtype: bytes, data: bytes = b"U\x08abcdefgh") -> bytes:
    """A pickle of a numpy array with any shape and type, given as opcodes."""
    made = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    kind = b"cnumpy\ndtype\n" + dtype + b"K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    return made + b"(K\x01" + shape + kind + b"\x89" + data + b"tb."


ODD_PICKLES = {
    "EXT1": b"\x80\x02\x82\x01.",
    "EXT2": b"\x80\x02\x83\x01\x00.",
    "EXT4": b"\x80\x02\x84\x01\x00\x00\x00.",
    "PERSID": b"Pos.system\n.",
    "BINPERSID": b"X\x02\x00\x00\x00osQ.",
    "build of a dict": b"(dp0\n(dS'__setstate__'\ncos\nsystem\nsb.",
    "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x15ndarray.__reduce_ex__\x93.",
    "state of a placeholder": b"\x80\x02cnumpy\nndarray\n)\x81}X\x09\x00\x00\x00__class__K\x01sb.",
    "placeholder as class": b"\x80\x02ccopy_reg\n_reconstructor\ncnumpy\nndarray\ncnumpy\nndarray\nN\x87R.",
    "itself": b"\x80\x02]q\x00h\x00a.",
    "dict in itself": b"\x80\x02}q\x00U\x01ah\x00s.",
    "tuple of itself": b"\x80\x02]q\x00h\x00\x85a.",
    "chumpy of itself": b"\x80\x02cchumpy.ch\nCh\n)\x81q\x00}U\x01xh\x00sb.",
    "endless shape": ndarray(b"\x8a\x09" + (2**70).to_bytes(9, "little") + b"\x85", b"U\x02f8"),
    "shape that wraps": ndarray(b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x87", b"U\x02f8"),
    "negative shape": ndarray(b"J\xff\xff\xff\xff\x85", b"U\x02f8"),
    "objects": ndarray(b"K\x01\x85", b"U\x02O8"),
    "wide texts": ndarray(b"K\x01\x85", b"U\x0aS999999999"),
    "many fields": ndarray(b"K\x01\x85", b"U\x05f8,f8"),
    "text as shape": ndarray(b"U\x03abc", b"U\x02f8"),
    "list as data": ndarray(b"K\x01\x85", b"U\x02f8", b"]"),
    "unknown codec": b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R.",
    "endless number": b"I" + b"9" * 10**6 + b"\n.",
    "endless long": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "negative long": b"\x80\x02\x8b\xff\xff\xff\xff.",
    "empty stack": b"0.",
    "no mark": b"t.",
    "unknown memo": b"h\x01.",
    "far memo": b"\x80\x02]r\xff\xff\xff\xff.",
    "no stop": b"]",
    "nothing": b"",
    "future protocol": b"\x80\xff.",
    "bad frame": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xff.",
    "marks": b"(" * 10**6 + b".",
    "deep dicts": b"\x80\x02" + b"}U\x01a" * 10**5 + b"}" + b"s" * 10**5 + b".",
    "tuple bomb": memo_bomb(40).replace(b"](j", b"(j").replace(b"er", b"tr"),
    "float without end": b"F" + b"1" * 10**6 + b"\n.",
    "claimed bytes": b"\x80\x04\x8e" + (2**50).to_bytes(8, "little") + b"abc.",
}
"""Pickles that are damaged or misuse what is allowed; each must end in an error or in data."""


def hundred(marker: Path) -> dict[str, bytes]:
    """Return 100 hostile pickles; `marker` is the file that those make that succeed in running code."""
    raw = {name: content for name, (content, _) in HOSTILE_PICKLES.items()} | ODD_PICKLES
    run = {f"{name} by {how}": code for name in RUNNERS for how, code in calls(name, marker).items()}
    step = len(run) / (100 - len(raw))
    chosen = [list(run)[int(k * step)] for k in range(100 - len(raw))]
    return raw | {name: run[name] for name in chosen}
