"""Whatever is sent, the server answers or refuses with a reason: no 5xx, no bug behind a 4xx, no hang, no half answer.

The examples are the same in each run; what a longer search (`benchmarks/fuzz.py`) found stands under `FOUND`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.wire.attacks import ATTACKS, Attack, Target, answered, operations
from tests.wire.raw import limited

OPERATIONS = dict(operations())
_EXAMPLES = {
    "the SDK's documents with any variables": 150,
    "broken documents": 80,
    "filters": 50,
    "file streams": 60,
    "manifests": 50,
    "bodies": 100,
    "addresses": 120,
}
_EXAMPLES_OF_AN_OPERATION = 4


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with limited(tmp_path_factory.mktemp("fuzz") / "home") as server:
        found = Target(server)
        yield found
        found.client.close()


def examine(target: Target, attack: Attack, *, examples: int) -> None:
    @given(attack.drawn)
    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    def send(drawn: Any) -> None:
        attack.send(target, drawn)

    send()


@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_that_is_sent_finds_a_bug(target: Target, name: str) -> None:
    examine(target, ATTACKS[name], examples=_EXAMPLES[name])


@pytest.mark.parametrize("label", sorted(OPERATIONS))
def test_every_operation_of_the_schema_answers(target: Target, label: str) -> None:
    examine(target, OPERATIONS[label], examples=_EXAMPLES_OF_AN_OPERATION)


# What these searches, or the reading of the code that came before them, found.
FOUND = {
    "an id that is empty": 'mutation { deleteArtifactSequence(input: {artifactSequenceID: ""}) { artifactCollection { id } } }',
    "a portfolio's id that is empty": 'mutation { updateArtifactPortfolio(input: {artifactPortfolioID: ""}) { __typename } }',
    "an argument of a constant": '{ organization(name: "local") { featureFlags(rampIDType: OrgName) { rampKey } } }',
    "a number that no database holds": '{ project(name: "fuzz") { run(name: "r") { history(minStep: 9223372036854775808) } } }',
    "a number that Python does not read": '{ project(name: "fuzz") { run(name: "r") { history(minStep: '
    + "9" * 5_000
    + ") } } }",
    "an endless sample": '{ project(name: "fuzz") { run(name: "r") { sampledHistory(specs: "{\\"samples\\": 1e999}") } } }',
    "a step that is a list": '{ project(name: "fuzz") { run(name: "r") { sampledHistory(specs: "{\\"minStep\\": [1]}") } } }',
    "a cursor beyond numbers": '{ project(name: "fuzz") { runs(after: "' + "9" * 30 + '") { totalCount } } }',
    "half a surrogate pair inside JSON": r'{ project(name: "fuzz") { runCount(filters: "{\"name\": \"\\ud800\"}") } }',
    "a wait beyond all dates": 'mutation { notifyScriptableRunAlert(input: {entityName: "local", projectName: "fuzz", '
    'runName: "r", title: "t", text: "t", waitDuration: 9223372036854775807}) { success } }',
}


@pytest.mark.parametrize("query", FOUND.values(), ids=FOUND)
def test_what_once_found_a_bug_finds_none(target: Target, query: str) -> None:
    answered(target.post(query), query)


@pytest.mark.parametrize(("name", "drawn"), [
    ("file streams", ({"files": [None]}, {})),
    ("manifests", {"\ud800": {"digest": "+XxdKZQb+xsv2rCHSQargg==", "size": 3}}),
    ("file streams", ({"files": {"wandb-history.jsonl": {"content": ['{"\\ud800": 1}']}}}, {})),
    ("file streams", ({"files": {"wandb-history.jsonl": {"offset": 10**30, "content": ["{}"]}}}, {})),
    ("filters", ({"name": 10**30}, "", "", 1)),
    ("filters", ({"name": "\ud800"}, "", "", 1)),
    ("bodies", (b"[" * 5_000, "/graphql")),
    ("addresses", (["artifactsV2", ""], {}, "GET", "")),
    ("addresses", (["", "artifactsV2", ""], {}, "GET", "")),
])  # fmt: skip
def test_what_an_attack_once_found_is_mended(target: Target, name: str, drawn: Any) -> None:
    ATTACKS[name].send(target, drawn)
