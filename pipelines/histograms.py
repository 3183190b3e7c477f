"""A histogram as a value: what a training logs with `--watch`, before each logger says it in its own way. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Counts of values between edges; one more edge than counts."""

    counts: tuple[float, ...]
    edges: tuple[float, ...]
