"""Policies: what must be true before an alias moves, as one YAML file per target, validated when it is read.

A policy that cannot mean what its author thinks is refused here, with file, line, key and the nearest known key, and not
discovered by a gate: an unknown key, a key twice, two checks of one id, checks of which none could ever block. What `reg`
cannot judge is refused as well, never accepted and ignored.

Only rules live here; `registry.gates` applies them. The digest covers the rules and not where they are aimed (`target`,
`data.dataset`): the command line may aim them elsewhere, and a verdict records its target and dataset itself.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, Field, PrivateAttr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from registry.checks import NO_TRUTH, TESTS, Check, Count, Margin, Ratio, Section, contradiction
from registry.errors import BadPolicy, BadReference
from registry.records import Outcome, Target
from registry.references import LATEST, Digest, check_alias, parse
from registry.yaml_lines import BadYaml, Document, Key, read


def _settable(alias: str) -> str:
    try:
        return check_alias(alias)
    except BadReference as exc:
        raise ValueError(exc.message) from exc


class Aim(Section):
    """Which alias the policy guards."""

    registry: str = Field(default="model", description="The W&B registry.")
    collection: str | None = Field(
        default=None, description="The collection in it; without it, the one of the model's own name."
    )
    alias: str = Field(default="production", description="The alias that moves when the gate passes.")

    @field_validator("alias")
    @classmethod
    def _settable(cls, alias: str) -> str:
        return _settable(alias)

    @field_validator("registry", "collection")
    @classmethod
    def _plain(cls, name: str | None) -> str | None:
        if name is not None and _canonical_reference(name) != f"{name}:{LATEST}":
            raise ValueError(f"'{name}' is a reference, a plain name is needed")
        if name is not None and "/" in name:
            raise ValueError(f"'{name}' is a path, a plain name is needed")
        return name


class CandidateRule(Section):
    """What must be true of the candidate before it is compared at all."""

    holds: tuple[str, ...] = Field(
        default=(),
        description="Aliases of the same collection that the candidate must hold already, such as [staging]: environments that "
        "it has to pass through. Without one of them, it is refused.",
    )

    @field_validator("holds")
    @classmethod
    def _settable(cls, aliases: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_settable(alias) for alias in aliases)


class BaselineRule(Section):
    """What the candidate is compared with, and what happens when provably nobody holds the alias."""

    source: Literal["target-alias"] = Field(default="target-alias", description="The version that holds the target alias now.")
    when_absent: Literal["absolute-only", "approve", "fail"] = Field(
        default="absolute-only",
        description="When provably nobody holds the alias: absolute-only asks the absolute checks and no others, "
        "approve asks them too and then a person, fail refuses.",
    )


class Holdout(Section):
    """How many models may be scored on one dataset version before its answers are worn out."""

    max_looks: Annotated[Count, Field(ge=1)] = Field(description="How many models may be scored on this data.")
    on_exhausted: Literal["warn", "fail"] = Field(
        default="warn", description="Beyond max_looks: say so in the verdict, or refuse."
    )
    correction: Literal["none", "spend-alpha", "ladder"] = Field(
        default="none",
        description="spend-alpha: the k-th model scored on this data is judged at alpha * 6 / (pi * k)^2, so that the chance "
        "of ever passing one that should not pass stays below alpha. ladder: a superiority must also be measured to exceed "
        "min_gain by one standard error (Blum & Hardt 2015).",
    )


class Data(Section):
    """Which items count, and how often they may be looked at."""

    dataset: str | None = Field(
        default=None, description="A dataset reference; without it, the version the candidate was trained on, by lineage."
    )
    split: str = Field(default="test", description="The split of the dataset that is scored.")
    min_items: Annotated[Count, Field(ge=1)] = Field(
        default=100, description="With fewer items in the split, every check is an ERROR."
    )
    cluster: str | None = Field(
        default=None,
        min_length=1,
        description="A column whose equal values mark items that belong together (patient, user, document): "
        "they are resampled together, because they are not independent evidence.",
    )
    holdout: Holdout | None = Field(default=None, description="The meter of how often this data has been looked at.")

    @field_validator("dataset")
    @classmethod
    def _a_reference(cls, dataset: str | None) -> str | None:
        if dataset is not None:
            _canonical_reference(dataset)
        return dataset


class ParityRule(Section):
    """How far the served graph may be from the trained network, and a GPU from the CPU, on the same items."""

    rtol: Annotated[float, Field(ge=0), NO_TRUTH] = Field(
        default=1e-3, description="Relative part: |a - b| <= atol + rtol * |b| for every score."
    )
    atol: Annotated[float, Field(ge=0), NO_TRUTH] = Field(default=1e-4, description="Absolute part, in units of the scores.")
    max_flips: Annotated[float, Field(ge=0, le=1), NO_TRUTH] = Field(
        default=0.001, description="The largest share of items whose predicted class may differ."
    )


class RuntimeRule(Section):
    """Where evidence must come from. There is no default device: a policy that accepts the CPU has to say so."""

    device: Literal["cuda", "cpu", "any"] = Field(description="Where the model must have been scored, with proof for cuda.")
    placement: Literal["compute", "any"] = Field(
        default="compute",
        description="compute: no convolution, matrix product or attention of the graph may run on the CPU (cuda only).",
    )
    tf32: bool = Field(
        default=False, description="Whether TF32 products must have been on, which change fp32 results near the third digit."
    )
    parity: ParityRule | None = Field(
        default=None, description="Asked of the evaluations; exceeded or not on record is an ERROR (exit 7)."
    )


class Approvals(Section):
    """Who must agree before the alias moves."""

    min: Annotated[Count, Field(ge=0)] = Field(default=0, description="How many people must approve a candidate that passed.")
    not_author: bool = Field(default=True, description="The approval of whoever made the candidate does not count.")


class Decide(Section):
    """What a PASS still needs, and what becomes of an INCONCLUSIVE."""

    inconclusive: Literal["fail", "approve"] = Field(
        default="fail",
        description="An INCONCLUSIVE judgement is refused, or a person is asked. It never moves an alias by itself.",
    )
    approvals: Approvals = Field(default=Approvals(), description="Who must agree.")


class Policy(Section):
    """What must be true before an alias moves: one file per target."""

    version: Literal[1] = Field(description="Of this format.")
    target: Aim = Field(default=Aim(), description="The alias that the policy guards.")
    alpha: Annotated[float, Field(gt=0, lt=0.5), NO_TRUTH] = Field(
        default=0.05,
        description="The accepted chance of believing something about the candidate that is not so; each check runs at it.",
    )
    candidate: CandidateRule = Field(default=CandidateRule(), description="What must be true of the candidate already.")
    baseline: BaselineRule = Field(default=BaselineRule(), description="What the candidate is compared with.")
    data: Data = Field(default=Data(), description="The items that count.")
    runtime: RuntimeRule = Field(description="Where evidence must come from.")
    checks: tuple[Check, ...] = Field(description="What is asked; all must pass.")
    decide: Decide = Field(default=Decide(), description="What follows from the judgement.")

    _text: str | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _some_check_can_block(self) -> Self:
        if not self.checks:
            raise contradiction(["checks"], "no checks: nothing could ever be refused")
        seen: set[str] = set()
        for at, check in enumerate(self.checks):
            if check.id in seen:
                raise contradiction(["checks", at, "id"], f"two checks have the id '{check.id}'")
            seen.add(check.id)
        if all(check.severity == "warn" for check in self.checks):
            raise contradiction(["checks"], "every check has severity: warn, so nothing could ever be refused")
        return self

    @property
    def text(self) -> str:
        """The file as it was read, comments and all; for a policy made in Python, YAML that `load` reads back."""
        if self._text is not None:
            return self._text
        return str(yaml.safe_dump(self.model_dump(mode="json", exclude_none=True), sort_keys=False))

    @property
    def digest(self) -> str:
        """`sha256:<hex>` of the rules; comments, the order of keys and the spelling of numbers do not count."""
        # Without what is left at its default, so that a key which a later release adds does not rename older policies.
        rules = self.model_dump(mode="json", exclude={"target": True, "data": {"dataset"}}, exclude_defaults=True)
        canonical = json.dumps(rules, sort_keys=True, separators=(",", ":"))
        return str(Digest(algorithm="sha256", hex=hashlib.sha256(canonical.encode()).hexdigest()))

    @property
    def timed_batches(self) -> tuple[int, ...]:
        """The batch sizes at which candidate and baseline must be timed together, ascending; empty when none."""
        return tuple(sorted({c.batch for c in self.checks if isinstance(c, Ratio) and c.batch is not None}))

    @property
    def times_models_together(self) -> bool:
        return bool(self.timed_batches)

    def asks_a_person(self, outcome: Outcome, *, first: bool) -> bool:
        """Whether a person may now decide.

        Args:
            outcome: what the judgement says; about a FAIL or an ERROR nobody is asked.
            first: provably nobody holds the alias.
        """
        if outcome is Outcome.INCONCLUSIVE:
            return self.decide.inconclusive == "approve" or (first and self.baseline.when_absent == "approve")
        return outcome is Outcome.PASS and self.decide.approvals.min > 0

    def target_for(self, model: str) -> Target:
        """The alias that a model of this name would take."""
        return Target(registry=self.target.registry, collection=self.target.collection or model, alias=self.target.alias)

    def aimed(
        self,
        *,
        registry: str | None = None,
        collection: str | None = None,
        alias: str | None = None,
        dataset: str | None = None,
    ) -> Policy:
        """The same rules aimed elsewhere; what is None stays as it is.

        Raises:
            BadPolicy: a name is impossible; the message says which.
        """
        aim = {"registry": registry, "collection": collection, "alias": alias}
        try:
            target = Aim(**(self.target.model_dump() | {key: name for key, name in aim.items() if name is not None}))
            data = Data(**(self.data.model_dump() | ({} if dataset is None else {"dataset": dataset})))
        except ValidationError as exc:
            error = exc.errors(include_url=False)[0]
            raise BadPolicy(f"{error['loc'][0]}: {_said(error)}") from exc
        return self.model_copy(update={"target": target, "data": data})


def load(text: str, *, name: str) -> Policy:
    """Read a policy.

    Args:
        text: YAML.
        name: the file's name, for messages.
    Raises:
        BadPolicy: not YAML, not a policy, or one that contradicts itself; the message names file, line and key.
    """
    try:
        document = read(text)
    except BadYaml as exc:
        raise BadPolicy(f"{name}{f':{exc.line}' if exc.line else ''}: {exc.message}", hint=f"edit {name}") from exc
    if not isinstance(document.content, dict):
        found = "empty" if document.content is None else f"a {type(document.content).__name__}"
        raise BadPolicy(f"{name}: a policy is a mapping of keys, this file is {found}", hint="reg init")
    try:
        policy = Policy.model_validate(document.content)
    except ValidationError as exc:
        raise _complaint(exc, document, name) from exc
    policy._text = text
    return policy


def _complaint(exc: ValidationError, document: Document, name: str) -> BadPolicy:
    """The first of pydantic's complaints, by line, in our words."""
    found = []
    for error in exc.errors(include_url=False):
        path = _path(error, document.content)
        found.append((document.line(path), path, error))
    # A misspelt key is also missing under its right name; the misspelling is the cause.
    line, path, error = min(found, key=lambda one: (one[0], one[2]["type"] == "missing"))
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
    message, hint = _worded(error, path, document.content)
    others = sorted({other for other, *_ in found} - {line})
    where = f", on line{'s' * (len(others) > 1)} {', '.join(map(str, others))}" if others else ""
    more = f" (and {len(found) - 1} more{where})" if len(found) > 1 else ""
    return BadPolicy(f"{name}:{line}: {key + ': ' if key else ''}{message}{more}", hint=hint or f"edit line {line} of {name}")


def _path(error: ErrorDetails, content: Mapping[str, Any]) -> list[Key]:
    """Where the file is wrong: without the name of the test, which pydantic puts behind the number of a check."""
    loc = error["loc"]
    tagged = loc[:1] == ("checks",) and len(loc) > 2 and loc[2] in TESTS
    return [*loc[:2], *loc[3 if tagged else 2 :], *(error.get("ctx") or {}).get("at", [])]


def _worded(error: ErrorDetails, path: Sequence[Key], content: Mapping[str, Any]) -> tuple[str, str | None]:
    """A complaint and, where there is something to paste, a hint."""
    key = str(path[-1]) if path else ""
    match error["type"]:
        case "extra_forbidden":
            return _unknown(key, path, content)
        case "missing":
            return "is missing", None
        case "model_type" | "model_attributes_type":
            return f"a mapping of keys is needed, this is {error['input']!r:.60}", None
        case "union_tag_not_found":
            return "has no test", f"add one of test: {', '.join(TESTS)}"
        case "union_tag_invalid":
            tag = str((error.get("ctx") or {}).get("tag"))
            return f"there is no test '{tag}'{_nearest(tag, TESTS)}", f"known tests: {', '.join(TESTS)}"
        case "literal_error":
            possible = re.findall(r"'([^']*)'", str((error.get("ctx") or {}).get("expected")))
            given = str(error["input"])
            return f"'{given}' is not possible{_nearest(given, possible)}", f"possible: {', '.join(possible) or '1'}"
    return _said(error), None


def _unknown(key: str, path: Sequence[Key], content: Mapping[str, Any]) -> tuple[str, str]:
    section = _section(path[:-1], content)
    known = tuple(section.model_fields) if section else ()
    if section in TESTS.values():
        test = next(name for name, one in TESTS.items() if one is section)
        owners = [name for name, other in TESTS.items() if key in other.model_fields]
        if owners:
            return (
                f"test {test} has no '{key}'",
                f"'{key}' belongs to test: {' or '.join(owners)}; {test} has {', '.join(known)}",
            )
    return f"unknown key{_nearest(key, known)}", f"known keys here: {', '.join(known)}"


def _section(path: Sequence[Key], content: Mapping[str, Any]) -> type[BaseModel] | None:
    """The section of a policy that a path leads to."""
    if list(path[:1]) == ["checks"] and len(path) > 1:
        return TESTS.get(str(content["checks"][path[1]].get("test"))) if len(path) == 2 else Margin
    section: type[BaseModel] | None = Policy
    for key in path:
        field = section.model_fields.get(str(key)) if section else None
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())] if field else []
        section = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
    return section


def _said(error: ErrorDetails) -> str:
    """pydantic's sentence, with the value that it is about."""
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] in ("value_error", "contradiction"):
        return message
    return f"{error['input']!r:.60}: {message[:1].lower()}{message[1:]}"


def _nearest(given: str, known: Sequence[str] | Mapping[str, object]) -> str:
    near = difflib.get_close_matches(given, list(known), n=1, cutoff=0.5)
    return f", did you mean '{near[0]}'?" if near else ""


def _canonical_reference(text: str) -> str:
    try:
        return str(parse(text))
    except BadReference as exc:
        raise ValueError(exc.message) from exc
