"""The five kinds of check a policy can ask, as they are written in it; `registry.judging` answers them.

A check that no evidence could ever answer is refused here: a latency with per-item pairing, a ratio of accuracies, a range
that holds no number, an expression that is none. Only metrics that `reg evaluate` makes are known by name; what another
evaluation calls a metric is found out when it is judged. Every key says in its `description` what it means: editors show it,
and so does `reg policy explain`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from registry import expressions
from registry.corpus import FORMULAS
from registry.yaml_lines import Key

_LATENCY = re.compile(r"latency_ms\.(p50|p90|p95|p99)")
_OF_ITEMS = ("accuracy", "nll", "dice", "iou", "pixel_accuracy", "mae", "mse", "mae_scaled")
_OF_ALL_ITEMS = tuple(FORMULAS)
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
NO_TRUTH = BeforeValidator(_number)
Number = Annotated[float, NO_TRUTH]
Count = Annotated[int, Field(strict=True)]


class Section(BaseModel):
    """Base of every mapping in a policy: unknown keys are refused, values cannot change, nan and inf are no numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


# A limit may have a unit; it is taken off before anything else looks at it.
Quantity = Annotated[
    Number, WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "pattern": f"^({_QUANTITY.pattern})$"}]})
]


class Margin(Section):
    """A difference: a number in the metric's own unit, or {relative: x}, a share of the baseline's value."""

    absolute: Annotated[float, Field(ge=0), NO_TRUTH] | None = Field(
        default=None, description="In the metric's own unit; a plain number means this."
    )
    relative: Annotated[float, Field(gt=0, lt=1), NO_TRUTH] | None = Field(
        default=None,
        description="As a share of the size of the baseline's value: 0.02 is 2 % of it. An ERROR where that value is 0, or "
        "not to be told from 0.",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, value: Any) -> Any:
        return value if isinstance(value, Mapping | Margin) else {"absolute": value}

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.absolute is None) == (self.relative is None):
            raise contradiction([], "give a number or {relative: x}")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        written = handler.resolve_ref_schema(handler(core))
        return {"description": written.pop("description", ""), "anyOf": [{"type": "number", "minimum": 0}, written]}

    @property
    def as_written(self) -> object:
        return self.absolute if self.relative is None else {"relative": self.relative}


# As a plain number where it is one, so that policies written before a share was possible keep their digest.
PlainMargin = Annotated[Margin, PlainSerializer(lambda margin: margin.as_written)]


def _expression(text: str) -> str:
    try:
        expressions.parse(text)
    except expressions.BadExpression as exc:
        raise ValueError(str(exc)) from exc
    return text


Expression = Annotated[str, AfterValidator(_expression)]


def _slices(value: Any) -> str | dict[str, str]:
    """A column's name, or names of slices with the expression of each."""
    if isinstance(value, str):
        return value
    if not isinstance(value, Mapping) or not value:
        raise ValueError("a column is needed, or a mapping of slice names to expressions")
    for name, text in value.items():
        if not (isinstance(name, str) and isinstance(text, str)):
            raise contradiction([str(name)], f'{text!r} is no expression such as "age >= 65"')
        try:
            _expression(text)
        except ValueError as exc:
            raise contradiction([name], str(exc)) from exc
    return dict(value)


By = Annotated[
    str | dict[str, str],
    PlainValidator(_slices),
    WithJsonSchema(
        {"anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1}]}
    ),
]


_KIND = "The kind of check."


class BaseCheck(Section):
    """What all checks have."""

    id: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64, description="Names the check in verdicts; once per policy."
    )
    metric: str = Field(
        min_length=1,
        description="A metric of evaluation.json: accuracy, nll, f1_macro, roc_auc, ece, bytes, latency_ms.p95, or your own.",
    )
    severity: Literal["error", "warn"] = Field(default="error", description="warn reports and never blocks.")
    batch: Annotated[Count, Field(ge=1)] | None = Field(
        default=None, description="Batch size of a latency; other metrics have none."
    )

    @property
    def kind(self) -> str:
        """The name of the test."""
        return next(name for name, check in TESTS.items() if isinstance(self, check))

    @property
    def quantile(self) -> str | None:
        """`p95` when the metric is `latency_ms.p95`; None when it is no latency."""
        match = _LATENCY.fullmatch(self.metric)
        return match.group(1) if match else None

    @property
    def of_the_system(self) -> bool:
        """Whether the metric is a size or a latency, which no items can be cut from."""
        return self.metric == _BYTES or self.quantile is not None

    @model_validator(mode="after")
    def _metric_is_possible(self) -> Self:
        if self.metric.partition(".")[0] in ("latency", "latency_ms") and self.quantile is None:
            raise contradiction(["metric"], f"there is no '{self.metric}'; write latency_ms.p50, .p90, .p95 or .p99")
        if self.quantile is not None and self.batch is None:
            raise contradiction(["metric"], f"'{self.metric}' needs a batch size, as in batch: 1")
        if self.quantile is None and self.batch is not None:
            raise contradiction(["batch"], f"'{self.metric}' has no batch size, only latencies have")
        return self


class OfItems(BaseCheck):
    """A check of values that belong to items: it can be asked of a part of them (`where`) and slice by slice (`by`)."""

    by: By | None = Field(
        default=None,
        description="Ask slice by slice: a column of predictions.parquet (label, or a column of the data), "
        "or names with an expression each, as in {seniors: 'age >= 65', north: \"site in ('oslo', 'umea')\"}.",
    )
    where: Expression | None = Field(
        default=None,
        description="Ask only of the items of which this expression is true, as in 'age >= 18 and site != \"test\"'.",
    )
    min_items: Annotated[Count, Field(ge=2)] = Field(
        default=2, description="The fewest items that are asked: of a slice, or of all that `where` leaves."
    )
    on_small: Literal["error", "warn", "skip"] = Field(
        default="skip",
        description="What becomes of a slice with fewer items: error makes the check an ERROR, warn makes the slice an "
        "INCONCLUSIVE result that does not block, skip leaves it out and names it in the verdict's notes.",
    )

    @property
    def slice_names(self) -> str:
        """How sentences name the way of slicing."""
        return self.by if isinstance(self.by, str) else "expression"


class Absolute(OfItems):
    """The candidate alone lies within [min, max]: its confidence bound does, or with `use: point` the measured value."""

    test: Literal["absolute"] = Field(description=_KIND)
    min: Quantity | None = Field(
        default=None, description="The least that is good enough. Sizes and latencies may have a unit: 50MiB, 20ms."
    )
    max: Quantity | None = Field(
        default=None, description="The most that is good enough. Sizes and latencies may have a unit: 50MiB, 20ms."
    )
    use: Literal["bound", "point"] = Field(
        default="bound",
        description="bound: the confidence bound must lie within the range; point: the measured value is enough.",
    )

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
        for key in ("by", "where"):
            if self.of_the_system and getattr(self, key) is not None:
                raise contradiction([key], f"'{self.metric}' is of the whole model and has no items to choose from")
        return self


class Paired(OfItems):
    """A comparison of candidate and baseline on the same items."""

    @model_validator(mode="after")
    def _has_items(self) -> Self:
        if self.of_the_system:
            raise contradiction(["metric"], f"'{self.metric}' has no items to pair; compare it with test: ratio")
        return self


class Superiority(Paired):
    """The candidate is better than the baseline by more than `min_gain`, beyond chance."""

    test: Literal["superiority"] = Field(description=_KIND)
    min_gain: PlainMargin = Field(
        default=Margin(absolute=0.0),
        validate_default=True,
        description="The gain that the lower confidence bound must exceed: a number in the metric's unit, or {relative: x}.",
    )


class NonInferiority(Paired):
    """The candidate is shown to be worse by `margin` at most."""

    test: Literal["non-inferiority"] = Field(description=_KIND)
    margin: Margin = Field(description="How much worse is still good enough: a number in the metric's unit, or {relative: x}.")


class NotWorse(Paired):
    """The candidate is not shown to be worse by more than `margin`, over all items or in any slice (Holm over the slices)."""

    test: Literal["not-worse"] = Field(description=_KIND)
    margin: PlainMargin = Field(
        description="The loss that blocks only when it is shown to be larger: a number in the metric's unit, or {relative: x}."
    )


class Ratio(BaseCheck):
    """candidate / baseline is `max` at most: shown so for a latency, timed together in one process; exactly so for a size."""

    test: Literal["ratio"] = Field(description=_KIND)
    max: Annotated[float, Field(gt=0), NO_TRUTH] = Field(
        description="The most that candidate / baseline may be: 1.10 allows a tenth slower or larger."
    )

    @model_validator(mode="after")
    def _of_the_system(self) -> Self:
        if self.metric in (*_OF_ITEMS, *_OF_ALL_ITEMS):
            instead = "test: non-inferiority, margin: {relative: x}"
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
