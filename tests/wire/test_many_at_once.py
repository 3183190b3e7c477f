"""Many clients of several servers of one home: numbers are dense, an alias has one holder, and nobody is told of a lock.

The order of everything is checked, not looked at: what each client saw, with the moments of its questions and answers, must be
explained by one clerk who did one thing after the other (`tests.linearizability`). `benchmarks/many_at_once.py` does the same
for longer, with 32 real clients.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from registry.server.database import Busy, Database
from registry.server.turns import Turns
from tests.linearizability import Operation, linearization
from tests.wire.conftest import Server, running
from tests.wire.crowd import REGISTRY, AliasClerk, Call, Client, Crowd, Move, Read, book, calls, moves, shelf
from tests.wire.drafts import Upload

CLIENTS = 32
TOGETHER = [("production",), ("staging",), ("production", "staging")]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Three servers that begin at the same moment in a home that is not there yet."""
    home = tmp_path_factory.mktemp("shared") / "home"
    with ExitStack() as stack, ThreadPoolExecutor(3) as pool:
        started = [pool.submit(stack.enter_context, running(home)) for _ in range(3)]
        yield [start.result() for start in started]


@pytest.fixture
def crowd(servers: list[Server]) -> Iterator[Crowd]:
    """Clients of all servers, who are never refused."""
    crowd = Crowd(servers=servers)
    yield crowd
    assert set(crowd.answers) <= {200}


def rows(server: Server, query: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(server.home / "reg.db")) as database:
        return database.execute(query, values).fetchall()


def test_servers_that_begin_together_agree_on_everybody(servers: list[Server]) -> None:
    assert len({server.key for server in servers}) == 1
    assert [server.ask("{ viewer { username } }") for server in servers] == [{"viewer": {"username": "local"}}] * 3
    assert rows(servers[0], "SELECT count(*) FROM users") == [(1,)]


SDK_CLIENT = """if True:
    import json, sys, time
    import wandb
    shelf, seen, *versions = sys.argv[1:]
    api = wandb.Api()
    print("ready", flush=True)
    seen = open(seen, "w")
    def look():
        try:
            return int(api.artifact(f"wandb-registry-model/{shelf}:production").version[1:])
        except (ValueError, wandb.errors.CommError):
            return None
    for version in versions:
        artifact = api.artifact(f"wandb-registry-model/{shelf}:v{version}")
        artifact.aliases.append("production")
        asked = time.monotonic()
        artifact.save()
        print(json.dumps(["move", int(version), asked, time.monotonic()]), file=seen)
        asked = time.monotonic()
        print(json.dumps(["look", look(), asked, time.monotonic()]), file=seen)
    seen.close()
"""


def sdk_operation(client: int, line: str) -> Operation[Call]:
    kind, version, asked, answered = json.loads(line)
    call: Call = Move(version=version, aliases=("production",)) if kind == "move" else Read(aliases=("production",))
    return Operation(client=client, call=call, answer=None if kind == "move" else (version,), asked=asked, answered=answered)


def test_the_history_of_aliases_is_linearizable(
    crowd: Crowd, servers: list[Server], project: str, script: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """Raw clients and real ones, each alias alone and two in one request; and what was written down is that history."""
    each, real, theirs = 3, 2, 3
    things = shelf(servers[0], project, versions=CLIENTS * each + real * theirs)
    real_clients = []
    for number, server in zip(range(real), servers, strict=False):
        start = CLIENTS * each + number * theirs
        words = [project, str(tmp_path / f"seen-{number}"), *map(str, range(start, start + theirs))]
        source = f"import sys; sys.argv = ['', *{words}]\n{SDK_CLIENT}"
        real_clients.append(script(source, WANDB_BASE_URL=server.url, WANDB_API_KEY=server.key))
    for process in real_clients:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

    def work(client: Client) -> list[Operation[Call]]:
        mine = range(client.number * each, client.number * each + each)
        return [things.operation(client, call) for call in calls(client.luck, versions=mine, aliases=TOGETHER)]

    seen = [operation for some in crowd.at_once(work, clients=CLIENTS) for operation in some]
    for number, process in enumerate(real_clients):
        _, complaints = process.communicate(timeout=60)
        assert process.returncode == 0, complaints
        seen += [sdk_operation(CLIENTS + number, line) for line in (tmp_path / f"seen-{number}").read_text().splitlines()]
    order = linearization(seen, AliasClerk("production", "staging"), (), book=book(servers[0].home, project))
    assert len(order) == len(seen)
    assert_written_down(moves(servers[0].home, project), seen)


def assert_written_down(written: Sequence[tuple[str, int | None]], seen: Sequence[Operation[Call]]) -> None:
    """Each move that was answered stands in the book once, and in an order that real time allows."""
    for name in {alias for alias, _ in written}:
        asked = {one.call.version: one for one in seen if isinstance(one.call, Move) and name in one.call.aliases}
        holders = [version for alias, version in written if alias == name and version is not None]
        assert sorted(holders) == sorted(asked)
        latest = 0.0
        for version in holders:
            assert asked[version].end >= latest, f"{name}: v{version} was written down after a move that was asked later"
            latest = max(latest, asked[version].asked)


@contextmanager
def doomed(home: Path) -> Iterator[Server]:
    """A server that the test kills."""
    command = [sys.executable, "-m", "registry.server", "--home", str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        yield Server(url=ready["url"], key=(home / "key").read_text().strip(), home=home, pid=ready["pid"])
        assert process.wait(timeout=30) == -signal.SIGKILL


@pytest.mark.skipif(os.name == "nt", reason="no kill -9")
def test_the_history_of_aliases_is_linearizable_when_a_server_is_killed(tmp_path: Path, project: str) -> None:
    each = 2
    with running(tmp_path / "home") as survivor, doomed(tmp_path / "home") as victim:
        things = shelf(survivor, project, versions=CLIENTS * each)

        def work(client: Client) -> list[Operation[Call]]:
            mine = calls(client.luck, versions=range(client.number * each, client.number * each + each), aliases=TOGETHER)
            seen = []
            for number, call in enumerate(mine):
                if (client.number, number) == (0, len(mine) // 2):
                    os.kill(victim.pid, signal.SIGKILL)
                seen.append(things.operation(client, call))
            return seen

        crowd = Crowd(servers=[survivor, victim])
        seen = [operation for some in crowd.at_once(work, clients=CLIENTS) for operation in some]
        with Client(Crowd(servers=[survivor]), 0) as client:
            seen.append(things.operation(client, Read(aliases=("production", "staging"))))
        linearization(seen, AliasClerk("production", "staging"), (), book=book(survivor.home, project))
        assert any(operation.answered is None for operation in seen)
        assert set(crowd.answers) == {200}


def test_links_aliases_and_unlinks_that_race_leave_one_holder(crowd: Crowd, servers: list[Server], project: str) -> None:
    """Half of the clients link a version of their own with the alias, the others move it to versions that are there."""
    there = shelf(servers[0], project, versions=CLIENTS // 2)
    fresh = shelf(servers[0], f"{project}-source", versions=CLIENTS // 2)

    def work(client: Client) -> list[Operation[Call]]:
        return [
            there.operation(client, Read(aliases=("hot",))),
            link_or_move(client),
            there.operation(client, Read(aliases=("hot",))),
        ]

    def link_or_move(client: Client) -> Operation[Call]:
        place = client.number // 2
        if client.number % 2:
            return there.operation(client, Move(version=place, aliases=("hot",)))
        hot = [{"artifactCollectionName": project, "alias": "hot"}]
        given = {"artifactID": fresh.artifacts[place], "artifactPortfolioName": project, "aliases": hot, **REGISTRY}
        asked = time.monotonic()
        version = client.change("linkArtifact", "LinkArtifactInput", "versionIndex", **given)["versionIndex"]
        call = Move(version=version, aliases=("hot",))
        return Operation(client=client.number, call=call, answer=None, asked=asked, answered=time.monotonic())

    seen = [operation for some in crowd.at_once(work, clients=CLIENTS) for operation in some]
    linearization(seen, AliasClerk("hot"), (), book=book(servers[0].home, project))
    moved = [one.call.version for one in seen if isinstance(one.call, Move)]
    assert sorted(moved) == list(range(CLIENTS)), "the numbers of the collection are dense and unique"
    assert sorted(version for _, version in moves(servers[0].home, project)) == sorted(moved)


def test_commits_to_one_collection_get_dense_numbers_and_equal_content_is_one_version(
    crowd: Crowd, servers: list[Server], project: str
) -> None:
    contents = 12

    def work(client: Client) -> tuple[str, int]:
        content = f"content {client.number % contents}"
        upload = Upload(servers[client.number % 3], project, {"file": content.encode()})
        if upload.state == "PENDING":
            upload.put_files()
            upload.put_manifest()
        answer = upload.commit()
        assert answer.status_code == 200, answer.text
        return content, answer.json()["data"]["commitArtifact"]["artifact"]["versionIndex"]

    numbers: dict[str, set[int]] = {}
    for content, number in crowd.at_once(work, clients=CLIENTS):
        numbers.setdefault(content, set()).add(number)
    assert sorted(number for found in numbers.values() for number in found) == list(range(contents))
    held = """SELECT count(*) FROM aliases JOIN collections ON collections.id = collection_id
        JOIN projects ON projects.id = project_id WHERE projects.name = ? AND aliases.name = 'latest'"""
    assert rows(servers[0], held, project) == [(1,)]


def test_what_many_make_at_once_is_made_once(crowd: Crowd, servers: list[Server], project: str) -> None:
    """A project with a run, a collection, a registry and a collection there."""
    registry = f"wandb-registry-{project[:40]}"
    thing = shelf(servers[0], f"{project}-linked", versions=1).artifacts[0]

    def work(client: Client) -> tuple[bool, str, str, int]:
        run = client.change("upsertBucket", "UpsertBucketInput", "inserted bucket { id }", modelName=project, name="the-run")
        draft = {"entityName": "local", "projectName": project, "artifactTypeName": "t", "artifactCollectionName": "c"}
        own = client.change(
            "createArtifact",
            "CreateArtifactInput",
            "artifact { artifactSequence { id } }",
            digest=secrets.token_hex(16),
            **draft,
        )
        made = client.change(
            "upsertModel",
            "UpsertModelInput",
            "model { id }",
            name=registry,
            entityName="local-org",
            allAllowedArtifactTypesInRegistry=True,
        )
        place = {"artifactPortfolioName": "linked", "entityName": "local-org", "projectName": registry, "aliases": []}
        link = client.change("linkArtifact", "LinkArtifactInput", "versionIndex", artifactID=thing, **place)
        sequence = own["artifact"]["artifactSequence"]["id"]
        return run["inserted"], run["bucket"]["id"] + sequence, made["model"]["id"], link["versionIndex"]

    made = crowd.at_once(work, clients=CLIENTS)
    assert sum(inserted for inserted, *_ in made) == 1
    assert len({tuple(rest) for _, *rest in made}) == 1
    assert made[0][3] == 0


def test_readers_of_runs_see_only_growing_prefixes_and_no_row_is_lost(
    crowd: Crowd, servers: list[Server], project: str
) -> None:
    chunks, size, readers = 4, 25, 4

    def work(client: Client) -> list[list[int]]:
        return read(client) if client.number < readers else append(client)

    def append(client: Client) -> list[list[int]]:
        name = f"run-{client.number}"
        client.change("upsertBucket", "UpsertBucketInput", "inserted", modelName=project, name=name)
        for chunk in range(chunks):
            lines = [json.dumps({"_step": step, "x": step}) for step in range(chunk * size, chunk * size + size)]
            stream = {"wandb-history.jsonl": {"offset": chunk * size, "content": lines}}
            client.post(f"/files/local/{project}/{name}/file_stream", {"files": stream})
        return []

    def read(client: Client) -> list[list[int]]:
        return [rows_of(client, f"run-{readers + number % 5}") for number in range(15)]

    def rows_of(client: Client, name: str) -> list[int]:
        query = "query($p: String!, $r: String!) { project(name: $p) { run(name: $r) { history(minStep: 0, maxStep: 1000) } } }"
        found = client.ask(query, p=project, r=name)["project"]
        return [json.loads(line)["_step"] for line in found["run"]["history"]] if found and found["run"] else []

    for seen in crowd.at_once(work, clients=CLIENTS)[:readers]:
        for steps in seen:
            assert steps == list(range(len(steps)))
            assert len(steps) % size == 0
        for earlier, later in zip(seen, seen[5:], strict=False):
            assert len(earlier) <= len(later)
    with Client(crowd, 0) as client:
        for number in range(readers, CLIENTS):
            assert rows_of(client, f"run-{number}") == list(range(chunks * size))


def test_a_program_that_holds_the_database_makes_clients_wait_and_not_fail(
    crowd: Crowd, servers: list[Server], project: str
) -> None:
    """A backup, say, that knows nothing of our line."""
    with closing(sqlite3.connect(servers[0].home / "reg.db", isolation_level=None)) as other, ThreadPoolExecutor(1) as pool:
        other.execute("BEGIN IMMEDIATE")
        change = ("upsertBucket", "UpsertBucketInput", "inserted")
        asked = pool.submit(crowd.at_once, lambda c: c.change(*change, modelName=project, name=str(c.number)), clients=6)
        with pytest.raises(TimeoutError):
            # As long as the others hold it nobody gets an answer, of whatever kind.
            asked.result(timeout=1)
        other.execute("COMMIT")
        assert asked.result(timeout=30) == [{"inserted": True}] * 6


HOLDS_ITS_TURN = """if True:
    import sys
    from pathlib import Path
    from registry.server.turns import Turns
    with Turns(Path(sys.argv[1])).turn(patience=10):
        print("mine", flush=True)
        sys.stdin.read()
"""


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Another process has its turn."""
    command = [sys.executable, "-c", HOLDS_ITS_TURN, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "mine\n"
        yield
        process.stdin.close()


@pytest.mark.skipif(sys.platform == "win32", reason="SQLite alone decides there")
def test_who_waits_too_long_is_told_to_ask_again(tmp_path: Path) -> None:
    database = Database(tmp_path / "reg.db", patience=0.05)
    with (
        held(tmp_path / "reg.db-turn"),
        pytest.raises(Busy, match=r"the database reg\.db is in use by others; try again"),
        database.writing(),
    ):
        pass
    with database.writing():
        pass
    database.close()


@pytest.mark.skipif(sys.platform == "win32", reason="SQLite alone decides there")
def test_a_process_that_dies_gives_its_turn_back(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDS_ITS_TURN, str(tmp_path / "turn")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "mine\n"
        process.kill()
        process.wait(timeout=30)
    turns = Turns(tmp_path / "turn")
    with turns.turn(patience=10):
        pass
    turns.close()


TAKES_EVERY_TURN = """if True:
    import sys, time
    from pathlib import Path
    from registry.server.turns import Turns
    turns, count = Turns(Path(sys.argv[1])), Path(sys.argv[2])
    while True:
        with turns.turn(patience=60):
            count.write_text(str(int(count.read_text()) + 1).zfill(9))
            time.sleep(0.002)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SQLite alone decides there")
def test_a_process_that_writes_all_the_time_lets_others_in(tmp_path: Path) -> None:
    count = tmp_path / "count"
    count.write_text("0".zfill(9))
    turns = Turns(tmp_path / "turn")
    command = [sys.executable, "-c", TAKES_EVERY_TURN, str(tmp_path / "turn"), str(count)]
    with subprocess.Popen(command) as process:
        went_first: list[int] = []
        last = 0
        while len(went_first) < 21:
            # It has its turn again, and would take the next one too.
            while (before := int(count.read_text() or last)) == last:
                pass
            with turns.turn(patience=60):
                last = int(count.read_text())
                went_first.append(last - before)
        process.kill()
    turns.close()
    # The one whose turn it is, and one that asked before us. Without a line it is dozens.
    assert statistics.median(went_first) <= 3
