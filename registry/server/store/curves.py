"""How far the metric of each trial has come: what early termination asks of a history, without reading it again each time.

An agent asks every few seconds whether its run is to stop, which depends on all runs of the sweep, and these may have a million
rows. So what was read stays read: the curve of a run remembers up to which step it goes and is continued from there. The
history forgets it when a row at or before that step changes or comes, and then it is read anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from registry.server.searching import Curve, Search
from registry.server.store import history
from registry.server.tables import curves


def of(connection: Connection, search: Search, run_ids: Sequence[int]) -> dict[int, Curve]:
    """The curves of runs, by id, continued to their last rows.

    Args:
        connection: in a write transaction.
        search: one with a metric and early termination; that of a sweep stays the same once it has runs.
    """
    assert search.metric is not None
    assert search.hyperband is not None
    kept = {row.run_id: row for row in connection.execute(select(curves).where(curves.c.run_id.in_(run_ids)))}
    found = {}
    for run_id in run_ids:
        row = kept.get(run_id)
        curve = Curve() if row is None else Curve(logged=row.logged, best=row.best, reached=_reached(row.reached))
        last = history.last_step(connection, run_id)
        if row is None or last > row.step:
            values = history.values(connection, run_id, search.metric.name, after=None if row is None else row.step)
            losses = (search.metric.loss(float(value)) for value in _numbers(values))
            curve = curve.continued(losses, search.hyperband.brackets)
            if last >= 0:
                _keep(connection, run_id, last, curve)
        found[run_id] = curve
    return found


def _numbers(values: Iterable[Any]) -> Iterator[float]:
    for value in values:
        # NaN is not equal to itself.
        if isinstance(value, int | float) and not isinstance(value, bool) and value == value:
            yield value


def _keep(connection: Connection, run_id: int, step: int, curve: Curve) -> None:
    row = (run_id, step, curve.logged, curve.best, json.dumps(curve.reached))
    connection.exec_driver_sql(
        f"INSERT OR REPLACE INTO {curves.name} (run_id, step, logged, best, reached) VALUES (?, ?, ?, ?, ?)", row
    )


def _reached(text: str) -> Mapping[int, float]:
    return {int(bracket): loss for bracket, loss in json.loads(text).items()}
