"""JSON from outside: size, depth, long numbers, types of fields, and names that become parts of paths."""

import json

import numpy as np
import pytest

from dhpe_lib.common.json_files import (
    COUNT,
    NAME,
    OBJECT,
    TEXTS,
    WHOLE,
    JsonError,
    check_fields,
    is_safe_name,
    parse_json,
    read_json,
)


def test_json_is_read_as_python_reads_it(tmp_path):
    value = {"a": [1, -2.5, None, True, '[{\\"['], "b": {"c": "naïve"}, "d": 10**37}
    assert parse_json(json.dumps(value)) == value
    (tmp_path / "a.json").write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8-sig")
    assert read_json(tmp_path / "a.json") == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 65 + "]" * 65, "nested more than 64 levels deep"),
        ("[" * 10**6, "nested more than 64 levels deep"),
        ('{"a":' * 70 + "1" + "}" * 70, "nested more than 64"),
        ("1" * 400, "a whole number of 400 digits, at most 38"),
        ("-" + "1" * 39, "a whole number of 40 digits"),
        ("1" * 5000, "a whole number of 5000 digits"),
        ("[1, 2", "delimiter"),
        (b"\xff\xfe", "decode"),
        ('"\ud800"', "surrogate|utf-8"),
        ("", "Expecting value"),
    ],
)
def test_what_is_refused(text, message):
    with pytest.raises(JsonError, match=message):
        parse_json(text)


def test_brackets_in_strings_are_not_depth():
    assert parse_json(json.dumps(["[" * 100, '"' + "{" * 100])) == ["[" * 100, '"' + "{" * 100]
    assert parse_json("[" * 64 + "]" * 64)


def test_a_string_without_an_end_takes_no_long_time():
    """Looking for the end from each quotation mark would take hours."""
    with pytest.raises(JsonError, match="Unterminated string"):
        parse_json('"' + '\\"' * 10**6)


def test_budget_of_bytes(tmp_path):
    (tmp_path / "a.json").write_text("[" + " " * 100 + "]")
    assert read_json(tmp_path / "a.json", 102) == []
    with pytest.raises(JsonError, match="larger than 101 bytes"):
        read_json(tmp_path / "a.json", 101)


def test_every_whole_number_fits_a_float():
    assert np.isfinite(np.array(parse_json("[" + "9" * 38 + "]"), np.float32)).all()


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([], r"holds \[\], not an object"),
        ({}, "lacks the field count"),
        ({"count": True}, "the field count is true, not a whole number above 0"),
        ({"count": 0}, "the field count is 0, not"),
        ({"count": 1, "inner": 3}, "the field inner is 3, not an object"),
        ({"count": 1, "inner": {}}, "lacks the field inner.rows"),
        ({"count": 1, "inner": {"rows": -1}}, "the field inner.rows is -1, not a whole number"),
        ({"count": 1, "inner": {"rows": 1}, "names": ["a", 1]}, "the field names is .* not a list of texts"),
        ({"count": 1, "inner": {"rows": 1}, "names": [], "name": "../a"}, "the field name is .* not a name of letters"),
    ],
)
def test_fields(record, message):
    kinds = {"count": COUNT, "inner": OBJECT, "inner.rows": WHOLE, "names": TEXTS, "name": NAME}
    with pytest.raises(JsonError, match=message):
        check_fields(record, kinds)
    check_fields({"count": 1, "inner": {"rows": 0}, "names": ["a"], "name": "dexter+object", "more": 1}, kinds)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../a", "a\\b", "/", "a\n", "a b", "\x1b[31m", "a" * 300, "a\0"]
)
def test_names_that_are_no_parts_of_paths(name):
    assert not is_safe_name(name)


@pytest.mark.parametrize("name", ["orh", "dexter+object", "training-sk", "ho3d_v2.1", "MC1"])
def test_names_of_datasets_and_splits(name):
    assert is_safe_name(name)
