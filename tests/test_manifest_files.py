"""The layout of the server's own manifests loses nothing: whatever paths and entries hold, lines come back as they went in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from registry.server import manifest_files

_HEAD = {"version": 1, "storagePolicy": 'of "contents": {\n'}
_text = st.text(st.sampled_from('ab:"\\{},\n é🎈')) | st.text(max_size=5)
_value = st.recursive(_text | st.integers() | st.none(), lambda inner: st.dictionaries(_text, inner, max_size=2), max_leaves=4)
_contents = st.dictionaries(_text, st.dictionaries(_text, _value, max_size=3), max_size=5)


@given(_contents)
@example({"a": {"ref": '}, "b'}, "b": {"extra": {"c": {}, "d": {}}, "size": 1}})
@example({"a": {"extra": {}, "size": 1}})
def test_a_manifest_in_lines_is_the_manifest(contents: Mapping[str, Mapping[str, Any]]) -> None:
    lines = manifest_files.lines(contents)
    file = manifest_files.written(_HEAD | {"contents": {"not": "this"}}, lines)
    assert json.loads(file) == _HEAD | {"contents": contents}
    assert list(json.loads(file)["contents"]) == sorted(contents)
    assert manifest_files.read(file, own_layout=True) == lines
    assert [manifest_files.path_of(line) for line in lines] == sorted(contents)


@given(_contents, st.sampled_from([None, 0, 1]))
def test_a_manifest_that_a_client_laid_out_is_read_by_its_meaning(contents: Mapping[str, Any], indent: int | None) -> None:
    file = json.dumps({"contents": contents} | _HEAD, indent=indent).encode()
    assert manifest_files.read(file, own_layout=False) == manifest_files.lines(contents)


def test_an_earlier_layout_is_read_too() -> None:
    contents = {"b": {"size": 1}, "a": {"size": 2}}
    file = json.dumps(_HEAD | {"contents": contents}, ensure_ascii=False).encode()
    assert manifest_files.read(file, own_layout=True) == ['"a": {"size": 2}', '"b": {"size": 1}']
