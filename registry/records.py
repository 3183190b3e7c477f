"""The facts that stages hand to each other: versions, evaluations, verdicts. Frozen, typed, and readable as files.

Two kinds live here. What the *server* says about a version or run is a dataclass (`Version`, `RunFact`). What *we write
into artifacts* (`evaluation.json`, `verdict.json`; see docs/artifacts.md) is a pydantic model with a `schema_version`,
because such a file comes back from anywhere and is untrusted until it is validated. Numbers live in these files, never in
artifact metadata, which holds at most 100 keys and turns NaN into null.

A missing value is None and a broken one (NaN) stays NaN: `registry.gates` turns both into ERROR, never into a pass.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from registry.references import Digest, Reference, parse


class Outcome(StrEnum):
    """What a check or a gate concluded. Only PASS moves an alias by itself."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    ERROR = "ERROR"

    @property
    def exit_code(self) -> int:
        return {Outcome.PASS: 0, Outcome.FAIL: 3, Outcome.INCONCLUSIVE: 4, Outcome.ERROR: 1}[self]


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version of a collection as the server describes it.

    `index` counts in the collection it was looked up in; `source` is where it was first logged (they differ for a
    version linked into a registry). `aliases` are those it holds in the collection it was looked up in.
    """

    id: str
    entity: str
    project: str
    name: str
    index: int
    type: str
    digest: Digest
    size: int
    aliases: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    description: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    created_at: str = ""
    source: Reference | None = None

    @property
    def reference(self) -> Reference:
        """The full `entity/project/name:vN`."""
        return Reference(entity=self.entity, project=self.project, name=self.name, tag=f"v{self.index}")

    @property
    def origin(self) -> Reference:
        """Where it was first logged: itself unless it is a link."""
        return self.source or self.reference

    def __str__(self) -> str:
        return f"{self.name}:v{self.index}"


@dataclass(frozen=True, kw_only=True)
class RunFact:
    """One W&B run as the server describes it."""

    id: str
    entity: str
    project: str
    name: str
    job_type: str
    state: str
    url: str
    created_at: str = ""
    user: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return f"{self.entity}/{self.project}/{self.id}"


class Fact(BaseModel):
    """Base of everything we write into artifacts: unknown keys are kept out, values cannot be changed, NaN is legal."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Pinned(Fact):
    """A version named so that it can be found (`reference`) and cannot be confused (`digest`)."""

    reference: str
    digest: str

    @classmethod
    def of(cls, version: Version) -> Pinned:
        return cls(reference=str(version.origin), digest=str(version.digest))

    @property
    def parsed(self) -> Reference:
        return parse(self.reference)


# What a metric of the user's own may be called: a function in Python, and a file in an evaluation.
OWN_METRIC = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


class Metric(Fact):
    """One number with what is needed to read it.

    `kind` says how two models are compared on it: `correctness` and `mean` from the per-item column `column` of
    predictions.parquet, `corpus` (F1, AUC) by resampling items and computing `formula` again (a name in
    `registry.corpus.FORMULAS`; None: the metric's own name), `system` (latency, bytes) without items.
    `source` is the digest of the code that computed a metric of the user's own, `sha256:<hex>`; None for those of `reg`.
    `interval` is the two-sided 95 % interval, `chance` the value of guessing; both None where they mean nothing.
    """

    value: float
    direction: Literal["higher", "lower"]
    kind: Literal["correctness", "mean", "corpus", "system"]
    unit: str
    n: int
    column: str | None = None
    formula: str | None = None
    source: str | None = None
    interval: tuple[float, float] | None = None
    chance: float | None = None


class Latency(Fact):
    """Wall time of one session run at one batch size, in milliseconds, and items per second."""

    batch: int
    runs: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    throughput: float


class Placement(Fact):
    """Where the runtime really put the graph: node counts by execution provider, and what betrays a fallback."""

    nodes: dict[str, int]
    compute_on_cpu: tuple[str, ...] = ()
    memcpy: int = 0


class DeviceShare(Fact):
    """One of several devices that shared the items, by its name (`cuda:1`), with its own proof."""

    name: str
    device_name: str
    placement: Placement | None = None
    device_memory_bytes: int | None = None


class Runtime(Fact):
    """The machine a model was scored on; `fingerprint` is the digest of everything here that can change a number.

    Where several devices shared the items, `shares` has all of them; they are alike, and the other fields are the first one's.
    """

    device: Literal["cpu", "cuda"]
    device_name: str
    provider: str
    providers: tuple[str, ...]
    provider_options: dict[str, str] = Field(default_factory=dict)
    placement: Placement | None = None
    device_memory_bytes: int | None = None
    tf32: bool | None = None
    versions: dict[str, str]
    fingerprint: str
    shares: tuple[DeviceShare, ...] = ()


class Parity(Fact):
    """How far two computations of the same scores are apart, measured on the same items.

    `between` names the two. `max_abs` is the largest difference of a score, `max_rel` the largest as a share of its item's
    largest score, `flips` counts items whose predicted class differs. That every difference was at most atol + rtol·|score|
    is known for the `rtol` and `atol` given here; `envelope` (pairs of |score| and the difference there, those that no
    other pair dominates) tells it exactly for any other.
    """

    between: str
    items: int
    max_abs: float
    max_rel: float
    flips: int
    rtol: float
    atol: float
    envelope: tuple[tuple[float, float], ...] = ()

    def needed_atol(self, rtol: float) -> float:
        """The smallest atol that every difference is known to meet at this rtol; NaN where a difference is NaN."""
        if self.envelope:
            return max(0.0, *(difference - rtol * size for size, difference in self.envelope))
        return min(self.max_abs, self.atol) if rtol >= self.rtol else self.max_abs


class Scored(Fact):
    """The items a model was scored on."""

    reference: str
    digest: str
    split: str
    items: int
    task: str
    labels: tuple[str, ...] = ()


class Evaluation(Fact):
    """`evaluation.json`: one model, one split of one dataset version, one runtime.

    The per-item values stand beside it in predictions.parquet; `latency.parquet` holds the raw timings when two models
    were timed against each other in interleaved blocks (`against` names the other one). `omitted` says of each metric that
    does not exist on these items why not. `parity`: the exported graph against the trained network, and, where the model was
    not scored on the CPU, the device against the CPU; None where nothing was measured.
    """

    schema_version: Literal[1] = 1
    model: Pinned
    dataset: Scored
    runtime: Runtime
    metrics: dict[str, Metric]
    by_class: dict[str, dict[str, Metric]] = Field(default_factory=dict)
    latency: tuple[Latency, ...] = ()
    against: Pinned | None = None
    omitted: dict[str, str] = Field(default_factory=dict)
    parity: tuple[Parity, ...] | None = None


class CheckResult(Fact):
    """What one check of a policy concluded, and on what numbers."""

    id: str
    metric: str
    test: str
    slice: str | None = None
    severity: Literal["error", "warn"] = "error"
    status: Outcome
    reason: str
    candidate: float | None = None
    baseline: float | None = None
    delta: float | None = None
    interval: tuple[float | None, float | None] | None = None
    threshold: float | None = None
    alpha: float | None = None
    p_value: float | None = None
    method: str = ""
    seed: int | None = None
    resamples: int | None = None
    counts: dict[str, int] = Field(default_factory=dict)
    needed_items: int | None = None


class Judgement(Fact):
    """The pure answer of `registry.gates.judge`: the same on every machine for the same policy and evidence.

    `environment`: the evidence was made on a machine that the policy does not accept, so the same question may be asked
    again on another one.
    """

    outcome: Outcome
    checks: tuple[CheckResult, ...]
    reason: str
    notes: tuple[str, ...] = ()
    environment: bool = False


class Target(Fact):
    """The alias a promotion would move: in a registry's collection."""

    registry: str
    collection: str
    alias: str

    @property
    def reference(self) -> Reference:
        from_registry = f"wandb-registry-{self.registry}"
        return Reference(project=from_registry, name=self.collection, tag=self.alias)

    def __str__(self) -> str:
        return str(self.reference)


class Override(Fact):
    """A person moved the alias against the gate's answer, and said why."""

    actor: str
    reason: str


class Rollback(Fact):
    """The alias went back to a version that `verdict` had let in before; its judgement is restated, not asked again."""

    replaces: Pinned
    verdict: Pinned
    actor: str
    reason: str


class Approval(Fact):
    """`approval.json`: a person agrees that what a verdict judged may take the alias.

    It counts for every verdict on the same `subject`, so that judging the same evidence once more loses no approval.
    """

    schema_version: Literal[1] = 1
    target: Target
    subject: str
    verdict: Pinned
    actor: str
    reason: str | None = None
    ci_url: str | None = None
    created_at: str


class Look(Fact):
    """The holdout meter.

    `number` counts the models that had been scored on this dataset version when it was asked, this one included: the same
    model again is no new look. `position` is this one's place in the order of their first scoring, which no later look can
    change, so that the alpha spent on it stays what it was; None in verdicts of before it was recorded.
    """

    number: int
    of: int | None = None
    position: int | None = None


class Verdict(Fact):
    """`verdict.json`: a judgement with the question, the evidence and the people, logged before any alias moves."""

    schema_version: Literal[1] = 1
    target: Target
    judgement: Judgement
    policy_digest: str
    candidate: Pinned
    baseline: Pinned | None
    candidate_evaluation: Pinned | None
    baseline_evaluation: Pinned | None
    dataset: Pinned | None
    split: str | None
    runtime_fingerprint: str | None
    look: Look | None = None
    held: tuple[str, ...] = ()
    actor: str
    ci_url: str | None = None
    git_commit: str | None = None
    created_at: str
    run: str | None = None
    override: Override | None = None
    rollback: Rollback | None = None
    approved_by: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome:
        return self.judgement.outcome

    @property
    def subject(self) -> str:
        """The digest of what was judged, by which policy, for which alias: the same whoever asks, and when."""
        asked = {"target", "policy_digest", "candidate", "baseline", "candidate_evaluation", "baseline_evaluation", "dataset"}
        text = json.dumps(self.model_dump(mode="json", include=asked | {"split"}), sort_keys=True)
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
