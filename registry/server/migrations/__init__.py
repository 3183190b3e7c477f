"""Numbered changes of the schema, a file of SQL each; a database remembers which it has had.

A released migration never changes: later ones build on it, and `tables/` describes where they all lead. The change that a
program needs is a new file here, with the next number. All that are due run in one write transaction, so that a crash in
the middle leaves the database as it was.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Set
from functools import lru_cache
from pathlib import Path

from sqlalchemy import Connection, text

from registry.errors import EnvironmentProblem


class NewerDatabase(EnvironmentProblem):
    """A newer `reg` wrote this home."""


@lru_cache(maxsize=1)
def known() -> dict[str, str]:
    """The SQL of each migration by its name ("0001 first schema"), in order."""
    files = sorted(Path(__file__).parent.glob("*.sql"))
    return {file.stem.replace("_", " "): file.read_text(encoding="utf-8") for file in files}


def due(done: Set[str]) -> list[str]:
    """The names of the migrations that a database lacks which has had those in `done`.

    Raises:
        NewerDatabase: it has had migrations that this code does not know.
    """
    unknown = sorted(done - known().keys())
    if unknown:
        raise NewerDatabase(
            f"a newer reg wrote this home (it knows '{unknown[-1]}', this one does not)",
            hint="pip install --upgrade reg-lifecycle, or point REG_HOME at another folder",
        )
    return [name for name in known() if name not in done]


def migrate(connection: Connection) -> None:
    """Bring the database to this code's schema.

    Args:
        connection: in a write transaction.
    Raises:
        NewerDatabase: it has had migrations that this code does not know.
    """
    for name in due(applied(connection)):
        for statement in _statements(known()[name]):
            connection.exec_driver_sql(statement)
        connection.execute(text("INSERT INTO migrations (name) VALUES (:name)"), {"name": name})


def applied(connection: Connection) -> Set[str]:
    """The names of the migrations that this database has had; a new one has had none.

    Args:
        connection: in a write transaction.
    """
    connection.execute(text("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY) WITHOUT ROWID"))
    return set(connection.execute(text("SELECT name FROM migrations")).scalars())


def _statements(sql: str) -> Iterator[str]:
    """One statement at a time: the driver's own script runner would commit our transaction first."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    assert not statement.strip(), f"an unfinished statement: {statement}"
