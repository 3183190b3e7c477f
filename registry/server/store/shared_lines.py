"""Where the lines of a run with several writers go.

In the SDK's shared mode many processes stream to one run and each numbers its own lines from 0. A writer's line is appended to
the run's stream when it first comes; the same number from the same writer is the same line again, a repeated request or a
progress bar that is redrawn, and goes where it went before.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, insert, select

from registry.server.tables import shared_lines


def places(connection: Connection, run_id: int, stream: str, *, client: str, numbers: Sequence[int], end: int) -> list[int]:
    """The line of the stream that each of a writer's lines belongs at.

    Args:
        client: which of the run's writers.
        numbers: the writer's own, consecutive.
        end: the first line of the stream that nobody has written yet.
    """
    if not numbers:
        return []
    mine = (shared_lines.c.run_id == run_id, shared_lines.c.stream == stream, shared_lines.c.client == client)
    query = select(shared_lines.c.number, shared_lines.c.line)
    query = query.where(*mine, shared_lines.c.number.between(numbers[0], numbers[-1]))
    known: dict[int, int] = {row.number: row.line for row in connection.execute(query)}
    fresh = [number for number in numbers if number not in known]
    known |= {number: line for line, number in enumerate(fresh, start=end)}
    if fresh:
        rows = [{"run_id": run_id, "stream": stream, "client": client, "number": at, "line": known[at]} for at in fresh]
        connection.execute(insert(shared_lines), rows)
    return [known[number] for number in numbers]
