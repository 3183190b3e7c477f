"""Who is where, since when and why, and giving an alias back: by the commands a person types."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from registry import policy, promotion, questions
from registry.connection import connect
from registry.provenance import Provenance
from registry.references import parse
from tests import models_on_a_server as made
from tests.cli.conftest import Inside

pytestmark = pytest.mark.slow

PRODUCTION = "wandb-registry-model/model:production"


@pytest.fixture(scope="module")
def reg(make_served: Callable[[str], Inside]) -> Inside:
    """A home where v0 and then v1 were promoted, v2 was refused, v3 is new; verdicts by people and policies that differ."""
    reg = make_served("audit")
    with reg.surroundings(), connect(made.settings_of(reg.home)) as backend:
        data = made.dataset(backend)
        for name, wrong in (("first", 120), ("better", 40), ("worse", 160)):
            made.model(backend, data, name, wrong=wrong)
        rules = policy.load(made.STRICT, name="policy.yaml")
        for model in ("model:v0", "model:v1", "model:v2"):
            promotion.promote(backend, questions.ask(backend, parse(model), rules), None, by=Provenance(actor="ann"))
        made.model(backend, data, "newest", wrong=39)
    (reg.folder / "policy.yaml").write_text(made.STRICT)
    (reg.folder / "people.yaml").write_text(made.RULES + "decide: {approvals: {min: 1, not_author: false}}\n")
    (reg.folder / "harder.yaml").write_text(made.RULES.replace("min: 0.5", "min: 0.8"))
    return reg


def test_status_shows_the_holder_how_good_it_is_and_what_waits(reg: Inside) -> None:
    done = reg("status", "--json")
    assert done.code == 0, done.out
    (found,) = done.data["aliases"]
    assert {key: found[key] for key in ("target", "holder", "kind", "person", "newest", "newest_outcome", "metric")} == {
        "target": PRODUCTION,
        "holder": "local/reg/model:v1",
        "kind": "promotion",
        "person": "ann",
        "newest": "local/reg/model:v3",
        "newest_outcome": None,
        "metric": {"name": "accuracy", "value": 0.9},
    }
    line = reg("status").out
    assert "model/model:production" in line
    assert "model:v3: not asked yet" in line


def test_history_lists_the_moves_latest_first(reg: Inside) -> None:
    moves = reg("history", "production", "--json").data["moves"]
    assert [(move["from"], move["to"], move["kind"], move["outcome"]) for move in moves] == [
        ("local/reg/model:v0", "local/reg/model:v1", "promotion", "PASS"),
        (None, "local/reg/model:v0", "promotion", "PASS"),
    ]


def test_why_leads_from_the_alias_to_the_data(reg: Inside) -> None:
    page = reg("why", "production").out
    for fact in ("local/reg/model:v1", "by a passed gate by ann", "local/reg/digits:v0", "evaluation-model:v1", "train better"):
        assert fact in page
    assert "beats" in page, "the checks of the verdict"


def test_a_verdict_follows_again_from_its_evidence(reg: Inside) -> None:
    done = reg("verdict", "verify", "verdict-model-production:v1")
    assert (done.code, "PASS follows again" in done.out) == (0, True), done.out + done.err


def test_a_verdict_that_does_not_follow_is_shown_with_what_differs(reg: Inside, tmp_path: Path) -> None:
    assert reg("get", "verdict-model-production:v2", "--to", str(tmp_path / "v")).code == 0
    file = tmp_path / "v" / "verdict.json"
    forged = json.loads(file.read_text())
    assert forged["judgement"]["outcome"] == "FAIL"
    forged["judgement"]["outcome"] = "PASS"
    file.write_text(json.dumps(forged))
    with reg.surroundings(), connect(made.settings_of(reg.home)) as backend, backend.run(job_type="forge") as run:
        files = [(one.name, one) for one in sorted((tmp_path / "v").iterdir())]
        run.output("verdict-forged", type="verdict", files=files)
    done = reg("verdict", "verify", "verdict-forged:v0")
    assert done.code == 1
    assert "outcome: the verdict says 'PASS', judging again gives 'FAIL'" in done.out


def test_a_verdict_is_written_in_the_form_that_a_file_is_named_for(reg: Inside, tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in ("v.md", "v.xml", "v.json", "v.html")]
    words = [word for name in names for word in ("--save", name)]
    assert reg("verdict", "show", "verdict-model-production:v2", *words).code == 0
    assert (tmp_path / "v.md").read_text().startswith("# FAIL: the candidate is refused")
    assert ElementTree.parse(tmp_path / "v.xml").getroot().get("failures") == "1"
    assert json.loads((tmp_path / "v.json").read_text())["candidate"]["reference"] == "local/reg/model:v2"
    page = (tmp_path / "v.html").read_text()
    assert "<title>FAIL: model:v2 may not take production.</title>" in page
    assert "new ones" in page, "what flipped, which only the evaluations know"
    assert "reg verdict verify local/reg/verdict-model-production:v2" in page
    refused = reg("verdict", "show", "verdict-model-production:v2", "--save", "v.pdf")
    assert (refused.code, "a verdict is written as" in refused.err) == (2, True)


def test_a_policy_is_replayed_on_the_past_without_writing(reg: Inside) -> None:
    before = reg("ls", "--json").data
    done = reg("gate", "replay", "harder.yaml", "--json")
    assert done.code == 0, done.err
    assert [(one["candidate"][-2:], one["then"], one["now"]) for one in done.data["verdicts"]] == [
        ("v0", "PASS", "FAIL"),
        ("v1", "PASS", "PASS"),
        ("v2", "FAIL", "FAIL"),
    ]
    assert reg("ls", "--json").data == before


def test_an_approval_lets_a_promotion_through_and_a_rollback_takes_it_back(reg: Inside) -> None:
    waits = reg("promote", "model:v3", "--policy", "people.yaml", "--alias", "canary")
    assert waits.code == 5
    assert "0 of 1 given" in waits.err
    verdict = waits.err.partition("reg approve ")[2].partition(",")[0]
    approved = reg("approve", verdict, "--reason", "looked at it")
    assert approved.code == 0, approved.err
    assert reg("promote", "model:v3", "--policy", "people.yaml", "--alias", "canary").code == 0
    assert reg("promote", "model:v1", "--policy", "policy.yaml", "--alias", "canary", "--override", "incident").code == 0
    back = reg("rollback", "canary", "--reason", "the incident was another", "--json")
    assert (back.code, back.data["holder"], back.data["replaced"]) == (0, "local/reg/model:v3", "local/reg/model:v1")
    moves = reg("history", "canary", "--json").data["moves"]
    assert [(move["to"][-2:], move["kind"], move["reason"]) for move in moves] == [
        ("v3", "rollback", "the incident was another"),
        ("v1", "override", "incident"),
        ("v3", "promotion", None),
    ]
    assert "approved by" in reg("why", "canary").out


def test_a_word_that_names_no_alias_is_answered_with_where_to_look(reg: Inside) -> None:
    for command in ("history", "why", "rollback"):
        done = reg(command, "prodction")
        assert (done.code, "Hint: reg status" in done.err) == (1, True), done.err
