"""JSON from outside: size, depth, long numbers, types of fields, and names that become parts of paths."""

import json
import sys
import time
from typing import Literal

import msgspec
import numpy as np
import pytest
from limited import run_limited

from dhpe_lib.common.json_files import (
    Count,
    Integer,
    Joints,
    JsonError,
    Name,
    Number,
    Numbers,
    Value,
    Whole,
    convert,
    in_words,
    is_safe_name,
    parse_json,
    read_json,
)


class Inner(msgspec.Struct):
    rows: Whole


class Outer(msgspec.Struct):
    count: Count
    inner: Inner | None = None
    names: list[str] = []
    name: Name = "a"
    side: Literal["left", "right"] = "left"
    size: Number = None
    shift: Integer = 0
    by_name: dict[str, Inner] = {}
    note: Value = None


def test_json_is_read_as_python_reads_it(tmp_path):
    value = {"a": [1, -2.5, None, True, '[{\\"['], "b": {"c": "naïve"}, "d": 10**37, "e": "\U0001f600"}
    assert parse_json(json.dumps(value), object) == value
    (tmp_path / "a.json").write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8-sig")
    assert read_json(tmp_path / "a.json", object) == value


def test_a_declared_type_is_built(tmp_path):
    text = (
        '{"count": 1, "inner": {"rows": 0}, "names": ["a"], "name": "dexter+object", "size": 2, "more": [1], "note": 3}'
    )
    found = parse_json(text, Outer)
    assert found == Outer(1, Inner(0), ["a"], "dexter+object", size=2.0, note=3)
    assert isinstance(found.size, float)
    assert convert(json.loads(text), Outer) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"count": 1', "is not JSON .*truncated"),
        ("{'a': 1}", "is not JSON"),
        ('{"count": 1} x', "is not JSON .*trailing characters"),
        ('{"count": 1,}', "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        ('{"count": 1}'.encode("utf-16"), "is not JSON"),
        ('"\ud800"', "is not JSON .*surrogates"),
        ('{"count": 1, "note": "\\ud800"}', "is not JSON"),
        (b'{"count": 1, "note": "\xed\xa0\x80"}', "is not JSON"),
        ("", "is not JSON"),
    ],
)
def test_what_is_not_json(text, message):
    with pytest.raises(JsonError, match=message):
        parse_json(text, Outer)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "is a list, not an object"),
        ("null", "is null, not an object"),
        ("{}", "lacks the field count"),
        ('{"count": "1"}', "the field count is a text, not a whole number"),
        ('{"count": true}', "the field count is true or false, not a whole number"),
        ('{"count": 1.0}', "the field count is a number, not a whole number"),
        ('{"count": 0}', "the field count is not a whole number >= 1"),
        ('{"count": 1, "inner": 3}', "the field inner is a whole number, not an object or null"),
        ('{"count": 1, "inner": {}}', r"lacks the field inner\.rows"),
        ('{"count": 1, "inner": {"rows": -1}}', r"the field inner\.rows is not a whole number >= 0"),
        ('{"count": 1, "names": ["a", 1]}', r"the field names\[1\] is a whole number, not a text"),
        ('{"count": 1, "names": ["a", null]}', r"the field names\[1\] is null, not a text"),
        ('{"count": 1, "name": "../a"}', "the field name is not a name of letters, digits and _ . \\+ -"),
        ('{"count": 1, "side": "both"}', "the field side is 'both', which is not allowed"),
        ('{"count": 1, "by_name": {"a": {"rows": []}}}', r"the field by_name\[\.\.\.\]\.rows is a list, not a whole"),
        ('{"count": 1, "size": NaN, "name": 7}', "the field name is a whole number, not a name|not a text"),
        ('{"count": ' + "1" * 17 + "}", "the field count is not a whole number <= 9007199254740992"),
        ('{"count": ' + "1" * 400 + "}", "the field count is not a whole number <= 9007199254740992"),
        ('{"count": ' + "1" * 5000 + "}", "the field count is too large"),
        ('{"count": 1, "shift": -' + "1" * 400 + "}", "the field shift is not a whole number >= -9007199254740992"),
        ('{"count": 1, "size": ' + "1" * 400 + "}", "the field size is too large"),
        ('{"count": 1, "size": 1e999}', "the field size is too large"),
        ('{"count": 1, "note": ' + "1" * 400 + "}", "the field note is not a whole number <="),
        ('{"count": 1, "note": [' + "1" * 400 + "]}", "the field note is a list, not"),
    ],
)
def test_wrong_fields_are_named(text, message):
    with pytest.raises(JsonError, match=f"^{message}"):
        parse_json(text, Outer)


def test_wrong_entries_of_lists_are_counted():
    with pytest.raises(JsonError, match=r"^entry 1: lacks the field rows"):
        parse_json('[{"rows": 1}, {}]', list[Inner])
    with pytest.raises(JsonError, match=r"^entry 0: the field rows is null, not a whole number"):
        parse_json('[{"rows": null}]', list[Inner])
    with pytest.raises(JsonError, match=r"^entry 2: is a text, not an object"):
        parse_json('[{"rows": 1}, {"rows": 1}, "x"]', list[Inner])
    for rows in (20, 22):
        with pytest.raises(JsonError, match=r"^entry 0: is not a list of length"):
            parse_json(json.dumps([[[1, 2, 3]] * rows]), list[Joints])
    with pytest.raises(JsonError, match=r"^entry 0: the field \[7\]\[2\] is a text, not a number"):
        parse_json(json.dumps([[*[[1, 2, 3]] * 7, [1, 2, "3"]]]), list[Joints])


def test_other_messages_of_msgspec_stay():
    assert in_words("x is 3; it may be - at `y`") == "x is 3; it may be - at `y`"
    assert in_words("Invalid enum value '`int` - at `$.b`' - at `$.a`").startswith("the field")


def test_deep_nesting_ends_in_an_error():
    """A million levels; only a field that the type does not name can get that far."""
    deep = "[" * 10**6
    for text, kind in (
        (deep, Outer),
        (deep, object),
        (deep, Numbers),
        (f'{{"count": 1, "more": {deep}', Outer),
        (f'{{"count": 1, "more": {deep}{"]" * 10**6}}}', Outer),
        ('{"a":' * 10**6, dict[str, Value]),
    ):
        with pytest.raises(JsonError, match=r"recursion|is a list, not|is an object, not"):
            parse_json(text, kind)
    with pytest.raises(JsonError, match=r"entry 0: the field \[0\] is a list, not a number or null"):
        parse_json("[[[1]]]", Numbers)


def test_nan_and_infinity_are_null():
    text = r'{"count": 1, "size": NaN, "names": ["NaN", "a \" NaN, -Infinity"], "note": -Infinity}'
    found = parse_json(text, Outer)
    assert found == Outer(1, names=["NaN", 'a " NaN, -Infinity'])
    assert parse_json("[1, NaN, [-Infinity, 2]]", Numbers) == [1, None, [None, 2]]
    for text in ('{"note": NaNs}', '{NaN: 1, "count": 1}', '{"count": 1} NaN'):
        with pytest.raises(JsonError, match="is not JSON"):
            parse_json(text, Outer)


def test_of_a_field_twice_the_last_one_counts():
    assert parse_json('{"count": 1, "count": 2}', Outer).count == 2
    with pytest.raises(JsonError, match="the field count is a text"):
        parse_json('{"count": "1", "count": 2}', Outer)


def test_a_string_without_an_end_takes_no_long_time():
    """Looking for the end from each quotation mark would take hours."""
    start = time.process_time()
    with pytest.raises(JsonError, match="is not JSON"):
        parse_json('"' + '\\"' * 10**6, object)
    with pytest.raises(JsonError, match="is not JSON"):
        parse_json('NaN "' + '\\"' * 10**6, object)
    assert time.process_time() - start < 10


def test_budget_of_bytes(tmp_path):
    (tmp_path / "a.json").write_text("[" + " " * 100 + "]")
    assert read_json(tmp_path / "a.json", object, 102) == []
    with pytest.raises(JsonError, match="is larger than 101 bytes"):
        read_json(tmp_path / "a.json", object, 101)
    with pytest.raises(JsonError, match="is larger than 101 bytes"):
        parse_json("[" + " " * 100 + "]", object, 101)


SKIP = """
import json
from dhpe_lib.common.json_files import JsonError, Whole, parse_json
from msgspec import Struct

class Kind(Struct):
    rows: Whole
text = '{"rows": 1, "more": [' + "[]," * 10**7 + "0]}"
print(parse_json(text, Kind, 2**26).rows)
try:
    parse_json("[" + "[]," * 10**7 + "0]", Kind, 2**26)
except JsonError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is limited on Linux only")
def test_what_the_type_does_not_name_takes_no_memory():
    """Ten million lists in 30 MB would take 600 MB."""
    assert run_limited(SKIP, memory=2**28).splitlines() == ["1", "is a list, not an object"]


def test_every_whole_number_fits_a_float():
    found = parse_json("[9007199254740992, -9007199254740992]", list[Integer])
    assert np.array(found, np.float64).astype(int).tolist() == found


@pytest.mark.parametrize(
    "name", ["", ".", "..", "...", "a/b", "../a", "a\\b", "/", "a\n", "a b", "\x1b[31m", "a" * 61, "a\0"]
)
def test_names_that_are_no_parts_of_paths(name):
    assert not is_safe_name(name)
    with pytest.raises(JsonError, match="is not a name of letters"):
        parse_json(json.dumps(name), Name)


@pytest.mark.parametrize("name", ["orh", "dexter+object", "training-sk", "ho3d_v2.1", "MC1", "é", "手" * 60])
def test_names_of_datasets_and_splits(name):
    assert is_safe_name(name)
    assert parse_json(json.dumps(name), Name) == name
