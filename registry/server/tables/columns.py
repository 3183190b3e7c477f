"""What every table is made of: the metadata they belong to, the integer key, the reference to another table."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Integer, MetaData

metadata = MetaData()


def key() -> Column[int]:
    return Column("id", Integer, primary_key=True)


def to(table: str, name: str, *, nullable: bool = False, cascade: bool = True) -> Column[int]:
    """A reference; with `cascade` the row goes with what it refers to, else it forgets it."""
    rule = "CASCADE" if cascade else "SET NULL"
    return Column(name, Integer, ForeignKey(f"{table}.id", ondelete=rule), nullable=nullable)
