"""`verdict.json` and `evaluation.json` as a page shows them.

Such a file comes from any client, so nothing in it is believed: what is not of the expected kind is left out, and a file that
is no JSON object of `schema_version` 1 is refused as a whole. Judging is not done here; the words are those of the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from registry.errors import BadData
from registry.server import documents

VERDICT_FILE = "verdict.json"
EVALUATION_FILE = "evaluation.json"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of a verdict; a number is None where the file has none."""

    id: str
    metric: str
    test: str
    slice: str | None
    severity: str
    status: str
    reason: str
    candidate: float | None
    baseline: float | None
    delta: float | None
    interval: tuple[float | None, float | None] | None
    threshold: float | None
    alpha: float | None
    method: str | None
    needed_items: float | None


@dataclass(frozen=True, kw_only=True)
class Named:
    """What takes part in a judgement: its role, its artifact type, its reference and digest as the file has them."""

    role: str
    type: str
    reference: str
    digest: str | None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A judgement check by check, with the question, the evidence and the people."""

    outcome: str
    reason: str
    target: str
    checks: Sequence[Check]
    notes: Sequence[str]
    evidence: Sequence[Named]
    split: str | None
    look: str | None
    policy_digest: str | None
    runtime_fingerprint: str | None
    actor: str | None
    git_commit: str | None
    ci_url: str | None
    created_at: str | None
    override_by: str | None
    override_reason: str | None


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number of an evaluation with what is needed to read it; `of` is the class it is about, None for all items."""

    name: str
    of: str | None
    value: float | None
    unit: str | None
    direction: str | None
    n: float | None
    interval: tuple[float | None, float | None] | None
    chance: float | None


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Wall time of one run of the session at one batch size."""

    batch: float | None
    runs: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    throughput: float | None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One model on one split of one dataset version on one runtime."""

    metrics: Sequence[Metric]
    by_class: Sequence[Metric]
    latency: Sequence[Latency]
    evidence: Sequence[Named]
    split: str | None
    items: float | None
    device: str | None
    device_name: str | None
    provider: str | None
    fingerprint: str | None


def read_verdict(content: bytes) -> Verdict:
    """
    Raises:
        BadData: it is no verdict that this server can read.
    """
    file = _document(VERDICT_FILE, content)
    judgement, target, look, override = (_object(file.get(key)) for key in ("judgement", "target", "look", "override"))
    if not isinstance(judgement.get("checks"), list):
        raise BadData(f"{VERDICT_FILE} has no judgement with checks")
    number, of = _number(look.get("number")), _number(look.get("of"))
    roles = (
        ("candidate", "candidate", "model"),
        ("baseline", "baseline", "model"),
        ("dataset", "dataset", "dataset"),
        ("candidate's evaluation", "candidate_evaluation", "evaluation"),
        ("baseline's evaluation", "baseline_evaluation", "evaluation"),
    )
    return Verdict(
        outcome=_text(judgement.get("outcome")) or "?",
        reason=_text(judgement.get("reason")) or "",
        target=f"wandb-registry-{target.get('registry')}/{target.get('collection')}:{target.get('alias')}",
        checks=[_check(_object(check)) for check in judgement["checks"]],
        notes=[note for note in _list(judgement.get("notes")) if isinstance(note, str)],
        evidence=_named(file, roles),
        split=_text(file.get("split")),
        look=None if number is None else f"{number:.0f}" + (f" of {of:.0f}" if of is not None else ""),
        policy_digest=_text(file.get("policy_digest")),
        runtime_fingerprint=_text(file.get("runtime_fingerprint")),
        actor=_text(file.get("actor")),
        git_commit=_text(file.get("git_commit")),
        ci_url=_text(file.get("ci_url")),
        created_at=_text(file.get("created_at")),
        override_by=_text(override.get("actor")),
        override_reason=_text(override.get("reason")),
    )


def read_evaluation(content: bytes) -> Evaluation:
    """
    Raises:
        BadData: it is no evaluation that this server can read.
    """
    file = _document(EVALUATION_FILE, content)
    if not isinstance(file.get("metrics"), dict):
        raise BadData(f"{EVALUATION_FILE} has no metrics")
    dataset, runtime = _object(file.get("dataset")), _object(file.get("runtime"))
    roles = (("model", "model", "model"), ("dataset", "dataset", "dataset"), ("timed against", "against", "model"))
    latencies = [_object(latency) for latency in _list(file.get("latency"))]
    return Evaluation(
        metrics=_metrics(file["metrics"], None),
        by_class=[metric for name, some in _object(file.get("by_class")).items() for metric in _metrics(_object(some), name)],
        latency=[
            Latency(**{name: _number(latency.get(name)) for name in Latency.__dataclass_fields__}) for latency in latencies
        ],
        evidence=_named(file, roles),
        split=_text(dataset.get("split")),
        items=_number(dataset.get("items")),
        device=_text(runtime.get("device")),
        device_name=_text(runtime.get("device_name")),
        provider=_text(runtime.get("provider")),
        fingerprint=_text(runtime.get("fingerprint")),
    )


def _check(check: dict[str, Any]) -> Check:
    return Check(
        id=_text(check.get("id")) or "?",
        metric=_text(check.get("metric")) or "",
        test=_text(check.get("test")) or "",
        slice=_text(check.get("slice")),
        severity=_text(check.get("severity")) or "error",
        status=_text(check.get("status")) or "?",
        reason=_text(check.get("reason")) or "",
        candidate=_number(check.get("candidate")),
        baseline=_number(check.get("baseline")),
        delta=_number(check.get("delta")),
        interval=_interval(check.get("interval")),
        threshold=_number(check.get("threshold")),
        alpha=_number(check.get("alpha")),
        method=_text(check.get("method")),
        needed_items=_number(check.get("needed_items")),
    )


def _metrics(metrics: dict[str, Any], of: str | None) -> list[Metric]:
    return [
        Metric(
            name=name,
            of=of,
            value=_number(metric.get("value")),
            unit=_text(metric.get("unit")),
            direction=_text(metric.get("direction")),
            n=_number(metric.get("n")),
            interval=_interval(metric.get("interval")),
            chance=_number(metric.get("chance")),
        )
        for name, metric in ((name, _object(value)) for name, value in metrics.items())
    ]


def _named(file: dict[str, Any], roles: Sequence[tuple[str, str, str]]) -> list[Named]:
    found = []
    for role, key, kind in roles:
        pinned = _object(file.get(key))
        reference = _text(pinned.get("reference"))
        if reference:
            found.append(Named(role=role, type=kind, reference=reference, digest=_text(pinned.get("digest"))))
    return found


def _document(name: str, content: bytes) -> dict[str, Any]:
    try:
        file = documents.read(content, name)
    except BadData as exc:
        raise BadData(f"{name} is not JSON") from exc
    if not isinstance(file, dict) or file.get("schema_version") != 1:
        raise BadData(f"{name} is not of schema_version 1, the one this server can read")
    return file


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _interval(value: Any) -> tuple[float | None, float | None] | None:
    return (_number(value[0]), _number(value[1])) if isinstance(value, list) and len(value) == 2 else None
