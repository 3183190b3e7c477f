"""Files that belong to a run: announced by name, stored as blobs, listed once their bytes are here."""

from __future__ import annotations

import mimetypes
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, literal, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from registry.errors import BadData, NotFound
from registry.server import limits
from registry.server.context import now
from registry.server.names import check_path
from registry.server.store.pages import Page, page
from registry.server.tables import run_files, runs


@dataclass(frozen=True, kw_only=True)
class RunFile:
    """One file; `md5` (hex) is None until its bytes are here."""

    id: int
    run_id: int
    name: str
    md5: str | None
    size: int
    mimetype: str | None
    updated_at: str


def normal(name: str) -> str:
    """The SDK asks for `./x` where it stored `x`."""
    while name.startswith("./"):
        name = name[2:]
    return name


def announce(connection: Connection, run_id: int, names: Sequence[str]) -> list[RunFile]:
    """Make room for files about to be uploaded; one already here keeps its content until the new bytes replace it.

    Returns:
        One file per name, in the order asked.
    Raises:
        BadData: a name would leave the folder that it is downloaded to.
    """
    moment = now()
    for name in map(normal, names):
        check_path(name, "the run file")
        row = {"run_id": run_id, "name": name, "mimetype": mimetypes.guess_type(name)[0], "updated_at": moment}
        connection.execute(upsert(run_files).values(row).on_conflict_do_nothing())
    return [_named(connection, run_id, normal(name)) for name in names]


def store(connection: Connection, file_id: int, *, md5: str, size: int) -> None:
    """Record that a file's bytes are in the blob store.

    Raises:
        NotFound: the run or the file was deleted meanwhile.
    """
    changed = connection.execute(
        update(run_files).where(run_files.c.id == file_id).values(md5=md5, size=size, updated_at=now())
    )
    if not changed.rowcount:
        raise NotFound(f"run file {file_id} was deleted")


def stored(connection: Connection, file_id: int) -> RunFile:
    """
    Raises:
        NotFound: no such file, or its bytes never came.
    """
    row = connection.execute(select(run_files).where(run_files.c.id == file_id, run_files.c.md5.is_not(None))).one_or_none()
    if row is None:
        raise NotFound(f"run file {file_id} is not here")
    return RunFile(**row._mapping)


def listing(
    connection: Connection,
    run_id: int,
    *,
    names: Sequence[str] = (),
    pattern: str | None = None,
    after: str | None = None,
    first: int | None = None,
) -> Page[RunFile]:
    """Files whose bytes are here, by name; only those of `names` when given, and those LIKE `pattern`."""
    query = select(run_files).where(run_files.c.run_id == run_id, run_files.c.md5.is_not(None)).order_by(run_files.c.name)
    if names:
        query = query.where(run_files.c.name.in_([normal(name) for name in names]))
    if pattern:
        if len(pattern) > limits.PATTERN:
            raise BadData(f"the pattern has {len(pattern)} characters, this server takes {limits.PATTERN}")
        query = query.where(run_files.c.name.like(pattern))
    return page(connection, query, lambda row: RunFile(**row._mapping), after=after, first=first)


def copy(connection: Connection, parent_id: int, child_id: int, *, prefix: str) -> None:
    """Give a run the files of another whose names begin so."""
    kept = [column for column in run_files.c if column.name not in {"id", "run_id"}]
    rows = select(literal(child_id), *kept).where(
        run_files.c.run_id == parent_id, run_files.c.md5.is_not(None), run_files.c.name.startswith(prefix, autoescape=True)
    )
    connection.execute(insert(run_files).from_select(["run_id", *(column.name for column in kept)], rows))


def projects_of(connection: Connection, file_ids: Sequence[int]) -> list[int]:
    """The ids of the projects whose runs have these files."""
    query = select(runs.c.project_id).distinct().join(run_files, run_files.c.run_id == runs.c.id)
    return list(connection.execute(query.where(run_files.c.id.in_(file_ids))).scalars())


def remove(connection: Connection, file_ids: Sequence[int]) -> None:
    connection.execute(delete(run_files).where(run_files.c.id.in_(file_ids)))


def _named(connection: Connection, run_id: int, name: str) -> RunFile:
    row = connection.execute(select(run_files).where(run_files.c.run_id == run_id, run_files.c.name == name)).one()
    return RunFile(**row._mapping)
