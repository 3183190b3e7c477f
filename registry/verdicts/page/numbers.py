"""Numbers and names as the page writes them: four digits, a real minus, a unit where it is known, and nothing without end."""

from __future__ import annotations

import math

from registry.verdicts.case import Case

_UNITS = {"bytes": "MiB", "fraction": "", "": ""}
_MIB = 2.0**20


def unit_of(case: Case, metric: str) -> str:
    """The unit of a check's metric as the evidence has it; without evidence, of the metrics that say it by their names."""
    name = metric.partition(" (batch ")[0]
    if case.candidate is not None and name in case.candidate.evaluation.metrics:
        return case.candidate.evaluation.metrics[name].unit
    return {"bytes": "bytes", "latency_ms": "ms"}.get(name.partition(".")[0], "")


def shown_unit(unit: str) -> str:
    return cut(_UNITS.get(unit, unit), 24)


def factor(unit: str) -> float:
    """What a value is divided by before it is shown in `shown_unit`."""
    return _MIB if unit == "bytes" else 1.0


def number(value: float | None, unit: str = "", *, signed: bool = False) -> str:
    """A value for people; empty where there is none."""
    if value is None:
        return ""
    value /= factor(unit)
    text = f"{value:,.0f}" if 1e5 <= abs(value) < 1e15 else f"{value:.4g}"
    text = text.replace("e-0", "e-").replace("e+", "e")
    sign = "+" if signed and value > 0 else ""
    name = shown_unit(unit)
    return f"{sign}{text}{' ' + name if name else ''}".replace("-", "−")


def between(bounds: tuple[float | None, float | None], unit: str = "", *, signed: bool = False) -> str:
    low, high = (
        number(bound, signed=signed) if bound is None else number(bound / factor(unit), signed=signed) for bound in bounds
    )
    return f"[{low or '−∞'}, {high or '∞'}]"


def drawable(*values: float | None) -> bool:
    """Whether an axis can hold these values: NaN has no place on one, nor what no double can span."""
    return all(value is None or (math.isfinite(value) and abs(value) < 1e100) for value in values)


def cut(text: str, most: int) -> str:
    """At most so many characters of a text from elsewhere, with a sign where something is missing."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def short_digest(digest: str) -> str:
    """As much of a digest as people compare by eye."""
    algorithm, _, value = digest.partition(":")
    return cut(f"{algorithm}:{value[:12]}" if value else digest, 32)


def short_name(reference: str) -> str:
    """`name:tag` of a full reference."""
    return cut(reference.rpartition("/")[2], 60)
