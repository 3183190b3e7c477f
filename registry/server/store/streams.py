"""The lines of a run's four streams, each brought to where it is kept."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from registry.errors import BadData
from registry.server import documents
from registry.server.store import console, history, history_exports, shared_lines
from registry.server.store.runs import Run

_log = logging.getLogger(__name__)
_HISTORY = "wandb-history.jsonl"
_EVENTS = "wandb-events.jsonl"
_SUMMARY = "wandb-summary.json"
_CONSOLE = "output.log"
NAMES = frozenset({_HISTORY, _EVENTS, _SUMMARY, _CONSOLE})


@dataclass(frozen=True, kw_only=True)
class Writer:
    """Who speaks for the run.

    Args:
        shared: one of several processes, each of which counts only its own lines.
        client: which one; None when it does not say, and then its lines cannot be known again.
        derives_summary: it leaves it to the server to keep the last value of each key as the summary.
    """

    shared: bool = False
    client: str | None = None
    derives_summary: bool = False


@dataclass(frozen=True, kw_only=True)
class Said:
    """The lines of one request.

    Args:
        chunks: by the stream's name, the number of the first line and the lines.
        rows: what each line of the history says, see `history.read`.
    """

    chunks: Mapping[str, tuple[int, list[str]]]
    rows: Sequence[Mapping[str, Any] | None]


def read(chunks: Mapping[str, tuple[int, list[str]]]) -> Said:
    """Read lines of a run's streams, before the transaction that stores them."""
    return Said(chunks=chunks, rows=history.read(chunks[_HISTORY][1]) if _HISTORY in chunks else ())


def keep(connection: Connection, run: Run, said: Said, writer: Writer) -> dict[str, Any]:
    """Store lines of a run's streams.

    Returns:
        The columns of the run that change with them.
    """
    chunks = said.chunks
    changes: dict[str, Any] = {}
    summary: str | None = None
    if _HISTORY in chunks:
        placed, end = _placed(connection, run, _HISTORY, chunks[_HISTORY], run.history_lines, writer)
        rows = history.lines(placed, said.rows)
        if history.assign(connection, run.id, rows):
            history_exports.withdraw(connection, run)
        changes["history_lines"] = end
        if writer.derives_summary:
            summary = json.dumps(_merged(run.summary, *(row.values for row in rows)))
    if _EVENTS in chunks:
        placed, end = _placed(connection, run, _EVENTS, chunks[_EVENTS], run.event_lines, writer)
        history.assign_events(connection, run.id, placed)
        changes["event_lines"] = end
    if _CONSOLE in chunks:
        placed, end = _placed(connection, run, _CONSOLE, chunks[_CONSOLE], run.console_lines, writer)
        console.assign(connection, run.id, placed)
        changes["console_lines"] = end
    told = _summary(chunks[_SUMMARY][1]) if _SUMMARY in chunks else None
    if told is not None:
        # The whole summary each time, so what is no longer in it was deleted; but of several writers each knows only its own.
        alone = not writer.shared and not writer.derives_summary
        before = run.inherited_summary if alone else summary or run.summary
        summary = told if before is None else json.dumps(_merged(before, json.loads(told)))
    return changes if summary is None else changes | {"summary": summary}


def _placed(
    connection: Connection, run: Run, stream: str, chunk: tuple[int, list[str]], stored: int, writer: Writer
) -> tuple[list[tuple[int, str]], int]:
    """Each line of a chunk with the number it is stored under, and how many lines the stream has then."""
    offset, content = chunk
    numbers: Sequence[int] = range(offset, offset + len(content))
    if writer.shared and writer.client is None:
        numbers = range(stored, stored + len(content))
    elif writer.shared:
        client = str(writer.client)
        numbers = shared_lines.places(connection, run.id, stream, client=client, numbers=numbers, end=stored)
    return list(zip(numbers, content, strict=True)), max(stored, max(numbers, default=-1) + 1)


def _summary(content: Sequence[str]) -> str | None:
    """The last line, if it can be read back."""
    if content:
        try:
            documents.read_object(content[-1], "the summary")
        except BadData as exc:
            _log.warning("a summary is left out: %.200s", exc.message)
        else:
            return content[-1]
    return None


def _merged(summary: str, *later: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(summary)
    for one in later:
        values |= one
    return values
