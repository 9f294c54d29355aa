"""Read JSON from outside: its size, its depth, its numbers and the types of its fields are checked.

All functions raise `JsonError` with a message that does not name the file; a reader adds its file and the remedy.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

SMALL, LARGE = 2**24, 2**31
"""Budgets: most bytes of a configuration or a header, and of a file with an entry for each photo."""
MOST_DEPTH = 64
MOST_DIGITS = 38
"""Most digits of a whole number; larger ones do not fit a float32."""
STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
"""A string, or the rest of the text after a quotation mark without an end. It never looks at a byte twice."""
BRACKETS = np.zeros(256, np.int8)
BRACKETS[list(b"[{")], BRACKETS[list(b"]}")] = 1, -1
SAFE_NAME = re.compile(r"[\w.+-]{1,200}")

# Required type of a field: its description for messages, and a test.
Kind = tuple[str, Callable[[Any], bool]]
WHOLE: Kind = ("a whole number", lambda value: type(value) is int and value >= 0)
COUNT: Kind = ("a whole number above 0", lambda value: type(value) is int and value > 0)
NUMBER: Kind = ("a number", lambda value: type(value) in (int, float))
INTEGER: Kind = ("a whole number", lambda value: type(value) is int)
SWITCH: Kind = ("true or false", lambda value: isinstance(value, bool))
TEXT: Kind = ("a text", lambda value: isinstance(value, str))
NAME: Kind = ("a name of letters, digits and _ . + -", lambda value: isinstance(value, str) and is_safe_name(value))
OBJECT: Kind = ("an object", lambda value: isinstance(value, dict))
OBJECTS: Kind = ("a list of objects", lambda value: isinstance(value, list) and all(map(OBJECT[1], value)))
TEXTS: Kind = ("a list of texts", lambda value: isinstance(value, list) and all(map(TEXT[1], value)))


class JsonError(ValueError):
    """A text is not JSON, is too large, or has a field of another type."""


def is_safe_name(text: str) -> bool:
    """Return whether a text from a file can be a part of a path: it cannot lead to another folder."""
    return SAFE_NAME.fullmatch(text) is not None and text.strip(".") != ""


def read_json(path: Path, most: int = SMALL) -> Any:
    """Read a JSON file.

    Args:
        path: The file; it may begin with a byte order mark.
        most: Most bytes to read.

    Returns:
        The content.

    Raises:
        OSError: The file cannot be read.
        JsonError: See :func:`parse_json`.
    """
    if path.stat().st_size > most:
        raise JsonError(f"larger than {most} bytes")
    return parse_json(path.read_bytes(), most)


def parse_json(text: str | bytes, most: int = SMALL) -> Any:
    """Parse JSON.

    Args:
        text: JSON in UTF-8.
        most: Most bytes.

    Returns:
        The content.

    Raises:
        JsonError: The text is not JSON, is longer than `most`, is nested more than 64 levels deep, or has a whole
            number of more than 38 digits.
    """
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(raw) > most:
        raise JsonError(f"larger than {most} bytes")
    # Strings can hold brackets. A sum of 8 bits wraps around, but only after it has passed 64.
    depth = np.cumsum(BRACKETS[np.frombuffer(STRING.sub(b"", raw), np.uint8)], dtype=np.int8)
    if depth.size and depth.max() > MOST_DEPTH:
        raise JsonError(f"nested more than {MOST_DEPTH} levels deep")
    try:
        return json.loads(raw.decode("utf-8-sig"), parse_int=whole_number)
    except JsonError:
        raise
    except (ValueError, RecursionError) as error:
        raise JsonError(str(error)) from error


def whole_number(digits: str) -> int:
    """Convert the digits of a whole number, unless there are too many."""
    if len(digits.lstrip("-")) > MOST_DIGITS:
        raise JsonError(f"a whole number of {len(digits)} digits, at most {MOST_DIGITS} are read")
    return int(digits)


def check_fields(record: Any, kinds: Mapping[str, Kind]) -> None:
    """Raise an error unless a value is an object with certain fields.

    Args:
        record: The value.
        kinds: Name of each required field -> its type. A field of an inner object is named `outer.inner` and comes
            after `outer`.

    Raises:
        JsonError: The value is not an object, or a field is missing or has another type; the message names the first
            such field.
    """
    if not isinstance(record, dict):
        raise JsonError(f"holds {shown(record)}, not an object")
    for name, (words, right) in kinds.items():
        outer, _, inner = name.rpartition(".")
        owner = record[outer] if outer else record
        if inner not in owner:
            raise JsonError(f"lacks the field {name}")
        if not right(owner[inner]):
            raise JsonError(f"the field {name} is {shown(owner[inner])}, not {words}")


def shown(value: Any) -> str:
    """Return the first 40 characters of a JSON value, for a message."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
