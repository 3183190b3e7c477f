"""The SQLite file: how transactions begin, and nothing else.

One write transaction at a time, started with BEGIN IMMEDIATE: a deferred transaction that reads first and writes later
fails with SQLITE_BUSY when another process wrote in between, and no waiting helps it. Within a process writers queue on a
lock, which is fair and free; between processes (several commands on one home are normal) SQLite's busy timeout waits.
Readers never block: WAL gives each its snapshot.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import QueuePool

from registry.errors import EnvironmentProblem, RegError
from registry.server import migrations

# Longer than any write of ours, shorter than the SDK's 30 s per request.
_BUSY_TIMEOUT_MS = 20_000


class StorageProblem(EnvironmentProblem):
    """The home cannot be read or written: full, read-only, or not a database of ours."""


class Busy(RegError):
    """Other processes kept the database for longer than we wait; asking again helps."""


class Database:
    """Connections to one SQLite file, migrated to this code's schema when opened.

    Args:
        path: the file; created with its folder's permissions when absent.
    Raises:
        StorageProblem: the file cannot be opened, or a newer `reg` wrote it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer = threading.Lock()
        self._reading = _engine(path, begin="BEGIN")
        self._writing = _engine(path, begin="BEGIN IMMEDIATE")
        try:
            with self.writing() as connection:
                migrations.migrate(connection)
        except DatabaseError as exc:
            raise StorageProblem(f"cannot open the database {path}: {exc.orig}", hint="reg doctor") from exc

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A consistent snapshot.

        Raises:
            StorageProblem: the disk is full, read-only or failing.
        """
        with _translated(self.path), self._reading.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """The one writer: committed when the block ends, rolled back when it raises.

        Raises:
            Busy: another process kept the database for too long.
            StorageProblem: the disk is full, read-only or failing.
        """
        with _translated(self.path), self._writer, self._writing.begin() as connection:
            yield connection

    def close(self) -> None:
        self._reading.dispose()
        self._writing.dispose()


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OperationalError as exc:
        code = getattr(exc.orig, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise Busy(f"the database {path.name} is in use by other processes; try again") from exc
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
            raise StorageProblem(f"the server's disk refused: {exc.orig}", hint="free some space, then try again") from exc
        raise


def _engine(path: Path, *, begin: str) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=QueuePool,
        pool_size=8,
        max_overflow=32,
        connect_args={"timeout": _BUSY_TIMEOUT_MS / 1000, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: Any) -> None:
        # SQLAlchemy's "begin" event below opens transactions; the driver must not open its own.
        connection.isolation_level = None
        connection.create_function("json_at", 3, _json_at, deterministic=True)
        for pragma in (
            f"busy_timeout = {_BUSY_TIMEOUT_MS}",
            "journal_mode = WAL",
            # FULL: what was acknowledged to a client survives a power cut, not only a crash of the process.
            "synchronous = FULL",
            "foreign_keys = ON",
            "cache_size = -16000",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _json_at(text: str | None, path: str, unwrap: str) -> Any:
    """The value at a dotted path of a JSON text, for SQL: SQLite's own functions refuse the NaN that clients send.

    A key may itself hold dots, so the longest key that is there wins. `unwrap` names a key to step through at the top level.
    """
    try:
        value = json.loads(text or "null")
    except ValueError:
        return None
    parts = path.split(".")
    top = True
    while parts:
        if not isinstance(value, dict):
            return None
        fits = [size for size in range(len(parts), 0, -1) if ".".join(parts[:size]) in value]
        if not fits:
            return None
        value, parts = value[".".join(parts[: fits[0]])], parts[fits[0] :]
        if top and unwrap and isinstance(value, dict) and unwrap in value:
            value = value[unwrap]
            parts = parts[1:] if parts[:1] == [unwrap] else parts
        top = False
    return json.dumps(value) if isinstance(value, dict | list) else value
