"""Nothing unseen is shown, and no mutation goes unasked: the rules of `access`, put around every resolver.

A resolver finds what a client named; whether the user may see it is asked here, for every field whose type is a project or
something in one, so that a new resolver is guarded before it is written. What is not to be seen is null, or missing from a
list. Where a version is seen by way of a registry, the project it was logged to stays unnamed: its collection is called
`restricted`. A mutation whose resolver asked `Context.access` nothing is refused to everybody but an instance admin: there a
rule was forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from graphql import (
    GraphQLField,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    default_field_resolver,
    get_named_type,
)

from registry.errors import Unauthorised
from registry.server.access import Level
from registry.server.context import Context
from registry.server.store.artifacts import Artifact, Version
from registry.server.store.collections import Collection
from registry.server.store.people import Person, Project
from registry.server.store.runs import Run
from registry.server.store.sweeps import Sweep

HIDDEN = "restricted"

_IN_PROJECTS = {
    "Project",
    "Run",
    "Sweep",
    "Artifact",
    "ArtifactAlias",
    "ArtifactCollection",
    "ArtifactSequence",
    "ArtifactPortfolio",
    "ArtifactCollectionMembership",
    "ArtifactCreator",
}
# What a restricted viewer does not get: the bytes, and links to them.
_CONTENT = {
    ("Artifact", "currentManifest"),
    ("Artifact", "files"),
    ("Artifact", "filesByManifestEntries"),
    ("ArtifactCollectionMembership", "files"),
}

_Resolver = Callable[..., Any]


def guard(schema: GraphQLSchema) -> GraphQLSchema:
    """Put the rules around the resolvers of a schema; returns it."""
    for kind in schema.type_map.values():
        if not isinstance(kind, GraphQLObjectType) or kind.name.startswith("__"):
            continue
        for name, field in kind.fields.items():
            _wrap(kind.name, name, field)
    return schema


def sees(context: Context, value: Any) -> bool:
    """Whether the user of a request may see something that a resolver found."""
    if context.access.admin or isinstance(value, Person):
        return True
    if isinstance(value, Artifact):
        return context.access.artifact_level(value.id) >= Level.SEE
    return context.access.level(_project_id(value)) >= Level.SEE


def _wrap(kind: str, name: str, field: GraphQLField) -> None:
    shown = get_named_type(field.type)
    if (kind, name) in _CONTENT:
        field.resolve = _with_content(field.resolve or default_field_resolver)
    if (kind, name) == ("Artifact", "artifactSequence"):
        field.resolve = _source(field.resolve or default_field_resolver)
    elif shown.name in _IN_PROJECTS:
        field.resolve = _seen(field.resolve or default_field_resolver, needed=isinstance(field.type, GraphQLNonNull))
    elif name == "edges" and _node(shown) in _IN_PROJECTS:
        field.resolve = _seen_edges(field.resolve or default_field_resolver)
    if kind == "Mutation":
        field.resolve = _asked(field.resolve or default_field_resolver, name)


def _node(edge: GraphQLNamedType) -> str | None:
    """What an edge of this type leads to."""
    node = edge.fields.get("node") if isinstance(edge, GraphQLObjectType) else None
    return None if node is None else get_named_type(node.type).name


def _seen(resolve: _Resolver, *, needed: bool) -> _Resolver:
    def seen(parent: Any, info: Any, **arguments: Any) -> Any:
        value = resolve(parent, info, **arguments)
        context: Context = info.context
        if value is None or context.access.admin:
            return value
        if isinstance(value, list | tuple):
            return [one for one in value if sees(context, one)]
        if sees(context, value):
            return value
        if needed:
            raise context.access.unknown()
        return None

    return seen


def _seen_edges(resolve: _Resolver) -> _Resolver:
    def seen(parent: Any, info: Any, **arguments: Any) -> Any:
        edges = resolve(parent, info, **arguments)
        context: Context = info.context
        if edges is None or context.access.admin:
            return edges
        return [edge for edge in edges if sees(context, edge["node"] if isinstance(edge, dict) else edge.node)]

    return seen


def _source(resolve: _Resolver) -> _Resolver:
    def seen(parent: Artifact, info: Any, **arguments: Any) -> Collection:
        found: Collection = resolve(parent, info, **arguments)
        # The client needs a collection here; its project is null to who may not see it, like any other.
        return found if sees(info.context, found) else replace(found, name=HIDDEN, description=None, tags=())

    return seen


def _with_content(resolve: _Resolver) -> _Resolver:
    def content(parent: Artifact | Version, info: Any, **arguments: Any) -> Any:
        context: Context = info.context
        artifact = parent.artifact if isinstance(parent, Version) else parent
        context.access.read_artifact(artifact.id)
        return resolve(parent, info, **arguments)

    return content


def _asked(resolve: _Resolver, name: str) -> _Resolver:
    def asked(parent: Any, info: Any, **arguments: Any) -> Any:
        context: Context = info.context
        context.access.asked()
        value = resolve(parent, info, **arguments)
        if not context.access.asked():
            # Raised inside the transaction, which leaves no trace.
            raise Unauthorised(f"this server has no rule for who may {name}, so only an instance admin may")
        return value

    return asked


def _project_id(value: Any) -> int:
    """The project that something is in; 0, which none has, where that is not known, so that it is not shown."""
    if isinstance(value, Project):
        return value.id
    if isinstance(value, Run | Sweep):
        return value.project_id
    if isinstance(value, Version):
        return value.collection.project.id
    if isinstance(value, dict):
        value = value.get("artifact_collection")
    return value.project.id if isinstance(value, Collection) else 0
