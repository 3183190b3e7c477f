"""Artifacts: the mutations that change what is there. Aliases, tags, words about a version, links, deletions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ariadne import MutationType, SchemaBindable

from registry.errors import BadData, NotFound
from registry.references import REGISTRY_PREFIX
from registry.server import ids
from registry.server.context import Context
from registry.server.resolvers import Info
from registry.server.resolvers.places import place
from registry.server.store import artifacts, collections, memberships, people, protection
from registry.server.store.artifacts import Artifact
from registry.server.store.collections import Collection

mutation = MutationType()
bindables: list[SchemaBindable] = [mutation]


@mutation.field("addAliases")
def add_aliases(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    for member, name in _named_aliases(context, input):
        memberships.set_alias(context.connection, member, name, user_id=context.user.id)
    return {"success": True}


@mutation.field("deleteAliases")
def delete_aliases(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    """An alias that another version holds by now stays with it: the client speaks of the version it saw."""
    context = info.context
    for member, name in _named_aliases(context, input):
        memberships.drop_alias(context.connection, member, name, user_id=context.user.id)
    return {"success": True}


@mutation.field("updateArtifact")
def update_artifact(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    found = _artifact(context, input["artifact_id"])
    context.access.write_artifact(found.id)
    if input.get("ttl_duration_seconds") not in (None, artifacts.said_ttl(found.ttl_seconds)):
        # Who edits a version by way of a registry may describe it, but not end its life.
        context.access.write(found.sequence.project.id)
    artifacts.edit(
        context.connection,
        found.id,
        description=input.get("description"),
        metadata=input.get("metadata"),
        ttl_seconds=input.get("ttl_duration_seconds"),
        tags_to_add=_tags(input.get("tags_to_add")),
        tags_to_delete=_tags(input.get("tags_to_delete")),
    )
    return {"artifact": artifacts.by_id(context.connection, found.id)}


@mutation.field("deleteArtifact")
def delete_artifact(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    found = _artifact(context, input["artifact_id"])
    context.access.write(found.sequence.project.id)
    with_aliases = bool(input.get("delete_aliases"))
    artifacts.remove(context.connection, found, with_aliases=with_aliases, user_id=context.user.id)
    return {"artifact": artifacts.by_id(context.connection, found.id)}


@mutation.field("linkArtifact")
def link_artifact(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    project, name = _portfolio(context, input)
    context.access.write(project.id)
    version = artifacts.link(
        context.connection,
        _linked(context, input),
        project,
        name,
        names=[alias["alias"] for alias in input.get("aliases") or ()],
        user_id=context.user.id,
    )
    return {"version_index": version.membership.version_index, "artifact_membership": version}


@mutation.field("unlinkArtifact")
def unlink_artifact(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    portfolio = _collection(context, input["artifact_portfolio_id"])
    context.access.write(portfolio.project.id)
    found = _artifact(context, input["artifact_id"])
    artifacts.unlink(context.connection, found.id, portfolio, user_id=context.user.id)
    return {"success": True}


@mutation.field("updateArtifactSequence")
@mutation.field("updateArtifactPortfolio")
def update_collection(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    found = _collection(context, _sequence_or_portfolio(input))
    context.access.write(found.project.id)
    if input.get("name") not in (None, found.name):
        # Under another name the collection's protected aliases are no longer found where they were promised.
        protection.require_collection(context.connection, found.id, context.user.id)
    collections.describe(context.connection, found, name=input.get("name"), description=input.get("description"))
    return {"artifact_collection": collections.by_id(context.connection, found.id)}


@mutation.field("moveArtifactSequence")
def move_sequence(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    found = _collection(context, input["artifact_sequence_id"])
    context.access.write(found.project.id)
    collections.change_type(context.connection, found, input["destination_artifact_type_name"])
    return {"artifact_collection": collections.by_id(context.connection, found.id)}


@mutation.field("deleteArtifactSequence")
@mutation.field("deleteArtifactPortfolio")
def delete_collection(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    found = _collection(context, _sequence_or_portfolio(input))
    context.access.write(found.project.id)
    artifacts.remove_collection(context.connection, found, user_id=context.user.id)
    return {"artifact_collection": replace(found, state="DELETED")}


@mutation.field("createArtifactCollectionTagAssignments")
def add_collection_tags(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    found = _collection_at(context, input)
    collections.add_tags(context.connection, found, _tags(input["tags"]))
    return {"tags": collections.by_id(context.connection, found.id).tags}


@mutation.field("deleteArtifactCollectionTagAssignments")
def delete_collection_tags(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    collections.remove_tags(context.connection, _collection_at(context, input), _tags(input["tags"]))
    return {"success": True}


def _artifact(context: Context, id: str) -> Artifact:
    return artifacts.by_id(context.connection, ids.decode("Artifact", id))


def _linked(context: Context, input: dict[str, Any]) -> Artifact:
    if input.get("artifact_id"):
        found = _artifact(context, input["artifact_id"])
    else:
        number = artifacts.by_client_id(context.connection, input.get("client_id") or "")
        if number is None:
            raise NotFound("the artifact to link is not known: give artifactID or clientID")
        found = artifacts.by_id(context.connection, number)
    # A link shows the version, its content included, to everybody in the registry.
    context.access.read_artifact(found.id)
    return found


def _portfolio(context: Context, input: dict[str, Any]) -> tuple[people.Project, str]:
    """Where to link to. A registry must exist; any other project is made on the fly, as for a log."""
    if input.get("artifact_portfolio_id"):
        portfolio = _collection(context, input["artifact_portfolio_id"])
        return portfolio.project, portfolio.name
    entity_name, name = input.get("entity_name") or context.user.entity, input.get("project_name")
    if not name or not input.get("artifact_portfolio_name"):
        raise BadData("a link needs projectName and artifactPortfolioName, or artifactPortfolioID")
    project = people.project(context.connection, entity_name, name)
    if project is None and name.startswith(REGISTRY_PREFIX):
        raise NotFound(f"registry '{name.removeprefix(REGISTRY_PREFIX)}' not found: there is no project {entity_name}/{name}")
    if project is None:
        owner = people.entity(context.connection, entity_name)
        if owner is None:
            raise NotFound(f"there is no entity '{entity_name[:80]}'")
        project = place(context, owner, name)
    return project, input["artifact_portfolio_name"]


def _collection(context: Context, id: str) -> Collection:
    return collections.by_id(context.connection, ids.decode("ArtifactCollection", id))


def _collection_at(context: Context, named: dict[str, Any]) -> Collection:
    """The collection that is to be changed, of somebody who may."""
    entity, project_name, name = named["entity_name"], named["project_name"], named["artifact_collection_name"]
    project = people.project(context.connection, entity, project_name)
    found = None if project is None else collections.find(context.connection, project.id, name)
    if found is None:
        raise NotFound(f"there is no collection {entity}/{project_name}/{name}")
    context.access.write(found.project.id)
    return found


def _named_aliases(context: Context, input: dict[str, Any]) -> list[tuple[memberships.Membership, str]]:
    found = _artifact(context, input["artifact_id"])
    return [
        (memberships.require(context.connection, found.id, _collection_at(context, alias)), alias["alias"])
        for alias in input["aliases"]
    ]


def _sequence_or_portfolio(input: dict[str, Any]) -> str:
    """The id in the input of a mutation that exists for either kind."""
    given: str = input["artifact_sequence_id"] if "artifact_sequence_id" in input else input["artifact_portfolio_id"]
    return given


def _tags(tags: list[dict[str, Any]] | None) -> list[str]:
    return [tag["tag_name"] for tag in tags or ()]
