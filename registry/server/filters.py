"""The client's Mongo-like filters and its order strings, as SQL conditions.

A noun says which names it knows (`Fields`); this module knows the operators. A name outside the table is an error with the
known ones listed, never a filter that is silently dropped. Missing values behave as in Mongo: `$ne` and `$nin` match them,
comparisons do not, and a comparison never crosses types.

What W&B does is documented at https://docs.wandb.ai/models/ref/python/public-api/runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, FromClause, String, and_, cast, false, func, not_, or_, select, true

from registry.errors import BadData
from registry.server import documents, limits, patterns

_COMPARISONS: Mapping[str, Callable[[Any, Any], ColumnElement[bool]]] = {
    "$gt": lambda column, value: column > value,
    "$gte": lambda column, value: column >= value,
    "$lt": lambda column, value: column < value,
    "$lte": lambda column, value: column <= value,
}
_INT64 = 1 << 63
_MOST_ORDERS = 16
_TEXT_OPERATORS = frozenset({"$regex", "$options", "$contains", "$exists"})
_MILLISECONDS = 1e11
_SNAKE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True, kw_only=True)
class Values:
    """A field with many values per row (tags, aliases): a condition holds when one of them meets it.

    `source` yields them as `column`, restricted by `joined` to the row in question.
    """

    source: FromClause
    column: ColumnElement[Any]
    joined: ColumnElement[bool] = field(default_factory=true)

    def any(self, test: ColumnElement[bool]) -> ColumnElement[bool]:
        return select(1).select_from(self.source).where(self.joined, test).correlate_except(self.source).exists()

    def count(self) -> ColumnElement[int]:
        query = select(func.count()).select_from(self.source).where(self.joined)
        return query.correlate_except(self.source).scalar_subquery()


@dataclass(frozen=True, kw_only=True)
class Fields:
    """The names a noun can be filtered and ordered by.

    Args:
        named: by snake_case name; camelCase spellings of them are accepted.
        dotted: by the first part of a dotted name (`config.lr`): makes a column of the rest.
        times: those of `named` that hold a moment, which clients write in several ways.
    """

    named: Mapping[str, ColumnElement[Any] | Values]
    dotted: Mapping[str, Callable[[str], ColumnElement[Any]]] = field(default_factory=dict)
    times: frozenset[str] = frozenset()

    def is_time(self, name: str) -> bool:
        return _SNAKE.sub("_", name).lower() in self.times

    def find(self, name: str) -> ColumnElement[Any] | Values:
        """
        Raises:
            BadData: nothing here has that name.
        """
        head, dot, rest = name.partition(".")
        head = _SNAKE.sub("_", head).lower()
        if dot and rest and head in self.dotted:
            return self.dotted[head](rest)
        if not dot and head in self.named:
            return self.named[head]
        known = ", ".join([*self.named, *(f"{name}.…" for name in self.dotted)])
        raise BadData(f"there is nothing to filter or order by under the name '{name[:80]}'", hint=f"use one of {known}")


def json_at(column: ColumnElement[Any], path: str, *, unwrap: str = "") -> ColumnElement[Any]:
    """The value at a dotted path of a JSON text column; NULL when it is absent.

    Args:
        unwrap: a key that wraps each top-level value, as `value` does in a run's config.
    """
    return func.json_at(column, path, unwrap)


def condition(text: str | None, fields: Fields) -> ColumnElement[bool]:
    """The condition that a JSON filter expresses; always true for none.

    Raises:
        BadData: not a JSON object, an unknown name or operator, or an operand of the wrong kind.
    """
    if not text:
        return true()
    wanted = documents.read(text, "the filter")
    _check_size(wanted)
    return true() if wanted is None else _all_of(wanted, fields)


def ordering(text: str | None, fields: Fields, *, default: str) -> list[ColumnElement[Any]]:
    """What `+name` or `-name` asks to sort by, several separated by commas, nulls last.

    Raises:
        BadData: an unknown name.
    """
    clauses: list[ColumnElement[Any]] = []
    parts = (text or default).split(",")
    if len(parts) > _MOST_ORDERS:
        raise BadData(f"things are ordered by at most {_MOST_ORDERS} names, these are {len(parts)}")
    for part in parts:
        name = part.strip().lstrip("+-")
        column = fields.find(name)
        if isinstance(column, Values):
            raise BadData(f"'{name}' has many values per row, so nothing can be ordered by it")
        clauses.append((column.desc() if part.strip().startswith("-") else column.asc()).nulls_last())
    return clauses


def _check_size(wanted: Any) -> None:
    """A filter becomes one expression, and a database has bounds for how deep and how long that may be."""
    waiting = [(wanted, 1)]
    terms = values = 0
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, dict | list):
            inner = list(value.values()) if isinstance(value, dict) else value
            if depth > limits.FILTER_DEPTH:
                raise BadData(f"the filter is nested more than {limits.FILTER_DEPTH} levels deep")
            if isinstance(value, dict):
                terms += len(inner)
            values += len(inner)
            waiting.extend((item, depth + 1) for item in inner)
        elif isinstance(value, int) and not -_INT64 <= value < _INT64:
            raise BadData(f"the filter holds the number {str(value)[:40]}, which has more than 64 bits")
        if terms > limits.FILTER_TERMS or values > limits.FILTER_VALUES:
            raise BadData(f"a filter has at most {limits.FILTER_TERMS} conditions and {limits.FILTER_VALUES:,} values")


def _all_of(wanted: Any, fields: Fields) -> ColumnElement[bool]:
    if not isinstance(wanted, dict):
        raise BadData(f"a filter is a JSON object, this one is {json.dumps(wanted)[:80]}")
    return and_(true(), *(_term(name, operand, fields) for name, operand in wanted.items()))


def _term(name: str, operand: Any, fields: Fields) -> ColumnElement[bool]:
    if name in {"$and", "$or", "$nor"}:
        parts = [_all_of(item, fields) for item in _list(name, operand)]
        if name == "$and":
            return and_(true(), *parts)
        return or_(false(), *parts) if name == "$or" else _negated(or_(false(), *parts))
    if name == "$not":
        return _negated(_all_of(operand, fields))
    if name.startswith("$"):
        raise BadData(f"'{name}' is not an operator of filters, or does not belong there")
    column = fields.find(name)
    return _field(column, _moments(operand) if fields.is_time(name) else operand, name)


def _field(column: ColumnElement[Any] | Values, operand: Any, name: str) -> ColumnElement[bool]:
    if not (isinstance(operand, dict) and operand and all(key.startswith("$") for key in operand)):
        return _operator("$eq", column, operand, name)
    if "$options" in operand:
        operand = {"$regex": _with_options(operand)} | {key: operand[key] for key in operand.keys() - {"$regex", "$options"}}
    return and_(*(_operator(operator, column, value, name) for operator, value in operand.items()))


def _operator(operator: str, column: ColumnElement[Any] | Values, value: Any, name: str) -> ColumnElement[bool]:
    # Of many values the negative operators ask that none is so.
    if operator == "$not":
        return _negated(_field(column, value, name))
    if operator == "$ne":
        return _negated(_operator("$eq", column, value, name))
    if operator == "$nin":
        return _negated(_operator("$in", column, value, name))
    if operator == "$all":
        return and_(true(), *(_operator("$eq", column, item, name) for item in _list(operator, value)))
    if isinstance(column, Values):
        if operator == "$eq" and isinstance(value, dict | list):
            raise BadData(f"'{name[:80]}' has many values", hint='ask for {"$all": […]} or {"$in": […]} of them')
        if operator == "$size":
            counted: ColumnElement[bool] = column.count() == _scalar(operator, value)
            return counted
        if operator == "$exists":
            return column.any(true()) if value else not_(column.any(true()))
        return column.any(_single("$eq" if operator == "$contains" else operator, column.column, value, name))
    return _single(operator, column, value, name)


def _single(operator: str, column: ColumnElement[Any], value: Any, name: str) -> ColumnElement[bool]:
    if operator == "$eq":
        # A list or an object is kept as its JSON.
        return column.is_(None) if value is None else column == (json.dumps(value) if isinstance(value, dict | list) else value)
    if operator == "$in":
        items = _list(operator, value)
        found = column.in_([_scalar(operator, item) for item in items if item is not None])
        return or_(found, column.is_(None)) if None in items else found
    if operator == "$exists":
        return column.is_not(None) if value else column.is_(None)
    if operator in _COMPARISONS:
        kinds = ("text",) if isinstance(value, str) else ("integer", "real")
        return and_(func.typeof(column).in_(kinds), _COMPARISONS[operator](column, _scalar(operator, value)))
    if operator == "$contains":
        return cast(column, String).contains(str(value), autoescape=True)
    if operator == "$regex":
        return func.matches(_pattern(value), cast(column, String)).is_(True)
    raise BadData(f"'{operator}' is not an operator of filters (for '{name[:80]}')")


def _negated(test: ColumnElement[bool]) -> ColumnElement[bool]:
    """NOT in two-valued logic: what is unknown because a value is missing counts as not so."""
    return not_(func.coalesce(test, false()))


def _pattern(value: Any) -> str:
    if not isinstance(value, str):
        raise BadData(f"$regex takes a text, not {json.dumps(value)[:80]}")
    patterns.compiled(value)
    return value


def _with_options(operand: Mapping[str, Any]) -> str:
    """A pattern with its `$options`, which the expression itself can say."""
    pattern, options = operand.get("$regex"), operand["$options"]
    if not isinstance(pattern, str) or not isinstance(options, str) or not set(options) <= set("ims"):
        raise BadData(f"$options are some of the letters i, m and s, beside a $regex, not {json.dumps(options)[:80]}")
    return f"(?{options}){pattern}" if options else pattern


def _moments(operand: Any) -> Any:
    """The operand with each moment as the database writes it: ISO-8601 UTC, microseconds, trailing Z."""
    if isinstance(operand, dict):
        return {key: value if key in _TEXT_OPERATORS else _moments(value) for key, value in operand.items()}
    if isinstance(operand, list):
        return [_moments(item) for item in operand]
    try:
        if isinstance(operand, str):
            moment = datetime.fromisoformat(operand.strip())
        elif type(operand) in (int, float):
            # Seconds since 1970, or milliseconds as browsers count.
            moment = datetime.fromtimestamp(operand if abs(operand) < _MILLISECONDS else operand / 1000, UTC)
        else:
            return operand
    except (ValueError, OverflowError, OSError):
        return operand
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _list(operator: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise BadData(f"{operator} takes a list, not {json.dumps(value)[:80]}")
    return value


def _scalar(operator: str, value: Any) -> Any:
    if isinstance(value, dict | list):
        raise BadData(f"{operator} takes one value, not {json.dumps(value)[:80]}")
    return value
