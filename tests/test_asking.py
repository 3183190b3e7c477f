"""The executor answers quickly what is plain, and what fails is told once, where it failed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ariadne import ObjectType, QueryType, make_executable_schema
from graphql import execute_sync, parse

from registry.server import attributes
from registry.server.asking import BoundedExecutor

_SCHEMA = """
type Query { node: Node }
type Node { next: Node!, broken: String!, name: String!, maybe: String, someList: [Node!]!, other: String }
"""


@dataclass
class Node:
    name: str = "n"
    maybe: str | None = None
    some_list: tuple[Node, ...] = ()
    asked: list[str] = field(default_factory=list)

    def other(self, info: Any) -> str:
        return f"called for {info.field_name}"


def answered(document: str, node: Node) -> Any:
    query, kind = QueryType(), ObjectType("Node")
    query.set_field("node", lambda _root, _info: node)
    kind.set_field("next", lambda parent, _info: parent.asked.append("next") or parent)

    @kind.field("broken")
    def broken(parent: Node, info: Any) -> str:
        parent.asked.append("broken")
        raise RuntimeError("it broke")

    schema = attributes.bind(make_executable_schema(_SCHEMA, query, kind, convert_names_case=True))
    return execute_sync(schema, parse(document), executor_class=BoundedExecutor)


def test_what_fails_far_down_is_not_asked_again_at_every_level() -> None:
    node, depth = Node(), 12
    result = answered("{ node " + "{ next " * depth + "{ broken }" + " }" * depth + " }", node)
    assert [(error.message, error.path) for error in result.errors or ()] == [
        ("it broke", ["node", *["next"] * depth, "broken"]),
    ]
    assert node.asked == ["next"] * depth + ["broken"] * 2


def test_a_field_without_a_resolver_is_an_attribute_in_snake_case_or_what_it_returns() -> None:
    node = Node(some_list=(Node(name="inner"),))
    result = answered("{ node { name maybe other someList { name someList { name } } } }", node)
    assert (result.data, result.errors) == (
        {
            "node": {
                "name": "n",
                "maybe": None,
                "other": "called for other",
                "someList": [{"name": "inner", "someList": []}],
            }
        },
        None,
    )
