"""Packs: thousands of small blobs in one file, and the index that says where each lies.

A file system needs fifty microseconds to make a file, four kilobytes to keep one of three hundred, and milliseconds to make its
name durable; a dataset of images is sixty thousand of them. So a batch of small files becomes one file of their contents, one
after the other, and a row each. The row is what makes a blob exist: it is written when the pack is whole and synced. A pack
that no row names and that no living process holds locked is what a crash left, and is removed.

The index is an SQLite file of its own rather than tables of the home's database: blobs are looked up and removed inside that
database's one write transaction, which a second writer to the same file would wait for in vain. Plain `sqlite3`, because the
short-lived process that fills packs would spend longer on importing SQLAlchemy than on its work.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import sqlite3
import sys
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

if sys.platform != "win32":
    import fcntl

# Longer than any write of ours, shorter than the SDK's 30 s per request.
_BUSY_SECONDS = 20.0
_BATCH = 900  # values bound to one IN (...)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS packs (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, written REAL NOT NULL);
CREATE TABLE IF NOT EXISTS packed (
  md5 TEXT PRIMARY KEY, pack INTEGER NOT NULL REFERENCES packs (id), start INTEGER NOT NULL, size INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS packed_by_pack ON packed (pack);
"""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Where a packed blob lies: `size` bytes of a file from `start` on, written at a moment (seconds since the epoch)."""

    path: Path
    start: int
    size: int
    written: float


class Packs:
    """The packs of one blob folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "index.db"
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def find(self, md5: str) -> Slice | None:
        query = "SELECT name, start, size, written FROM packed JOIN packs ON packs.id = pack WHERE md5 = ?"
        with self._reading() as connection:
            row = connection.execute(query, (md5,)).fetchone() if connection else None
        return None if row is None else Slice(path=self._folder / row[0], start=row[1], size=row[2], written=row[3])

    def sizes(self, md5s: Collection[str]) -> dict[str, int]:
        """Length in bytes of each of these blobs that is packed."""
        found: dict[str, int] = {}
        with self._reading() as connection:
            for some in _batches(sorted(md5s)) if connection else ():
                query = f"SELECT md5, size FROM packed WHERE md5 IN ({','.join('?' * len(some))})"
                found.update(connection.execute(query, some) if connection else ())
        return found

    def absent(self, md5s: Iterable[str]) -> set[str]:
        """Those of these blobs that are not packed."""
        wanted = set(md5s)
        query = "SELECT value FROM json_each(?) WHERE value NOT IN (SELECT md5 FROM packed)"
        with self._reading() as connection:
            if connection is None:
                return wanted
            return {md5 for (md5,) in connection.execute(query, (json.dumps(list(wanted)),))}

    def listing(self, prefix: str) -> list[tuple[str, int, float]]:
        """(md5, size, when it was written) of the packed blobs whose md5 begins with `prefix`."""
        query = "SELECT md5, size, written FROM packed JOIN packs ON packs.id = pack WHERE md5 >= ? AND md5 < ?"
        with self._reading() as connection:
            return list(connection.execute(query, (prefix, prefix + "g"))) if connection else []

    def begin(self) -> Pack:
        """A new pack, locked by this process until it is closed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        while True:
            pack = Pack(self._folder / f"{secrets.token_hex(16)}.pack")
            if pack.is_there:  # nobody took it for abandoned between our making it and our locking it
                return pack

    def keep(self, pack: Pack) -> None:
        """Make the contents of a pack, which was synced, blobs."""
        rows = sorted((md5, start, size) for md5, (start, size) in pack.contents.items())
        with self._writing() as connection:
            number = connection.execute(
                "INSERT INTO packs (name, written) VALUES (?, ?)", (pack.path.name, time.time())
            ).lastrowid
            connection.executemany(f"INSERT OR REPLACE INTO packed (md5, pack, start, size) VALUES (?, {number:d}, ?, ?)", rows)
        pack.kept = True

    def remove(self, md5s: Iterable[str]) -> list[Path]:
        """Take blobs out of the index; returns the packs of which nothing is left, to be unlinked."""
        if not self._file.exists():
            return []
        with self._writing() as connection:
            connection.executemany("DELETE FROM packed WHERE md5 = ?", [(md5,) for md5 in md5s])
            return self._forget_empty(connection)

    def compact(self) -> list[Path]:
        """Copy what is left of packs that are mostly holes into new ones; returns the old ones, to be unlinked."""
        for name, path in self._mostly_holes():
            with self._reading() as connection:
                query = "SELECT md5, start, size FROM packed JOIN packs ON packs.id = pack WHERE name = ? ORDER BY start"
                rows = list(connection.execute(query, (name,))) if connection else []
            with self.begin() as fresh, path.open("rb") as old:
                for md5, start, size in rows:
                    old.seek(start)
                    fresh.add(md5, old.read(size))
                fresh.sync()
                with self._writing() as connection:
                    number = connection.execute(
                        "INSERT INTO packs (name, written) SELECT ?, written FROM packs WHERE name = ?", (fresh.path.name, name)
                    ).lastrowid
                    # Only what still lies there: a blob that was removed meanwhile stays removed.
                    connection.executemany(
                        f"UPDATE packed SET pack = {number:d}, start = ? WHERE md5 = ?"
                        " AND pack = (SELECT id FROM packs WHERE name = ?)",
                        [(fresh.contents[md5][0], md5, name) for md5, _, _ in rows],
                    )
                fresh.kept = True
        if not self._file.exists():
            return []
        with self._writing() as connection:
            return self._forget_empty(connection)

    def abandoned(self, *, remove: bool = False) -> list[Path]:
        """The packs that no row names and no living process is writing; removes them on request.

        Each is locked while it is asked about, as it is by its writer until the rows are there: so none is removed that
        somebody is just making.
        """
        found = []
        for path in sorted(self._folder.glob("*.pack")) if self._folder.is_dir() else ():
            with suppress(OSError), path.open("rb") as file:  # locked, or gone
                if sys.platform != "win32":
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not self._is_named(path.name):
                    found.append(path)
                    if remove:
                        path.unlink()
        return found

    def problems(self) -> list[str]:
        """What SQLite finds wrong with the index."""
        try:
            with self._reading() as connection:
                lines = connection.execute("PRAGMA integrity_check").fetchall() if connection else []
        except OSError as exc:
            return [str(exc)]
        return [line for (line,) in lines if line != "ok"]

    def _is_named(self, name: str) -> bool:
        with self._reading() as connection:
            query = "SELECT 1 FROM packs WHERE name = ?"
            return connection is not None and connection.execute(query, (name,)).fetchone() is not None

    def _mostly_holes(self) -> list[tuple[str, Path]]:
        query = "SELECT name, sum(size) FROM packed JOIN packs ON packs.id = pack GROUP BY pack"
        with self._reading() as connection:
            live = list(connection.execute(query)) if connection else []
        found = [(name, self._folder / name, size) for name, size in live]
        return [(name, path) for name, path, size in found if path.exists() and 2 * size < path.stat().st_size]

    def _forget_empty(self, connection: sqlite3.Connection) -> list[Path]:
        empty = connection.execute("SELECT id, name FROM packs WHERE id NOT IN (SELECT DISTINCT pack FROM packed)").fetchall()
        connection.executemany("DELETE FROM packs WHERE id = ?", [(number,) for number, _ in empty])
        return [self._folder / name for _, name in empty]

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """None where nothing was ever packed: most homes."""
        with self._lock, _translated(self._file):
            yield self._open() if self._connection is not None or self._file.exists() else None

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _translated(self._file):
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            with _alone(self._folder):  # SQLite lets nobody wait while the journal's mode changes
                connection = sqlite3.connect(self._file, timeout=_BUSY_SECONDS, check_same_thread=False, isolation_level=None)
                for pragma in ("journal_mode = WAL", "synchronous = FULL", "cache_size = -16000"):
                    connection.execute(f"PRAGMA {pragma}").close()
                connection.executescript(_SCHEMA)
            self._connection = connection
        return self._connection


class Pack:
    """A pack that is being filled, locked by this process; removed when its `with` block ends before it was kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.contents: dict[str, tuple[int, int]] = {}
        self.kept = False
        self._file = path.open("xb", buffering=1 << 20)
        self._end = 0
        if sys.platform != "win32":
            fcntl.flock(self._file, fcntl.LOCK_EX)
        self.is_there = path.exists()

    def __enter__(self) -> Pack:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.kept:
            self.path.unlink(missing_ok=True)
        self._file.close()

    def add(self, md5: str, content: bytes) -> None:
        if md5 not in self.contents:
            self._file.write(content)
            self.contents[md5] = (self._end, len(content))
            self._end += len(content)

    def sync(self) -> None:
        """Wait until the contents and the name are on the disk, and the name of the folder, which may be new as well."""
        self._file.flush()
        os.fsync(self._file.fileno())
        for folder in self.path.parents[:2] if os.name == "posix" else ():
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time."""
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _translated(file: Path) -> Iterator[None]:
    """What SQLite says of a full or failing disk, as the file system would say it."""
    try:
        yield
    except sqlite3.Error as exc:
        raise OSError(errno.EIO, f"the index of the packs: {exc}", str(file)) from exc


def _batches(md5s: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(md5s), _BATCH):
        yield md5s[start : start + _BATCH]
