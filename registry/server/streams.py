"""The file stream: everything a run's process says while it lives, in one request every few seconds.

Each stream is assigned at the line number the client names, so a request may come twice. A refusal here is final for the
client: the run would end "successfully" and its rows be lost. So what can be kept is kept, and only an unknown run or a body
without sense is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registry.errors import BadData
from registry.server.database import Database
from registry.server.store import console, history, runs, sweeps

_HISTORY = "wandb-history.jsonl"
_EVENTS = "wandb-events.jsonl"
_SUMMARY = "wandb-summary.json"
_CONSOLE = "output.log"


def receive(
    database: Database, *, entity: str, project: str, run: str, body: Mapping[str, Any], append: bool = False
) -> dict[str, Any]:
    """Store one request of a run's file stream.

    Args:
        append: ignore the offsets: the run has several writers, each of which counts only its own lines.
    Returns:
        The reply; `stopped` asks the process to interrupt itself.
    Raises:
        NotFound: there is no such run.
        BadData: a stream is not `{offset, content}`.
    """
    chunks = {name: _chunk(name, chunk) for name, chunk in (body.get("files") or {}).items()}
    with database.writing() as connection:
        found = runs.the_run(connection, entity, project, run)
        exitcode = body.get("exitcode")
        changes = runs.after_words(
            found,
            complete=bool(body.get("complete")),
            exitcode=exitcode if isinstance(exitcode, int) else None,
            preempting=bool(body.get("preempting")),
            data=bool(chunks),
        )
        if _HISTORY in chunks:
            offset, content = _placed(chunks[_HISTORY], found.history_lines, append)
            history.assign(connection, found.id, history.lines(offset, content))
            changes["history_lines"] = max(found.history_lines, offset + len(content))
        if _EVENTS in chunks:
            offset, content = _placed(chunks[_EVENTS], found.event_lines, append)
            history.assign_events(connection, found.id, offset, content)
            changes["event_lines"] = max(found.event_lines, offset + len(content))
        if _CONSOLE in chunks:
            offset, content = _placed(chunks[_CONSOLE], found.console_lines, append)
            console.assign(connection, found.id, offset, content)
            changes["console_lines"] = max(found.console_lines, offset + len(content))
        if _SUMMARY in chunks and chunks[_SUMMARY][1]:
            # The whole summary each time: what is no longer in it was deleted.
            changes["summary"] = chunks[_SUMMARY][1][-1]
        changed = runs.change(connection, found.id, changes)
        if body.get("complete"):
            sweeps.run_ended(connection, changed)
    return {"stopped": found.stop_requested}


def _placed(chunk: tuple[int, list[str]], stored: int, append: bool) -> tuple[int, list[str]]:
    offset, content = chunk
    return (stored if append else offset), content


def _chunk(name: str, chunk: Any) -> tuple[int, list[str]]:
    if isinstance(chunk, dict):
        offset, content = chunk.get("offset", 0), chunk.get("content", [])
        if isinstance(offset, int) and offset >= 0 and isinstance(content, list):
            return offset, [_storable(line) for line in content]
    raise BadData(f"the chunk of '{name[:80]}' is not {{offset: a line number, content: a list of lines}}")


def _storable(line: Any) -> str:
    """Half a surrogate pair is legal in JSON and nowhere else; a database refuses the text."""
    text = line if isinstance(line, str) else str(line)
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
