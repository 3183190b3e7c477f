"""What a run logged: rows sampled, scanned, cut down to keys or exported, its keys, its system metrics."""

from __future__ import annotations

import json
from typing import Any

from ariadne import ObjectType, SchemaBindable

from registry.errors import BadData
from registry.server import documents, exports, limits
from registry.server.context import Context
from registry.server.resolvers import Info
from registry.server.store import history, history_exports, history_keys
from registry.server.store.runs import Run

_DEFAULT_SAMPLES = 500

run = ObjectType("Run")


@run.field("systemMetrics")
def system_metrics(parent: Run, info: Info) -> str:
    return history.last_event(info.context.connection, parent.id) or "{}"


@run.field("historyTail")
def history_tail(parent: Run, info: Info) -> str:
    line = history.last_line(info.context.connection, parent.id)
    return json.dumps([] if line is None else [line])


@run.field("eventsTail")
def events_tail(parent: Run, info: Info) -> str:
    line = history.last_event(info.context.connection, parent.id)
    return json.dumps([] if line is None else [line])


@run.field("historyKeys")
def run_history_keys(parent: Run, info: Info) -> dict[str, Any]:
    context = info.context
    keys: dict[str, Any] = {}
    for key in history_keys.of(context.connection, parent.id):
        known = keys.setdefault(key.key, {"typeCounts": [], "monotonic": True, "previousValue": None})
        known["typeCounts"].append({"type": key.type, "count": key.count})
        known["monotonic"] = known["monotonic"] and key.monotonic
        if key.type == "number":
            known["previousValue"] = key.previous
    return {"sets": [], "keys": keys, "lastStep": history.last_step(context.connection, parent.id)}


@run.field("history")
def run_history(
    parent: Run,
    info: Info,
    samples: int | None = None,
    min_step: int | None = None,
    max_step: int | None = None,
) -> list[str]:
    context = info.context
    if min_step is not None or max_step is not None:
        return history.window(context.connection, parent.id, start=min_step, stop=max_step)
    return history.sampled(context.connection, parent.id, samples=_DEFAULT_SAMPLES if samples is None else samples)


@run.field("events")
def run_events(parent: Run, info: Info, samples: int | None = None) -> list[str]:
    count = _DEFAULT_SAMPLES if samples is None else samples
    return history.sampled_events(info.context.connection, parent.id, samples=count)


@run.field("sampledHistory")
def sampled_history(parent: Run, info: Info, specs: list[str]) -> list[list[dict[str, Any]]]:
    return [_rows(info.context, parent, spec) for spec in specs]


@run.field("parquetHistory")
def parquet_history(parent: Run, info: Info, live_keys: list[str] | None = None) -> dict[str, Any]:
    """Files for an ended run whose rows a table can say; else where the rows begin that have to be asked for."""
    context = info.context
    parts = history_exports.offered(context.connection, parent)
    first = None if parts else history.first_step(context.connection, parent.id)
    live = [] if first is None else [{"_step": first}]
    return {"parquet_urls": [exports.url(context, part) for part in parts], "live_data": live}


bindables: list[SchemaBindable] = [run]


def _rows(context: Context, parent: Run, spec: str) -> list[dict[str, Any]]:
    asked = documents.read_object(spec, "the history spec")
    keys, samples = asked.get("keys") or [], asked.get("samples") or _DEFAULT_SAMPLES
    first, last = asked.get("minStep"), asked.get("maxStep")
    named = isinstance(keys, list) and len(keys) <= limits.FILTER_TERMS and all(isinstance(key, str) for key in keys)
    numbers = [samples, *(step for step in (first, last) if step is not None)]
    if not named or not all(type(number) is int and abs(number) < 1 << 63 for number in numbers):
        raise BadData(f"'{spec[:80]}' is not a history spec {{keys, samples, minStep, maxStep}}")
    return history.with_keys(context.connection, parent.id, keys, samples=samples, first=first, last=last)
