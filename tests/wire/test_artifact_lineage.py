"""Lineage in both directions: who made a version, who used it, what a run made and used."""

from __future__ import annotations

from pathlib import Path

import pytest
import wandb
from wandb.errors import CommError

from tests.wire.conftest import Server
from tests.wire.drafts import Upload, log


def test_a_version_knows_its_maker_and_its_users(sdk: Path, project: str) -> None:
    with wandb.init(project=project) as maker:
        log(maker, "data", {"file": "A"})
    with wandb.init(project=project) as user:
        user.use_artifact("data:latest")
        user.use_artifact("data:v0")
    found = wandb.Api().artifact(f"{project}/data:v0")
    logged_by = found.logged_by()
    assert logged_by is not None
    assert (logged_by.id, [run.id for run in found.used_by()]) == (maker.id, [user.id])


def test_a_run_knows_what_it_made_and_what_it_used(sdk: Path, project: str) -> None:
    with wandb.init(project=project) as run:
        for number in range(3):
            log(run, f"data-{number}", {"file": "A"})
        for number in (2, 0):
            run.use_artifact(f"data-{number}:latest")
        log(run, "model", {"file": "B"}, type="model")
    found = wandb.Api().run(run.path)
    assert [artifact.name for artifact in found.used_artifacts()] == ["data-2:v0", "data-0:v0"]
    made = found.logged_artifacts(per_page=2)
    assert ([artifact.name for artifact in made], len(made)) == (["data-0:v0", "data-1:v0", "data-2:v0", "model:v0"], 4)


def test_a_version_logged_again_belongs_to_the_first_run_and_is_listed_by_both(sdk: Path, project: str) -> None:
    runs = []
    for _ in range(2):
        with wandb.init(project=project) as run:
            log(run, "data", {"file": "A"})
        runs.append(run)
    found = wandb.Api().artifact(f"{project}/data:v0")
    logged_by = found.logged_by()
    assert logged_by is not None
    assert logged_by.id == runs[0].id
    assert [[made.name for made in wandb.Api().run(run.path).logged_artifacts()] for run in runs] == [["data:v0"]] * 2


def test_a_link_leads_to_the_lineage_of_its_source(sdk: Path, project: str) -> None:
    with wandb.init(project=project) as run:
        run.link_artifact(log(run, "data", {"file": "A"}), f"wandb-registry-dataset/{project}")
    with wandb.init(project=project) as user:
        user.use_artifact(f"wandb-registry-dataset/{project}:latest")
    found = wandb.Api().artifact(f"{project}/data:v0")
    assert [run.id for run in found.used_by()] == [user.id]
    assert [used.source_name for used in wandb.Api().run(user.path).used_artifacts()] == ["data:v0"]


def test_a_deleted_run_leaves_its_versions_without_a_maker(sdk: Path, project: str) -> None:
    with wandb.init(project=project) as run:
        log(run, "data", {"file": "A"})
    wandb.Api().run(run.path).delete()
    assert wandb.Api().artifact(f"{project}/data:v0").logged_by() is None


def test_a_pending_version_cannot_be_used(sdk: Path, server: Server, project: str) -> None:
    with wandb.init(project=project) as run:
        log(run, "data", {"file": "A"})
    upload = Upload(server, project, {"file": b"B"})
    place = {"entityName": "local", "projectName": project, "runName": run.id}
    with server.client() as client:
        query = "mutation($input: UseArtifactInput!) { useArtifact(input: $input) { artifact { id } } }"
        answer = client.post("/graphql", json={"query": query, "variables": {"input": place | {"artifactID": upload.id}}})
    assert (answer.status_code, answer.json()["errors"][0]["message"]) == (
        422,
        "an artifact that is PENDING cannot be used",
    )


def test_a_deleted_version_is_not_listed_by_its_run(sdk: Path, project: str) -> None:
    with wandb.init(project=project) as run:
        log(run, "data", {"file": "A"}).delete(delete_aliases=True)
    assert list(wandb.Api().run(run.path).logged_artifacts()) == []
    with pytest.raises(CommError, match="not found"):
        wandb.Api().artifact(f"{project}/data:v0")
