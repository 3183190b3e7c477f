"""The file stream: everything a run's process says while it lives, in one request every few seconds.

Each stream is assigned at the line number the client names, so a request may come twice. What the client does with an answer
decides what we may answer: 400, 401, 403, 404, 409, 410, 413, 422 and 501 end its stream for good (the run would finish
"successfully" and its rows be lost), 429 and 5xx make it send the same lines again, for days if need be. So what can be kept is
kept, only an unknown run or a body without sense is refused, and a disk that is full answers 429: the rows get through once
there is room.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registry.errors import BadData
from registry.server import limits
from registry.server.context import User
from registry.server.database import Database
from registry.server.store import access, history_exports, runs, streams, sweeps
from registry.server.store.streams import Writer

# Beyond any number of lines that a run can send.
_LARGEST_OFFSET = 2**53
_LARGEST_EXITCODE = 2**31


def writer(headers: Mapping[str, str]) -> Writer:
    return Writer(
        shared=headers.get("x-wandb-use-async-filestream") == "true",
        client=headers.get("x-wandb-async-client-id"),
        derives_summary=headers.get("x-wandb-server-side-derived-summary") == "true",
    )


def receive(
    database: Database, *, user: User, entity: str, project: str, run: str, body: Mapping[str, Any], writer: Writer
) -> dict[str, Any]:
    """Store one request of a run's file stream.

    Returns:
        The reply; `stopped` asks the process to interrupt itself.
    Raises:
        NotFound, Unauthorised: there is no such run, or the user may not write to it.
        BadData: a stream is not `{offset, content}`.
    """
    files = body.get("files") or {}
    if not isinstance(files, dict):
        raise BadData(f"the files of a file stream are an object, not a {type(files).__name__}")
    chunks = {name: _chunk(name, chunk) for name, chunk in files.items() if name in streams.NAMES}
    said = streams.read(chunks)
    exitcode = body.get("exitcode")
    with database.writing() as connection:
        found = runs.the_run(connection, entity, project, run)
        access.of(connection, user).write(found.project_id)
        changes = runs.after_words(
            found,
            complete=bool(body.get("complete")),
            exitcode=exitcode if isinstance(exitcode, int) and abs(exitcode) <= _LARGEST_EXITCODE else None,
            preempting=bool(body.get("preempting")),
            data=bool(chunks),
        )
        changes |= streams.keep(connection, found, said, writer)
        changed = runs.change(connection, found.id, changes)
        if body.get("complete"):
            history_exports.extend(connection, changed)
            sweeps.run_ended(connection, changed)
    return {"stopped": found.stop_requested}


def _chunk(name: str, chunk: Any) -> tuple[int, list[str]]:
    if isinstance(chunk, dict):
        offset, content = chunk.get("offset", 0), chunk.get("content", [])
        if type(offset) is int and 0 <= offset <= _LARGEST_OFFSET and isinstance(content, list):
            return offset, _storable(name, content)
    raise BadData(f"the chunk of '{name[:80]}' is not {{offset: a line number, content: a list of lines}}")


def _storable(name: str, content: list[Any]) -> list[str]:
    for kind in set(map(type, content)) - {str}:
        raise BadData(f"a line of '{name[:80]}' is a JSON {kind.__name__}, not a text")
    longest = max(map(len, content), default=0)
    if longest > limits.LINE:
        raise BadData(f"a line of '{name[:80]}' has {longest:,} characters, this server takes {limits.LINE:,}")
    return content
