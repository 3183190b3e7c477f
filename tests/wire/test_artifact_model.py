"""The life of artifacts in any order, against a model of a page: what was uploaded, linked, named and deleted is what is there.

Raw GraphQL, so that orders happen which the SDK never produces. The examples are the same in each run.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from tests.wire.attacks import Target
from tests.wire.drafts import entry
from tests.wire.raw import limited

CONTENTS = (b"zero", b"one", b"two", b"three")
LIFE = "the life of artifacts"
ALIASES = st.lists(st.sampled_from(["a", "b", "production"]), max_size=2, unique=True)
_numbers = itertools.count()

_THERE = """query($p: String) { project(name: $p, entityName: "local") { it: artifactCollection(name: "it") { ...Listed }
    shelf: artifactCollection(name: "shelf") { ...Listed } } }
    fragment Listed on ArtifactCollection { aliases { edges { node { alias } } }
    artifacts(first: 100) { edges { version node { id aliases { alias artifactCollection { name } } } } } }"""
_HELD = """query($p: String, $n: String!) { project(name: $p, entityName: "local") {
    artifactCollectionMembership(name: $n) { versionIndex artifact { id state } } } }"""


@dataclass
class Collection:
    """What the model knows: the artifact of each number, and the number that each alias names."""

    versions: dict[int, str] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    next: int = 0

    def add(self, artifact: str) -> int:
        known = next((number for number, there in self.versions.items() if there == artifact), None)
        if known is not None:
            return known
        self.versions[self.next] = artifact
        self.next += 1
        return self.next - 1

    def remove(self, artifact: str) -> None:
        number = next(number for number, there in self.versions.items() if there == artifact)
        del self.versions[number]
        had_latest = self.aliases.get("latest") == number
        self.aliases = {alias: there for alias, there in self.aliases.items() if there != number}
        if had_latest and self.versions:
            self.aliases["latest"] = max(self.versions)


class Lives(RuleBasedStateMachine):
    """One sequence, one portfolio, four contents."""

    target: ClassVar[Target]

    @initialize()
    def begin(self) -> None:
        self.project = f"life-{next(_numbers)}-{secrets.token_hex(3)}"
        self.sequence, self.portfolio = Collection(), Collection()
        self.contents: dict[int, str] = {}  # of each content, the artifact that has it

    @rule(content=st.integers(0, 3), aliases=ALIASES)
    def upload(self, content: int, aliases: list[str]) -> None:
        manifest = {"x.txt": entry(CONTENTS[content])}
        made = self.target.commit(manifest, name="it", project=self.project, aliases=aliases)
        artifact = Target.fine(made)["data"]["commitArtifact"]["artifact"]["id"]
        known = self.contents.get(content)
        if known is None:
            self.contents[content] = artifact
            number = self.sequence.add(artifact)
            self.sequence.aliases["latest"] = number
        else:
            assert artifact == known
            number = self.sequence.add(known)
        self.sequence.aliases |= dict.fromkeys(aliases, number)

    @precondition(lambda self: self.contents)
    @rule(data=st.data(), alias=st.sampled_from(["a", "b", "production", "latest"]), adds=st.booleans(), linked=st.booleans())
    def change_alias(self, data: st.DataObject, alias: str, adds: bool, linked: bool) -> None:
        there, name = (self.portfolio, "shelf") if linked else (self.sequence, "it")
        artifact = data.draw(st.sampled_from(sorted(self.contents.values())))
        change = "addAliases" if adds else "deleteAliases"
        where = {"alias": alias, "artifactCollectionName": name, "entityName": "local", "projectName": self.project}
        answer = self.target.post(
            f"mutation($i: {change[0].upper()}{change[1:]}Input!) {{ {change}(input: $i) {{ success }} }}",
            i={"artifactID": artifact, "aliases": [where]},
        )
        number = next((number for number, known in there.versions.items() if known == artifact), None)
        if number is None:
            assert answer.status_code == 404, answer.text
        else:
            Target.fine(answer)
            if adds:
                there.aliases[alias] = number
            elif there.aliases.get(alias) == number:
                del there.aliases[alias]

    @precondition(lambda self: self.contents)
    @rule(data=st.data(), aliases=ALIASES)
    def link(self, data: st.DataObject, aliases: list[str]) -> None:
        artifact = data.draw(st.sampled_from(sorted(self.contents.values())))
        done = self.target.done(
            "mutation($i: LinkArtifactInput!) { linkArtifact(input: $i) { versionIndex } }",
            i={
                "artifactID": artifact,
                "entityName": "local",
                "projectName": self.project,
                "artifactPortfolioName": "shelf",
                "aliases": [{"alias": alias} for alias in aliases],
            },
        )
        number = self.portfolio.add(artifact)
        assert done["linkArtifact"]["versionIndex"] == number
        self.portfolio.aliases |= dict.fromkeys([*aliases, "latest"], number)

    @precondition(lambda self: self.portfolio.versions)
    @rule(data=st.data())
    def unlink(self, data: st.DataObject) -> None:
        artifact = data.draw(st.sampled_from(sorted(self.portfolio.versions.values())))
        found = self.target.done(
            'query($p: String) { project(name: $p, entityName: "local") { artifactCollection(name: "shelf") { id } } }',
            p=self.project,
        )
        self.target.done(
            "mutation($i: UnlinkArtifactInput!) { unlinkArtifact(input: $i) { success } }",
            i={"artifactID": artifact, "artifactPortfolioID": found["project"]["artifactCollection"]["id"]},
        )
        self.portfolio.remove(artifact)

    @precondition(lambda self: self.contents)
    @rule(data=st.data(), with_aliases=st.booleans())
    def delete(self, data: st.DataObject, with_aliases: bool) -> None:
        content = data.draw(st.sampled_from(sorted(self.contents)))
        artifact = self.contents[content]
        held = [
            alias
            for there in (self.sequence, self.portfolio)
            for alias, number in there.aliases.items()
            if there.versions.get(number) == artifact
        ]
        answer = self.target.post(
            "mutation($i: DeleteArtifactInput!) { deleteArtifact(input: $i) { artifact { state } } }",
            i={"artifactID": artifact, "deleteAliases": with_aliases},
        )
        if held and not with_aliases:
            assert answer.status_code == 422, answer.text
            return
        assert Target.fine(answer)["data"]["deleteArtifact"]["artifact"]["state"] == "DELETED"
        del self.contents[content]
        for there in (self.sequence, self.portfolio):
            if artifact in there.versions.values():
                there.remove(artifact)

    @invariant()
    def what_is_there_is_what_was_done(self) -> None:
        if not self.sequence.next:
            return
        found = self.target.done(_THERE, p=self.project)["project"]
        for name, there in (("it", self.sequence), ("shelf", self.portfolio)):
            if there.next:
                listed = {int(edge["version"][1:]): edge["node"] for edge in found[name]["artifacts"]["edges"]}
                assert {number: node["id"] for number, node in listed.items()} == there.versions
                held = {
                    alias["alias"]: number
                    for number, node in listed.items()
                    for alias in node["aliases"]
                    if alias["artifactCollection"]["name"] == name
                }
                assert held == there.aliases
                assert {edge["node"]["alias"] for edge in found[name]["aliases"]["edges"]} == set(there.aliases)

    def teardown(self) -> None:
        for name, there in (("it", self.sequence), ("shelf", self.portfolio)):
            for alias, number in there.aliases.items():
                held = self.target.done(_HELD, p=self.project, n=f"{name}:{alias}")["project"]["artifactCollectionMembership"]
                assert (held["versionIndex"], held["artifact"]["id"]) == (number, there.versions[number])


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with limited(tmp_path_factory.mktemp("lives") / "home") as server:
        found = Target(server)
        for content in CONTENTS:
            found.put(content)
        yield found
        found.client.close()


def live(target: Target, *, examples: int, steps: int, derandomize: bool) -> None:
    """Run the model; also from `benchmarks/fuzz.py`."""
    Lives.target = target
    run_state_machine_as_test(
        Lives,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=derandomize,
            database=None,
            deadline=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_life_of_artifacts_is_that_of_the_model(target: Target) -> None:
    live(target, examples=8, steps=30, derandomize=True)
