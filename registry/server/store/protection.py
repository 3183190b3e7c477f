"""Protected aliases: the names in a registry that only its admins move.

On W&B they are set in the registry's page, here by `reg admin alias protect` (or `PUT /admin/…`). They are asked about where
every alias moves (`memberships`), so that no way of moving one goes around them: a link, an edit, an unlink, a deletion.

What W&B does is documented at https://docs.wandb.ai/models/registry/aliases.
"""

from __future__ import annotations

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.sqlite import insert as upsert

from registry.errors import BadData, Conflict, NotFound, Unauthorised
from registry.references import LATEST, REGISTRY_PREFIX, check_alias
from registry.server.access import Level
from registry.server.context import now
from registry.server.store import access
from registry.server.store.people import Project
from registry.server.tables import aliases, collections, projects, protected_aliases


def listing(connection: Connection, project_id: int) -> list[str]:
    """The protected aliases of a registry, by name."""
    query = select(protected_aliases.c.name).where(protected_aliases.c.project_id == project_id)
    return list(connection.execute(query.order_by(protected_aliases.c.name)).scalars())


def protect(connection: Connection, registry: Project, alias: str) -> None:
    """From now on only admins of the registry move this alias in any of its collections; repeating it changes nothing.

    Raises:
        Conflict: the project is no registry.
        BadData: the server itself moves `latest`, and gives `vN`.
    """
    if not registry.is_registry:
        raise Conflict(f"'{registry.name}' is not a registry: aliases are protected in registries")
    if alias == LATEST:
        raise BadData(f"'{LATEST}' cannot be protected: the server moves it with every link")
    values = {"project_id": registry.id, "name": check_alias(alias), "created_at": now()}
    connection.execute(upsert(protected_aliases).values(values).on_conflict_do_nothing())


def unprotect(connection: Connection, registry: Project, alias: str) -> None:
    """
    Raises:
        NotFound: the alias is not protected.
    """
    gone = connection.execute(
        delete(protected_aliases).where(protected_aliases.c.project_id == registry.id, protected_aliases.c.name == alias)
    )
    if not gone.rowcount:
        raise NotFound(f"'{alias[:80]}' is not protected in '{registry.name}'")


def require(connection: Connection, collection_id: int, alias: str, user_id: int | None) -> None:
    """That a user may move or remove an alias; None is the server itself.

    Raises:
        Unauthorised: the alias is protected, and the user is no admin of the registry.
    """
    query = (
        select(projects.c.id, projects.c.name)
        .join(collections, collections.c.project_id == projects.c.id)
        .join(protected_aliases, protected_aliases.c.project_id == projects.c.id)
        .where(collections.c.id == collection_id, protected_aliases.c.name == alias)
    )
    row = None if user_id is None else connection.execute(query).one_or_none()
    if row is None or user_id is None:
        return
    asking = access.of_author(connection, user_id)
    level = Level.NONE if asking is None else asking.level(row.id)
    if level < Level.ADMIN:
        who = "somebody unknown" if asking is None else asking.username
        registry = row.name.removeprefix(REGISTRY_PREFIX)
        raise Unauthorised(
            f"'{alias}' is a protected alias of the registry '{registry}', and {who} is {level.role} there: "
            "only an admin of the registry moves or removes it",
            hint=f"ask an admin of '{registry}' to do it",
        )


def require_collection(connection: Connection, collection_id: int, user_id: int | None) -> None:
    """That a user may remove a collection with all aliases in it; see `require`."""
    for alias in connection.execute(select(aliases.c.name).where(aliases.c.collection_id == collection_id)).scalars().all():
        require(connection, collection_id, alias, user_id)
