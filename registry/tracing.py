"""Asks the server for the neighbours that `registry.lineage` walks along."""

from __future__ import annotations

from collections.abc import Iterable

from registry.backend import Backend
from registry.lineage import Direction, Graph, Node, walk
from registry.records import RunFact, Version


def trace(backend: Backend, version: Version, directions: Iterable[Direction]) -> Graph:
    """Everything that led to a version and everything that came of it.

    A link is traced as its source: W&B keeps the lineage there, and what used the link is listed with the source too.
    """
    origin = version if version.origin == version.reference else backend.resolve(version.origin)
    versions: dict[str, Version] = {}
    runs: dict[str, RunFact] = {}

    def of_version(found: Version) -> Node:
        versions[str(found.origin)] = found
        facts = {"type": found.type, "digest": str(found.digest), "created_at": found.created_at}
        label = str(found.origin.at(found.origin.tag or "").name) + f":{found.origin.tag}"
        return Node(id=str(found.origin), is_run=False, kind=found.type, label=label, note=_note(found), facts=facts)

    def of_run(found: RunFact) -> Node:
        runs[found.path] = found
        facts = {"job_type": found.job_type, "state": found.state, "url": found.url, "created_at": found.created_at}
        note = "" if found.state == "finished" else found.state
        return Node(id=found.path, is_run=True, kind=found.job_type or "run", label=found.name, note=note, facts=facts)

    def neighbours(node: Node, direction: Direction) -> list[Node]:
        if node.is_run:
            run = runs[node.id]
            return [of_version(v) for v in (backend.inputs(run) if direction == "up" else backend.outputs(run))]
        found = versions[node.id]
        if direction == "down":
            return [of_run(run) for run in backend.used_by(found)]
        maker = backend.made_by(found)
        return [of_run(maker)] if maker else []

    return walk(of_version(origin), neighbours, directions)


def _note(version: Version) -> str:
    """What a reader wants to see beside the name: a verdict's outcome, otherwise the aliases."""
    outcome = version.metadata.get("outcome")
    return str(outcome) if outcome else ", ".join(version.aliases)
