"""The folder a server lives in: `REG_HOME`, or the platform's user data folder.

    reg.db       everything but bytes (SQLite, WAL)
    blobs/       bytes, content-addressed
    key          the API key of the local user (0600)
    secret       signs transfer links (0600)
    serve.json   where `reg serve` listens, while it runs

A copy of it may be taken while servers run, as long as nobody runs `reg gc`: first `reg.db` and `blobs/packs/index.db` by
SQLite's own backup (`sqlite3 reg.db ".backup copy.db"`), then the rest of `blobs`, `key` and `secret`. Bytes are stored before
the row that names them, so the copy is a whole home; `reg doctor --fsck` says so.

A new home is usable at once: one user, one organisation, and the registries `model` and `dataset` that W&B also gives.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from registry.errors import NotFound
from registry.server.blobs import Blobs
from registry.server.database import Database, StorageProblem
from registry.server.signing import Signer
from registry.server.store import people

_KEY_BYTES = 20  # 40 hex digits: the shortest key the SDK accepts


@dataclass(frozen=True, kw_only=True)
class Home:
    """An opened home."""

    path: Path
    database: Database
    blobs: Blobs
    signer: Signer
    key: str

    def close(self) -> None:
        self.database.close()


def open_home(path: Path) -> Home:
    """Open a home, creating what is missing and removing what killed servers left; safe when several processes do so at once.

    Raises:
        StorageProblem: the folder cannot be created or written; says which and why.
        NewerDatabase: a newer `reg` wrote it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = _secret(path / "key")
        secret = _secret(path / "secret")
        blobs = Blobs(path / "blobs")
        blobs.remove_abandoned()
    except OSError as exc:
        raise StorageProblem(
            f"cannot write to the home {path}: {exc.strerror}", hint="export REG_HOME=/a/folder/you/can/write"
        ) from exc
    database = Database(path / "reg.db")
    with database.writing() as connection:
        people.ensure_local_user(connection, key=key)
    return Home(path=path, database=database, blobs=blobs, signer=Signer(secret.encode()), key=key)


@contextmanager
def present_home(path: Path) -> Iterator[Home]:
    """A home that is there already, for the time of the block.

    Raises:
        NotFound: nothing was ever written there.
        StorageProblem, NewerDatabase: as when a server opens it.
    """
    if not (path / "reg.db").exists():
        raise NotFound(f"there is no home at {path}", hint="export REG_HOME=/the/folder/of/your/home")
    home = open_home(path)
    try:
        yield home
    finally:
        home.close()


def _secret(path: Path) -> str:
    """A random secret that exactly one process creates: hard-linking a finished file never shows a half-written one."""
    if not path.exists():
        draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())  # an empty key after a power cut would lock everybody out
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()
