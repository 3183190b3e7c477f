"""Expressions over the columns of items, as a policy writes them: `age >= 65 and site in ('north', 'east')`.

A policy comes from a repository and is read by a gate that may hold keys, so its expressions are parsed by the grammar
below and evaluated by numpy comparisons; nothing is ever handed to Python.

    or    := and ("or" and)*
    and   := not ("and" not)*
    not   := "not" not | "(" or ")" | test
    test  := operand (("==" | "!=" | "<" | "<=" | ">" | ">=") operand)+ | column ["not"] "in" "(" literal ("," literal)* ")"
    operand := column | literal;   literal := number | 'text' | "text" | true | false

A column whose name is no plain word stands in backticks: `age at scan`. Every comparison with a missing value (an empty
text, NaN) is false, so an item without an age is in neither `age < 65` nor `age >= 65`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Constant = float | str | bool

_TOKEN = re.compile(
    r"\s*(?:(?P<number>-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)|(?P<text>'[^']*'|\"[^\"]*\")|(?P<quoted>`[^`]+`)"
    r"|(?P<word>[^\W\d]\w*)|(?P<sign>==|!=|<=|>=|<|>|\(|\)|,))"
)
_SIGNS = {"==": np.equal, "!=": np.not_equal, "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}
_MIRRORED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_RESERVED = {"and", "or", "not", "in", "true", "false"}
_LONGEST, _DEEPEST = 1000, 30


class BadExpression(ValueError):
    """The text is no expression, or compares what has no order; the text of the exception says where and why."""


@dataclass(frozen=True)
class Column:
    name: str


@dataclass(frozen=True)
class Comparison:
    left: Column
    sign: str
    right: Column | Constant


@dataclass(frozen=True)
class Membership:
    column: Column
    values: tuple[Constant, ...]


@dataclass(frozen=True)
class Not:
    of: Node


@dataclass(frozen=True)
class And:
    of: tuple[Node, ...]


@dataclass(frozen=True)
class Or:
    of: tuple[Node, ...]


Node = Comparison | Membership | Not | And | Or


@dataclass(frozen=True)
class Expression:
    """A parsed expression; `columns` are those it reads, in the order of their first use."""

    text: str
    root: Node
    columns: tuple[str, ...]

    def rows(self, column: Callable[[str], Array], *, classes: tuple[str, ...] = ()) -> NDArray[np.bool_]:
        """Which items it is true of.

        Args:
            column: gives the values of a column, one per item.
            classes: names of the classes, so that `label == 'cat'` finds its number.
        Raises:
            BadExpression: it compares a text with a number, or names a class that there is not.
        """
        return _true(self.root, column, classes)


def parse(text: str) -> Expression:
    """
    Raises:
        BadExpression: the text does not follow the grammar.
    """
    if len(text) > _LONGEST:
        raise BadExpression(f"an expression of {len(text)} characters, {_LONGEST} at most")
    parser = _Parser(text)
    root = parser.whole()
    return Expression(text, root, tuple(dict.fromkeys(parser.columns)))


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.columns: list[str] = []
        self.tokens: list[tuple[str, str, int]] = []
        self.at = 0
        self.depth = 0
        position = 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if match is None:
                position += len(text[position:]) - len(text[position:].lstrip())
                raise BadExpression(f"'{text[position:][:10]}' is not understood at character {position + 1} of '{text}'")
            kind = str(match.lastgroup)
            self.tokens.append((kind, match.group(kind), match.start(kind)))
            position = match.end()

    def whole(self) -> Node:
        root = self.either()
        if self.at < len(self.tokens):
            self.fail("and, or, or the end")
        return root

    def either(self) -> Node:
        parts = [self.both()]
        while self.took("or"):
            parts.append(self.both())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def both(self) -> Node:
        parts = [self.negated()]
        while self.took("and"):
            parts.append(self.negated())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def negated(self) -> Node:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise BadExpression(f"nested more than {_DEEPEST} deep")
        try:
            if self.took("not"):
                return Not(self.negated())
            if self.took("("):
                inner = self.either()
                self.expect(")")
                return inner
            return self.test()
        finally:
            self.depth -= 1

    def test(self) -> Node:
        left = self.operand()
        inverted = self.took("not")
        if inverted or self.peek() == "in":
            self.expect("in")
            if not isinstance(left, Column):
                self.fail("a column before in")
            found = Membership(left, self.listed())
            return Not(found) if inverted else found
        parts: list[Node] = []
        while self.peek() in _SIGNS:
            sign = self.take()
            right = self.operand()
            if isinstance(left, Column):
                parts.append(Comparison(left, sign, right))
            elif isinstance(right, Column):
                parts.append(Comparison(right, _MIRRORED[sign], left))
            else:
                raise BadExpression(f"'{self.text}' compares two constants; one side has to be a column")
            left = right
        if not parts:
            self.fail("==, !=, <, <=, >, >= or in")
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def listed(self) -> tuple[Constant, ...]:
        self.expect("(")
        values = [self.literal()]
        while self.took(","):
            if self.peek() == ")":
                break
            values.append(self.literal())
        self.expect(")")
        return tuple(values)

    def literal(self) -> Constant:
        value = self.operand()
        if isinstance(value, Column):
            self.at -= 1
            self.fail("a number or a quoted text")
        return value

    def operand(self) -> Column | Constant:
        kind, text, _ = self.tokens[self.at] if self.at < len(self.tokens) else ("end", "", 0)
        if kind == "number":
            value: Column | Constant = float(text)
        elif kind == "text":
            value = text[1:-1]
        elif text in ("true", "false"):
            value = text == "true"
        elif kind == "quoted" or (kind == "word" and text not in _RESERVED):
            value = Column(text.strip("`"))
            self.columns.append(value.name)
        else:
            self.fail("a column, a number or a quoted text")
        self.at += 1
        return value

    def peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1][1]

    def took(self, word: str) -> bool:
        found = self.at < len(self.tokens) and self.tokens[self.at][1] == word
        self.at += found
        return found

    def expect(self, word: str) -> None:
        if not self.took(word):
            self.fail(f"'{word}'")

    def fail(self, wanted: str) -> NoReturn:
        if self.at < len(self.tokens):
            _, text, position = self.tokens[self.at]
            raise BadExpression(f"'{text}' at character {position + 1} of '{self.text}', where {wanted} should be")
        raise BadExpression(f"'{self.text}' ends where {wanted} should be")


def _true(node: Node, column: Callable[[str], Array], classes: tuple[str, ...]) -> NDArray[np.bool_]:
    match node:
        case Not(of):
            return ~_true(of, column, classes)
        case And(of):
            return np.asarray(np.logical_and.reduce([_true(one, column, classes) for one in of]))
        case Or(of):
            return np.asarray(np.logical_or.reduce([_true(one, column, classes) for one in of]))
        case Membership(name, values):
            return np.asarray(np.logical_or.reduce([_true(Comparison(name, "==", value), column, classes) for value in values]))
        case Comparison(left, sign, right):
            return _compared(left, sign, right, column, classes)


def _compared(
    left: Column, sign: str, right: Column | Constant, column: Callable[[str], Array], classes: tuple[str, ...]
) -> NDArray[np.bool_]:
    values = np.asarray(column(left.name))
    if isinstance(right, Column):
        other: Any = np.asarray(column(right.name))
        if _is_text(values) != _is_text(other):
            raise BadExpression(f"'{left.name}' and '{right.name}' are text and number, which cannot be compared")
    elif isinstance(right, str) and left.name in ("label", "prediction") and values.dtype.kind in "iu":
        if right not in classes:
            raise BadExpression(f"there is no class '{right}'; the classes are {', '.join(classes[:10]) or 'not named'}")
        other = classes.index(right)
    else:
        other = right
        if _is_text(values) != isinstance(other, str):
            held = "texts" if _is_text(values) else "numbers"
            raise BadExpression(f"column '{left.name}' holds {held}, it cannot be compared with {right!r}")
    if _is_text(values):
        present = np.array([isinstance(value, str) and value != "" for value in values.tolist()], dtype=np.bool_)
        values = np.where(present, values, "").astype(str)
        other = np.asarray(other).astype(str)
        present &= other != ""
    else:
        present = ~(np.isnan(values.astype(np.float64)) | np.isnan(np.asarray(other, dtype=np.float64)))
    found: NDArray[np.bool_] = present & _SIGNS[sign](values, other)
    return found


def _is_text(values: Array) -> bool:
    return values.dtype.kind in "OUST"
