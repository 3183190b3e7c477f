"""The five kinds of check a policy can ask, as they are written in it; `registry.judging` answers them.

A check that no evidence could ever answer is refused here: a latency with per-item pairing, a ratio of accuracies, a range
that holds no number. Only metrics that `reg evaluate` makes are known by name; what another evaluation calls a metric is
found out when it is judged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from registry.yaml_lines import Key

_LATENCY = re.compile(r"latency_ms\.(p50|p90|p95|p99)")
_OF_ITEMS = ("accuracy", "nll")
_OF_ALL_ITEMS = ("f1_macro", "roc_auc", "ece")
_BYTES = "bytes"
_UNITS: Mapping[str, Mapping[str, float]] = {
    _BYTES: {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30},
    "latency_ms": {"us": 1e-3, "ms": 1, "s": 1e3},
}
_QUANTITY = re.compile(r"([0-9]*\.?[0-9]+)\s*([A-Za-z%]+)")


def contradiction(at: Sequence[Key], why: str) -> PydanticCustomError:
    """A complaint of ours; `at` is the path of the key it is about, from the section that raises it."""
    return PydanticCustomError("contradiction", "{why}", {"why": why, "at": list(at)})


def _number(value: object) -> object:
    """YAML's true is no number, though Python would take it for 1."""
    if isinstance(value, bool):
        raise ValueError(f"{str(value).lower()} is not a number")
    return value


# Not strict: PyYAML reads 1e-3, unlike 1.0e-3, as text.
Number = Annotated[float, BeforeValidator(_number)]
Count = Annotated[int, Field(strict=True)]


class Section(BaseModel):
    """Base of every mapping in a policy: unknown keys are refused, values cannot change, nan and inf are no numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Margin(Section):
    """How much worse is still good enough: in the metric's unit, or as a share of the baseline's value."""

    absolute: Annotated[Number, Field(ge=0)] | None = None
    relative: Annotated[Number, Field(gt=0, lt=1)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, value: Any) -> Any:
        return value if isinstance(value, Mapping | Margin) else {"absolute": value}

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.absolute is None) == (self.relative is None):
            raise contradiction([], "give a number or {relative: x}")
        return self


class BaseCheck(Section):
    """What all checks have. `severity: warn` reports and never blocks."""

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)
    metric: str = Field(min_length=1)
    severity: Literal["error", "warn"] = "error"
    batch: Annotated[Count, Field(ge=1)] | None = None

    @property
    def kind(self) -> str:
        """The name of the test."""
        return next(name for name, check in TESTS.items() if isinstance(self, check))

    @property
    def quantile(self) -> str | None:
        """`p95` when the metric is `latency_ms.p95`; None when it is no latency."""
        match = _LATENCY.fullmatch(self.metric)
        return match.group(1) if match else None

    @model_validator(mode="after")
    def _metric_is_possible(self) -> Self:
        if self.metric.partition(".")[0] in ("latency", "latency_ms") and self.quantile is None:
            raise contradiction(["metric"], f"there is no '{self.metric}'; write latency_ms.p50, .p90, .p95 or .p99")
        if self.quantile is not None and self.batch is None:
            raise contradiction(["metric"], f"'{self.metric}' needs a batch size, as in batch: 1")
        if self.quantile is None and self.batch is not None:
            raise contradiction(["batch"], f"'{self.metric}' has no batch size, only latencies have")
        return self


class Absolute(BaseCheck):
    """The candidate alone lies within [min, max]: its confidence bound does, or with `use: point` the measured value."""

    test: Literal["absolute"]
    min: Number | None = None
    max: Number | None = None
    use: Literal["bound", "point"] = "bound"

    @model_validator(mode="before")
    @classmethod
    def _without_units(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        family = str(value.get("metric")).partition(".")[0]
        return {key: _quantity(key, given, family) if key in ("min", "max") else given for key, given in value.items()}

    @model_validator(mode="after")
    def _bounds_are_possible(self) -> Self:
        if self.min is None and self.max is None:
            raise contradiction([], "an absolute check needs min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise contradiction(["min"], f"min {self.min:g} is above max {self.max:g}: no value can pass")
        if self.quantile == "p90":
            raise contradiction(["metric"], "an evaluation records p50, p95 and p99 of a latency, not p90")
        if self.quantile is not None and self.use == "bound":
            raise contradiction(["use"], "an evaluation records no confidence bound of a latency; write use: point")
        return self


class _Paired(BaseCheck):
    @model_validator(mode="after")
    def _has_items(self) -> Self:
        if self.metric == _BYTES or self.quantile is not None:
            raise contradiction(["metric"], f"'{self.metric}' has no items to pair; compare it with test: ratio")
        if self.metric in _OF_ALL_ITEMS:
            raise contradiction(["metric"], f"'{self.metric}' belongs to all items at once; only test: absolute can judge it")
        return self


class Superiority(_Paired):
    """The candidate is better than the baseline by more than `min_gain`, beyond chance."""

    test: Literal["superiority"]
    min_gain: Annotated[Number, Field(ge=0)] = 0.0


class NonInferiority(_Paired):
    """The candidate is shown to be worse by `margin` at most."""

    test: Literal["non-inferiority"]
    margin: Margin


class NotWorse(_Paired):
    """The candidate is not shown to be worse by more than `margin`, over all items or in any slice.

    `by` names a column of predictions.parquet; slices of fewer than `min_items` are not asked, and the verdict names them.
    """

    test: Literal["not-worse"]
    margin: Annotated[Number, Field(ge=0)]
    by: str | None = None
    min_items: Annotated[Count, Field(ge=2)] = 2


class Ratio(BaseCheck):
    """candidate / baseline is `max` at most: shown so for a latency, timed together in one process; exactly so for a size."""

    test: Literal["ratio"]
    max: Annotated[Number, Field(gt=0)]

    @model_validator(mode="after")
    def _of_the_system(self) -> Self:
        if self.metric in (*_OF_ITEMS, *_OF_ALL_ITEMS):
            instead = "test: non-inferiority, margin: {relative: x}" if self.metric in _OF_ITEMS else "test: absolute"
            raise contradiction(["metric"], f"a ratio compares latencies and sizes; for '{self.metric}' write {instead}")
        return self


Check = Annotated[Absolute | Superiority | NonInferiority | NotWorse | Ratio, Field(discriminator="test")]
TESTS: Mapping[str, type[BaseCheck]] = {
    "absolute": Absolute,
    "superiority": Superiority,
    "non-inferiority": NonInferiority,
    "not-worse": NotWorse,
    "ratio": Ratio,
}


def _quantity(key: str, value: object, family: str) -> object:
    """`50MiB` in bytes, `20ms` in milliseconds; anything without a unit stays as it is."""
    match = _QUANTITY.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return value
    number, unit = match.groups()
    units = _UNITS.get(family, {})
    if unit not in units:
        known = f"its units are {', '.join(units)}" if units else "only bytes and latencies have units"
        raise contradiction([key], f"'{value}': '{family}' has no unit '{unit}'; {known}")
    return float(number) * units[unit]
