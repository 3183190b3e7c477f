"""The manifest file of a version that is built on another one: an entry a line, in the order of their paths.

Clients download a version's manifest whole, and two versions of sixty thousand files may differ in one line of it. So what the
server writes itself is laid out for its next version, which then costs no parsing: its lines are the base's, some replaced,
some put in between. A reader sees JSON like any other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

_decode = json.JSONDecoder().raw_decode
_encode = json.JSONEncoder(ensure_ascii=False).encode
# JSON has line breaks only between its values: inside of texts they are escaped.
_BEGIN, _BETWEEN, _END = '"contents": {\n', ",\n", "\n}}\n"


def lines(contents: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The lines of these entries, in path order."""
    if not contents:
        return []
    sorted_ = {path: contents[path] for path in sorted(contents)}
    # In one go and then cut, which takes half as long; a text or an extra may hold what looks like the end of an entry.
    pieces = _encode(sorted_)[2:-2].split('}, "')
    if len(pieces) == len(sorted_):
        return [f'"{piece}}}' for piece in pieces]
    return [_encode({path: entry})[1:-1] for path, entry in sorted_.items()]


def read(file: bytes, *, own_layout: bool) -> list[str]:
    """The lines of a whole manifest, in path order.

    Args:
        own_layout: whether this server wrote it; an earlier release may have laid it out otherwise all the same.
    """
    text = file.decode()
    _, begin, rest = text.partition(_BEGIN)
    if not (own_layout and begin):
        return lines(json.loads(text)["contents"])
    entries = rest.removesuffix(_END)
    return entries.split(_BETWEEN) if entries else []


def written(head: Mapping[str, Any], entries: Sequence[str]) -> bytes:
    """The file with these lines.

    Args:
        head: the document's other keys, at least one.
    """
    others = {name: value for name, value in head.items() if name != "contents"}
    return "".join((_encode(others)[:-1], ", ", _BEGIN, _BETWEEN.join(entries), _END)).encode()


def path_of(line: str) -> str:
    """The path whose entry a line is."""
    return str(_decode(line)[0])
