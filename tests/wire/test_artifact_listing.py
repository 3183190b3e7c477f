"""What a list of versions costs: as many questions to the database for many as for few, and none that looks at all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, event

from registry.server import graphql
from registry.server.home import Home, open_home
from registry.server.store import artifacts
from tests.wire.test_overview import USER, fill

VERSIONS = """
query($first: Int, $order: String, $filters: JSONString) { project(name: "p", entityName: "local") {
  artifactType(name: "model") { artifactCollection(name: "m") { artifacts(first: $first, order: $order, filters: $filters) {
    totalCount edges { version node {
      id state digest tags { name } artifactType { name }
      aliases { alias artifactCollection { name project { name entity { name } } } }
      artifactSequence { name project { name entity { name } } }
} } } } } } }
"""
USERS = """
{ project(name: "p", entityName: "local") { artifact(name: "m:v0") {
  usedBy { edges { node { name project { name entity { name } } } } } } } }
"""


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Home]]:
    """A home with a few versions and one with many."""
    homes = {name: open_home(tmp_path_factory.mktemp(name)) for name in ("few", "many")}
    for home, count in zip(homes.values(), (3, 70), strict=True):
        with home.database.writing() as connection:
            fill(connection, count)
    yield homes
    for home in homes.values():
        home.close()


def statements(home: Home, query: str, **variables: Any) -> tuple[int, Any]:
    """How many statements the server sends for a request, and what it answers."""
    seen: list[str] = []

    def note(*said: Any) -> None:
        seen.append(said[2])

    event.listen(Engine, "before_cursor_execute", note)
    try:
        answer = graphql.run(
            {"query": query, "variables": variables},
            database=home.database,
            blobs=home.blobs,
            signer=home.signer,
            user=USER,
            base_url="http://here",
        )
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert answer.status == 200, answer.body
    return len(seen), answer.body["data"]["project"]


@pytest.mark.parametrize("query", [VERSIONS, USERS], ids=["versions", "used by"])
def test_as_many_statements_for_many_as_for_few(homes: dict[str, Home], query: str) -> None:
    counted = {name: statements(home, query, first=100)[0] for name, home in homes.items()}
    assert counted["many"] == counted["few"]


def test_every_version_is_told_with_what_is_its_own(homes: dict[str, Home]) -> None:
    """What many versions share is answered once, and what they do not is not."""
    _, project = statements(homes["many"], VERSIONS, first=100)
    edges = project["artifactType"]["artifactCollection"]["artifacts"]["edges"]
    place = {"name": "p", "entity": {"name": "local"}}
    assert [edge["version"] for edge in edges] == [f"v{number}" for number in reversed(range(70))]
    assert len({edge["node"]["id"] for edge in edges}) == 70
    assert [edge["node"]["artifactSequence"] for edge in edges] == [{"name": "m", "project": place}] * 70
    held = [sorted(alias["alias"] for alias in edge["node"]["aliases"]) for edge in edges]
    assert held[1] == ["c69", "commit-69"]
    assert held[0] == ["c70", "commit-70", "latest", "latest", "production"]


@pytest.mark.parametrize("size", [1, 7, 35, 70, 100])
def test_pages_follow_each_other_without_gap_from_either_end(homes: dict[str, Home], size: int) -> None:
    found: list[int] = []
    with homes["many"].database.reading() as connection:
        for start in range(0, 140, size):
            page = artifacts.listing(connection, 1, after=str(start), first=size)
            assert page.total_count == 70
            found += [version.membership.version_index for version in page.items]
    assert found == list(reversed(range(70)))


@pytest.mark.parametrize("after", [None, "60"], ids=["early", "late"])
@pytest.mark.parametrize("filters", [None, '{"state": "COMMITTED"}'], ids=["all", "as the client asks"])
def test_a_page_is_found_by_an_index_that_has_its_order(homes: dict[str, Home], filters: str | None, after: str | None) -> None:
    asked: list[tuple[str, Any]] = []

    def note(*said: Any) -> None:
        asked.append((said[2], said[3]))

    with homes["many"].database.reading() as connection:
        event.listen(connection, "before_cursor_execute", note)
        artifacts.listing(connection, 1, filters=filters, after=after, first=10)
        event.remove(connection, "before_cursor_execute", note)
        paging = [said for said in asked if "LIMIT" in said[0]]
        plans = [[row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", said)] for sql, said in paging]
    assert plans != []
    assert [step for plan in plans for step in plan if "TEMP B-TREE" in step or step.startswith("SCAN")] == []
