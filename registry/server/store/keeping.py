"""Which rows keep which blobs.

Every column that holds the md5 of stored bytes is in one of two lists. What a version or a run file *needs* must be there;
what is only *announced* may still be on its way, and is kept all the same: an upload that was told "this is stored
already" relies on nothing but the row that it then wrote. A test compares the lists with the tables, so that a new column
cannot be forgotten by `collecting`, which deletes what nothing here names. No entry is kept that no version shows (`layers`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, null, select, union

from registry.server.store import artifacts as versions
from registry.server.store.layers import listed, shown, shown_without
from registry.server.tables import (
    artifacts,
    contested,
    entities,
    entries,
    history_exports,
    manifests,
    multiparts,
    projects,
    run_files,
    runs,
    uploads,
)

NEEDED: tuple[Column[Any], ...] = (entries.c.md5, artifacts.c.manifest_md5, run_files.c.md5)
ANNOUNCED: tuple[Column[Any], ...] = (
    uploads.c.md5,
    contested.c.md5,
    manifests.c.md5,
    multiparts.c.md5,
    multiparts.c.blob_md5,
    history_exports.c.md5,  # made again when it is gone
)

_MOST_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Need:
    """Bytes that must be stored; `size` is what is said of them, None where nothing is."""

    md5: str
    size: int | None


def needs(connection: Connection, prefix: str) -> set[Need]:
    """What versions and run files need, of the blobs whose md5 begins with `prefix`."""
    sizes: dict[Any, Any] = {entries: entries.c.size, run_files: run_files.c.size}
    questions = [select(c, sizes.get(c.table, null())).where(_begins(c, prefix)) for c in NEEDED]
    return {Need(md5=md5, size=size) for md5, size in connection.execute(union(*questions))}


def kept(connection: Connection, prefix: str, *, without: Collection[int] = ()) -> set[str]:
    """The md5s that begin with `prefix` and that any row names.

    Args:
        without: artifacts to look at as if they were deleted.
    """
    gone = listed(without)
    questions = []
    for column in (*NEEDED, *ANNOUNCED):
        question = select(column).where(_begins(column, prefix))
        owner = artifacts.c.id if column.table is artifacts else column.table.c.get("artifact_id")
        if without and column.table is entries:
            question = question.where(shown_without(without))
        elif without and owner is not None:
            question = question.where(owner.not_in(gone))
        questions.append(question)
    return set(connection.execute(union(*questions)).scalars())


def unkept(connection: Connection, md5s: Collection[str]) -> set[str]:
    """Those of the md5s, some hundreds at most, that no row names.

    In a write transaction the answer stays true until its end: whoever wants to name one of them must wait.
    """
    left = set(md5s)
    for column in (*NEEDED, *ANNOUNCED):
        left.difference_update(connection.execute(select(column).where(column.in_(sorted(left)))).scalars())
    return left


def owners(connection: Connection, md5: str) -> list[str]:
    """Who needs a blob, in words: versions with the path in them, then run files; the first few of each."""
    inside = select(shown.c.artifact_id, shown.c.path).where(shown.c.md5 == md5).order_by(shown.c.artifact_id)
    paths = {row.artifact_id: row.path for row in connection.execute(inside.limit(_MOST_NAMED))}
    described = select(artifacts.c.id).where(artifacts.c.manifest_md5 == md5).order_by(artifacts.c.id).limit(_MOST_NAMED)
    paths |= dict.fromkeys(connection.execute(described).scalars(), "its manifest")
    found = versions.by_ids(connection, paths)
    of_runs = (
        select(entities.c.name, projects.c.name, runs.c.name, run_files.c.name)
        .join(runs, runs.c.id == run_files.c.run_id)
        .join(projects, projects.c.id == runs.c.project_id)
        .join(entities, entities.c.id == projects.c.entity_id)
        .where(run_files.c.md5 == md5)
        .order_by(run_files.c.id)
        .limit(_MOST_NAMED)
    )
    files = [f"{entity}/{project}/runs/{run} ({file})" for entity, project, run, file in connection.execute(of_runs)]
    return [*(f"{found[number]} ({path})" for number, path in sorted(paths.items())), *files]


def _begins(column: Column[Any], prefix: str) -> ColumnElement[bool]:
    # "g" comes after every hex digit. Spelt as a range, because only that uses the index.
    return (column >= prefix) & (column < prefix + "g")
