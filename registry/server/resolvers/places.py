"""Where a mutation puts something: the project that it names, made when absent, of somebody who may write there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registry.references import REGISTRY_PREFIX
from registry.server.access import Level
from registry.server.context import Context
from registry.server.store import people, runs
from registry.server.store.runs import Run

# Where the SDK puts what names no project.
DEFAULT_PROJECT = "uncategorized"


def place(context: Context, owner: people.Entity, name: str) -> people.Project:
    """The project of that name under an entity.

    Raises:
        NotFound, Unauthorised: the user may not write to it, or make it.
        BadData: the name cannot be part of a path.
    """
    found = people.project(context.connection, owner.name, name)
    if found is None:
        context.access.require_entity(Level.WRITE, owner.id, owner.name, registry=name.startswith(REGISTRY_PREFIX))
        return people.ensure_project(context.connection, owner, name, context.user.id)
    if context.access.level(found.id) == Level.NONE:
        # The same words as for a project that is not there.
        context.access.require_entity(Level.WRITE, owner.id, owner.name)
    context.access.write(found.id)
    return found


def run_named(context: Context, input: Mapping[str, Any]) -> Run:
    """The run of an input's `entityName`, `projectName` and `runName`, where a run that was offline names no entity.

    Raises:
        NotFound: there is none.
    """
    entity, project = input.get("entity_name") or context.user.entity, input.get("project_name") or DEFAULT_PROJECT
    return runs.the_run(context.connection, entity, project, input["run_name"])


def owner_named(context: Context, name: str | None) -> people.Entity:
    """The entity of that name, or the user's own; an unknown one is a typo, not a wish.

    Raises:
        NotFound: there is none.
    """
    wanted = name or context.user.entity
    found = people.entity(context.connection, wanted)
    if found is None:
        raise context.access.unknown_entity(wanted)
    return found
