"""`reg lineage`: the graph, transitively, for people, for programs, for Markdown."""

from __future__ import annotations

from typing import Any, get_args

import click
from rich.text import Text
from rich.tree import Tree

from registry.cli.params import REFERENCE, Session, session
from registry.lineage import Branch, Direction, Graph, data, mermaid
from registry.lineage import tree as branches
from registry.references import Reference
from registry.tracing import trace

_TITLES = {"up": "what led to it", "down": "what came of it"}


@click.command(
    epilog="Examples: reg lineage model:v3 · reg lineage wandb-registry-model/model:production --up --format mermaid"
)
@click.argument("reference", type=REFERENCE)
@click.option("--up", is_flag=True, help="Only what led to it.")
@click.option("--down", is_flag=True, help="Only what came of it.")
@click.option("--format", "format_", type=click.Choice(["tree", "mermaid"]), default="tree", help="How to draw it.")
@session
def lineage(session: Session, reference: Reference, up: bool, down: bool, format_: str) -> None:
    """Show what led to REFERENCE and what came of it: datasets, models, evaluations, verdicts and the runs between."""
    directions: list[Direction] = [d for d in get_args(Direction) if {"up": up, "down": down}[d] or up == down]
    with session.reading() as backend:
        graph = trace(backend, backend.resolve(reference), directions)
    drawn = [mermaid(graph)] if format_ == "mermaid" else [tree(graph, direction) for direction in directions]
    session.output.result(data(graph), *drawn)


def tree(graph: Graph, direction: Direction) -> Any:
    """The graph as a tree from its root, in one direction."""
    root = branches(graph, direction)
    drawn = Tree(Text.assemble(_text(root), (f"  {_TITLES[direction]}", "dim")), guide_style="dim")
    _grow(drawn, root)
    return drawn


def _grow(drawn: Tree, branch: Branch) -> None:
    for other in branch.branches:
        _grow(drawn.add(_text(other)), other)


def _text(branch: Branch) -> Text:
    node = branch.node
    # Our own runs are named by their verb; foreign ones need it said.
    text = Text(node.label, style="cyan" if node.is_run else "bold")
    if not node.label.startswith(node.kind):
        text = Text.assemble((f"{node.kind} ", "dim"), text)
    if node.note:
        text.append(f"  {node.note}", style="green")
    if branch.repeated:
        text.append("  (shown above)", style="dim")
    return text
