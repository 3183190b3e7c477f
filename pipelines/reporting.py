"""Where the rows of a training go: to W&B and to the loggers beside it, each of them once.

A process that is killed has taken rows with it that it had made and not yet sent, and the one that goes on makes rows again
that had arrived. So the rows of the last minutes are kept, become part of each checkpoint, and are sent again to whoever lacks
them; what somebody has already, by its own word (`first`), is not sent again.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from pipelines.histograms import Histogram
from pipelines.loggers import Logger, Row
from registry.errors import BadData

HISTORY = "history.json"
_KEPT_SECONDS = 900  # the SDK sends every few seconds; a checkpoint whose upload succeeds has met a server that answers


class Reporter:
    """Takes the rows of one training.

    Args:
        wandb: logs a row at a step.
        first: the step that the W&B run goes on at; it has all rows before.
        loggers: those beside.
        before: rows of an earlier process, from its checkpoint.
    """

    def __init__(
        self,
        wandb: Callable[[Row, int], None],
        *,
        first: int = 0,
        loggers: Sequence[Logger] = (),
        before: Iterable[tuple[int, Row]] = (),
    ) -> None:
        self._wandb, self._first, self._loggers = wandb, first, loggers
        self._rows: deque[tuple[float, int, Row]] = deque()
        for step, row in before:
            self.log(row, step)

    def log(self, row: Row, step: int) -> None:
        """Send a row to everybody who does not have it."""
        now = time.monotonic()
        self._rows.append((now, step, row))
        while self._rows[0][0] < now - _KEPT_SECONDS:
            self._rows.popleft()
        if step >= self._first:
            self._wandb(row, step)
        for logger in self._loggers:
            if step >= logger.first:
                logger.log(row, step)

    def write(self, folder: Path) -> None:
        """Put the rows of the last minutes beside the files of a checkpoint."""
        for logger in self._loggers:
            logger.flush()
        rows = [[step, {key: _plain(value) for key, value in row.items()}] for _, step, row in self._rows]
        (folder / HISTORY).write_text(json.dumps({"schema_version": 1, "rows": rows}), encoding="utf-8")


def read(folder: Path) -> list[tuple[int, Row]]:
    """The rows in a checkpoint.

    Raises:
        BadData: they are missing or damaged.
    """
    try:
        rows = json.loads((folder / HISTORY).read_text(encoding="utf-8"))["rows"]
        return [(int(step), {key: _value(value) for key, value in row.items()}) for step, row in rows]
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise BadData(f"{folder} is no whole checkpoint: {exc}", hint="reg ls --type checkpoint") from exc


def _plain(value: float | Histogram) -> Any:
    return {"counts": value.counts, "edges": value.edges} if isinstance(value, Histogram) else value


def _value(value: Any) -> float | Histogram:
    if isinstance(value, dict):
        return Histogram(counts=tuple(value["counts"]), edges=tuple(value["edges"]))
    return float(value) if not isinstance(value, int) else value
