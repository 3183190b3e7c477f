"""What one GraphQL request may cost, before and while it runs.

Before: a document is measured as the executor would walk it, fragments spread and equal names merged, because parsing,
validation and execution each have inputs of a few hundred bytes that keep them busy for years: brackets in brackets, fragments
that double each other, a thousand aliases. While: the objects and the text of an answer are counted, and a clock is looked at.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, is_dataclass
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    Undefined,
    get_nullable_type,
    is_leaf_type,
    is_list_type,
    is_nullable_type,
    parse,
)
from graphql.execution import Executor
from graphql.pyutils import Path

from registry.errors import BadData
from registry.server import limits

_log = logging.getLogger(__name__)

# Block strings, strings and comments; an end that is missing is the end of the document, so this never goes back.
_HIDDEN = re.compile(r'"""(?:[^"\\]|\\"""|\\|"(?!""))*+(?:""")?|"[^"\\\n]*(?:\\.[^"\\\n]*)*"?|#[^\n\r]*', re.DOTALL)
_BRACKETS = re.compile(r"[\[\]{}()]")


class TooMuch(BaseException):
    """An answer outgrew its limits; no resolver's error, so that the executor does not go on with the next field."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def parsed(text: str) -> DocumentNode:
    """The syntax tree of a document that is small enough to be validated and run.

    Raises:
        BadData: it is not; says by what.
        GraphQLError: it is no GraphQL.
    """
    if len(text) > limits.DOCUMENT:
        raise BadData(
            f"the document has {len(text):,} characters, this server takes {limits.DOCUMENT:,}",
            hint="put values into variables",
        )
    deepest = depth = 0
    for bracket in _BRACKETS.finditer(_HIDDEN.sub("", text)):
        depth += 1 if bracket.group() in "[{(" else -1
        deepest = max(deepest, depth)
    # Twice: arguments nest beside the selections.
    if deepest > 2 * limits.DOCUMENT_DEPTH:
        raise BadData(f"the document has {deepest} brackets inside each other, this server takes {2 * limits.DOCUMENT_DEPTH}")
    document = parse(text, max_tokens=limits.DOCUMENT_TOKENS)
    _Measure(document).take()
    return document


class _Measure:
    """Walks a document as its executor would and stops where it becomes too much."""

    def __init__(self, document: DocumentNode) -> None:
        if len(document.definitions) > limits.DOCUMENT_DEFINITIONS:
            raise BadData(
                f"the document has {len(document.definitions)} definitions, this server takes {limits.DOCUMENT_DEFINITIONS}"
            )
        self._fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
        self._roots = [
            node for node in document.definitions if isinstance(node, OperationDefinitionNode | FragmentDefinitionNode)
        ]
        self._fields = 0

    def take(self) -> None:
        # Fragments too: those that nobody spreads are validated like the others.
        for root in self._roots:
            self._fields = 0
            self._walk([root.selection_set], 1)

    def _walk(self, sets: Iterable[SelectionSetNode], depth: int) -> None:
        if depth > limits.DOCUMENT_DEPTH:
            raise BadData(f"the document asks more than {limits.DOCUMENT_DEPTH} levels deep")
        answers: dict[str, list[FieldNode]] = {}
        for field in self._spread(sets, set()):
            self._fields += 1
            if self._fields > limits.DOCUMENT_FIELDS:
                raise BadData(f"the document asks for more than {limits.DOCUMENT_FIELDS:,} fields, its fragments included")
            answers.setdefault((field.alias or field.name).value, []).append(field)
        for name, fields in answers.items():
            if len(fields) > limits.DOCUMENT_SAME_NAME:
                raise BadData(f"the document asks for '{name[:80]}' {len(fields)} times at one place")
            below = [field.selection_set for field in fields if field.selection_set is not None]
            if below:
                self._walk(below, depth + 1)

    def _spread(self, sets: Iterable[SelectionSetNode], seen: set[str]) -> Iterable[FieldNode]:
        waiting = [selection for some in sets for selection in some.selections]
        while waiting:
            selection = waiting.pop()
            if isinstance(selection, FieldNode):
                yield selection
            elif isinstance(selection, InlineFragmentNode):
                waiting.extend(selection.selection_set.selections)
            elif isinstance(selection, FragmentSpreadNode) and selection.name.value not in seen:
                seen.add(selection.name.value)
                fragment = self._fragments.get(selection.name.value)
                waiting.extend(fragment.selection_set.selections if fragment is not None else ())


class Remembered:
    """What became of the documents seen last, as many as fit: the SDK sends the same few dozen over and over.

    Args:
        make: checks a text; called without the lock, because that may take a while.
    """

    def __init__(self, make: Callable[[str], Any]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Any] = OrderedDict()
        self._size = 0

    def __call__(self, text: str) -> Any:
        with self._lock:
            if text in self._known:
                self._known.move_to_end(text)
                return self._known[text]
        made = self._make(text)
        with self._lock:
            if text not in self._known:
                self._known[text] = made
                self._size += len(text)
            while self._size > limits.REMEMBERED_DOCUMENTS:
                self._size -= len(self._known.popitem(last=False)[0])
        return made


@dataclass(frozen=True, kw_only=True)
class _Plain:
    """How to read a field without arguments; `write` turns a scalar or an enum value into JSON, and is None for the others."""

    type: Any
    nullable: bool
    list: bool
    info: Any
    read: Callable[[Any, Any], Any]
    write: Callable[[Any], Any] | None


class BoundedExecutor(Executor[Any]):
    """An executor that counts what it answers, and answers the same question about the same thing once.

    A page of versions asks of each for its collection, its type and their project: a hundred times the same few rows, which
    the store hands out as the same frozen objects. A query reads one snapshot, so their answers are the same, too; what
    counts is counted each time.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._objects = 0
        self._text = 0
        self._until = time.monotonic() + limits.QUESTION_SECONDS
        # By the identity of what was asked and of what about, both of which are kept with the answer, and so keep theirs.
        self._plans: dict[int, tuple[Any, list[tuple[str, Any, _Plain | None]]]] = {}
        self._answered: dict[tuple[int, int], tuple[Any, Any, Any, int, int]] = {}

    def collect_and_execute_subfields(self, return_type: Any, fields: Any, path: Any, result: Any, *more: Any) -> Any:
        known = self._known(fields, result)
        if known is not None:
            return known
        objects, text = self._objects, self._text
        self._count(objects=1, text=0)
        answer = super().collect_and_execute_subfields(return_type, fields, path, result, *more)
        if is_dataclass(result) and self.operation.operation is OperationType.QUERY:
            self._answered[id(fields), id(result)] = (fields, result, answer, self._objects - objects, self._text - text)
        return answer

    def _known(self, fields: Any, result: Any) -> Any:
        """What was answered to the same question about the same thing."""
        known = self._answered.get((id(fields), id(result)))
        if known is None:
            return None
        self._count(objects=known[3], text=known[4])
        return known[2]

    def execute_fields(self, parent_type: Any, source: Any, path: Any, fields: Any, position: Any) -> Any:
        """Fields without arguments, which are most, are read at once; the others, and what goes wrong, go the long way."""
        if self.operation.operation is not OperationType.QUERY or position is not None:
            return super().execute_fields(parent_type, source, path, fields, position)
        if id(fields) not in self._plans:
            self._plans[id(fields)] = fields, [(name, some, self._plain(parent_type, some)) for name, some in fields.items()]
        answer: dict[str, Any] = {}
        text = 0
        for name, some, plain in self._plans[id(fields)][1]:
            value = Undefined if plain is None else self._read(plain, source, name)
            if plain is None or value is Undefined:
                value = self.execute_field(parent_type, source, some, Path(path, name, parent_type.name), position)
                if value is not Undefined:
                    answer[name] = value
            elif value is None or plain.write is not None:
                answer[name] = value
                text += len(value) if type(value) is str else 0
            else:
                answer[name] = self._about(plain, some, Path(path, name, parent_type.name), value)
        self._count(objects=0, text=text)
        return answer

    def _read(self, plain: _Plain, source: Any, name: str) -> Any:
        """The value of a field, as JSON where it is plain; Undefined for what only the long way can tell."""
        try:
            value = plain.read(source, plain.info)
            if value is None:
                return None if plain.nullable else Undefined
            if plain.write is None:
                return Undefined if isinstance(value, Exception) else value
            written = plain.write(value)
        except Exception:  # told by the long way, with its place in the document
            _log.debug("reading '%s' failed", name, exc_info=True)
            return Undefined
        return Undefined if written is None else written

    def _about(self, plain: _Plain, fields: Any, path: Path, value: Any) -> Any:
        """What is asked of an object or of a list of them."""
        if plain.list and not value and isinstance(value, list | tuple):
            return []
        known = self._known(fields, value)
        if known is not None:
            return known
        try:
            return self.complete_value(plain.type, fields, plain.info, path, value, None)
        except Exception as error:
            self.handle_field_error(error, plain.type, fields, path)
            return None

    def _plain(self, parent_type: Any, some: Any) -> _Plain | None:
        """How to read a field without arguments."""
        node = some[0].node
        definition = self.schema.get_field(parent_type, node.name.value)
        if definition is None or definition.args or node.arguments:
            return None
        kind = get_nullable_type(definition.type)
        # The place is the only part of it that differs from object to object, and no resolver asks for it.
        nowhere = Path(None, node.name.value, parent_type.name)
        return _Plain(
            type=definition.type,
            nullable=is_nullable_type(definition.type),
            list=is_list_type(kind),
            info=self.build_resolve_info(definition, [field.node for field in some], parent_type, nowhere),
            read=definition.resolve or self.field_resolver,
            write=kind.coerce_output_value if is_leaf_type(kind) else None,
        )

    # Static there and called on the executor itself, so that an instance may stand in.
    def complete_leaf_value(self, return_type: Any, result: Any) -> Any:  # type: ignore[override]
        value = super().complete_leaf_value(return_type, result)
        if isinstance(value, str):
            self._count(objects=0, text=len(value))
        return value

    def _count(self, *, objects: int, text: int) -> None:
        before, self._objects = self._objects, self._objects + objects
        self._text += text
        if self._objects > limits.ANSWER_OBJECTS:
            raise TooMuch(f"the answer has more than {limits.ANSWER_OBJECTS:,} objects; ask for smaller pages")
        if self._objects // 64 > before // 64 and time.monotonic() > self._until:
            raise TooMuch(f"the answer took longer than {limits.QUESTION_SECONDS:g} s; ask for smaller pages")
        if self._text > limits.ANSWER_TEXT:
            raise TooMuch(f"the answer has more than {limits.ANSWER_TEXT:,} characters; ask for smaller pages")


def located(error: BadData) -> GraphQLError:
    return GraphQLError(f"{error.message} ({error.hint})" if error.hint else error.message)
