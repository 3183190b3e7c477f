"""The SQLite file: how it is opened and how transactions begin, and nothing else.

One write transaction at a time, started with BEGIN IMMEDIATE: a deferred transaction that reads first and writes later
fails with SQLITE_BUSY when another process wrote in between, and no waiting helps it. Writers wait in line (`turns`), for less
than the SDK waits for an answer; then they are told to ask again. Readers never wait: WAL gives each its snapshot.

Before a database that holds something is brought to a newer schema, a copy is kept beside it (`reg-before-0006.db`), the last
one only: whoever goes back to the older `reg` puts it in the place of `reg.db`. A disk without room for it gets none; the
migration itself needs none, since it happens as a whole or not at all.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError, TimeoutError
from sqlalchemy.pool import QueuePool

from registry.errors import BadData, EnvironmentProblem, RegError
from registry.server import limits, migrations, patterns
from registry.server.turns import TooLong, Turns

_log = logging.getLogger(__name__)

# Together less than the 20 s after which the SDK's public API gives a request up: in line, then for programs outside of it.
_PATIENCE_SECONDS = 12.0
_BUSY_TIMEOUT_MS = 6_000
# Of SQLite's machine between two looks at the clock: some milliseconds.
_INSTRUCTIONS = 200_000


class StorageProblem(EnvironmentProblem):
    """The home cannot be read or written: full, read-only, or not a database of ours."""


class Busy(RegError):
    """Others kept the database for longer than we wait; asking again helps."""


class Database:
    """Connections to one SQLite file, migrated to this code's schema when opened.

    Args:
        path: the file; created with its folder's permissions when absent.
        patience: seconds to wait for other writers.
    Raises:
        StorageProblem: the file cannot be opened.
        NewerDatabase: a newer `reg` wrote it; it was not touched.
    """

    def __init__(self, path: Path, *, patience: float = _PATIENCE_SECONDS) -> None:
        self.path = path
        self._patience = patience
        try:
            self._turns = Turns(path.with_name(f"{path.name}-turn"))
        except OSError as exc:
            raise StorageProblem(f"cannot open the database {path}: {exc.strerror}", hint="reg doctor") from exc
        self._reading = _engine(path, begin="BEGIN", cache_kib=16_000)
        # A version of sixty thousand files touches a page of the index by digest for nearly each of them.
        self._writing = _engine(path, begin="BEGIN IMMEDIATE", cache_kib=128_000)
        try:
            self._migrate()
        except DatabaseError as exc:
            self.close()
            raise StorageProblem(f"cannot open the database {path}: {exc.orig}", hint="reg doctor") from exc
        except RegError:
            self.close()
            raise

    @contextmanager
    def reading(self, *, patient: bool = False) -> Iterator[Connection]:
        """A consistent snapshot.

        Args:
            patient: take as long as it takes: who asks is no client.
        Raises:
            BadData: one question took longer than anybody waits for its answer.
            StorageProblem: the disk is full, read-only or failing.
        """
        with _translated(self.path), self._reading.begin() as connection, nullcontext() if patient else _limited(connection):
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """The one writer: committed when the block ends, rolled back when it raises.

        Raises:
            Busy: others kept the database for too long.
            StorageProblem: the disk is full, read-only or failing.
        """
        with _translated(self.path), self._turns.turn(patience=self._patience), self._writing.begin() as connection:
            yield connection

    def close(self) -> None:
        self._reading.dispose()
        self._writing.dispose()
        self._turns.close()

    def _migrate(self) -> None:
        with self.writing() as connection:
            before = migrations.applied(connection)
            due = migrations.due(before)
            if before and due:
                # Ours is the only write transaction, so what this copy reads is what the migrations begin with.
                _keep_copy(self.path, before=due[0].partition(" ")[0])
            migrations.migrate(connection)


def _keep_copy(path: Path, *, before: str) -> None:
    size, free = path.stat().st_size, shutil.disk_usage(path.parent).free
    if free < 2 * size:
        _log.warning("%s goes to schema %s without a copy: it has %d bytes, the disk %d free", path, before, size, free)
        return
    copy = path.with_name(f"{path.stem}-before-{before}{path.suffix}")
    draft = copy.with_suffix(".partial")
    draft.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(draft)) as target:
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE").close()
    draft.replace(copy)
    for older in set(path.parent.glob(f"{path.stem}-before-*{path.suffix}")) - {copy}:
        older.unlink()
    _log.info("%s goes to a newer schema; the older one is kept as %s", path, copy.name)


@contextmanager
def _limited(connection: Connection) -> Iterator[None]:
    """Ends what a reader asks when its time is over: a search through everything, of a client that has hung up."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    until = time.monotonic() + limits.QUESTION_SECONDS
    driver.set_progress_handler(lambda: time.monotonic() > until, _INSTRUCTIONS)
    try:
        yield
    finally:
        driver.set_progress_handler(None, 0)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except TooLong:
        raise _busy(path) from None
    except TimeoutError as exc:
        # All connections of the pool are in use.
        raise _busy(path) from exc
    except OperationalError as exc:
        code = getattr(exc.orig, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise _busy(path) from exc
        if code == sqlite3.SQLITE_INTERRUPT:
            raise BadData(f"the answer takes longer than {limits.QUESTION_SECONDS:g} s; ask for less at once") from exc
        if code == sqlite3.SQLITE_READONLY:
            raise StorageProblem(f"the server's home {path.parent} cannot be written: {exc.orig}") from exc
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
            raise StorageProblem(f"the server's disk refused: {exc.orig}", hint="free some space, then try again") from exc
        raise
    except DatabaseError as exc:
        if getattr(exc.orig, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CORRUPT:
            raise StorageProblem(f"the database {path.name} is damaged: {exc.orig}", hint="reg doctor --fsck") from exc
        raise


def _busy(path: Path) -> Busy:
    return Busy(f"the database {path.name} is in use by others; try again")


def _engine(path: Path, *, begin: str, cache_kib: int) -> Engine:
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
        connection.create_function("matches", 2, patterns.matches, deterministic=True)
        for pragma in (
            f"busy_timeout = {_BUSY_TIMEOUT_MS}",
            "journal_mode = WAL",
            # FULL: what was acknowledged to a client survives a power cut, not only a crash of the process.
            "synchronous = FULL",
            "foreign_keys = ON",
            f"cache_size = -{cache_kib}",
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
