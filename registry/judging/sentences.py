"""How results name themselves and numbers: the few words that all kinds of test share."""

from __future__ import annotations

import math
from typing import Any

from registry.checks import BaseCheck
from registry.stats import Interval

Bounds = tuple[float | None, float | None]


def identity(check: BaseCheck) -> dict[str, Any]:
    """The fields that a result takes over from its check."""
    metric = check.metric if check.batch is None else f"{check.metric} (batch {check.batch})"
    return {"id": check.id, "metric": metric, "test": check.kind, "severity": check.severity}


def bounds(interval: Interval) -> Bounds:
    """For the record: an infinite bound is no bound, and JSON has no word for it either."""
    lower, upper = (bound if math.isfinite(bound) else None for bound in (interval.lower, interval.upper))
    return lower, upper


def shown(value: float, unit: str = "") -> str:
    if unit == "bytes":
        return f"{value / 2**20:.4g} MiB"
    return f"{value:.4g} ms" if unit == "ms" else f"{value:.4g}"


def signed(value: float) -> str:
    return f"{value:+.4g}" if math.isfinite(value) else "anything"


def against(check: BaseCheck, candidate: float, baseline: float, *, where: str = "") -> str:
    return f"{check.metric}{where} {shown(candidate)} against {shown(baseline)}"


def undecided(delta: float, interval: Interval, limit: str) -> str:
    between = f"between {signed(interval.lower)} and {signed(interval.upper)}"
    return f"the gain of {signed(delta)} lies {between}, so it cannot be told from {limit}"


def settled_by(needed: int | None) -> str:
    return f"; about {needed:,} items would settle a difference of this size" if needed else ""
