"""`reg doctor --fsck`: every way in which bytes and database can disagree is seen, named, and can be mended."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from registry.cli import fsck as cli
from registry.cli.output import Output
from registry.server import integrity
from registry.server.batches import Batch
from registry.server.blobs import Blobs
from registry.server.home import present_home
from registry.server.integrity import Report
from tests.wire.conftest import Server, running
from tests.wire.drafts import Upload, hex_md5

_FILES = [{"a.txt": b"one", "b.txt": b"shared"}, {"a.txt": b"two", "b.txt": b"shared"}]
_NOTE = b"a note"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two versions and a run file."""
    home = tmp_path_factory.mktemp("made") / "home"
    with running(home) as server:
        for files in _FILES:
            log(server, files)
        server.ask('mutation { upsertBucket(input: {modelName: "p", name: "r"}) { inserted } }')
        answer = server.ask(
            'mutation { createRunFiles(input: {entityName: "local", projectName: "p", runName: "r", files: ["n.txt"]}) '
            "{ files { uploadUrl } } }"
        )
        httpx.put(answer["createRunFiles"]["files"][0]["uploadUrl"], content=_NOTE, trust_env=False).raise_for_status()  # type: ignore[index]
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(made, tmp_path / "home"))


def log(server: Server, files: Mapping[str, bytes]) -> None:
    upload = Upload(server, "p", files)
    upload.put_files()
    upload.put_manifest()
    upload.commit().raise_for_status()


def fsck(home: Path, *, quarantine: bool = False) -> Report:
    with present_home(home) as opened:
        return integrity.check(opened.database, opened.blobs, quarantine=quarantine, on_progress=lambda done, total: None)


def blob(home: Path, content: bytes) -> Path:
    md5 = hex_md5(content)
    return home / "blobs" / md5[:2] / md5[2:]


def execute(home: Path, *statements: str) -> None:
    with closing(sqlite3.connect(home / "reg.db", isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_home_that_is_well_has_no_faults(home: Path) -> None:
    report = fsck(home)
    assert (report.versions, report.unnamed, report.faults) == (2, 0, ())
    assert report.blobs == len([path for path in (home / "blobs").rglob("*") if path.is_file()])


SPOILT: dict[str, tuple[Callable[[Path], object], list[tuple[str, str, str]]]] = {
    "a file with other bytes": (
        lambda home: blob(home, b"one").write_bytes(b"0ne"),
        [("damaged", hex_md5(b"one"), "local/p/it:v0 (a.txt)")],
    ),
    "a file cut short": (
        lambda home: blob(home, b"shared").write_bytes(b"sha"),
        [("damaged", hex_md5(b"shared"), "local/p/it:v0 (b.txt), local/p/it:v1 (b.txt)")],
    ),
    "a file that is gone": (
        lambda home: blob(home, b"two").unlink(),
        [("missing", hex_md5(b"two"), "local/p/it:v1 (a.txt)")],
    ),
    "a run's file that is gone": (
        lambda home: blob(home, _NOTE).unlink(),
        [("missing", hex_md5(_NOTE), "local/p/runs/r (n.txt)")],
    ),
    "a length that is not that of the file": (
        lambda home: execute(home, f"UPDATE run_files SET size = 5 WHERE md5 = '{hex_md5(_NOTE)}'"),
        [("length", hex_md5(_NOTE), "local/p/runs/r (n.txt)")],
    ),
    "a version with another file than its manifest": (
        lambda home: execute(home, "UPDATE entries SET path = 'c.txt' WHERE layer_id = 1 AND path = 'a.txt'"),
        [("manifest", "local/p/it:v0", "local/p/it:v0")],
    ),
    "a digest that is not that of the files": (
        lambda home: execute(home, "UPDATE artifacts SET digest = 'another' WHERE id = 2"),
        [("manifest", "local/p/it:v1", "local/p/it:v1")],
    ),
    "a version without its files": (
        lambda home: execute(home, "DELETE FROM entries WHERE layer_id = 1 AND path = 'a.txt'"),
        [("database", "local/p/it:v0", ""), ("manifest", "local/p/it:v0", "local/p/it:v0")],
    ),
    "files of no version": (
        lambda home: execute(home, "INSERT INTO layers (id) VALUES (99)"),
        [("database", "layer 99", "")],
    ),
    "a number that nobody was given": (
        lambda home: execute(home, "UPDATE collections SET next_index = 3"),
        [("database", "local/p/it", "")],
    ),
    "a version that is no member of its collection": (
        lambda home: execute(home, "DELETE FROM memberships WHERE artifact_id = 1"),
        [("database", "artifact 1", "")],
    ),
    "an alias into another collection": (
        lambda home: execute(
            home,
            "INSERT INTO collections SELECT 99, project_id, type_id, kind, 'other', NULL, 0, created_at, updated_at "
            "FROM collections",
            "UPDATE aliases SET collection_id = 99",
        ),
        [("database", "local/p/other", "")],
    ),
    "a reference to nothing": (
        lambda home: execute(home, "UPDATE run_files SET run_id = 99"),
        [("database", "run_files", "")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", SPOILT)
def test_fsck_names(home: Path, what: str) -> None:
    spoil, expected = SPOILT[what]
    spoil(home)
    assert [(fault.kind, fault.where, ", ".join(fault.affects)) for fault in fsck(home).faults] == expected


def spoil(file: Path, table: str) -> None:
    """Overwrite the page where a table begins."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
        ((page,),) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [table]).fetchall()
        ((size,),) = connection.execute("PRAGMA page_size").fetchall()
    with file.open("r+b") as opened:
        opened.seek((page - 1) * size)
        opened.write(b"\xff" * size)


def test_a_spoilt_database_file_is_seen(home: Path) -> None:
    spoil(home / "reg.db", "alias_moves")
    assert {(fault.kind, fault.where) for fault in fsck(home).faults} == {("database", "reg.db")}


def test_fsck_changes_nothing(home: Path) -> None:
    blob(home, b"one").write_bytes(b"0ne")
    before = {path: path.read_bytes() for path in (home / "blobs").rglob("*") if path.is_file()}
    fsck(home)
    assert {path: path.read_bytes() for path in (home / "blobs").rglob("*") if path.is_file()} == before


def test_a_damaged_file_in_quarantine_is_mended_by_logging_it_again(home: Path) -> None:
    blob(home, b"one").write_bytes(b"0ne")
    (fault,) = fsck(home, quarantine=True).faults
    assert fault.quarantined is not None
    assert Path(fault.quarantined).read_bytes() == b"0ne"
    assert [found.kind for found in fsck(home).faults] == ["missing"]
    with running(home) as server:
        again = Upload(server, "elsewhere", {"same.txt": b"one"})
        again.put_files()
    assert (fsck(home).faults, blob(home, b"one").read_bytes()) == ((), b"one")


def test_a_damaged_pack_is_seen_and_mended_by_logging_the_file_again(home: Path, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"packed")
    with present_home(home) as opened, Batch(opened.blobs) as batch:
        batch.add(str(tmp_path / "small"))
        batch.keep()
    with running(home) as server:
        log(server, {"small": b"packed"})
    (pack,) = (home / "blobs" / "packs").glob("*.pack")
    pack.write_bytes(b"pacKed")
    (fault,) = fsck(home, quarantine=True).faults
    assert (fault.kind, fault.where, fault.affects) == ("damaged", hex_md5(b"packed"), ("local/p/it:v2 (small)",))
    with running(home) as server:
        log(server, {"small": b"packed", "other": b"one"})
    assert fsck(home).faults == ()


def test_a_damaged_index_of_packs_is_seen(home: Path, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"packed")
    with present_home(home) as opened, Batch(opened.blobs) as batch:
        batch.add(str(tmp_path / "small"))
        batch.keep()
    spoil(home / "blobs" / "packs" / "index.db", "packed")
    assert {(fault.kind, fault.where) for fault in fsck(home).faults} == {("database", "blobs/packs/index.db")}


def test_a_blob_that_was_mended_meanwhile_is_not_kept_in_quarantine(home: Path) -> None:
    with present_home(home) as opened:
        assert opened.blobs.quarantine(hex_md5(b"one")) is None
    assert blob(home, b"one").read_bytes() == b"one"


def test_a_copy_taken_while_others_write_is_a_whole_home(made: Path, tmp_path: Path) -> None:
    """Both databases first, by SQLite's own backup, then the blobs: bytes come before the rows that name them."""
    home, copy = Path(shutil.copytree(made, tmp_path / "home")), tmp_path / "copy"
    (tmp_path / "small").write_bytes(b"packed")
    with present_home(home) as opened, Batch(opened.blobs) as batch:
        batch.add(str(tmp_path / "small"))
        batch.keep()
    with running(home) as server:
        enough = threading.Event()

        def write() -> None:
            number = 0
            while not enough.is_set() or number < 3:
                log(server, {"n.txt": f"{number}".encode()})
                number += 1

        writer = threading.Thread(target=write)
        writer.start()
        copy.mkdir()
        (copy / "blobs" / "packs").mkdir(parents=True)
        for name in ("reg.db", "blobs/packs/index.db"):
            with closing(sqlite3.connect(home / name)) as source, closing(sqlite3.connect(copy / name)) as target:
                source.backup(target)
        databases = shutil.ignore_patterns("incoming", "index.db*")
        shutil.copytree(home / "blobs", copy / "blobs", ignore=databases, dirs_exist_ok=True)
        enough.set()
        writer.join()
    for name in ("key", "secret"):
        shutil.copy(home / name, copy / name)
    assert fsck(copy).faults == ()
    with running(copy) as server:
        assert server.key == (home / "key").read_text()
        assert server.ask('{ project(name: "p") { runCount } }') == {"project": {"runCount": 1}}


def test_leftovers_of_a_killed_server_are_removed_and_those_of_a_living_one_are_not(tmp_path: Path) -> None:
    living = Blobs(tmp_path / "blobs")
    (tmp_path / "blobs" / "incoming" / ("0" * 32)).write_bytes(b"of a process that is gone")
    with living.incoming() as incoming:
        incoming.add(b"half")
        assert Blobs(tmp_path / "blobs").remove_abandoned() == 1
        incoming.add(b" and half")
        md5 = incoming.keep(expected=None).md5
    assert living.read(md5) == b"half and half"
    assert list((tmp_path / "blobs" / "incoming").iterdir()) == []


def test_bytes_the_disk_has_spoilt_are_mended_when_they_come_again(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    md5 = blobs.write([b"right"]).md5
    blobs.path(md5).write_bytes(b"wrong")
    blobs.write([b"right"])
    assert blobs.read(md5) == b"right"


def test_doctor_says_which_versions_are_spoilt_and_fails(home: Path) -> None:
    blob(home, b"one").write_bytes(b"0ne")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "REG_"))}
    command = [sys.executable, "-m", "registry", "doctor", "--fsck", "--quarantine", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env={**environment, "REG_HOME": str(home)}, cwd=home)
    (fault,) = json.loads(done.stdout)["fsck"]["faults"]
    assert (done.returncode, fault["kind"], fault["affects"]) == (1, "damaged", ["local/p/it:v0 (a.txt)"])
    assert Path(fault["quarantined"]).exists()


def test_a_report_for_people_says_what_to_do(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(as_json=False)
    output.result({}, *cli.shown(cli.check(home, output, quarantine=False)))
    # Three contents, the note, and two manifests.
    assert re.fullmatch(r"checked: 6 stored files \(.*\), 2 versions; wrong: nothing\n", capsys.readouterr().out)
    blob(home, b"one").write_bytes(b"0ne")
    output.result({}, *cli.shown(cli.check(home, output, quarantine=False)))
    said = capsys.readouterr().out
    assert "spoils local/p/it:v0 (a.txt)" in said
    assert "reg doctor --fsck --quarantine moves it aside" in said
