"""JSON and YAML that a client wrote, read within bounds.

Python's JSON parser is quick and trusting: a few bytes of brackets become gigabytes of lists, a deep document ends in an
exception of the interpreter, and half a surrogate pair becomes a text that no database, page or file accepts. Whatever was sent
to this server as JSON, in a request's body or inside one of its strings, is read here; so are the configurations of sweeps,
because YAML's aliases multiply each other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from typing import Any

import yaml

from registry.errors import BadData
from registry.server import limits

# A string ends at its quote or, in a broken document, at the end: so this never goes back.
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_BRACKETS = re.compile(r"[\[\]{}]")
_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")


def read(text: str | bytes, what: str, *, containers: int = limits.JSON_CONTAINERS) -> Any:
    """The value of a JSON text, NaN and Infinity included, without half surrogate pairs.

    Args:
        what: what the text is, for the message: "the filter", "the manifest".
        containers: how many lists and objects it may hold.
    Raises:
        BadData: not JSON, too deep, or too many lists and objects.
    """
    try:
        text = text if isinstance(text, str) else _decoded(text)
        _check_structure(text, what, containers)
        value = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise BadData(f"{what} is not JSON: {str(exc)[: limits.MESSAGE]}") from exc
    return whole(value) if _HALF_PAIR.search(text) else value


def read_object(text: str | bytes, what: str) -> dict[str, Any]:
    """
    Raises:
        BadData: not a JSON object, or beyond the bounds of `read`.
    """
    value = read(text, what)
    if not isinstance(value, dict):
        raise BadData(f"{what} is a JSON {type(value).__name__}, not an object")
    return value


def read_envelope(raw: bytes, what: str) -> dict[str, Any]:
    """A JSON object that is hardly more than the wrapping of texts; whoever opens it looks at what is inside.

    Raises:
        BadData: not a JSON object, or beyond the bounds of `read`.
    """
    if raw.count(b"[") + raw.count(b"{") <= limits.JSON_CONTAINERS:
        with suppress(ValueError):
            value = _quick()(raw)
            if isinstance(value, dict):
                return value
    return read_object(raw, what)


def read_rows(texts: Sequence[str]) -> list[dict[str, Any] | None]:
    """The JSON object of each text; None for one that is not an object, or is beyond the bounds of `read`."""
    rows: list[dict[str, Any] | None] = []
    quick = _quick()
    for text in texts:
        # Brackets inside strings can only make the count too large.
        if text.count("{") + text.count("[") <= limits.JSON_DEPTH:
            try:
                value = quick(text)
            except (ValueError, TypeError):
                pass
            else:
                rows.append(value if type(value) is dict else None)
                continue
        try:
            rows.append(read_object(text, "the line"))
        except BadData:
            rows.append(None)
    return rows


def read_yaml(text: str, what: str, *, largest: int) -> Any:
    """The plain values of a YAML text.

    Args:
        largest: how many characters the text may have.
    Raises:
        BadData: not YAML, too long, or its aliases make too much of it.
    """
    if len(text) > largest:
        raise BadData(f"{what} has {len(text):,} characters, this server takes {largest:,}")
    depth = 0
    for bracket in _BRACKETS.finditer(text):
        depth = max(0, depth + (1 if bracket.group() in "[{" else -1))
        # Reading takes the square of the depth, long before it fails.
        if depth > limits.JSON_DEPTH:
            raise BadData(f"{what} is nested too deeply")
    try:
        value = yaml.load(text, Loader=_PlainLoader)
        if _size(value, {}, 0) > limits.YAML_VALUES:
            raise BadData(f"{what} has aliases that make more than {limits.YAML_VALUES:,} values of it")
    except RecursionError as exc:
        raise BadData(f"{what} is nested too deeply") from exc
    except (yaml.YAMLError, ValueError, OverflowError) as exc:
        raise BadData(f"{what} is not YAML: {str(exc)[: limits.MESSAGE]}") from exc
    return value


class _PlainLoader(yaml.SafeLoader):
    """Without merge keys: a dozen of them, merging each other, fill any memory before anybody can count."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise yaml.constructor.ConstructorError(None, None, "merge keys (<<) are not read here", node.start_mark)


def _size(value: Any, known: dict[int, int], depth: int) -> int:
    """How many values there are once every alias is written out."""
    if not isinstance(value, dict | list):
        return 1
    if depth > limits.JSON_DEPTH:
        raise RecursionError
    if id(value) not in known:
        inner = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_size(item, known, depth + 1) for item in inner)
    return known[id(value)]


def whole(value: Any) -> Any:
    """The same value with a replacement character for each half of a surrogate pair, as W&B's server reads it."""
    if isinstance(value, str):
        return value if value.isascii() else whole_text(value)
    if isinstance(value, dict):
        return {whole(key): whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [whole(item) for item in value]
    return value


def whole_text(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


@cache
def _quick() -> Callable[[str | bytes], Any]:
    """Reads what Python's parser reads, in a quarter of its time; half a surrogate pair or 200 levels are refused.

    It raises ValueError or TypeError for what is not JSON, or not for this parser.
    """
    # Loading takes 16 ms, and nothing but a history has a text for each of 200,000 rows.
    from pydantic_core import from_json

    return partial(from_json, cache_strings="keys")


def _decoded(raw: bytes) -> str:
    return raw.decode(json.detect_encoding(raw))


def _check_structure(text: str, what: str, containers: int) -> None:
    # The counts are cheap and nearly always enough: brackets inside strings can only make them too large.
    if text.count("[") + text.count("{") <= limits.JSON_DEPTH:
        return
    outside = _STRING.sub("", text)
    if outside.count("[") + outside.count("{") > containers:
        raise BadData(f"{what} holds more than {containers:,} lists and objects")
    depth = deepest = 0
    for bracket in _BRACKETS.finditer(outside):
        depth += 1 if bracket.group() in "[{" else -1
        deepest = max(deepest, depth)
    if deepest > limits.JSON_DEPTH:
        raise BadData(f"{what} is nested {deepest} levels deep; this server reads {limits.JSON_DEPTH}")
