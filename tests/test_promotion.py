"""What becomes of an alias: moved by evidence, given back, approved by people, and able to answer who moved it and why."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry import approvals, history, policy, promotion, questions, rollback, standing, verdict_folder
from registry.backend import Backend
from registry.connection import connect
from registry.errors import ApprovalNeeded, BadReference, NotFound, UsageError
from registry.promotion import Decision
from registry.provenance import Provenance
from registry.records import Outcome, Target
from registry.references import parse
from tests import models_on_a_server as made

BY = Provenance(actor="ann", ci_url="https://ci.example.org/1", git_commit="c" * 40)


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """A server with four models, v0 the worst and v3 the best; each test has an alias of its own."""
    home = tmp_path_factory.mktemp("promotion") / "home"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
            patch.setenv(name, str(home.parent))
        with connect(made.settings_of(home)) as backend:
            data = made.dataset(backend)
            for index, wrong in enumerate((120, 80, 40, 10)):
                made.model(backend, data, f"m{index}", wrong=wrong)
            yield backend


@pytest.fixture
def target(request: pytest.FixtureRequest) -> Target:
    name: str = request.node.name
    return Target(registry="model", collection="model", alias=name[:100].replace("[", "-").replace("]", ""))


def promote(backend: Backend, model: str, target: Target, rules: str = made.RULES, **options: str) -> Decision:
    judged_by = policy.load(rules, name="policy.yaml").aimed(alias=target.alias)
    return promotion.promote(backend, questions.ask(backend, parse(model), judged_by), None, by=BY, **options)  # type: ignore[arg-type]


def told(backend: Backend, target: Target) -> list[tuple[str, str | None, str]]:
    return [
        (move.kind, str(move.before.tag) if move.before else None, str(move.to.tag)) for move in history.moves(backend, target)
    ]


def holder(backend: Backend, target: Target) -> str | None:
    found = backend.holder(target)
    return found.origin.tag if found else None


def test_the_history_tells_every_move_with_its_verdict(backend: Backend, target: Target) -> None:
    for model in ("model:v0", "model:v1", "model:v2"):
        assert promote(backend, model, target, made.STRICT).moved
    assert told(backend, target) == [("promotion", None, "v0"), ("promotion", "v0", "v1"), ("promotion", "v1", "v2")]
    last = history.moves(backend, target)[-1]
    assert (last.person, last.ci_url, last.outcome) == ("ann", "https://ci.example.org/1", Outcome.PASS)
    assert last.verdict is not None
    verdict = verdict_folder.read(backend, backend.resolve(last.verdict))
    assert (verdict.run, verdict.candidate.reference) == (last.run.path if last.run else None, "local/reg/model:v2")


def test_a_refused_candidate_moves_nothing_and_is_no_part_of_the_history(backend: Backend, target: Target) -> None:
    promote(backend, "model:v2", target)
    refused = promote(backend, "model:v0", target, made.STRICT)
    assert (refused.verdict.outcome, refused.moved) == (Outcome.FAIL, False)
    assert told(backend, target) == [("promotion", None, "v2")]


def test_a_move_by_other_hands_is_said_to_have_no_verdict(backend: Backend, target: Target) -> None:
    promote(backend, "model:v0", target)
    with backend.run(job_type="by-hand") as run:
        run.link(backend.resolve(parse("model:v3")), target)
    assert told(backend, target) == [("promotion", None, "v0"), ("outside", "v0", "v3")]
    promote(backend, "model:v2", target)
    assert told(backend, target) == [("promotion", None, "v0"), ("outside", "v0", "v3"), ("promotion", "v3", "v2")]


def test_a_rollback_gives_the_alias_back_with_the_verdict_that_let_the_earlier_holder_in(
    backend: Backend, target: Target
) -> None:
    for model in ("model:v0", "model:v1", "model:v2"):
        promote(backend, model, target, made.STRICT)
    done = rollback.rollback(backend, target, to=None, reason="incident 4711", by=Provenance(actor="bob"))
    assert (holder(backend, target), done.replaced.origin.tag) == ("v1", "v2")
    assert told(backend, target)[-1] == ("rollback", "v2", "v1")
    last = history.moves(backend, target)[-1]
    assert (last.person, last.reason) == ("bob", "incident 4711")
    before = history.moves(backend, target)[1]
    assert before.verdict is not None
    assert done.verdict.rollback is not None
    assert done.verdict.rollback.verdict.reference == str(before.verdict)
    original = verdict_folder.read(backend, backend.resolve(before.verdict))
    assert done.verdict.judgement == original.judgement


def test_rolling_back_twice_goes_back_twice(backend: Backend, target: Target) -> None:
    for model in ("model:v0", "model:v1", "model:v2"):
        promote(backend, model, target, made.STRICT)
    for _ in range(2):
        rollback.rollback(backend, target, to=None, reason="worse", by=BY)
    assert holder(backend, target) == "v0"
    with pytest.raises(NotFound, match=r"before local/reg/model:v0 nothing held .* by a verdict"):
        rollback.rollback(backend, target, to=None, reason="worse", by=BY)


def test_a_rollback_goes_to_no_version_that_was_never_judged(backend: Backend, target: Target) -> None:
    promote(backend, "model:v0", target)
    with backend.run(job_type="by-hand") as run:
        run.link(backend.resolve(parse("model:v1")), target)
    promote(backend, "model:v2", target)
    rollback.rollback(backend, target, to=None, reason="worse", by=BY)
    assert holder(backend, target) == "v0"
    with pytest.raises(NotFound, match="local/reg/model:v1 never held"):
        rollback.rollback(backend, target, to=parse("model:v1"), reason="better", by=BY)


def test_nothing_can_be_rolled_back_where_nothing_was_promoted(backend: Backend, target: Target) -> None:
    with pytest.raises(NotFound, match="nothing holds"):
        rollback.rollback(backend, target, to=None, reason="", by=BY)


NEEDS_PEOPLE = made.RULES + "decide: {approvals: {min: 1, not_author: %s}}\n"


def test_a_promotion_waits_for_the_approval_that_its_policy_asks(backend: Backend, target: Target) -> None:
    rules = NEEDS_PEOPLE % "false"
    with pytest.raises(ApprovalNeeded, match="0 of 1 given") as waiting:
        promote(backend, "model:v1", target, rules)
    assert waiting.value.exit_code == 5
    assert holder(backend, target) is None
    logged = backend.versions(parse(verdict_folder.collection(target)))[0]
    approvals.approve(backend, logged, verdict_folder.read(backend, logged), reason="looked at it", by=Provenance(actor="bob"))
    done = promote(backend, "model:v1", target, rules)
    assert done.moved
    assert done.verdict.approved_by == ("local",)


def test_an_approval_does_not_count_for_another_candidate(backend: Backend, target: Target) -> None:
    rules = NEEDS_PEOPLE % "false"
    with pytest.raises(ApprovalNeeded):
        promote(backend, "model:v1", target, rules)
    logged = backend.versions(parse(verdict_folder.collection(target)))[0]
    approvals.approve(backend, logged, verdict_folder.read(backend, logged), reason=None, by=Provenance(actor="bob"))
    with pytest.raises(ApprovalNeeded, match="0 of 1 given"):
        promote(backend, "model:v2", target, rules)


def test_the_author_of_a_candidate_cannot_approve_it(backend: Backend, target: Target) -> None:
    rules = NEEDS_PEOPLE % "true"
    with pytest.raises(ApprovalNeeded):
        promote(backend, "model:v1", target, rules)
    logged = backend.versions(parse(verdict_folder.collection(target)))[0]
    approvals.approve(backend, logged, verdict_folder.read(backend, logged), reason=None, by=Provenance(actor="bob"))
    with pytest.raises(ApprovalNeeded, match="that of local, who made or proposes it, does not count"):
        promote(backend, "model:v1", target, rules)
    assert holder(backend, target) is None


def test_a_candidate_passes_through_the_environments_that_its_policy_names(backend: Backend, target: Target) -> None:
    staging = target.model_copy(update={"alias": f"{target.alias}-staging"[-60:]})
    rules = made.RULES + f"candidate: {{holds: ['{staging.alias}']}}\n"
    promote(backend, "model:v0", staging)
    refused = promote(backend, "model:v1", target, rules)
    assert (refused.verdict.outcome, refused.moved) == (Outcome.FAIL, False)
    assert f"the candidate does not hold '{staging.alias}'" in refused.verdict.judgement.reason
    promote(backend, "model:v1", staging)
    assert promote(backend, "model:v1", target, rules).moved


def test_a_failed_verdict_cannot_be_approved(backend: Backend, target: Target) -> None:
    promote(backend, "model:v3", target)
    refused = promote(backend, "model:v0", target, made.STRICT)
    assert refused.verdict_version is not None
    with pytest.raises(UsageError, match="says FAIL, which an approval does not change"):
        approvals.approve(backend, refused.verdict_version, refused.verdict, reason=None, by=BY)


def test_the_standing_names_the_holder_its_evidence_and_what_waits(backend: Backend, target: Target) -> None:
    promote(backend, "model:v1", target)
    found = standing.standing(backend, target)
    assert (found.holder.origin.tag, found.newest.origin.tag if found.newest else None) == ("v1", "v3")
    assert found.answer is None, "v3 has not been asked for this alias"
    assert found.verdict is not None
    known = standing.headline(found.verdict)
    assert known is not None
    assert (known.metric, known.candidate) == ("accuracy", 0.8)


def test_an_alias_alone_names_a_target_where_one_collection_has_it(backend: Backend, target: Target) -> None:
    promote(backend, "model:v1", target)
    for text in (target.alias, f"model:{target.alias}", str(target)):
        assert standing.find(backend, text, registry="model") == target
    with pytest.raises(NotFound, match="no collection of the registry 'model' has an alias 'prodction'"):
        standing.find(backend, "prodction", registry="model")
    with pytest.raises(BadReference, match="does not name an alias of a registry"):
        standing.find(backend, "reg/model:production", registry="model")


class Hook(http.server.BaseHTTPRequestHandler):
    said: list[dict[str, object]]
    status = 200

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.said.append(json.loads(body))
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(params=[200, 500], ids=["taken", "refused"])
def hook(request: pytest.FixtureRequest) -> Iterator[tuple[str, type[Hook]]]:
    kind = type("AHook", (Hook,), {"said": [], "status": request.param})
    with http.server.HTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/a-secret-path", kind
        server.shutdown()
        thread.join()


def test_a_webhook_hears_of_moves_and_refusals_and_its_failure_stops_nothing(
    backend: Backend, target: Target, hook: tuple[str, type[Hook]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, heard = hook
    monkeypatch.setattr(backend, "settings", made.settings_of(backend.settings.home, REG_WEBHOOK=url))
    moved = promote(backend, "model:v2", target)
    refused = promote(backend, "model:v0", target, made.STRICT)
    assert [event["event"] for event in heard.said] == ["moved", "refused"]
    assert (moved.moved, refused.moved) == (True, False)
    expected = [] if heard.status == 200 else ["the webhook did not take 'local/reg/model:v2"]
    assert [problem[: len("the webhook did not take 'local/reg/model:v2")] for problem in moved.undelivered] == [
        text.replace("local/reg/model:v2", target.alias)[: len("the webhook did not take 'local/reg/model:v2")]
        for text in expected
    ]
    assert "a-secret-path" not in "".join(moved.undelivered)


def test_the_history_is_made_of_what_lineage_says(backend: Backend, target: Target, tmp_path: Path) -> None:
    """Another project's promotion of the same alias is part of the same history."""
    promote(backend, "model:v0", target)
    elsewhere = backend.project
    try:
        backend.project = "elsewhere"
        judged_by = policy.load(made.RULES, name="policy.yaml").aimed(alias=target.alias)
        question = questions.ask(backend, parse(f"{elsewhere}/model:v1"), judged_by)
        promotion.promote(backend, question, None, by=BY)
    finally:
        backend.project = elsewhere
    assert told(backend, target) == [("promotion", None, "v0"), ("promotion", "v0", "v1")]
