"""YAML that knows its lines, so that a complaint about a value can say where the value stands.

PyYAML keeps the first of two equal keys' lines to itself and the last one's value; a file that people review must not mean
something else than it shows, so a key twice is refused, and so are aliases (`*x`), which a complaint could not locate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

Key = str | int


class BadYaml(ValueError):
    """The text is not YAML, or YAML with a surprise; `line` counts from 1, None when not even that is known."""

    def __init__(self, message: str, line: int | None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


@dataclass(frozen=True)
class Document:
    """One YAML document: its plain Python value, and the tree that knows lines (None when the text is empty)."""

    content: Any
    root: yaml.Node | None

    def line(self, path: Sequence[Key]) -> int:
        """The line, from 1, of the deepest part of a path (keys and positions) that is really written in the file."""
        node = self.root
        line = node.start_mark.line if node is not None else 0
        for part in path:
            if isinstance(node, yaml.MappingNode):
                entry = next(((key, value) for key, value in node.value if key.value == str(part)), None)
                if entry is None:
                    break
                line, node = entry[0].start_mark.line, entry[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                line = node.start_mark.line
            else:
                break
        return int(line) + 1


def read(text: str) -> Document:
    """Read one document.

    Raises:
        BadYaml: the text is not YAML, holds a key twice, or an alias.
    """
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                line = event.start_mark.line + 1 if event.start_mark else None
                raise BadYaml(f"'*{event.anchor}': aliases are not read, write the value out", line)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is None:
            return Document(None, None)
        for first, second in _keys_twice(root):
            before = first.start_mark.line + 1
            raise BadYaml(f"key '{second.value}' again, it is already in line {before}", second.start_mark.line + 1)
        return Document(yaml.SafeLoader("").construct_document(root), root)
    except RecursionError as exc:
        raise BadYaml("nested too deeply", None) from exc
    except BadYaml:
        raise
    except (yaml.YAMLError, ValueError) as exc:
        mark = getattr(exc, "problem_mark", None)
        problem = str(getattr(exc, "problem", None) or exc).splitlines()[0]
        raise BadYaml(f"not YAML: {problem}", mark.line + 1 if mark else None) from exc


def _keys_twice(node: yaml.Node) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if str(key.value) in seen:
                yield seen[str(key.value)], key
            seen[str(key.value)] = key
            yield from _keys_twice(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _keys_twice(value)
