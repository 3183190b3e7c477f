"""Facts cannot change, survive their files, and keep a broken number broken."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from registry.records import CheckResult, Judgement, Metric, Outcome, Pinned, Target, Verdict, Version
from registry.references import Digest, Reference

DIGEST = Digest(algorithm="md5", hex="0" * 32)
numbers = st.floats(allow_nan=False) | st.none()


def a_version(**changes: object) -> Version:
    facts = {"id": "1", "entity": "team", "project": "vision", "name": "model", "index": 3, "type": "model"}
    return Version(**(facts | {"digest": DIGEST, "size": 10} | changes))  # type: ignore[arg-type]


def a_verdict(**changes: object) -> Verdict:
    facts: dict[str, object] = {
        "target": Target(registry="model", collection="mnist", alias="production"),
        "judgement": Judgement(outcome=Outcome.PASS, checks=(), reason="all checks passed"),
        "policy_digest": "sha256:" + "0" * 64,
        "candidate": Pinned.of(a_version()),
        "baseline": None,
        "candidate_evaluation": None,
        "baseline_evaluation": None,
        "dataset": None,
        "split": None,
        "runtime_fingerprint": None,
        "actor": "ada",
        "created_at": "2026-01-01T00:00:00+00:00",
    }
    return Verdict.model_validate(facts | changes)


def a_metric(value: float) -> Metric:
    return Metric(value=value, direction="higher", kind="mean", unit="nats", n=3)


def test_only_a_pass_exits_with_zero() -> None:
    codes = {Outcome.PASS: 0, Outcome.FAIL: 3, Outcome.INCONCLUSIVE: 4, Outcome.ERROR: 1}
    assert {outcome: outcome.exit_code for outcome in Outcome} == codes


@given(
    candidate=numbers,
    bounds=st.none() | st.tuples(numbers, numbers),
    counts=st.dictionaries(st.text(max_size=5), st.integers(0, 10**9)),
)
def test_a_result_survives_its_file(
    candidate: float | None, bounds: tuple[float | None, float | None] | None, counts: dict[str, int]
) -> None:
    result = CheckResult(
        id="beats",
        metric="accuracy",
        test="superiority",
        status=Outcome.FAIL,
        reason="worse",
        candidate=candidate,
        interval=bounds,
        counts=counts,
    )
    assert CheckResult.model_validate_json(result.model_dump_json()) == result


def test_a_verdict_survives_its_file() -> None:
    verdict = a_verdict()
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_broken_number_stays_broken_in_its_file(value: float) -> None:
    found = Metric.model_validate_json(a_metric(value).model_dump_json()).value
    assert found == value or (math.isnan(found) and math.isnan(value))


def test_facts_cannot_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        a_metric(1.0).value = 2.0  # type: ignore[misc]


def test_an_unknown_key_in_a_file_is_refused() -> None:
    with pytest.raises(ValidationError, match="schema_version"):
        a_verdict(schema_version=2)
    with pytest.raises(ValidationError, match="surprise"):
        a_verdict(surprise=1)


def test_a_linked_version_remembers_where_it_was_first_logged() -> None:
    source = Reference(entity="team", project="vision", name="model", tag="v7")
    linked = a_version(project="wandb-registry-model", name="mnist", index=0, source=source)
    assert (str(linked.reference), str(linked.origin)) == ("team/wandb-registry-model/mnist:v0", "team/vision/model:v7")
    assert Pinned.of(linked).parsed == source


def test_a_target_is_an_alias_in_a_collection_of_a_registry() -> None:
    target = Target(registry="model", collection="mnist", alias="production")
    assert str(target) == "wandb-registry-model/mnist:production"
    assert target.reference.registry == "model"
