"""A verdict reads like a page: what was decided, on which numbers, about what, and by whom."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from gate_evidence import BEATS, FLOOR, SLICES, digest, evidence, models, policy
from hypothesis import given
from hypothesis import strategies as st

from registry.gates import ABSENT, judge
from registry.records import CheckResult, Judgement, Look, Outcome, Override, Pinned, Target, Verdict
from registry.verdicts import to_junit, to_markdown

GOLDEN = Path(__file__).parent / "golden" / "verdict.md"


def a_verdict(judgement: Judgement, **changes: object) -> Verdict:
    facts: dict[str, object] = {
        "target": Target(registry="model", collection="mnist", alias="production"),
        "judgement": judgement,
        "policy_digest": "sha256:" + "1" * 64,
        "candidate": Pinned(reference="team/vision/model:v8", digest=digest("c")),
        "baseline": Pinned(reference="team/vision/model:v7", digest=digest("b")),
        "candidate_evaluation": Pinned(reference="team/vision/evaluation-model:v3", digest=digest("e")),
        "baseline_evaluation": Pinned(reference="team/vision/evaluation-model:v2", digest=digest("f")),
        "dataset": Pinned(reference="team/vision/mnist:v0", digest=digest("d")),
        "split": "test",
        "runtime_fingerprint": "sha256:" + "2" * 64,
        "look": Look(number=4, of=50),
        "actor": "ada",
        "ci_url": "https://ci.example/7",
        "git_commit": "abc123",
        "created_at": "2026-01-01T00:00:00+00:00",
    }
    return Verdict.model_validate(facts | changes)


def a_judgement(**changes: object) -> Judgement:
    result: dict[str, object] = {
        "id": "beats",
        "metric": "accuracy",
        "test": "superiority",
        "status": "PASS",
        "reason": "better",
    }
    return Judgement(outcome=Outcome.PASS, checks=(CheckResult.model_validate(result | changes),), reason="all checks passed")


def cells(page: str) -> list[list[str]]:
    """The table's rows, split where Markdown splits them."""
    rows = [line for line in page.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def test_a_verdict_reads_like_a_page() -> None:
    candidate, baseline = models(600, baseline_wrong=70, gained=14, lost=8)
    judgement = judge(policy(FLOOR, BEATS), candidate=candidate, baseline=baseline, look=Look(number=4, of=50))
    assert to_markdown(a_verdict(judgement)) == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize("outcome", list(Outcome))
def test_the_headline_is_the_outcome(outcome: Outcome) -> None:
    page = to_markdown(a_verdict(Judgement(outcome=outcome, checks=(), reason="why")))
    assert page.startswith(f"# {outcome}: ")
    assert "\n\nwhy\n\n" in page


def test_a_first_promotion_says_that_nobody_held_the_alias() -> None:
    judgement = judge(policy(FLOOR, BEATS), candidate=models(600, baseline_wrong=30)[0], baseline=ABSENT)
    page = to_markdown(a_verdict(judgement, baseline=None, baseline_evaluation=None))
    assert "- baseline: nobody held the alias\n" in page
    assert "- beats (superiority on accuracy) was not asked" in page
    assert "baseline's evaluation" not in page


def test_an_override_is_never_silent() -> None:
    override = Override(actor="grace", reason="incident 4711:\nv7 crashes")
    page = to_markdown(a_verdict(a_judgement(), override=override))
    assert "\n> **Overridden** by grace: incident 4711: v7 crashes\n" in page


def test_a_warning_is_told_from_a_refusal() -> None:
    row = cells(to_markdown(a_verdict(a_judgement(severity="warn", status="FAIL"))))[2]
    assert (row[0], row[7]) == ("beats (warn)", "**FAIL**")


@pytest.mark.parametrize(
    ("facts", "shown"),
    [
        ({"delta": 0.01, "interval": (-0.002, 0.022)}, "0.01 [-0.002, 0.022]"),
        ({"delta": 0.01, "interval": (None, 0.022)}, "0.01 [-∞, 0.022]"),
        ({"delta": 0.01, "interval": (0.0, None)}, "0.01 [0, ∞]"),
        ({"interval": (0.9, 0.95)}, "[0.9, 0.95]"),
        ({"delta": 1.2}, "1.2"),
        ({}, ""),
    ],
)
def test_bounds_are_shown_as_far_as_they_exist(facts: dict[str, object], shown: str) -> None:
    assert cells(to_markdown(a_verdict(a_judgement(**facts))))[2][5] == shown


@pytest.mark.parametrize("value", [52428800.0, 123456.0])
def test_large_numbers_are_written_out(value: float) -> None:
    assert cells(to_markdown(a_verdict(a_judgement(candidate=value))))[2][3] == f"{value:,.0f}"


hostile = st.text(st.sampled_from("ab|`*_[](){}<>#\\\n\r\t &~!é"), max_size=30)


@given(name=hostile, reason=hostile, actor=hostile)
def test_no_text_can_redraw_the_page(name: str, reason: str, actor: str) -> None:
    pinned = Pinned(reference=name, digest=reason)
    page = to_markdown(a_verdict(a_judgement(id=name, metric=reason, reason=reason), actor=f"a{actor}", candidate=pinned))
    assert [len(row) for row in cells(page)] == [9, 9, 9]
    assert len(page.splitlines()) == len(to_markdown(a_verdict(a_judgement())).splitlines())
    assert not re.search(r"(?<!\\)(\\\\)*[<>|`*\[\]#~]", cells(page)[2][8])


def test_many_slices_that_pass_share_a_row_and_each_that_fails_has_its_own() -> None:
    n = 2000
    label = [at % 20 for at in range(n)]
    right = [True] * n
    wrong = [not (one == 7 and at < n / 2) for at, one in enumerate(label)]
    judgement = judge(policy(SLICES), candidate=evidence(wrong, label=label), baseline=evidence(right, label=label))
    rows = cells(to_markdown(a_verdict(judgement)))[2:]
    assert [(row[1], row[7]) for row in rows] == [("accuracy, label=7", "**FAIL**"), ("accuracy", "PASS")]
    assert rows[1][8].startswith("19 slices; the largest loss among them: ")


def test_junit_counts_what_blocks_and_shows_what_warns() -> None:
    checks = (
        CheckResult(id="floor", metric="accuracy", test="absolute", status=Outcome.PASS, reason="0.97 is enough"),
        CheckResult(id="beats", metric="accuracy", test="superiority", status=Outcome.INCONCLUSIVE, reason="too few"),
        CheckResult(
            id="slices", metric="accuracy", test="not-worse", slice="label=<7>", status=Outcome.FAIL, reason="lost & gone"
        ),
        CheckResult(id="size", metric="bytes", test="absolute", status=Outcome.FAIL, reason="60 MB", severity="warn"),
        CheckResult(id="nll", metric="nll", test="absolute", status=Outcome.ERROR, reason="NaN\x00"),
    )
    suite = ElementTree.fromstring(to_junit(a_verdict(Judgement(outcome=Outcome.ERROR, checks=checks, reason="nll is NaN"))))
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "5",
        "failures": "2",
        "errors": "1",
        "skipped": "1",
    }
    assert [case.get("name") for case in suite.findall("testcase")] == ["floor", "beats", "slices label=<7>", "size", "nll"]
    assert [failure.get("message") for failure in suite.iter("failure")] == ["too few", "lost & gone"]


def test_junit_of_a_question_that_could_not_be_asked_is_an_error() -> None:
    suite = ElementTree.fromstring(to_junit(a_verdict(Judgement(outcome=Outcome.ERROR, checks=(), reason="no baseline"))))
    assert (suite.get("errors"), suite.find("testcase/error").get("message")) == ("1", "no baseline")  # type: ignore[union-attr]
