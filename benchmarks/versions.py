"""Server time of the SDK's question for 100 versions out of a collection of 10,000.

    python benchmarks/versions.py [--versions 10000] [--rounds 30]

The rows are written straight into the database of a new home, with an alias on every hundredth version; then the document that
`wandb.Api().artifacts(...)` sends is answered in this process, without HTTP: the first page, one from the middle, the last. A
single version by its alias, as every `use_artifact` asks, stands beside it.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import time
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rounds import conditions, markdown
from sqlalchemy import insert
from wandb.sdk.artifacts._generated import ARTIFACT_MEMBERSHIP_BY_NAME_GQL, PROJECT_ARTIFACTS_GQL

from registry.server import graphql
from registry.server.auth import Keys
from registry.server.context import now
from registry.server.home import Home, open_home
from registry.server.store import collections, people
from registry.server.tables import aliases, artifacts, memberships

_PAGE = 100


def main() -> None:
    parser = argparse.ArgumentParser(description="100 versions out of many.")
    parser.add_argument("--versions", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=30)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = open_home(Path(folder) / "home")
        fill(home, given.versions)
        user = Keys(home.database).user("Basic " + b64encode(f"api:{home.key}".encode()).decode())

        def ask(query: str, variables: Mapping[str, Any]) -> Any:
            request = {"query": query, "variables": dict(variables)}
            answer = graphql.run(
                request, database=home.database, blobs=home.blobs, signer=home.signer, user=user, base_url="http://localhost"
            )
            graphql.encode(answer.body)
            assert answer.status == 200, answer.body
            return answer.body["data"]

        page: dict[str, Any] = {"entity": "local", "project": "p", "type": "model", "collection": "model", "perPage": _PAGE}
        one = {"entity": "local", "project": "p", "name": "model:v5000"}
        questions = {
            "first 100 versions": (PROJECT_ARTIFACTS_GQL, page),
            "100 from the middle": (PROJECT_ARTIFACTS_GQL, page | {"cursor": cursor_after(ask, page, given.versions // 2)}),
            "last 100": (PROJECT_ARTIFACTS_GQL, page | {"cursor": cursor_after(ask, page, given.versions - _PAGE)}),
            "one version by its number": (ARTIFACT_MEMBERSHIP_BY_NAME_GQL, one),
        }
        gc.freeze()  # as the server does once it is loaded
        rows = []
        for what, (query, variables) in questions.items():
            times = []
            for _ in range(given.rounds):
                start = time.perf_counter()
                ask(query, variables)
                times.append(1000 * (time.perf_counter() - start))
            rows.append([what, f"{statistics.median(times):.1f} ms", f"{min(times):.1f}–{max(times):.1f} ms", "≤ 20 ms"])
        home.close()
    print(f"{given.versions:,} versions, {given.rounds} rounds; {conditions('reg-lifecycle', 'sqlalchemy')}\n")
    print(markdown(("question", "median", "range", "target"), rows))


def fill(home: Home, count: int) -> None:
    with home.database.writing() as connection:
        owner = people.entity(connection, "local")
        assert owner is not None
        project = people.ensure_project(connection, owner, "p", 1)
        sequence = collections.ensure(connection, project, "model", kind="sequence", type_name="model")
        moment = now()
        versions = [
            {
                "sequence_id": sequence.id,
                "state": "COMMITTED",
                "version_index": number,
                "digest": f"{number:032x}",
                "digest_algorithm": "MANIFEST_MD5",
                "manifest_md5": f"{number:032x}",
                "metadata": '{"accuracy": 0.5}',
                "size": 1000,
                "file_count": 3,
                "created_at": moment,
                "updated_at": moment,
            }
            for number in range(count)
        ]
        connection.execute(insert(artifacts), versions)
        ids = {row.version_index: row.id for row in connection.execute(artifacts.select())}
        links = [
            {"collection_id": sequence.id, "artifact_id": ids[number], "version_index": number, "created_at": moment}
            for number in range(count)
        ]
        connection.execute(insert(memberships), links)
        members = {row.version_index: row.id for row in connection.execute(memberships.select())}
        names = [
            {"collection_id": sequence.id, "membership_id": members[number], "name": f"release-{number}"}
            for number in range(0, count, 100)
        ]
        connection.execute(insert(aliases), [*names, {**names[0], "membership_id": members[count - 1], "name": "latest"}])


def cursor_after(ask: Any, page: Mapping[str, Any], count: int) -> str:
    """The cursor behind so many versions, by walking there as the SDK does, in larger steps."""
    cursor, seen = None, 0
    while seen < count:
        data = ask(PROJECT_ARTIFACTS_GQL, {**page, "cursor": cursor, "perPage": min(1000, count - seen)})
        found = data["project"]["artifactType"]["artifactCollection"]["artifacts"]
        seen, cursor = seen + len(found["edges"]), found["pageInfo"]["endCursor"]
    assert cursor is not None
    return str(cursor)


if __name__ == "__main__":
    main()
