"""`reg gc`: what nothing keeps goes, what anything keeps stays, whoever writes meanwhile."""

from __future__ import annotations

import json
import random
import secrets
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection

from registry.cli import run
from registry.server import collecting, ids, integrity
from registry.server.batches import Batch
from registry.server.blobs import PREFIXES, Blobs
from registry.server.collecting import Garbage, Patience
from registry.server.database import Database
from registry.server.home import present_home
from registry.server.store import keeping
from registry.server.tables import metadata
from tests.wire.conftest import Server, running
from tests.wire.drafts import Upload, hex_md5

_BEGIN_RUN = 'mutation($p: String!) { upsertBucket(input: {modelName: $p, name: "r"}) { inserted } }'
_NO_GRACE = Patience(grace=timedelta(0))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose home is collected: its tests begin by collecting what others left."""
    with running(tmp_path_factory.mktemp("gc") / "home") as server:
        yield server


@dataclass(frozen=True, kw_only=True)
class Version:
    """A version that was logged, and how to change its fate."""

    server: Server
    id: str

    def delete(self) -> None:
        self._change("mutation($id: ID!) { deleteArtifact(input: {artifactID: $id, deleteAliases: true}) { artifact { id } } }")

    def expire(self) -> None:
        """Give it a time to live, and be that much older."""
        self._change(
            "mutation($id: ID!) { updateArtifact(input: {artifactID: $id, ttlDurationSeconds: 60}) { artifact { id } } }"
        )
        number = ids.decode("Artifact", self.id)
        execute(self.server.home, f"UPDATE artifacts SET created_at = '2020-01-01T00:00:00.000000Z' WHERE id = {number}")

    def alias(self, project: str, name: str) -> None:
        self._change(
            "mutation($id: ID!, $project: String!, $name: String!) { addAliases(input: {artifactID: $id, aliases: "
            '[{entityName: "local", projectName: $project, artifactCollectionName: "it", alias: $name}]}) { success } }',
            project=project,
            name=name,
        )

    def link(self) -> None:
        self._change(
            'mutation($id: ID!) { linkArtifact(input: {artifactID: $id, entityName: "local", projectName: "portfolios", '
            'artifactPortfolioName: "held"}) { versionIndex } }'
        )

    def used_by(self, project: str, run: str) -> None:
        self._change(
            'mutation($id: ID!, $project: String!, $run: String!) { useArtifact(input: {artifactID: $id, entityName: "local", '
            "projectName: $project, runName: $run}) { artifact { id } } }",
            project=project,
            run=run,
        )

    def _change(self, query: str, **variables: str) -> None:
        self.server.ask(query, id=self.id, **variables)


def log(server: Server, project: str, files: Mapping[str, bytes]) -> Version:
    upload = Upload(server, project, files)
    upload.put_files()
    upload.put_manifest()
    upload.commit().raise_for_status()
    return Version(server=server, id=upload.id)


def execute(home: Path, statement: str) -> None:
    with closing(sqlite3.connect(home / "reg.db", isolation_level=None)) as connection:
        connection.execute(statement)


def blob_path(server: Server, content: bytes) -> Path:
    md5 = hex_md5(content)
    return server.home / "blobs" / md5[:2] / md5[2:]


def stored(server: Server, content: bytes) -> bool:
    return blob_path(server, content).exists()


def find(home: Path, patience: Patience = _NO_GRACE) -> Garbage:
    with present_home(home) as opened:
        return collecting.find(opened.database, opened.blobs, patience, lambda done, total: None)


def collect(home: Path, patience: Patience = _NO_GRACE) -> Garbage:
    with present_home(home) as opened:
        plan = collecting.find(opened.database, opened.blobs, patience, lambda done, total: None)
        return collecting.remove(opened.database, opened.blobs, plan, patience, lambda done, total: None)


def faults(home: Path) -> tuple[integrity.Fault, ...]:
    with present_home(home) as opened:
        return integrity.check(opened.database, opened.blobs, quarantine=False, on_progress=lambda done, total: None).faults


def test_every_column_that_names_a_blob_is_asked() -> None:
    """A part's md5 is that of no blob; `digests` speaks of bytes that something else keeps."""
    named = {c for t in metadata.sorted_tables for c in t.columns if c.name == "md5" or c.name.endswith("_md5")}
    others = {"parts.md5", "digests.md5"}
    assert {str(column) for column in named} - others == {str(c) for c in (*keeping.NEEDED, *keeping.ANNOUNCED)}


def test_the_bytes_of_a_deleted_version_go_and_shared_ones_stay(own: Server, project: str) -> None:
    first, _ = log(own, project, {"a": b"only first", "s": b"both"}), log(own, project, {"a": b"only second", "s": b"both"})
    first.delete()
    collect(own.home)
    assert [stored(own, content) for content in (b"only first", b"both", b"only second")] == [False, True, True]
    assert faults(own.home) == ()


def test_packed_bytes_go_and_give_their_room_back(own: Server, project: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"packed")
    blobs = Blobs(own.home / "blobs")
    with Batch(blobs) as batch:
        md5 = batch.add(str(tmp_path / "a")).md5
        batch.keep()
    version = log(own, project, {"a": b"packed"})
    collect(own.home)
    assert (stored(own, b"packed"), blobs.read(md5)) == (False, b"packed")
    version.delete()
    collect(own.home)
    assert (blobs.has(md5), list((own.home / "blobs" / "packs").glob("*.pack"))) == (False, [])


def test_bytes_that_came_within_the_grace_period_stay(own: Server, project: str) -> None:
    log(own, project, {"a": b"young"}).delete()
    done = collect(own.home, Patience())
    assert (done.blobs, done.young >= 2, stored(own, b"young")) == (0, True, True)


def test_an_unfinished_upload_keeps_its_bytes_until_it_is_given_up(own: Server, project: str) -> None:
    upload = Upload(own, project, {"a": b"unfinished"})
    upload.put_files()
    assert (collect(own.home).abandoned, stored(own, b"unfinished")) == ((), True)
    done = collect(own.home, Patience(grace=timedelta(0), abandoned=timedelta(0)))
    assert ([gone.name for gone in done.abandoned], stored(own, b"unfinished")) == ([f"local/{project}/it"], False)
    log(own, project, {"a": b"unfinished"})
    assert stored(own, b"unfinished")


def test_a_client_that_comes_back_to_an_upload_that_was_given_up_begins_anew(own: Server, project: str) -> None:
    """An offline run keeps the client's id of its artifact for as long as it is not synced."""
    query = "mutation($input: CreateArtifactInput!) { createArtifact(input: $input) { artifact { state } } }"
    said = {
        "entityName": "local",
        "projectName": project,
        "artifactTypeName": "dataset",
        "artifactCollectionName": "it",
        "digest": "d" * 32,
        "clientID": secrets.token_hex(64),
    }
    own.ask(query, input=said)
    collect(own.home, Patience(abandoned=timedelta(0)))
    assert own.ask(query, input=said) == {"createArtifact": {"artifact": {"state": "PENDING"}}}


def test_a_version_past_its_time_to_live_loses_its_bytes_and_keeps_its_number(own: Server, project: str) -> None:
    version = log(own, project, {"a": b"expiring"})
    version.expire()
    plan = find(own.home)
    assert [gone.name for gone in plan.expired] == [f"local/{project}/it:v0"]
    assert stored(own, b"expiring")
    collect(own.home)
    assert not stored(own, b"expiring")
    log(own, project, {"a": b"next"})
    query = 'query($name: String!) { project(name: $name) { artifact(name: "it:v1") { versionIndex } } }'
    assert own.ask(query, name=project) == {"project": {"artifact": {"versionIndex": 1}}}
    assert faults(own.home) == ()


@pytest.mark.parametrize("kept_by", ["an alias", "a link", "the lineage of an alias"])
def test_a_version_past_its_time_to_live_is_kept_by(own: Server, project: str, kept_by: str) -> None:
    content = secrets.token_bytes(8)
    version = log(own, project, {"a": content})
    if kept_by == "an alias":
        version.alias(project, "production")
    elif kept_by == "a link":
        version.link()
    else:
        own.ask(_BEGIN_RUN, p=project)
        version.used_by(project, "r")
        made = log(own, project, {"a": content + b"made from it"})
        execute(
            own.home,
            "INSERT INTO loggings (artifact_id, run_id, created_at) "
            f"SELECT {ids.decode('Artifact', made.id)}, max(id), '' FROM runs WHERE name = 'r'",
        )
        made.alias(project, "production")
    version.expire()
    assert (collect(own.home).expired, stored(own, content)) == ((), True)


class Overtaken(Database):
    """A collector that is overtaken each time it has chosen what to remove and is about to."""

    def __init__(self, path: Path, by: Callable[[], object]) -> None:
        self._by: Callable[[], object] = lambda: None  # opening it writes too
        super().__init__(path)
        self._by = by

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        self._by()
        with super().writing() as connection:
            yield connection


def test_bytes_that_a_client_was_just_told_are_stored_are_not_removed(own: Server, project: str) -> None:
    files = {"a": secrets.token_bytes(8)}
    log(own, project, files).delete()
    upload = Upload(own, project, files)
    prefix, at, told = PREFIXES.index(hex_md5(files["a"])[:2]), [0], []

    def overtake() -> None:
        if at[-1] == prefix:
            told.extend(node["uploadUrl"] for node in upload.announce())

    database, blobs = Overtaken(own.home / "reg.db", overtake), Blobs(own.home / "blobs")
    plan = collecting.find(database, blobs, _NO_GRACE, lambda done, total: None)
    collecting.remove(database, blobs, plan, _NO_GRACE, lambda done, total: at.append(done))
    database.close()
    assert told == [None]
    upload.put_manifest()
    assert upload.commit().status_code == 200
    assert stored(own, files["a"])


def test_a_run_file_whose_bytes_were_collected_before_it_was_recorded_is_asked_for_again(own: Server, project: str) -> None:
    own.ask(_BEGIN_RUN, p=project)
    url, content = _run_file_url(own, project), secrets.token_bytes(8)
    with ThreadPoolExecutor(1) as pool, closing(sqlite3.connect(own.home / "reg.db", isolation_level=None)) as collector:
        collector.execute("BEGIN IMMEDIATE")
        put = pool.submit(httpx.put, url, content=content, trust_env=False)
        while not stored(own, content):
            assert not put.done()
            time.sleep(0.02)
        blob_path(own, content).unlink()
        collector.execute("ROLLBACK")
        assert put.result().status_code == 429
    assert httpx.put(url, content=content, trust_env=False).status_code == 200
    assert stored(own, content)


def test_nobody_loses_bytes_to_a_collection_that_goes_on_all_the_time(tmp_path: Path) -> None:
    """Few contents, logged and deleted again and again by several clients while two processes' worth of collectors run.

    The contents come and go under everybody's hands: told "this is stored already", or sent a moment before it would have
    been collected, each version that is committed has all its bytes.
    """
    with running(tmp_path / "home") as server:
        over = threading.Event()
        collected: list[int] = []

        def keep_collecting() -> None:
            while not over.is_set():
                collected.append(collect(server.home).blobs)

        def write(number: int) -> list[int]:
            chance, statuses = random.Random(number), []
            for _ in range(4):
                upload = Upload(server, f"p{number}", {name: f"content {chance.randrange(6)}".encode() for name in "abc"})
                if upload.state == "PENDING":
                    upload.put_files()
                    upload.put_manifest()
                statuses.append(upload.commit().status_code)
                statuses.append(_put_run_file(server, f"p{number}", f"content {chance.randrange(6)}".encode()))
                if chance.random() < 0.7:
                    Version(server=server, id=_committed(server, upload)).delete()
            return statuses

        for number in range(3):
            server.ask(_BEGIN_RUN, p=f"p{number}")
        with ThreadPoolExecutor(5) as pool:
            collectors = [pool.submit(keep_collecting) for _ in range(2)]
            statuses = [status for found in pool.map(write, range(3)) for status in found]
            over.set()
            for collector in collectors:
                collector.result()
        assert (set(statuses), sum(collected) > 0) == ({200}, True)
        assert faults(server.home) == ()


def _run_file_url(server: Server, project: str) -> str:
    answer: Any = server.ask(
        'mutation($p: String!) { createRunFiles(input: {entityName: "local", projectName: $p, runName: "r", files: ["n"]}) '
        "{ files { uploadUrl } } }",
        p=project,
    )
    return str(answer["createRunFiles"]["files"][0]["uploadUrl"])


def _put_run_file(server: Server, project: str, content: bytes) -> int:
    """As the client does: again, when it is told to try again."""
    url = _run_file_url(server, project)
    while (status := httpx.put(url, content=content, trust_env=False).status_code) == 429:
        pass
    return status


def _committed(server: Server, upload: Upload) -> str:
    """The id of what an upload became: an equal version takes its place."""
    found: Any = upload.commit().json()
    return str(found["data"]["commitArtifact"]["artifact"]["id"])


@pytest.fixture
def garbage(own: Server, project: str, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Content that can go, in the home that `reg` uses; sent long ago."""
    collect(own.home)
    log(own, project, {"a": b"rubbish"}).delete()
    monkeypatch.setenv("REG_HOME", str(own.home))
    return b"rubbish"


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_a_dry_run_shows_what_would_go(own: Server, garbage: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gc", "--dry-run", "--grace", "0s", "--json"]) == 0
    shown = said(capsys)
    # Its file, and its manifest.
    assert (shown["removed"], shown["blobs"], shown["home"]) == (False, 2, str(own.home))
    assert stored(own, garbage)


def test_yes_removes_without_asking(own: Server, garbage: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gc", "--yes", "--grace", "0s", "--json"]) == 0
    shown = said(capsys)
    assert (shown["removed"], shown["blobs"], stored(own, garbage)) == (True, 2, False)
    assert run(["gc", "--yes", "--grace", "0s"]) == 0
    assert "nothing was removed" in capsys.readouterr().out


def test_without_yes_and_without_anybody_to_ask_nothing_is_removed(
    own: Server, garbage: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["gc", "--grace", "0s"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "Error: reg gc asks before it removes anything, and nobody is there to answer",
        "Hint: reg gc --dry-run",
    ]
    assert stored(own, garbage)


def test_what_a_killed_command_left_in_the_home_goes_too(
    own: Server, garbage: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (own.home / "downloads" / "md5").mkdir(parents=True, exist_ok=True)
    for place in (own.home, own.home / "downloads" / "md5"):
        code = f"""import os, pathlib, registry.scratch as s
with s.scratch(pathlib.Path({str(place)!r}), "incoming") as folder:
    (folder / "half").write_bytes(bytes(1000))
    os.kill(os.getpid(), 9)"""
        assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    assert run(["gc", "--yes", "--grace", "0s", "--json"]) == 0
    shown = said(capsys)
    assert (shown["left_behind"], shown["left_behind_size"]) == (2, 2000)
    assert list(own.home.rglob("incoming-*")) == []


def test_a_home_that_is_not_there_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REG_HOME", str(tmp_path / "none"))
    assert run(["gc", "--dry-run"]) == 1
    assert f"there is no home at {tmp_path / 'none'}" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
