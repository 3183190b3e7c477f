"""Lineage: which versions and runs led to a version (up), and what came of it (down), transitively.

Pure: the caller says who a node's neighbours are (`registry.backend` asks the server), this module walks, stops at what it
has seen, and renders. A graph is bipartite: versions and runs alternate. A version linked into a registry is the same node
as its source, shown with the aliases it holds there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Direction = Literal["up", "down"]


@dataclass(frozen=True, kw_only=True)
class Node:
    """A version or a run. `id` is unique over both; `label` is for people; `kind` is the artifact type or job type."""

    id: str
    is_run: bool
    kind: str
    label: str
    note: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict, hash=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Graph:
    """What a walk found. Edges point in the direction of time: input → run → output."""

    root: str
    nodes: Mapping[str, Node]
    edges: tuple[tuple[str, str], ...]

    def parents(self, id: str) -> list[str]:
        return [source for source, target in self.edges if target == id]

    def children(self, id: str) -> list[str]:
        return [target for source, target in self.edges if source == id]


Neighbours = Callable[[Node, Direction], Iterable[Node]]


def walk(root: Node, neighbours: Neighbours, directions: Iterable[Direction], *, limit: int = 10_000) -> Graph:
    """Collect everything reachable.

    Args:
        root: where to start.
        neighbours: the nodes one step up (what made it) or down (what came of it).
        directions: which ways to go; each is followed on its own, so siblings do not appear.
        limit: the most nodes to visit, a guard against a history of years.
    """
    nodes = {root.id: root}
    edges: dict[tuple[str, str], None] = {}
    for direction in directions:
        seen, waiting = {root.id}, [root]
        while waiting and len(nodes) < limit:
            node = waiting.pop(0)
            for other in neighbours(node, direction):
                edges[(other.id, node.id) if direction == "up" else (node.id, other.id)] = None
                nodes.setdefault(other.id, other)
                if other.id not in seen:
                    seen.add(other.id)
                    waiting.append(other)
    return Graph(root=root.id, nodes=nodes, edges=tuple(edges))


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One line of a tree; `repeated` means its own branches were already shown above."""

    node: Node
    branches: tuple[Branch, ...] = ()
    repeated: bool = False


def tree(graph: Graph, direction: Direction) -> Branch:
    """The graph as a tree from its root; a node reached twice is drawn in full once."""
    step = graph.parents if direction == "up" else graph.children
    drawn: set[str] = set()

    def grow(id: str) -> Branch:
        node = graph.nodes[id]
        if id in drawn:
            return Branch(node=node, repeated=bool(step(id)))
        drawn.add(id)
        return Branch(node=node, branches=tuple(grow(other) for other in step(id)))

    return grow(graph.root)


def mermaid(graph: Graph) -> str:
    """A Mermaid flowchart, which GitHub renders in Markdown: versions as boxes, runs as rounded boxes."""
    names = {id: f"n{number}" for number, id in enumerate(graph.nodes)}

    def lines() -> Iterator[str]:
        yield "flowchart LR"
        for id, node in graph.nodes.items():
            text = f"{node.kind}<br/>{node.label}" + (f"<br/>{node.note}" if node.note else "")
            text = text.replace('"', "#quot;")
            yield f'    {names[id]}(["{text}"])' if node.is_run else f'    {names[id]}["{text}"]'
        for source, target in graph.edges:
            yield f"    {names[source]} --> {names[target]}"
        yield f"    style {names[graph.root]} stroke-width:3px"

    return "\n".join(lines())


def data(graph: Graph) -> dict[str, Any]:
    """The graph as JSON-ready data."""
    return {
        "schema_version": 1,
        "root": graph.root,
        "nodes": [
            {"id": n.id, "run": n.is_run, "kind": n.kind, "label": n.label, "note": n.note, **n.facts}
            for n in graph.nodes.values()
        ],
        "edges": [{"from": source, "to": target} for source, target in graph.edges],
    }
