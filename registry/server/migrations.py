"""Numbered changes of the schema; a database remembers which it has had.

A released migration never changes: later ones build on it. Each is a function on an open write transaction, so that a
crash in the middle leaves the database as it was.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, text

from registry.errors import RegError
from registry.server import tables


class NewerDatabase(RegError):
    """A newer `reg` wrote this home."""


def _first_schema(connection: Connection) -> None:
    tables.metadata.create_all(connection)


MIGRATIONS: tuple[tuple[str, Callable[[Connection], None]], ...] = (("0001 first schema", _first_schema),)


def migrate(connection: Connection) -> None:
    """Bring the database to this code's schema.

    Raises:
        NewerDatabase: it has had migrations that this code does not know.
    """
    connection.execute(text("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY) WITHOUT ROWID"))
    done = set(connection.execute(text("SELECT name FROM migrations")).scalars())
    unknown = sorted(done - {name for name, _ in MIGRATIONS})
    if unknown:
        raise NewerDatabase(
            f"a newer reg wrote this home (it knows '{unknown[-1]}', this one does not)",
            hint="pip install --upgrade reg-lifecycle, or point REG_HOME at another folder",
        )
    for name, change in MIGRATIONS:
        if name not in done:
            change(connection)
            connection.execute(text("INSERT INTO migrations (name) VALUES (:name)"), {"name": name})
