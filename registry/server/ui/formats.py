"""How values look on a page: times, sizes, numbers, and whatever JSON a user logged. Nothing here makes HTML."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from registry.errors import BadData
from registry.server import documents

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
# Colours and cursor movements that programs print for a terminal, and the other control characters.
_TERMINAL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-_]|[\x00-\x08\x0b-\x1f\x7f]")
_LONGEST_VALUE = 400
_DEEPEST = 8


def moment(text: str) -> str:
    """`2026-01-31T12:34:56.789Z` as `2026-01-31 12:34:56`."""
    return text[:19].replace("T", " ")


def duration(start: str, end: str) -> str:
    """The time between two moments, coarse: `4 s`, `3 min 20 s`, `2 h 5 min`."""
    try:
        seconds = int((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds())
    except (ValueError, TypeError):
        return ""
    if seconds < 60:
        return f"{max(0, seconds)} s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def size(number: int | None) -> str:
    """A number of bytes with a binary unit."""
    if number is None:
        return ""
    power = min((max(number, 1).bit_length() - 1) // 10, len(_UNITS) - 1)
    return f"{number} B" if power == 0 else f"{number / 1024**power:.1f} {_UNITS[power]}"


def count(number: int) -> str:
    """A count with thin spaces between thousands."""
    return f"{number:,}".replace(",", "\u2009")


def number(value: Any, digits: int = 6) -> str:
    """A measured value with at most so many significant digits; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return text(value)
    if isinstance(value, int) and abs(value) < 10**9:
        return str(value)
    try:
        return f"{float(value):.{digits}g}" if math.isfinite(value) else str(float(value))
    except OverflowError:
        return f"{str(value)[:12]}…"


def brief(value: float) -> str:
    """A value beside an axis."""
    return number(float(value), 3)


def text(value: Any) -> str:
    """Any JSON value on one line, cut when it is long: the twin has the whole."""
    if isinstance(value, float):
        return number(value)
    if isinstance(value, dict) and isinstance(value.get("_type"), str):
        # Media: what it is and where, without the client's bookkeeping.
        known = (value.get(key) for key in ("_type", "path", "caption"))
        value = " ".join(part for part in known if isinstance(part, str))
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= _LONGEST_VALUE else f"{shown[:_LONGEST_VALUE]}…"


def console(line: str) -> str:
    """A printed line as a terminal would leave it: what a carriage return overwrote and all control codes are gone."""
    return _TERMINAL.sub("", line.rstrip("\r\n").rpartition("\r")[2])


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested objects as (dotted key, value), in key order; lists and what the SDK marks by `_type` stay whole."""
    found: list[tuple[str, Any]] = []
    for key in sorted(values):
        value = values[key]
        if isinstance(value, dict) and value and "_type" not in value and prefix.count(".") < _DEEPEST:
            found.extend(flat(value, f"{prefix}{key}."))
        else:
            found.append((prefix + key, value))
    return found


def parsed(document: str | None) -> dict[str, Any]:
    """A JSON object that a client sent; empty when it is none."""
    try:
        return documents.read_object(document or "{}", "the document")
    except BadData:
        return {}
