"""Read JSON from outside into a declared type.

msgspec builds only what the type names, so the type bounds the depth of the content. A field that the type does not
name, or names as Any, ends in an error beyond Python's limit of recursion, so no guard of the depth is needed here. A
whole number may have 4,300 digits in msgspec, which no float holds; the types here bound it. If a field occurs twice,
the last one counts.

All functions raise `JsonError` with a message that does not name the file; a reader adds its file and the remedy.
"""

import codecs
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

SMALL, LARGE = 2**24, 2**31
"""Budgets: most bytes of a configuration or a header, and of a file with an entry for each photo."""
SAFE_NAME = r"\A(?!\.*\Z)[\w.+-]{1,60}\Z"
"""At most 60 letters: file systems take names of 255 bytes, and a letter has up to four."""

Integer = Annotated[int, Meta(ge=-(2**53), le=2**53)]
Whole = Annotated[int, Meta(ge=0, le=2**53)]
Count = Annotated[int, Meta(ge=1, le=2**53)]
Name = Annotated[str, Meta(pattern=SAFE_NAME)]
Number = float | None
"""A number that may be unknown; see :func:`parse_json` for NaN."""
Numbers = list[Number | list[Number]]
Value = bool | Integer | float | str | None
"""A value without inner values."""
Point = tuple[float, float, float]
Matrix = tuple[Point, Point, Point]
Joints = Annotated[list[Point], Meta(min_length=21, max_length=21)]
Kind = TypeVar("Kind")

NOT_A_NUMBER = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|NaN|-?Infinity', re.DOTALL)
"""A string (or the rest of the text, if the string has no end), or a number that JSON does not know."""
WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "name": "a name of letters, digits and _ . + -",
}
PHRASES = {
    r"Expected (.*), got (\d+)": r"is not \1, but of length \2",
    r"Expected (.*), got (.*)": r"is \2, not \1",
    r"Expected (.*)": r"is not \1",
    r"Invalid enum value (.*)": r"is \1, which is not allowed",
    r"(?:Integer value|Number) out of range": "is too large",
}
"""Types and messages of msgspec, and the same in plain words."""


class JsonError(ValueError):
    """A text is not JSON, is too large, or has a field of another type."""


def is_safe_name(text: str) -> bool:
    """Return whether a text from a file can be a part of a path: it cannot lead to another folder."""
    return re.search(SAFE_NAME, text) is not None


def read_json(path: Path, kind: Callable[..., Kind], most: int = SMALL) -> Kind:
    """Read a JSON file.

    Args:
        path: The file; it may begin with a byte order mark.
        kind: Type of the content.
        most: Most bytes to read.

    Returns:
        The content.

    Raises:
        OSError: The file cannot be read.
        JsonError: See :func:`parse_json`.
    """
    if path.stat().st_size > most:
        raise JsonError(f"is larger than {most} bytes")
    return parse_json(path.read_bytes(), kind, most)


def parse_json(text: str | bytes, kind: Callable[..., Kind], most: int = SMALL) -> Kind:
    """Parse JSON.

    Args:
        text: JSON in UTF-8. NaN and Infinity, which Python's programs write, are read as null.
        kind: Type of the content: a class that msgspec can build.
        most: Most bytes.

    Returns:
        The content.

    Raises:
        JsonError: The text is not JSON, is longer than `most`, or is not of the type. The message names the field.
    """
    try:
        raw = (text.encode() if isinstance(text, str) else text).removeprefix(codecs.BOM_UTF8)
        if len(raw) > most:
            raise JsonError(f"is larger than {most} bytes")
        return _decode(raw, kind)
    except msgspec.ValidationError as error:
        raise JsonError(in_words(str(error))) from error
    except JsonError:
        raise
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise JsonError(f"is not JSON ({error})") from error


def _decode(raw: bytes, kind: Callable[..., Kind]) -> Kind:
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        as_null = NOT_A_NUMBER.sub(lambda found: found[0] if found[0][:1] == b'"' else b"null", raw)
        return msgspec.json.decode(as_null, type=kind)


def convert(value: Any, kind: Callable[..., Kind]) -> Kind:
    """Convert parsed JSON to a type.

    Args:
        value: Dictionaries, lists and values.
        kind: A class that msgspec can build.

    Returns:
        The value as `kind`.

    Raises:
        JsonError: The value is not of the type. The message names the field.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise JsonError(in_words(str(error))) from error


def in_words(message: str) -> str:
    """Say a message of msgspec in plain words: "Expected `int`, got `str` - at `$[3].a.b`" names entry 3, field a.b."""
    found = re.fullmatch(r"(.*?)(?: - at (?:`key` in )?`\$(?:\[(\d+)\])?\.?(.*)`)?", message, re.DOTALL)
    assert found is not None
    problem, entry, field = found.groups()
    where = f"entry {entry}: " if entry else ""
    if missing := re.fullmatch("Object missing required field `(.*)`", problem):
        return f"{where}lacks the field {f'{field}.' if field else ''}{missing[1]}"
    if problem.startswith("Expected "):
        problem = problem.replace(f"`str` matching regex {SAFE_NAME!r}", "`name`")
        problem = re.sub(
            "`(.*?)`", lambda kinds: " or ".join(WORDS.get(kind, kind) for kind in kinds[1].split(" | ")), problem
        )
    for theirs, ours in PHRASES.items():
        problem = re.sub(f"^{theirs}$", ours, problem, flags=re.DOTALL)
    return f"{where}the field {field} {problem}" if field else where + problem
