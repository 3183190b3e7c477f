"""Registries: linking, promoting, the searches across them, and their administration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import wandb
from wandb.errors import CommError

from tests.wire.drafts import contents, log

PROJECT = "linkers"


def registered(name: str, tag: str) -> wandb.Artifact:
    return wandb.Api().artifact(f"wandb-registry-model/{name}:{tag}")


def link(run: wandb.Run, name: str, content: str, *aliases: str) -> wandb.Artifact:
    return run.link_artifact(log(run, name, {"file": content}), f"wandb-registry-model/{name}", aliases=list(aliases))


def test_a_linked_version_is_numbered_in_its_new_collection_and_remembers_its_source(
    sdk: Path, run: wandb.Run, name: str
) -> None:
    log(run, name, {"file": "A"})
    link(run, name, "B", "staging")
    found = registered(name, "staging")
    assert (found.version, found.source_name, sorted(found.aliases)) == ("v0", f"{name}:v1", ["latest", "staging"])
    assert (found.is_link, found.qualified_name) == (True, f"local-org/wandb-registry-model/{name}:staging")
    assert contents(found.download()) == {"file": "B"}
    source = wandb.Api().artifact(f"{PROJECT}/{name}:v1")
    assert [linked.qualified_name for linked in source.linked_artifacts] == [f"local-org/wandb-registry-model/{name}:v0"]


@pytest.mark.parametrize("path", ["wandb-registry-model", "local/wandb-registry-model", "local-org/wandb-registry-model"])
def test_a_registry_is_found_with_and_without_its_organisation(sdk: Path, run: wandb.Run, name: str, path: str) -> None:
    artifact = log(run, name, {"file": "A"})
    run.link_artifact(artifact, f"{path}/{name}")
    assert wandb.Api().artifact(f"{path}/{name}:latest").source_version == "v0"


def test_a_promotion_moves_the_alias_from_the_version_that_held_it(sdk: Path, run: wandb.Run, name: str) -> None:
    link(run, name, "A", "production")
    link(run, name, "B")
    candidate = registered(name, "v1")
    candidate.aliases.append("production")
    candidate.save()
    assert {tag: sorted(registered(name, tag).aliases) for tag in ("v0", "v1")} == {"v0": [], "v1": ["latest", "production"]}


def test_a_linked_version_knows_its_source_and_the_source_its_links(sdk: Path, run: wandb.Run, name: str) -> None:
    source = log(run, name, {"file": "A"})
    linked = source.link(f"wandb-registry-model/{name}", aliases=["x"])
    assert (linked.is_link, linked.source_artifact.qualified_name) == (True, source.qualified_name)
    with pytest.raises(ValueError, match=r"(?i)link"):
        source.unlink()


def test_a_draft_of_a_link_is_logged_where_its_source_is(sdk: Path, run: wandb.Run, name: str) -> None:
    link(run, name, "A")
    changed = registered(name, "latest").new_draft()
    (sdk / "more").write_text("B")
    changed.add_file(str(sdk / "more"))
    run.log_artifact(changed).wait()
    assert contents(wandb.Api().artifact(f"{PROJECT}/{name}:v1").download()) == {"file": "A", "more": "B"}
    assert registered(name, "latest").source_version == "v0"


def test_an_alias_in_a_registry_says_nothing_about_the_source(sdk: Path, run: wandb.Run, name: str) -> None:
    link(run, name, "A", "production")
    assert wandb.Api().artifact(f"{PROJECT}/{name}:v0").aliases == ["latest"]
    assert not wandb.Api().artifact_exists(f"{PROJECT}/{name}:production")


def test_the_same_version_is_linked_once(sdk: Path, run: wandb.Run, name: str) -> None:
    for aliases in (("a",), ("b",)):
        link(run, name, "A", *aliases)
    assert (registered(name, "a").version, registered(name, "b").version) == ("v0", "v0")


def test_an_unlinked_version_stays_where_it_was_logged(sdk: Path, run: wandb.Run, name: str) -> None:
    for content in "AB":
        link(run, name, content)
    registered(name, "v1").unlink()
    assert not wandb.Api().artifact_exists(f"wandb-registry-model/{name}:v1")
    assert registered(name, "latest").version == "v0"
    assert wandb.Api().artifact(f"{PROJECT}/{name}:v1").aliases == ["latest"]


def test_a_deleted_link_collection_leaves_the_versions(sdk: Path, run: wandb.Run, name: str) -> None:
    link(run, name, "A", "production")
    wandb.Api().artifact_collection("dataset", f"local-org/wandb-registry-model/{name}").delete()
    assert not wandb.Api().artifact_exists(f"wandb-registry-model/{name}:production")
    assert wandb.Api().artifact_exists(f"{PROJECT}/{name}:v0")


def test_a_registry_that_does_not_exist_is_not_made_by_a_link(sdk: Path, run: wandb.Run, name: str) -> None:
    artifact = log(run, name, {"file": "A"})
    with pytest.raises(CommError, match="registry 'nowhere' not found"):
        run.link_artifact(artifact, f"wandb-registry-nowhere/{name}")


def test_the_legacy_model_registry_is_made_by_a_link(sdk: Path, run: wandb.Run, name: str) -> None:
    run.link_artifact(log(run, name, {"file": "A"}), f"model-registry/{name}", aliases=["staging"])
    assert wandb.Api().artifact(f"model-registry/{name}:staging").source_name == f"{name}:v0"


@pytest.mark.parametrize(("type_name", "target", "reason"), [
    pytest.param("model", "{name}", "holds artifacts of type 'dataset', not 'model'", id="portfolio of another type"),
    pytest.param("dataset", "taken", "is a sequence: versions are logged to it", id="name of a sequence"),
])  # fmt: skip
def test_a_link_to_a_collection_of_another_kind_is_refused(
    sdk: Path, run: wandb.Run, name: str, type_name: str, target: str, reason: str
) -> None:
    run.link_artifact(log(run, name, {"file": "A"}), f"model-registry/{name}")
    with wandb.init(project="model-registry", reinit="create_new") as other:
        log(other, "taken", {"file": "A"})
    artifact = log(run, f"{name}-it", {"file": "A"}, type=type_name)
    with pytest.raises(CommError, match=reason):
        run.link_artifact(artifact, f"model-registry/{target.format(name=name)}")


def test_nothing_is_logged_straight_into_a_registry(sdk: Path, name: str) -> None:
    with (
        wandb.init(entity="local-org", project="wandb-registry-model", reinit="create_new") as inside,
        pytest.raises(ValueError, match="is a registry: log to a project and link the version"),
    ):
        log(inside, name, {"file": "A"})


def test_a_registry_is_created_changed_renamed_and_deleted(sdk: Path, name: str) -> None:
    name = name[:40]
    api = wandb.Api()
    registry = api.create_registry(name, "restricted", organization="local", description="why", artifact_types=["model"])
    assert (registry.full_name, registry.visibility, registry.entity) == (f"wandb-registry-{name}", "restricted", "local-org")
    registry.description, registry.visibility = "better", "organization"
    registry.artifact_types.append("dataset")
    registry.name = f"{name}-new"
    registry.save()
    again = api.registry(f"{name}-new", organization="local")
    assert (again.description, again.visibility, list(again.artifact_types)) == (
        "better",
        "organization",
        ["model", "dataset"],
    )
    again.delete()
    with pytest.raises(ValueError, match="Failed to load registry"):
        api.registry(f"{name}-new", organization="local")


def test_a_registry_cannot_be_created_twice(sdk: Path) -> None:
    with pytest.raises(ValueError, match="model"):
        wandb.Api().create_registry("model", "organization", organization="local")


def test_a_registry_takes_only_the_types_it_allows(sdk: Path, run: wandb.Run, name: str) -> None:
    registry = wandb.Api().create_registry(name[:40], "organization", organization="local", artifact_types=["model"])
    with pytest.raises(CommError, match=rf"'{registry.full_name}' takes artifacts of type 'model', not 'dataset'"):
        run.link_artifact(log(run, name, {"file": "A"}), f"{registry.full_name}/it")
    run.link_artifact(log(run, f"{name}-m", {"file": "A"}, type="model"), f"{registry.full_name}/it")
    assert [found.name for found in registry.collections()] == ["it"]


def test_only_registries_are_found_across_the_organisation(sdk: Path, run: wandb.Run, name: str) -> None:
    wandb.Api().create_project("ordinary", "local-org")
    link(run, name, "A")
    names = [registry.full_name for registry in wandb.Api().registries("local", per_page=1)]
    assert {"wandb-registry-model", "wandb-registry-dataset"} <= set(names)
    assert [found for found in names if not found.startswith("wandb-registry-")] == []
    places = {version.project for version in wandb.Api().registries("local").collections().versions()}
    assert [place for place in places if not place.startswith("wandb-registry-")] == []


@pytest.mark.parametrize(("registry", "collection", "version", "found"), [
    pytest.param({"name": "model"}, None, {"alias": "production"}, ["v1"], id="by alias"),
    pytest.param({"name": {"$regex": "mod"}}, None, {"metadata.acc": {"$gt": 0.6}}, ["v1"], id="by metadata"),
    pytest.param(None, {"name": {"$regex": "^{name}$"}}, {"tag": "good"}, ["v0"], id="by tag"),
    pytest.param(None, None, {"$or": [{"tag": "good"}, {"alias": "production"}]}, ["v1", "v0"], id="by either"),
    pytest.param({"name": "dataset"}, None, None, [], id="elsewhere"),
])  # fmt: skip
def test_versions_are_searched_across_registries(
    sdk: Path,
    run: wandb.Run,
    name: str,
    registry: dict[str, Any] | None,
    collection: dict[str, Any] | None,
    version: dict[str, Any] | None,
    found: list[str],
) -> None:
    for content, accuracy, aliases, tags in (("A", 0.5, [], ["good"]), ("B", 0.7, ["production"], [])):
        artifact = log(run, name, {"file": content}, metadata={"acc": accuracy})
        artifact.tags = tags
        artifact.save()
        run.link_artifact(artifact, f"wandb-registry-model/{name}", aliases=aliases)
    here = {"name": name} if collection is None else {"name": {"$regex": collection["name"]["$regex"].format(name=name)}}
    versions = wandb.Api().registries("local", filter=registry).collections(filter=here).versions(filter=version)
    assert [version.version for version in versions] == found


def test_the_local_user_is_the_one_member_of_a_registry(sdk: Path) -> None:
    registry = wandb.Api().registry("model", organization="local")
    assert [(member.user.username, member.role) for member in registry.user_members()] == [("local", "admin")]
    assert registry.team_members() == []
