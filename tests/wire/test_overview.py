"""The pages' reads: as many queries for a long list as for a short one, and aliases told with their past."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert

from registry.server import tables
from registry.server.context import Context, User
from registry.server.home import Home, open_home
from registry.server.store import access, artifacts, holders, memberships, people
from registry.server.ui import artifacts as artifact_pages
from registry.server.ui import projects, registries, runs
from registry.server.ui.visit import Visit

THEN = "2026-01-01T00:00:00.000000Z"
USER = User(id=1, username="local", entity="local", entity_id=1, admin=True)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = open_home(tmp_path)
    yield home
    home.close()


def fill(connection: Connection, count: int) -> None:
    """A project with `count` runs, each of which used the first model, made a model of its own and linked it."""
    owner, organisation = people.entity(connection, "local"), people.entity(connection, "local-org")
    assert owner is not None
    assert organisation is not None
    project = people.ensure_project(connection, owner, "p", 1)
    registry = people.ensure_project(connection, organisation, "wandb-registry-model", 1)
    connection.execute(
        insert(tables.artifact_types), [{"id": 1, "project_id": project.id, "name": "model", "created_at": THEN}]
    )
    times = {"created_at": THEN, "updated_at": THEN}
    connection.execute(
        insert(tables.collections),
        [{"id": 1, "project_id": project.id, "type_id": 1, "kind": "sequence", "name": "m", **times}],
    )
    numbers = range(1, count + 1)
    run = {"project_id": project.id, "state": "finished", "user_id": 1, "created_at": THEN, "heartbeat_at": THEN}
    connection.execute(insert(tables.runs), [{"id": n, "name": f"r{n}", "job_type": "promote", **run} for n in numbers])
    version = {"sequence_id": 1, "state": "COMMITTED", "user_id": 1, **times}
    connection.execute(
        insert(tables.artifacts),
        [{"id": n, "version_index": n - 1, "digest": f"{n:032x}", "run_id": n, **version} for n in numbers],
    )
    edge = {"created_at": THEN}
    connection.execute(insert(tables.loggings), [{"artifact_id": n, "run_id": n, **edge} for n in numbers])
    connection.execute(insert(tables.usages), [{"artifact_id": 1, "run_id": n, **edge} for n in numbers])
    for number in numbers:
        member = memberships.add(connection, 1, number)
        memberships.set_aliases(connection, member, [f"commit-{number}", "latest"], user_id=1)
        artifacts.link(
            connection, artifacts.by_id(connection, number), registry, "m", names=["production", f"c{number}"], user_id=1
        )


def visit(home: Home, connection: Connection) -> Visit:
    may = access.of(connection, USER)
    context = Context(
        connection=connection, blobs=home.blobs, signer=home.signer, user=USER, access=may, base_url="http://here"
    )
    return Visit(context=context, path="/here", query={})


PAGES: dict[str, Callable[[Visit], Any]] = {
    "home": projects.home,
    "project": lambda visit: projects.project(visit, "local", "p"),
    "run": lambda visit: runs.run(visit, "local", "p", "r1"),
    "collection": lambda visit: artifact_pages.collection(visit, "local", "p", "m"),
    "version": lambda visit: artifact_pages.version(visit, "local", "p", "m", "v0"),
    "registry": lambda visit: registries.registry(visit, "local", "model"),
}


def statements(home: Home, show: Callable[[Visit], Any]) -> int:
    seen: list[str] = []
    with home.database.reading() as connection:
        event.listen(connection, "before_cursor_execute", lambda *said: seen.append(said[2]))
        show(visit(home, connection))
    return len(seen)


def test_a_page_asks_as_often_for_many_as_for_few(home: Home, tmp_path: Path) -> None:
    other = open_home(tmp_path / "other")
    for filled, count in ((home, 3), (other, 70)):
        with filled.database.writing() as connection:
            fill(connection, count)
    few = {name: statements(home, show) for name, show in PAGES.items()}
    many = {name: statements(other, show) for name, show in PAGES.items()}
    other.close()
    assert many == few
    assert max(many.values()) < 40


def test_a_collection_shows_a_bounded_number_of_holders_and_pages_its_moves(home: Home) -> None:
    with home.database.writing() as connection:
        fill(connection, 70)
    with home.database.reading() as connection:
        page = artifact_pages.collection(visit(home, connection), "local", "p", "m")
    assert (len(page.holders), len(page.versions.items), page.versions.total) == (50, 50, 70)
    assert (len(page.moves.items), page.moves.total, page.moves.pages) == (50, 70, 2)


def test_a_move_tells_from_and_to_even_when_the_versions_are_gone(home: Home) -> None:
    with home.database.writing() as connection:
        fill(connection, 3)
        registry = people.project(connection, "local-org", "wandb-registry-model")
        assert registry is not None
        found = artifacts.named(connection, registry.id, "m:v2")
        assert found is not None
        artifacts.unlink(connection, 3, found.collection, user_id=1)
        moves = holders.history(connection, [found.collection.id], alias="production", after=None, first=50).items
    told = [(move.before, move.index, move.previous is not None, move.holder is not None) for move in moves]
    # Newest first: taken away with the link, v1 → v2, v0 → v1, nobody → v0.
    assert told == [(2, None, False, False), (1, 2, True, False), (0, 1, True, True), (None, 0, False, True)]


def test_an_alias_that_was_taken_away_has_no_holder(home: Home) -> None:
    with home.database.writing() as connection:
        fill(connection, 2)
        member = memberships.resolve(connection, 1, "commit-2")
        assert member is not None
        memberships.drop_alias(connection, member, "commit-2", user_id=1)
        held = holders.in_collections(connection, [1])[1]
    assert [(move.alias, move.index) for move in held] == [("commit-1", 0), ("latest", 1)]


SAID = {"outcome": "PASS", "reason": "good", "candidate": "local/p/m:v0", "target": "wandb-registry-model/m:production"}


@pytest.mark.parametrize(("job_type", "logged_at", "used", "said", "outcome"), [
    pytest.param("promote", "2026-01-02", 1, {}, "PASS", id="the promotion"),
    pytest.param("promote", "2026-01-02", 1, {"outcome": "FAIL"}, "FAIL", id="a move against the verdict"),
    pytest.param("promote", "2999-01-01", 1, {}, None, id="logged after the move"),
    pytest.param("gate", "2026-01-02", 1, {}, None, id="only a gate"),
    pytest.param("promote", "2026-01-02", 2, {}, None, id="the run used another version"),
    pytest.param("promote", "2026-01-02", 1, {"candidate": "local/p/m:v1"}, None, id="it was the baseline"),
    pytest.param("promote", "2026-01-02", 1, {"target": "wandb-registry-model/m:staging"}, None, id="another alias"),
])  # fmt: skip
def test_a_verdict_stands_behind_a_move_only_if_lineage_says_so(
    home: Home, job_type: str, logged_at: str, used: int, said: dict[str, str], outcome: str | None
) -> None:
    with home.database.writing() as connection:
        fill(connection, 2)
        times = {"created_at": logged_at, "updated_at": logged_at}
        project = people.project(connection, "local", "p")
        assert project is not None
        kind = {"id": 90, "project_id": project.id, "name": "verdict", "created_at": THEN}
        connection.execute(insert(tables.artifact_types), [kind])
        place = {"id": 90, "project_id": project.id, "type_id": 90, "kind": "sequence", "name": "v", **times}
        connection.execute(insert(tables.collections), [place])
        run = {"id": 90, "project_id": project.id, "name": "judge", "state": "finished", "job_type": job_type}
        connection.execute(insert(tables.runs), [run | {"created_at": THEN, "heartbeat_at": THEN}])
        label = {"id": 90, "sequence_id": 90, "state": "COMMITTED", "version_index": 0, "digest": "0" * 32, **times}
        connection.execute(insert(tables.artifacts), [label | {"metadata": json.dumps(SAID | said)}])
        connection.execute(insert(tables.loggings), [{"artifact_id": 90, "run_id": 90, "created_at": logged_at}])
        connection.execute(insert(tables.usages), [{"artifact_id": used, "run_id": 90, "created_at": logged_at}])
        registry = people.project(connection, "local-org", "wandb-registry-model")
        assert registry is not None
        found = artifacts.named(connection, registry.id, "m:v0")
        assert found is not None
        moves = holders.history(connection, [found.collection.id], alias="production", after=None, first=50).items
    verdicts = {move.index: move.verdict for move in moves}
    assert (verdicts[0].outcome if verdicts[0] else None, verdicts[1]) == (outcome, None)
