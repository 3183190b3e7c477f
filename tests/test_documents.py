"""Rows of a history are read by a quick parser: what it says is what Python's parser says, within the same bounds."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import BadData
from registry.server import documents, limits

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def same(left: Any, right: Any) -> bool:
    """Equal in kind and value, where NaN is NaN and -0.0 is not 0.0."""
    return repr(left) == repr(right)


@settings(max_examples=50)
@given(st.lists(st.dictionaries(st.text(max_size=5), _values, max_size=5), max_size=5))
def test_rows_are_read_as_python_reads_them(rows: list[dict[str, Any]]) -> None:
    assert same(documents.read_rows([json.dumps(row) for row in rows]), rows)


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ('{"x": NaN, "y": Infinity, "z": -Infinity}', {"x": math.nan, "y": math.inf, "z": -math.inf}),
        ('{"x": 1e999}', {"x": math.inf}),
        ('{"x": -0.0, "y": -0}', {"x": -0.0, "y": 0}),
        ('{"x": 123456789012345678901234567890}', {"x": 123456789012345678901234567890}),
        ('{"x": 1, "x": 2}', {"x": 2}),
        (' {"x" : 1}\n', {"x": 1}),
        ('{"x": "\\ud83d\\ude00"}', {"x": "\U0001f600"}),
        ('{"x": "\\ud800"}', {"x": "\ufffd"}),
        ('{"x": "a\ud800"}', {"x": "a\ud800"}),
        ('{"x": "' + "[" * 200 + '"}', {"x": "[" * 200}),
        ('{"x": ' + "[" * 99 + "]" * 99 + "}", {"x": json.loads("[" * 99 + "]" * 99)}),
        ('{"x": ' + "[" * 101 + "]" * 101 + "}", None),
        ('{"x": "a\nb"}', None),
        ('{"x": 01}', None),
        ('{"x": 1,}', None),
        ('{"x": 1} {"y": 2}', None),
        ('{"x": 1', None),
        ('"y": 2}', None),
        ("[1]", None),
        ("1", None),
        ("", None),
    ],
    ids=[
        "no numbers", "beyond floats", "zeros", "beyond 64 bits", "twice", "spaces", "pair", "half a pair", "half a letter",
        "brackets in a text", "deep", "too deep", "line break in a text", "octal", "comma", "two objects", "begun", "ended",
        "list", "number", "nothing",
    ],
)  # fmt: skip
def test_a_row_is_an_object_or_left_out(text: str, row: dict[str, Any] | None) -> None:
    assert same(documents.read_rows(['{"a": 1}', text, '{"b": 2}']), [{"a": 1}, row, {"b": 2}])


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"[1]", "is a JSON list, not an object"),
        (b'{"files": ', "is not JSON"),
        (b'{"x": [' + b"[]," * limits.JSON_CONTAINERS + b"[]]}", "holds more than"),
        (b'{"x": ' + b"[" * 1000 + b"]" * 1000 + b"}", "levels deep"),
    ],
    ids=["list", "cut", "many", "deep"],
)
def test_an_envelope_has_the_bounds_of_any_document(raw: bytes, reason: str) -> None:
    with pytest.raises(BadData, match=reason):
        documents.read_envelope(raw, "the body")


def test_an_envelope_may_hold_any_number_of_brackets_in_its_texts() -> None:
    lines = ["{[" * 10] * (limits.JSON_CONTAINERS // 10)
    assert documents.read_envelope(json.dumps({"content": lines}).encode(), "the body") == {"content": lines}
