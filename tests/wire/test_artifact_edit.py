"""Changing what is said about versions and collections, and deleting them: what a client asks for, and what is refused."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import wandb
from wandb.errors import CommError
from wandb.sdk.artifacts.artifact_ttl import ArtifactTTL

from registry.server.database import Database
from registry.server.store import artifacts, memberships, people
from tests.wire.conftest import Server
from tests.wire.drafts import draft, log

PROJECT = "edits"


def find(reference: str) -> wandb.Artifact:
    return wandb.Api().artifact(f"{PROJECT}/{reference}")


def change(artifact: wandb.Artifact, *, add: tuple[str, ...] = (), remove: tuple[str, ...] = ()) -> None:
    artifact.aliases = [alias for alias in artifact.aliases if alias not in remove] + list(add)
    artifact.save()


def test_an_alias_moves_from_its_holder_to_another_version(sdk: Path, run: wandb.Run, name: str) -> None:
    log(run, name, {"file": "A"}, aliases=["prod"])
    log(run, name, {"file": "B"})
    change(find(f"{name}:v1"), add=("prod",))
    assert {tag: sorted(find(f"{name}:{tag}").aliases) for tag in ("v0", "v1")} == {"v0": [], "v1": ["latest", "prod"]}
    assert find(f"{name}:prod").version == "v1"


def test_an_alias_can_be_taken_away(sdk: Path, run: wandb.Run, name: str) -> None:
    log(run, name, {"file": "A"}, aliases=["prod", "kept"])
    change(find(f"{name}:v0"), remove=("prod",))
    assert sorted(find(f"{name}:v0").aliases) == ["kept", "latest"]
    assert not wandb.Api().artifact_exists(f"{PROJECT}/{name}:prod")


def test_who_takes_an_alias_away_by_an_old_picture_does_not_take_it_from_the_new_holder(
    sdk: Path, run: wandb.Run, name: str
) -> None:
    log(run, name, {"file": "A"}, aliases=["prod"])
    log(run, name, {"file": "B"})
    old_picture = find(f"{name}:v0")
    change(find(f"{name}:v1"), add=("prod",))
    change(old_picture, remove=("prod",))
    assert find(f"{name}:prod").version == "v1"


def test_every_move_of_an_alias_is_written_down_and_outlives_the_version(
    sdk: Path, server: Server, run: wandb.Run, name: str
) -> None:
    log(run, name, {"file": "A"}, aliases=["prod"])
    log(run, name, {"file": "B"}, aliases=["prod"])
    change(find(f"{name}:v1"), remove=("prod",))
    change(find(f"{name}:v0"), add=("prod",))
    find(f"{name}:v1").delete(delete_aliases=True)
    database = Database(server.home / "reg.db")
    with database.reading() as connection:
        project = people.project(connection, "local", PROJECT)
        assert project is not None
        here = artifacts.named(connection, project.id, name)
        assert here is not None
        moves = memberships.moves(connection, here.collection.id, "prod")
    database.close()
    assert [move.version_index for move in moves] == [0, 1, None, 0]


@pytest.mark.parametrize("alias", ["a/b", "a:b", "x" * 129, ""], ids=["slash", "colon", "too long", "empty"])
def test_what_cannot_be_an_alias_is_refused(sdk: Path, server: Server, run: wandb.Run, name: str, alias: str) -> None:
    artifact = log(run, name, {"file": "A"})
    place = {"entityName": "local", "projectName": PROJECT, "artifactCollectionName": name}
    variables = {"input": {"artifactID": artifact.id, "aliases": [place | {"alias": alias}]}}
    with server.client() as client:
        query = "mutation($input: AddAliasesInput!) { addAliases(input: $input) { success } }"
        answer = client.post("/graphql", json={"query": query, "variables": variables})
    assert answer.status_code == 400
    assert "cannot be an alias" in answer.json()["errors"][0]["message"]


def test_words_tags_and_metadata_are_saved_and_replaced(sdk: Path, run: wandb.Run, name: str) -> None:
    log(run, name, {"file": "A"}, metadata={"old": 1}, description="old")
    found = find(f"{name}:v0")
    found.description, found.metadata, found.tags = "new", {"new": [1, {"deep": None}]}, ["a", "b c"]
    found.save()
    again = find(f"{name}:v0")
    assert (again.description, again.metadata, sorted(again.tags)) == ("new", {"new": [1, {"deep": None}]}, ["a", "b c"])
    again.tags = ["b c"]
    again.save()
    assert find(f"{name}:v0").tags == ["b c"]


@pytest.mark.parametrize(("ttl", "kept", "inherited"), [
    pytest.param(timedelta(days=1), timedelta(days=1), False, id="a day"),
    pytest.param(None, None, False, id="for ever"),
    pytest.param(ArtifactTTL.INHERIT, None, True, id="as its team"),
])  # fmt: skip
def test_the_time_to_live_is_kept_whether_it_was_said_before_or_after(
    sdk: Path, server: Server, run: wandb.Run, name: str, ttl: timedelta | ArtifactTTL | None, kept: Any, inherited: bool
) -> None:
    before = draft(name, {"file": "A"})
    before.ttl = ttl
    run.log_artifact(before).wait()
    log(run, name, {"file": "B"})
    after = find(f"{name}:v1")
    after.ttl = timedelta(days=9)
    after.save()
    after.ttl = ttl
    after.save()
    query = "query($id: ID!) { artifact(id: $id) { ttlIsInherited } }"
    told: list[Any] = [server.ask(query, id=found.id)["artifact"] for found in (before, after)]
    assert [find(f"{name}:{version}").ttl for version in ("v0", "v1")] == [kept, kept]
    assert told == [{"ttlIsInherited": inherited}] * 2


def test_a_time_to_live_that_is_none_is_refused(sdk: Path, server: Server, run: wandb.Run, name: str) -> None:
    artifact = log(run, name, {"file": "A"})
    with server.client() as client:
        query = "mutation($id: ID!) { updateArtifact(input: {artifactID: $id, ttlDurationSeconds: 0}) { artifact { id } } }"
        answer = client.post("/graphql", json={"query": query, "variables": {"id": artifact.id}})
    assert (answer.status_code, answer.json()["error"]) == (
        400,
        "a version cannot live for 0 seconds: -1 is as its team, -2 for ever",
    )


def test_a_version_with_an_alias_is_deleted_only_together_with_it(sdk: Path, run: wandb.Run, name: str) -> None:
    log(run, name, {"file": "A"}, aliases=["prod"])
    with pytest.raises(CommError, match=rf"{PROJECT}/{name}:v0 is .*/{name}:latest, .*/{name}:prod; delete these"):
        find(f"{name}:v0").delete()
    find(f"{name}:v0").delete(delete_aliases=True)
    assert not wandb.Api().artifact_exists(f"{PROJECT}/{name}:prod")


def test_a_deleted_version_leaves_latest_to_the_newest_that_remains_and_its_number_to_nobody(
    sdk: Path, run: wandb.Run, name: str
) -> None:
    for content in "ABC":
        log(run, name, {"file": content})
    find(f"{name}:v2").delete(delete_aliases=True)
    assert find(f"{name}:latest").version == "v1"
    assert log(run, name, {"file": "C"}).version == "v3"
    assert [found.version for found in wandb.Api().artifacts("dataset", f"{PROJECT}/{name}")] == ["v3", "v1", "v0"]


def test_a_collection_is_renamed_described_and_tagged(sdk: Path, run: wandb.Run, name: str) -> None:
    log(run, name, {"file": "A"})
    found = wandb.Api().artifact_collection("dataset", f"{PROJECT}/{name}")
    found.name, found.description, found.tags = f"{name}-new", "why", ["a", "b"]
    found.save()
    renamed = wandb.Api().artifact_collection("dataset", f"{PROJECT}/{name}-new")
    assert (renamed.description, sorted(renamed.tags), renamed.aliases) == ("why", ["a", "b"], ["latest"])
    renamed.tags = ["b"]
    renamed.save()
    assert wandb.Api().artifact_collection("dataset", f"{PROJECT}/{name}-new").tags == ["b"]


def test_a_collection_cannot_take_the_name_of_another(sdk: Path, run: wandb.Run, name: str) -> None:
    for suffix in "ab":
        log(run, f"{name}-{suffix}", {"file": "A"})
    found = wandb.Api().artifact_collection("dataset", f"{PROJECT}/{name}-a")
    found.name = f"{name}-b"
    with pytest.raises(CommError, match=f"has a collection '{name}-b' already"):
        found.save()


def test_a_collection_can_change_its_type(sdk: Path, run: wandb.Run, name: str) -> None:
    log(run, name, {"file": "A"})
    wandb.Api().artifact_collection("dataset", f"{PROJECT}/{name}").change_type("model")
    assert find(f"{name}:v0").type == "model"


def test_a_deleted_collection_is_gone_with_its_versions(sdk: Path, run: wandb.Run, name: str) -> None:
    log(run, name, {"file": "A"})
    wandb.Api().artifact_collection("dataset", f"{PROJECT}/{name}").delete()
    assert not wandb.Api().artifact_collection_exists(f"{PROJECT}/{name}", "dataset")
    assert not wandb.Api().artifact_exists(f"{PROJECT}/{name}:v0")


def test_a_collection_with_a_promoted_version_is_not_deleted(sdk: Path, run: wandb.Run, name: str) -> None:
    artifact = log(run, name, {"file": "A"})
    run.link_artifact(artifact, f"wandb-registry-model/{name}", aliases=["production"])
    with pytest.raises(CommError, match=rf"holds 'production' in local-org/wandb-registry-model/{name}; unlink it there"):
        wandb.Api().artifact_collection("dataset", f"{PROJECT}/{name}").delete()
    assert find(f"{name}:v0").version == "v0"


def test_a_version_that_is_in_use_by_a_link_is_not_deleted_alone(sdk: Path, run: wandb.Run, name: str) -> None:
    artifact = log(run, name, {"file": "A"})
    run.link_artifact(artifact, f"wandb-registry-model/{name}", aliases=["production"])
    with pytest.raises(CommError, match=f"local-org/wandb-registry-model/{name}:production"):
        find(f"{name}:v0").delete()
    find(f"{name}:v0").delete(delete_aliases=True)
    assert not wandb.Api().artifact_exists(f"wandb-registry-model/{name}:v0")


@pytest.mark.parametrize("description", ["", "why"], ids=["empty", "words"])
def test_the_collection_of_links_is_renamed_described_and_tagged(
    sdk: Path, run: wandb.Run, name: str, description: str
) -> None:
    log(run, name, {"file": "A"}).link(f"local/{PROJECT}/{name}-links")
    links = wandb.Api().artifact_collection("dataset", f"{PROJECT}/{name}-links")
    links.name, links.description, links.tags = f"{name}-new", description, ["a b"]
    links.save()
    found = find(f"{name}-new:v0").collection
    assert (found.name, found.description, list(found.tags)) == (f"{name}-new", description, ["a b"])
    with pytest.raises(ValueError, match=r"(?i)type"):
        found.type = "model"


@pytest.mark.parametrize("tags", [[" a"], ["a:b"], [""], ["x" * 129], ["good", "!"]])
def test_what_cannot_be_a_tag_is_refused_and_the_others_with_it(
    sdk: Path, server: Server, run: wandb.Run, name: str, tags: list[str]
) -> None:
    artifact = log(run, name, {"file": "A"})
    change = {"artifactID": artifact.id, "tagsToAdd": [{"tagName": tag} for tag in tags]}
    with server.client() as client:
        query = "mutation($input: UpdateArtifactInput!) { updateArtifact(input: $input) { artifact { id } } }"
        answer = client.post("/graphql", json={"query": query, "variables": {"input": change}})
    assert (answer.status_code, find(f"{name}:v0").tags) == (400, [])


def test_versions_are_found_by_all_of_some_tags(sdk: Path, run: wandb.Run, name: str) -> None:
    for content, tags in (("A", ["fizz", "buzz"]), ("B", ["fizz"]), ("C", [])):
        run.log_artifact(draft(name, {"file": content}), tags=tags).wait()
    listed = {
        label: [found.version for found in wandb.Api().artifacts("dataset", f"{PROJECT}/{name}", tags=tags)]
        for label, tags in (("one", "fizz"), ("both", ["fizz", "buzz"]))
    }
    assert listed == {"one": ["v1", "v0"], "both": ["v0"]}
