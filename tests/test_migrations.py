"""Migrations lead to the schema the code is written against, from every schema there was, and nothing is lost on the way."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, text

from registry.server import migrations, tables
from registry.server.database import Database
from registry.server.migrations import NewerDatabase
from tests.cli.conftest import Reg
from tests.golden.make_home import HOMES, live
from tests.wire.conftest import running

GOLDEN = sorted(path.name.partition(".")[0] for path in HOMES.glob("*.tar.xz"))


def golden(schema: str, folder: Path) -> dict[str, Any]:
    """Unpack the golden home of a schema to `folder / "home"`; returns what the real client was told of it then."""
    with tarfile.open(HOMES / f"{schema}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    expected: dict[str, Any] = json.loads((folder / "expected.json").read_text())
    return expected


def written(database: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


def shape(connection: Connection) -> dict[str, Any]:
    """Every table's columns, references and unique or searching indexes, without the names that SQLite makes up."""

    def pragma(name: str, argument: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in connection.execute(text(f"PRAGMA {name}('{argument}')"))]

    names = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table' AND name != 'migrations'"))
    return {
        name: {
            "columns": {(column, kind, notnull, key) for _, column, kind, notnull, _, key in pragma("table_info", name)},
            "references": {row[2:] for row in pragma("foreign_key_list", name)},
            "indexes": {
                (unique, partial, tuple(column for _, _, column in pragma("index_info", index)))
                for _, index, unique, _, partial in pragma("index_list", name)
            },
        }
        for name in names.scalars()
    }


def test_the_migrations_lead_to_the_tables(tmp_path: Path) -> None:
    fresh = create_engine("sqlite://")
    with fresh.begin() as connection:
        tables.metadata.create_all(connection)
        described = shape(connection)
    fresh.dispose()
    database = Database(tmp_path / "reg.db")
    with database.reading() as connection:
        made = shape(connection)
    database.close()
    assert made == described


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [int(name.split()[0]) for name in migrations.known()] == list(range(1, len(migrations.known()) + 1))


def without_golden(known: Mapping[str, str], goldens: Iterable[str]) -> list[str]:
    """The migrations before which a database may have been left that no golden home stands for.

    A migration that ships together with the one before it says so in its first line.
    """
    missing = []
    for before, (name, sql) in zip(known, list(known.items())[1:], strict=False):
        together = re.match(rf"-- Ships with {before.split()[0]}\b", sql)
        if not together and before.split()[0] not in goldens:
            missing.append(name)
    return missing


def test_a_migration_comes_after_the_golden_home_of_the_schema_before_it() -> None:
    assert without_golden(migrations.known(), GOLDEN) == [], "python -m tests.golden.make_home, before the migration is added"


@pytest.mark.parametrize(
    ("goldens", "missing"), [(["0001"], ["0004 d"]), ([], ["0002 b", "0004 d"]), (["0001", "0003"], [])], ids=str
)
def test_migrations_that_ship_together_need_one_golden_home(goldens: list[str], missing: list[str]) -> None:
    known = {"0001 a": "", "0002 b": "CREATE", "0003 c": "-- Ships with 0002.\nCREATE", "0004 d": "-- Ships with 0002.\nCREATE"}
    assert without_golden(known, goldens) == missing


@pytest.mark.parametrize("schema", GOLDEN)
def test_a_home_of_an_earlier_schema_is_read_and_used_as_if_it_were_new(schema: str, tmp_path: Path) -> None:
    expected = golden(schema, tmp_path)
    with running(tmp_path / "home") as server:
        told = live("read", server, tmp_path / "reading")
        assert {part: told[part] for part in expected} == expected
        assert live("go_on", server, tmp_path / "going-on") == {
            "resumed at": 22,
            "fresh": "v3",
            "again": "v1",
            "production": "v0",
            "third": "v1",
            "deleted stays deleted": True,
        }
    last = written(tmp_path / "home" / "reg.db", "SELECT max(name) FROM migrations")
    assert last == [(list(migrations.known())[-1],)]


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """The database of the first schema."""
    golden("0001", tmp_path)
    return tmp_path / "home" / "reg.db"


def copies(database: Path) -> list[str]:
    return sorted(path.name for path in database.parent.glob("reg-before-*"))


def test_a_copy_is_kept_before_a_database_is_migrated(earlier: Path) -> None:
    runs = written(earlier, "SELECT name, state FROM runs")
    Database(earlier).close()
    assert copies(earlier) == ["reg-before-0002.db"]
    copy = earlier.with_name("reg-before-0002.db")
    assert written(copy, "SELECT name FROM migrations") == [("0001 first schema",)]
    assert written(copy, "SELECT name, state FROM runs") == runs
    assert written(copy, "PRAGMA integrity_check") == [("ok",)]
    assert copy.stat().st_mode & 0o077 == 0


def test_the_copy_takes_the_place_of_the_database_to_go_back(earlier: Path) -> None:
    Database(earlier).close()
    earlier.with_name("reg-before-0002.db").replace(earlier)
    Database(earlier).close()
    assert written(earlier, "SELECT max(name) FROM migrations") == [(list(migrations.known())[-1],)]


def test_only_the_last_copy_is_kept(earlier: Path) -> None:
    earlier.with_name("reg-before-0001.db").write_bytes(b"of long ago")
    Database(earlier).close()
    Database(earlier).close()
    assert copies(earlier) == ["reg-before-0002.db"]


def test_a_new_database_has_no_copy(tmp_path: Path) -> None:
    Database(tmp_path / "reg.db").close()
    assert copies(tmp_path / "reg.db") == []


def test_a_disk_without_room_for_a_copy_does_not_stop_the_migration(
    earlier: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 10, 10))  # type: ignore[attr-defined]
    Database(earlier).close()
    assert copies(earlier) == []
    assert "goes to schema 0002 without a copy" in caplog.text


def test_processes_that_open_an_earlier_database_at_once_migrate_it_once(earlier: Path) -> None:
    source = "import sys; from pathlib import Path; from registry.server.database import Database; Database(Path(sys.argv[1]))"
    started = [subprocess.Popen([sys.executable, "-c", source, str(earlier)]) for _ in range(4)]
    assert [process.wait(timeout=60) for process in started] == [0] * 4
    assert copies(earlier) == ["reg-before-0002.db"]


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """A home that a reg of the future wrote."""
    (tmp_path / "home").mkdir()
    database = Database(tmp_path / "home" / "reg.db")
    with database.writing() as connection:
        connection.execute(text("INSERT INTO migrations (name) VALUES ('9999 the future')"))
    database.close()
    return tmp_path / "home"


def test_a_database_of_a_newer_reg_is_refused_with_what_to_do(newer: Path) -> None:
    with pytest.raises(NewerDatabase, match="it knows '9999 the future', this one does not") as refused:
        Database(newer / "reg.db")
    assert refused.value.hint == "pip install --upgrade reg-lifecycle, or point REG_HOME at another folder"


def test_a_command_refuses_a_newer_home_in_two_lines_and_leaves_it_untouched(newer: Path, tmp_path: Path) -> None:
    before = hashlib.sha256((newer / "reg.db").read_bytes()).hexdigest()
    (tmp_path / "work").mkdir()
    done = Reg(home=newer, folder=tmp_path / "work")("ls")
    assert (done.code, [line for line in done.err.splitlines() if line.startswith(("Error", "Hint"))]) == (
        7,
        [
            "Error: a newer reg wrote this home (it knows '9999 the future', this one does not)",
            "Hint: pip install --upgrade reg-lifecycle, or point REG_HOME at another folder",
        ],
    )
    assert hashlib.sha256((newer / "reg.db").read_bytes()).hexdigest() == before
    assert copies(newer / "reg.db") == []
