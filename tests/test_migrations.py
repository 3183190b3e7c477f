"""The schema a database gets from its migrations is the one the code is written against."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, text

from registry.server import migrations, tables
from registry.server.database import Database
from registry.server.migrations import NewerDatabase


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


def test_a_database_of_a_newer_reg_is_refused_with_what_to_do(tmp_path: Path) -> None:
    database = Database(tmp_path / "reg.db")
    with database.writing() as connection:
        connection.execute(text("INSERT INTO migrations (name) VALUES ('9999 the future')"))
    database.close()
    with pytest.raises(NewerDatabase, match="it knows '9999 the future', this one does not") as refused:
        Database(tmp_path / "reg.db")
    assert refused.value.hint == "pip install --upgrade reg-lifecycle, or point REG_HOME at another folder"


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [int(name.split()[0]) for name in migrations.known()] == list(range(1, len(migrations.known()) + 1))
