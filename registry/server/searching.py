"""Which parameters a sweep tries next, and which of its runs are not worth finishing.

Pure functions of the configuration, what was tried so far, and a seed: the same sweep asked twice gives the same answer, and
nothing here knows agents or tables. Grid points have numbers (mixed radix, the last parameter turns fastest), so a grid of
millions is never written out. Bayesian search is Optuna's, an optional package, working on positions in [0, 1]: its Gaussian
process where torch is installed, which a few dozen trials are enough for, and its TPE otherwise or once there are hundreds.
"""

from __future__ import annotations

import importlib.util
import math
import random
import threading
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from registry.errors import BadData, MissingDependency
from registry.server import documents, limits, spaces
from registry.server.spaces import Choice, Parameter, Path, Range

METHODS = ("grid", "random", "bayes")
_KNOWN_KEYS = {
    "command", "controller", "description", "early_terminate", "entity", "image_uri", "job", "launch", "method", "metric",
    "name", "parameters", "program", "project", "queue", "run_cap", "run_name", "runcap", "scheduler",
}  # fmt: skip
_LARGEST_GRID = 2**62
# A Gaussian process takes half a second for 200 trials, during which nobody else can write, and the cube of it for more.
_MOST_FOR_A_PROCESS = 200
# Trials before the first that is no draw at random: two for each parameter, within these.
_FEWEST_AT_RANDOM, _MOST_AT_RANDOM = 4, 10


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What the search improves; `goal` is minimize or maximize."""

    name: str
    goal: str

    def loss(self, value: float) -> float:
        """The value so that lower is better."""
        return -value if self.goal == "maximize" else value


@dataclass(frozen=True, kw_only=True)
class Hyperband:
    """Early termination: at each of `brackets` (numbers of logged values) only the best 1/`eta` go on; `eta` is above 1.

    `strict` judges a run by its value at the bracket; otherwise its best value until now has to be too bad.
    """

    brackets: tuple[int, ...]
    eta: float
    strict: bool


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The losses that a run logged, as early termination sees them: how many, the best, and the one at each bracket."""

    logged: int = 0
    best: float | None = None
    reached: Mapping[int, float] = field(default_factory=dict)

    def continued(self, losses: Iterable[float], brackets: Collection[int]) -> Curve:
        """The curve after more losses, in order."""
        wanted = frozenset(brackets)
        logged, best, reached = self.logged, self.best, dict(self.reached)
        for loss in losses:
            logged += 1
            best = loss if best is None else min(best, loss)
            if logged in wanted:
                reached[logged] = loss
        return Curve(logged=logged, best=best, reached=reached)


@dataclass(frozen=True, kw_only=True)
class Search:
    """A sweep configuration, understood.

    `steered` sweeps get their parameters from a program of the user (a local controller or scheduler), not from here.
    """

    method: str
    parameters: tuple[Parameter, ...]
    metric: Metric | None
    run_cap: int | None
    hyperband: Hyperband | None
    steered: bool
    program: str | None

    @property
    def grid_size(self) -> int:
        return math.prod(parameter.count or 1 for parameter in self.parameters)

    @property
    def expected(self) -> int | None:
        """How many runs this makes; None when it goes on until somebody stops it."""
        if self.method != "grid" or self.steered:
            return self.run_cap
        return min(self.grid_size, self.run_cap or self.grid_size)


@dataclass(frozen=True, kw_only=True)
class Past:
    """One trial so far: its parameters, its grid point, its loss (lower is better), and whether it still runs."""

    values: Mapping[Path, Any]
    point: int | None
    loss: float | None
    running: bool


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """Parameters to try, and their number when they are a point of a grid."""

    values: Mapping[Path, Any]
    point: int | None


@lru_cache(maxsize=256)
def parse(text: str) -> tuple[Search, tuple[str, ...]]:
    """Read a sweep configuration (YAML).

    Returns:
        The search, and remarks on what is odd but harmless.
    Raises:
        BadData: it cannot be searched; says what to mend.
    """
    try:
        return _parsed(text)
    except OverflowError as exc:
        raise BadData(f"the sweep configuration holds a number that is too large: {exc}") from exc


def _parsed(text: str) -> tuple[Search, tuple[str, ...]]:
    config = documents.read_yaml(text, "the sweep configuration", largest=limits.SWEEP_CONFIGURATION)
    if not isinstance(config, dict):
        raise BadData(
            "the sweep configuration is not a mapping", hint="method: random\nparameters: {lr: {min: 0.001, max: 0.1}}"
        )
    remarks = [f"'{key}' is not known and has no effect" for key in sorted(str(key) for key in config.keys() - _KNOWN_KEYS)]
    controller = config.get("controller")
    steered = bool(config.get("scheduler")) or (isinstance(controller, dict) and controller.get("type") == "local")
    method = config.get("method", "custom" if steered else None)
    if method not in METHODS and not (steered and isinstance(method, str)):
        said = "says no method" if method is None else f"has the unknown method '{str(method)[:80]}'"
        raise BadData(f"the sweep {said}", hint=f"method: one of {', '.join(METHODS)}")
    parameters: tuple[Parameter, ...] = ()
    if config.get("parameters") or not steered:
        parameters, odd = spaces.parse(config.get("parameters"))
        remarks += odd
    metric = _metric(config.get("metric"), remarks)
    search = Search(
        method=method,
        parameters=parameters,
        metric=metric,
        run_cap=_whole("run_cap", config.get("run_cap", config.get("runcap"))),
        hyperband=_hyperband(config.get("early_terminate")),
        steered=steered,
        program=config.get("program"),
    )
    if search.hyperband and metric is None:
        raise BadData(
            "early_terminate compares a metric, and the sweep names none", hint="metric: {name: loss, goal: minimize}"
        )
    if not steered:
        _check_method(search)
    for parameter in search.parameters:
        _ = parameter.count, parameter.at(0.0), parameter.at(1.0)  # raises where numbers leave the range of numbers
    return search, tuple(remarks)


def check_installed(search: Search) -> None:
    """
    Raises:
        MissingDependency: the method needs a package that is not here.
    """
    if search.method == "bayes" and not search.steered and importlib.util.find_spec("optuna") is None:
        raise MissingDependency(
            "method bayes needs the package optuna, which is not installed where the server runs",
            hint="pip install 'reg-lifecycle[sweeps]', or method: random",
        )


def prepare(search: Search) -> None:
    """Load what the search needs while its first agent is on its way: it takes seconds, and others would wait meanwhile."""
    if search.method == "bayes" and not search.steered:
        threading.Thread(target=_rehearse, args=(search,), daemon=True).start()


def exhausted(search: Search, taken: Set[int], tried: int) -> bool:
    """Whether there is nothing left to try.

    Args:
        taken: grid points that are not to be given again.
        tried: how many trials count against the run cap.
    """
    if search.steered:
        return False
    if search.run_cap is not None and tried >= search.run_cap:
        return True
    return search.method == "grid" and len(taken) >= search.grid_size


def propose(search: Search, past: Sequence[Past], *, taken: Set[int], seed: str, number: int) -> Proposal:
    """The parameters of trial `number` of a search that is not exhausted.

    Args:
        past: the trials so far, for Bayesian search.
        taken: grid points that are not to be given again.
        seed: the same seed and number draw the same parameters.
    """
    if search.method == "grid":
        point = next(point for point in range(len(taken) + 1) if point not in taken)
        return Proposal(values=_grid_values(search, point), point=point)
    if search.method == "bayes":
        return Proposal(values=_bayes(search, past, seed=seed, number=number), point=None)
    draw = random.Random(f"{seed}/{number}")
    return Proposal(values={parameter.path: parameter.at(draw.random()) for parameter in search.parameters}, point=None)


def point_of(search: Search, values: Mapping[Path, Any]) -> int | None:
    """The number of a grid point; None for parameters that are not on the grid."""
    if search.method != "grid":
        return None
    point = 0
    for parameter in search.parameters:
        number = parameter.number(values.get(parameter.path))
        if number is None:
            return None
        point = point * (parameter.count or 1) + number
    return point


def to_stop(hyperband: Hyperband, curves: Mapping[str, Curve], running: Set[str]) -> set[str]:
    """The running runs that are too bad at a bracket they reached, compared with all that reached it.

    W&B's own package looks at the last bracket that a run reached. Here each counts: a quick run is past several before anybody
    looks, and alone at the last.

    Args:
        curves: what each run logged, lower is better.
    """
    thresholds = {}
    for bracket in hyperband.brackets:
        there = sorted(curve.reached[bracket] for curve in curves.values() if bracket in curve.reached)
        if there:
            thresholds[bracket] = there[int(len(there) / hyperband.eta)]
    stopped = set()
    for name in running & curves.keys():
        mine = curves[name]
        for bracket, threshold in thresholds.items():
            loss = mine.reached.get(bracket)
            if loss is not None and (loss if hyperband.strict or mine.best is None else mine.best) > threshold:
                stopped.add(name)
    return stopped


def _grid_values(search: Search, point: int) -> dict[Path, Any]:
    values = {}
    for parameter in reversed(search.parameters):
        point, number = divmod(point, parameter.count or 1)
        values[parameter.path] = parameter.nth(number)
    return {parameter.path: values[parameter.path] for parameter in search.parameters}


def _bayes(search: Search, past: Sequence[Past], *, seed: str, number: int) -> dict[Path, Any]:
    check_installed(search)
    # Here and not above: the package is optional, and takes a second to load.
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    drawn = random.Random(f"{seed}/{number}").getrandbits(32)
    kinds = {".".join(parameter.path): _kind(parameter) for parameter in search.parameters if parameter.count != 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # Both keep agents that ask at the same time apart: a running trial counts as one that disappoints.
        if importlib.util.find_spec("torch") is not None and len(past) <= _MOST_FOR_A_PROCESS:
            first = min(max(2 * len(kinds), _FEWEST_AT_RANDOM), _MOST_AT_RANDOM)
            sampler: optuna.samplers.BaseSampler = optuna.samplers.GPSampler(seed=drawn, n_startup_trials=first)
        else:
            sampler = optuna.samplers.TPESampler(seed=drawn, multivariate=True, constant_liar=True)
        study = optuna.create_study(sampler=sampler)
        worst = max((trial.loss for trial in past if trial.loss is not None), default=None)
        for trial in past:
            placed = _placed(search, trial.values)
            # A run that ended without a value counts as the worst: what crashes once is not worth many more runs.
            loss = None if trial.running else worst if trial.loss is None else trial.loss
            if placed is not None and (trial.running or loss is not None):
                state = optuna.trial.TrialState.RUNNING if trial.running else optuna.trial.TrialState.COMPLETE
                study.add_trial(optuna.trial.create_trial(state=state, params=placed, distributions=kinds, value=loss))
        asked = study.ask(kinds).params
    values = {}
    for parameter in search.parameters:
        place = asked.get(".".join(parameter.path))
        if place is None:
            values[parameter.path] = parameter.at(0.5)
        else:
            values[parameter.path] = parameter.nth(place) if isinstance(parameter, Choice) else parameter.at(place)
    return values


def _rehearse(search: Search) -> None:
    past: list[Past] = []
    for number in range(_MOST_AT_RANDOM + 1):
        place = (number + 0.5) / (_MOST_AT_RANDOM + 1)
        values = {parameter.path: parameter.at(place) for parameter in search.parameters}
        past.append(Past(values=values, point=None, loss=place, running=False))
    _bayes(search, past, seed="rehearsal", number=0)


def _kind(parameter: Parameter) -> Any:
    import optuna

    if isinstance(parameter, Range):
        return optuna.distributions.FloatDistribution(0.0, 1.0)
    return optuna.distributions.CategoricalDistribution(range(parameter.count))


def _placed(search: Search, values: Mapping[Path, Any]) -> dict[str, Any] | None:
    """Positions and numbers of past parameters; None when one is missing or outside the space."""
    placed: dict[str, Any] = {}
    for parameter in search.parameters:
        if parameter.count == 1:
            continue
        value = values.get(parameter.path)
        place = parameter.position(value) if isinstance(parameter, Range) else parameter.number(value)
        if place is None:
            return None
        placed[".".join(parameter.path)] = place
    return placed


def _metric(spec: Any, remarks: list[str]) -> Metric | None:
    if spec is None:
        return None
    if not isinstance(spec, dict) or not isinstance(spec.get("name"), str):
        raise BadData("the sweep's metric has no name", hint="metric: {name: loss, goal: minimize}")
    goal = spec.get("goal")
    if goal is None:
        remarks.append(f"metric '{spec['name']}' has no goal; minimize is assumed")
        goal = "minimize"
    if goal not in ("minimize", "maximize"):
        raise BadData(f"the metric's goal is '{str(goal)[:80]}'", hint="goal: minimize, or maximize")
    return Metric(name=spec["name"], goal=goal)


def _hyperband(spec: Any) -> Hyperband | None:
    if not spec:
        return None
    if not isinstance(spec, dict) or spec.get("type") != "hyperband":
        kind = spec.get("type") if isinstance(spec, dict) else spec
        raise BadData(
            f"early_terminate has the unknown type '{str(kind)[:80]}'", hint="early_terminate: {type: hyperband, min_iter: 3}"
        )
    eta = spec.get("eta", 3)
    if not isinstance(eta, int | float) or isinstance(eta, bool) or not 1 < eta < math.inf:
        raise BadData(f"eta of early_terminate is {str(eta)[:80]}: it must be a number above 1")
    least, most = _whole("min_iter", spec.get("min_iter")), _whole("max_iter", spec.get("max_iter"))
    if most is not None:
        rounds = _whole("s", spec.get("s"))
        if rounds is None:
            raise BadData("early_terminate with max_iter needs s, the number of brackets", hint=f"max_iter: {most}, s: 2")
        brackets = tuple(sorted({int(most / eta**n) for n in range(1, min(rounds, 100) + 1) if most / eta**n >= 1}))
    elif least is not None:
        brackets = tuple(sorted({int(least * eta**n) for n in range(100) if least * eta**n < _LARGEST_GRID}))
    else:
        raise BadData(
            "early_terminate needs min_iter, or max_iter and s", hint="early_terminate: {type: hyperband, min_iter: 3}"
        )
    if not brackets:
        raise BadData(f"max_iter {most} divided by eta {eta:g} leaves no bracket", hint="a larger max_iter, or a smaller eta")
    return Hyperband(brackets=brackets, eta=float(eta), strict=spec.get("strict") is True)


def _check_method(search: Search) -> None:
    if search.method == "bayes" and search.metric is None:
        raise BadData("method bayes improves a metric, and the sweep names none", hint="metric: {name: loss, goal: minimize}")
    if search.method == "grid":
        for parameter in search.parameters:
            if parameter.count is None:
                raise BadData(
                    f"parameter '{'.'.join(parameter.path)}' has endlessly many values, which a grid cannot try",
                    hint="give values, int_uniform or q_uniform, or use method: random",
                )
        if search.grid_size > _LARGEST_GRID:
            raise BadData(f"the grid has {search.grid_size} points", hint="method: random")


def _whole(name: str, value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise BadData(f"{name} is {str(value)[:80]}: it must be a whole number above 0")
    return value
