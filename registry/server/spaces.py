"""The space a sweep searches: its parameters, read and checked once, as W&B's sweep configuration describes them.

Every numeric distribution is its quantile function: a position in [0, 1] becomes a value and a value a position. Random
search draws positions, Bayesian search looks for good ones, and neither needs to know a distribution's name. Lists of values
stay lists, because nothing between two optimisers is an optimiser.

What W&B does is documented at https://docs.wandb.ai/models/sweeps/sweep-config-keys.
"""

from __future__ import annotations

import bisect
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from registry.errors import BadData

# Name: (family, how a draw becomes a value, bounds given as values rather than exponents, multiples of q only).
_RANGES = {
    "uniform": ("uniform", "", False, False),
    "int_uniform": ("uniform", "", False, False),
    "q_uniform": ("uniform", "", False, True),
    "log_uniform": ("uniform", "exp", False, False),
    "log_uniform_values": ("uniform", "exp", True, False),
    "q_log_uniform": ("uniform", "exp", False, True),
    "q_log_uniform_values": ("uniform", "exp", True, True),
    "inv_log_uniform": ("uniform", "inverse", False, False),
    "inv_log_uniform_values": ("uniform", "inverse", True, False),
    "normal": ("normal", "", False, False),
    "q_normal": ("normal", "", False, True),
    "log_normal": ("normal", "exp", False, False),
    "q_log_normal": ("normal", "exp", False, True),
}
DISTRIBUTIONS = ("constant", "categorical", *_RANGES)
_KNOWN_KEYS = {
    "distribution",
    "value",
    "values",
    "probabilities",
    "min",
    "max",
    "mu",
    "sigma",
    "q",
    "parameters",
    "description",
}
_EDGE = 1e-9  # a normal distribution's quantiles at 0 and 1 are infinite

Path = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of some values, or the only one; `weights` add up to 1."""

    path: Path
    values: tuple[Any, ...]
    weights: tuple[float, ...]

    @property
    def count(self) -> int:
        return len(self.values)

    def nth(self, number: int) -> Any:
        return self.values[number]

    def number(self, value: Any) -> int | None:
        """Which value this is; None when it is none of them."""
        return next((number for number, known in enumerate(self.values) if known == value), None)

    def at(self, position: float) -> Any:
        sums = list(itertools.accumulate(self.weights))
        return self.values[min(bisect.bisect_right(sums, position), len(self.values) - 1)]


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers of one distribution.

    `first` and `second` are the bounds of a uniform family, mean and deviation of a normal one; `warp` says what becomes of a
    draw: nothing, `exp` (logarithm distributed so) or `inverse` (of 1/value). `step` leaves only its multiples; `multiples`
    are those within the bounds where they can be counted.
    """

    path: Path
    family: str
    first: float
    second: float
    warp: str = ""
    step: float | None = None
    multiples: range | None = None

    @property
    def count(self) -> int | None:
        """How many values there are; None for a continuum."""
        return None if self.multiples is None else len(self.multiples)

    def nth(self, number: int) -> float:
        assert self.multiples is not None
        return self._multiple(self.multiples[number])

    def number(self, value: Any) -> int | None:
        if self.multiples is None or self.step is None or not _is_number(value):
            return None
        multiple = round(value / self.step)
        same = math.isclose(self._multiple(multiple), value, rel_tol=1e-9, abs_tol=1e-12)
        return self.multiples.index(multiple) if same and multiple in self.multiples else None

    def at(self, position: float) -> float:
        """The value below which a share `position` of the distribution lies."""
        if self.family == "normal":
            drawn = NormalDist(self.first, self.second).inv_cdf(min(max(position, _EDGE), 1 - _EDGE))
        else:
            drawn = self.first + position * (self.second - self.first)
        value = math.exp(drawn) if self.warp == "exp" else math.exp(-drawn) if self.warp == "inverse" else drawn
        if self.step is None:
            return value
        multiple = round(value / self.step)
        if self.multiples is not None:
            multiple = min(max(multiple, self.multiples[0]), self.multiples[-1])
        return self._multiple(multiple)

    def position(self, value: Any) -> float | None:
        """The share of the distribution below a value; None for what is no number of it."""
        if not _is_number(value) or (self.warp and value <= 0):
            return None
        drawn = math.log(value) if self.warp == "exp" else -math.log(value) if self.warp == "inverse" else float(value)
        if self.family == "normal":
            return NormalDist(self.first, self.second).cdf(drawn)
        width = self.second - self.first
        return min(max((drawn - self.first) / width, 0.0), 1.0) if width else 0.5

    def _multiple(self, multiple: int) -> float:
        # A whole step gives whole numbers: people use it for batch sizes. Else 3 * 0.1 should read 0.3.
        assert self.step is not None
        return multiple * self.step if isinstance(self.step, int) else round(multiple * self.step, 12)


Parameter = Choice | Range


def parse(parameters: Any) -> tuple[tuple[Parameter, ...], list[str]]:
    """Read the `parameters` of a sweep configuration, groups and all.

    Returns:
        The parameters in the order written, and what was odd about them but can be lived with.
    Raises:
        BadData: there are none, or one cannot be drawn from; says which and why.
    """
    if not isinstance(parameters, dict) or not parameters:
        raise BadData("a sweep needs parameters to vary", hint="parameters: {lr: {min: 0.001, max: 0.1}}")
    warnings: list[str] = []
    return tuple(_group(parameters, (), warnings)), warnings


def arguments(values: Mapping[Path, Any]) -> dict[str, Any]:
    """What an agent is told: `{name: {"value": value}}`, where the value of a group is a mapping of its own."""
    plain: dict[str, Any] = {}
    for path, value in values.items():
        group = plain
        for name in path[:-1]:
            group = group.setdefault(name, {})
        group[path[-1]] = value
    return {name: {"value": value} for name, value in plain.items()}


def values_in(parameters: Sequence[Parameter], told: Mapping[str, Any]) -> dict[Path, Any]:
    """The values of these parameters in a run's configuration; those it does not name are left out."""
    found = {}
    for parameter in parameters:
        wrapped = told.get(parameter.path[0])
        value = wrapped.get("value") if isinstance(wrapped, dict) else None
        for name in parameter.path[1:]:
            value = value.get(name) if isinstance(value, dict) else None
        if value is not None:
            found[parameter.path] = value
    return found


def _group(parameters: Mapping[str, Any], path: Path, warnings: list[str]) -> list[Parameter]:
    found: list[Parameter] = []
    for key, spec in parameters.items():
        here = (*path, str(key))
        name = ".".join(here)
        if not isinstance(spec, dict):
            raise BadData(f"parameter '{name}' is {json.dumps(spec, default=str)[:80]}", hint=f"{name}: {{value: …}}")
        for odd in sorted(str(word) for word in spec if word not in _KNOWN_KEYS):
            warnings.append(f"parameter '{name}': '{odd}' is not known and has no effect")
        if "parameters" in spec:
            inner = spec["parameters"]
            if not isinstance(inner, dict) or not inner:
                raise BadData(f"the group '{name}' has no parameters")
            found += _group(inner, here, warnings)
        else:
            found.append(_parameter(here, name, spec, warnings))
    return found


def _parameter(path: Path, name: str, spec: Mapping[str, Any], warnings: list[str]) -> Parameter:
    distribution = spec.get("distribution") or _implied(name, spec)
    if distribution == "constant":
        if "value" not in spec:
            raise BadData(f"parameter '{name}' is constant and has no value", hint=f"{name}: {{value: …}}")
        _text(name, spec["value"])
        return Choice(path=path, values=(spec["value"],), weights=(1.0,))
    if distribution in {"categorical", "categorical_w_probabilities"}:
        return _choice(path, name, spec, warnings)
    if distribution not in _RANGES:
        known = ", ".join(DISTRIBUTIONS)
        raise BadData(f"parameter '{name}' has the unknown distribution '{str(distribution)[:80]}'", hint=f"use one of {known}")
    return _range(path, name, spec, distribution)


def _implied(name: str, spec: Mapping[str, Any]) -> str:
    if "value" in spec:
        return "constant"
    if "values" in spec:
        return "categorical"
    if "min" in spec and "max" in spec:
        whole = all(isinstance(spec[bound], int) and not isinstance(spec[bound], bool) for bound in ("min", "max"))
        return "int_uniform" if whole else "uniform"
    if "mu" in spec or "sigma" in spec:
        return "normal"
    raise BadData(
        f"parameter '{name}' does not say which values it takes",
        hint=f"{name}: {{values: [1, 2, 3]}}, or {{min: …, max: …}}, or {{value: …}}",
    )


def _choice(path: Path, name: str, spec: Mapping[str, Any], warnings: list[str]) -> Choice:
    values = spec.get("values")
    if not isinstance(values, list) or not values:
        raise BadData(f"parameter '{name}' has no values to choose from", hint=f"{name}: {{values: [1, 2, 3]}}")
    weights = spec.get("probabilities")
    if weights is None:
        weights = [1 / len(values)] * len(values)
    elif not isinstance(weights, list) or len(weights) != len(values) or not all(_is_number(w) and w >= 0 for w in weights):
        raise BadData(f"parameter '{name}' has {len(values)} values and needs as many probabilities, none below 0")
    elif not math.isclose(sum(weights), 1, abs_tol=1e-6):
        raise BadData(f"the probabilities of parameter '{name}' add up to {sum(weights):g}, not to 1")
    merged: dict[str, tuple[Any, float]] = {}
    for value, weight in zip(values, weights, strict=True):
        text = _text(name, value)
        merged[text] = (value, weight + merged.get(text, (value, 0.0))[1])
    if len(merged) < len(values):
        warnings.append(f"parameter '{name}': {len(values) - len(merged)} of its values are repeated; each is tried once")
    kept, shares = zip(*merged.values(), strict=True)
    return Choice(path=path, values=kept, weights=shares)


def _range(path: Path, name: str, spec: Mapping[str, Any], distribution: str) -> Range:
    family, warp, as_values, quantised = _RANGES[distribution]
    step = _number(name, spec, "q", 1) if quantised else 1 if distribution == "int_uniform" else None
    if step is not None and step <= 0:
        raise BadData(f"q of parameter '{name}' is {step:g}: it must be above 0")
    if family == "normal":
        mean, deviation = _number(name, spec, "mu", 0), _number(name, spec, "sigma", 1)
        if deviation <= 0:
            raise BadData(f"sigma of parameter '{name}' is {deviation:g}: it must be above 0")
        return Range(path=path, family=family, first=mean, second=deviation, warp=warp, step=step)
    low, high = _number(name, spec, "min"), _number(name, spec, "max")
    if low > high:
        raise BadData(f"min of parameter '{name}' is {low:g}, above its max {high:g}")
    if distribution == "int_uniform":
        if not (float(low).is_integer() and float(high).is_integer()):
            raise BadData(f"parameter '{name}' is int_uniform, so min {low:g} and max {high:g} must be whole numbers")
        whole = range(int(low), int(high) + 1)
        return Range(path=path, family=family, first=low - 0.5, second=high + 0.5, step=1, multiples=whole)
    if as_values:
        if low <= 0:
            raise BadData(f"min of parameter '{name}' is {low:g}: a logarithm needs it above 0")
        low, high = (math.log(low), math.log(high)) if warp == "exp" else (-math.log(high), -math.log(low))
    elif warp and max(abs(low), abs(high)) > 700:
        raise BadData(
            f"bounds of parameter '{name}' are exponents of e for {distribution}; {low:g} and {high:g} are beyond any number",
            hint=f"distribution: {distribution}_values",
        )
    counted = range(round(low / step), round(high / step) + 1) if step is not None and not warp else None
    return Range(path=path, family=family, first=low, second=high, warp=warp, step=step, multiples=counted)


def _number(name: str, spec: Mapping[str, Any], key: str, default: float | None = None) -> float:
    value = spec.get(key, default)
    if not _is_number(value):
        # YAML reads 1e-3 as a text: its numbers have a point.
        mended = f"write {float(value)!r}" if isinstance(value, str) and _reads_as_number(value) else None
        missing = "is missing" if value is None else f"is {json.dumps(value, default=str)[:80]}, not a finite number"
        raise BadData(f"{key} of parameter '{name}' {missing}", hint=mended)
    number: float = value
    return number


def _text(name: str, value: Any) -> str:
    try:
        return json.dumps(value, sort_keys=True)
    except TypeError as exc:
        raise BadData(f"the value {str(value)[:80]} of parameter '{name}' is not JSON", hint="put it in quotes") from exc


def _reads_as_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
