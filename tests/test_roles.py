"""The rules of access: one table for people, and the law that a list shows exactly what asking one by one allows."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from graphql import build_schema, graphql_sync
from sqlalchemy import Connection, create_engine, insert, select, text

from registry.server import migrations, resolvers
from registry.server.access import Access, Grants, Level
from registry.server.context import User
from registry.server.database import Database
from registry.server.guards import guard
from registry.server.store import access, keys, members, organizations, people
from registry.server.tables import projects

_ACCESS = ("PRIVATE", "RESTRICTED", "USER_READ", "USER_WRITE", "OPEN", "ENTITY_READ", "ENTITY_WRITE")
_NAMES = ("plain", "wandb-registry-model", "wandb-registry-x")


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """Users of every role, and projects of every kind and access under users, a team and two organisations."""
    database = Database(tmp_path_factory.mktemp("roles") / "reg.db")
    with database.writing() as connection:
        people.ensure_local_user(connection, key="0123456789" * 4)
        local = people.the_person(connection, "local")
        other = organizations.create(connection, "other", creator_id=local.id)
        home = organizations.the_organization(connection, "local")
        team = organizations.create_team(connection, "crew", home)
        made = {name: people.create(connection, name) for name in ("mine", "yours", "viewer", "member", "head", "boss", "far")}
        for name, role in (("mine", "member"), ("yours", "viewer"), ("boss", "admin")):
            members.join_organization(connection, home.id, made[name].id, role)
        members.join_organization(connection, other.id, made["far"].id, "admin")
        for name, role in (("viewer", "viewer"), ("member", "member"), ("head", "admin")):
            members.join_team(connection, team, made[name].id, role)
        owners = ["mine", "crew", "local-org", "other-org"]
        for owner in owners:
            for name in _NAMES:
                for level in _ACCESS:
                    entity = people.the_entity(connection, owner)
                    values = {"entity_id": entity.id, "name": f"{name}-{level}", "access": level, "user_id": made["member"].id}
                    connection.execute(insert(projects).values(**values, all_types=True, created_at="", updated_at=""))
        restricted = people.project(connection, "local-org", "wandb-registry-x-RESTRICTED")
        assert restricted is not None
        members.join_registry(connection, restricted, made["yours"], "restricted_viewer")
        members.team_join_registry(connection, restricted, team, "member")
        yield connection
    database.close()


def _of(connection: Connection, name: str) -> Access:
    person = people.the_person(connection, name)
    user = User(id=person.id, username=name, entity=person.entity, entity_id=person.entity_id, admin=person.admin)
    return access.of(connection, user)


@pytest.mark.parametrize("name", ["local", "mine", "yours", "viewer", "member", "head", "boss", "far"])
def test_a_list_shows_what_asking_one_by_one_allows(connection: Connection, name: str) -> None:
    may = _of(connection, name)
    everything = list(connection.execute(select(projects.c.id)).scalars())
    listed = set(connection.execute(select(projects.c.id).where(access.visible(may))).scalars())
    assert listed == {number for number in everything if may.level(number) >= Level.SEE}


@pytest.mark.parametrize(("who", "entity", "project", "level"), [
    ("mine", "mine", "plain-PRIVATE", Level.ADMIN),
    ("yours", "mine", "plain-PRIVATE", Level.NONE),
    ("yours", "mine", "plain-USER_READ", Level.READ),
    ("boss", "mine", "plain-PRIVATE", Level.NONE),  # an organisation's admin is not its members' master
    ("viewer", "crew", "plain-PRIVATE", Level.READ),
    ("member", "crew", "plain-PRIVATE", Level.WRITE),
    ("head", "crew", "plain-PRIVATE", Level.ADMIN),
    ("viewer", "crew", "plain-RESTRICTED", Level.NONE),
    ("member", "crew", "plain-RESTRICTED", Level.WRITE),  # who made it
    ("mine", "crew", "plain-PRIVATE", Level.NONE),
    ("mine", "local-org", "wandb-registry-x-PRIVATE", Level.READ),
    ("mine", "local-org", "wandb-registry-x-RESTRICTED", Level.NONE),
    ("yours", "local-org", "wandb-registry-x-RESTRICTED", Level.SEE),
    ("viewer", "local-org", "wandb-registry-x-RESTRICTED", Level.WRITE),  # through the team
    ("boss", "local-org", "wandb-registry-x-RESTRICTED", Level.ADMIN),
    ("far", "local-org", "wandb-registry-x-PRIVATE", Level.NONE),
    ("far", "local-org", "wandb-registry-x-OPEN", Level.NONE),  # a registry is never open beyond its organisation
    ("local", "other-org", "wandb-registry-x-RESTRICTED", Level.ADMIN),
])  # fmt: skip
def test_roles_give_levels(connection: Connection, who: str, entity: str, project: str, level: Level) -> None:
    found = people.project(connection, entity, project)
    assert found is not None
    assert _of(connection, who).level(found.id) == level


def test_who_asks_for_nothing_is_noticed() -> None:
    nobody = Access(user_id=1, username="a", admin=False, grants=Grants(), place=lambda _: None, places_of=lambda _: ())
    assert nobody.asked() is False
    nobody.allow()
    assert (nobody.asked(), nobody.asked()) == (True, False)


def test_an_old_homes_user_keeps_everything(tmp_path: Path) -> None:
    """A database from before there were roles: its user was the only one, and is admin of all there is."""
    engine = create_engine(f"sqlite:///{tmp_path / 'reg.db'}")
    with engine.begin() as old:
        old.execute(text("CREATE TABLE migrations (name TEXT PRIMARY KEY) WITHOUT ROWID"))
        for name, sql in migrations.known().items():
            if name < "0004":
                for statement in sql.split(";\n"):
                    if statement.strip():
                        old.exec_driver_sql(statement)
                old.execute(text("INSERT INTO migrations (name) VALUES (:name)"), {"name": name})
        old.exec_driver_sql("INSERT INTO organizations (id, name) VALUES (1, 'local')")
        for number, name, kind in ((1, "local", "user"), (2, "local-org", "organization"), (3, "crew", "team")):
            columns = "INSERT INTO entities (id, name, kind, organization_id, created_at)"
            old.exec_driver_sql(f"{columns} VALUES ({number}, '{name}', '{kind}', 1, 'then')")
        old.exec_driver_sql(
            "INSERT INTO users (id, username, name, email, admin, entity_id, created_at) "
            "VALUES (1, 'local', 'local', 'local@localhost', 1, 1, 'then')"
        )
        old.exec_driver_sql(
            "INSERT INTO api_keys (user_id, description, prefix, hash, created_at) "
            "VALUES (1, 'this home', '01234567', 'a hash of before', 'then')"
        )
    engine.dispose()
    database = Database(tmp_path / "reg.db")
    with database.writing() as connection:
        people.ensure_local_user(connection, key="0123456789" * 4)
        local = people.the_person(connection, "local")
        assert [one.role for one in members.of_organization(connection, 1)] == ["admin"]
        assert [(one.username, one.role) for one in members.of_team(connection, 3)] == [("local", "admin")]
        assert [(key.description, key.of_home) for key in keys.listing(connection, local.id)] == [("this home", True)]
        assert keys.user_of(connection, "0123456789" * 4) is not None
        registry = people.project(connection, "local-org", "wandb-registry-model")
        assert registry is not None
        assert _of(connection, "local").level(registry.id) == Level.ADMIN
        assert [(one.username, one.role) for one in members.of_registry(connection, registry.id)] == [("local", "admin")]
    database.close()


def test_a_mutation_that_asks_nothing_is_refused() -> None:
    """Whoever forgets a rule forbids; see `guards`."""
    schema = build_schema("type Query { a: Int } type Mutation { forgotten: Int }")
    assert schema.mutation_type is not None
    schema.mutation_type.fields["forgotten"].resolve = lambda *_: 1
    guard(schema)

    def answer(*, admin: bool) -> Any:
        may = Access(user_id=1, username="a", admin=admin, grants=Grants(), place=lambda _: None, places_of=lambda _: ())
        return graphql_sync(schema, "mutation { forgotten }", context_value=SimpleNamespace(access=may))

    refused = answer(admin=False)
    assert (refused.data, "no rule for who may forgotten" in refused.errors[0].message) == ({"forgotten": None}, True)
    assert answer(admin=True).data == {"forgotten": 1}


# Functions of the resolvers that ask on behalf of those that call them.
_DOORS = {"place", "_collection_at", "_named_aliases", "_governed", "_team_governed", "_require"}


def test_every_mutation_asks() -> None:
    silent = []
    for file in sorted((Path(resolvers.__file__).parent).glob("*.py")):
        for function in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(function, ast.FunctionDef) and "mutation.field" in "".join(map(ast.unparse, function.decorator_list)):
                calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
                asks = any("access." in ast.unparse(call) or ast.unparse(call).split(".")[-1] in _DOORS for call in calls)
                silent += [] if asks else [f"{file.stem}.{function.name}"]
    assert silent == []
