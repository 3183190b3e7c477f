"""What a script asks about runs and their projects through `wandb.Api`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import wandb

from tests.wire.conftest import Server


@pytest.fixture(scope="module")
def seven(session_sdk: Path) -> str:
    """A project of seven runs, n0 to n6, of which the odd ones are tagged."""
    for number in range(7):
        with wandb.init(project="seven", id=f"n{number}", tags=["odd"] if number % 2 else []) as run:
            for value in range(3):
                run.log({"x": value, "y": value * number})
    return "local/seven"


@pytest.mark.parametrize("per_page", [1, 3, 7, 50])
def test_runs_come_in_pages_of_any_size(seven: str, sdk: Path, per_page: int) -> None:
    runs = wandb.Api().runs(seven, per_page=per_page)
    assert len(runs) == 7
    assert [run.id for run in runs] == [f"n{number}" for number in range(7)]


def test_runs_are_reached_by_position(seven: str, sdk: Path) -> None:
    runs = wandb.Api().runs(seven, order="-created_at", per_page=2)
    assert (runs[0].id, runs[5].id, [run.id for run in runs[1:3]]) == ("n6", "n1", ["n5", "n4"])
    with pytest.raises(IndexError):
        runs[7]


def test_the_histories_of_several_runs_are_one_table(seven: str, sdk: Path) -> None:
    runs = wandb.Api().runs(seven, filters={"tags": "odd"})
    rows = runs.histories(keys=["y"], x_axis="x", format="default")
    assert [(row["run_id"], row["x"], row["y"]) for row in rows] == [
        (f"n{number}", value, value * number) for number in (1, 3, 5) for value in range(3)
    ]


def test_lazy_runs_become_whole_together(seven: str, sdk: Path) -> None:
    runs = wandb.Api().runs(seven, per_page=3)
    first = runs[0]
    runs.upgrade_to_full()
    assert (first.summary["x"], runs[1].summary["y"]) == (2, 2)


def test_a_run_is_read_anew_when_asked(sdk: Path, project: str) -> None:
    api = wandb.Api()
    created = api.create_run(project=project, entity="local", run_id="r")
    run = api.run(f"local/{project}/r")
    other = wandb.Api().run(f"local/{project}/r")
    other.tags = ["new"]
    other.group, other.job_type = "g", "train"
    other.update()
    assert run.tags == []
    run.load(force=True)
    assert (run.tags, run.group, run.job_type, created.id) == (["new"], "g", "train", "r")


def test_tags_are_edited_in_bulk(sdk: Path, project: str) -> None:
    api = wandb.Api()
    for name in ("a", "b"):
        api.create_run(project=project, entity="local", run_id=name)
    for run in api.runs(f"local/{project}"):
        run.tags = [*run.tags, "bulk", run.id]
        run.update()
    assert [(run.id, run.tags) for run in wandb.Api().runs(f"local/{project}", filters={"tags": "bulk"})] == [
        ("a", ["bulk", "a"]), ("b", ["bulk", "b"]),
    ]  # fmt: skip


def test_metadata_comes_from_the_file_that_the_client_keeps(seven: str, sdk: Path) -> None:
    metadata = wandb.Api().run(f"{seven}/n0").metadata
    assert metadata is not None
    assert metadata["python"].startswith("CPython")


def test_deleting_a_run_deletes_the_artifacts_it_logged_only_when_asked(sdk: Path, project: str) -> None:
    Path("file.txt").write_text("x")
    for name in ("kept", "gone"):
        with wandb.init(project=project, id=name) as run:
            run.log_artifact("file.txt", name=name, type="dataset").wait()
            run.use_artifact(f"{name}:latest")
        found = wandb.Api().run(f"local/{project}/{name}")
        assert [[artifact.name for artifact in listed()] for listed in (found.logged_artifacts, found.used_artifacts)] == [
            [f"{name}:v0"], [f"{name}:v0"],
        ]  # fmt: skip
        found.delete(delete_artifacts=name == "gone")
    assert wandb.Api().artifact_exists(f"local/{project}/kept:v0")
    assert not wandb.Api().artifact_exists(f"local/{project}/gone:v0")


def test_projects_users_and_sweeps_are_listed(seven: str, sdk: Path) -> None:
    api = wandb.Api()
    assert "seven" in {project.name for project in api.projects("local", per_page=1)}
    project = api.project("seven", "local")
    assert (project.name, project.owner.username, len(project.sweeps())) == ("seven", "local", 0)
    assert (api.viewer.username, api.user("local").username) == ("local", "local")  # type: ignore[union-attr]


def test_what_is_not_kept_here_lists_as_nothing(seven: str, sdk: Path) -> None:
    api = wandb.Api()
    assert (list(api.reports(seven)), list(api.automations()), list(api.automations("local"))) == ([], [], [])
    assert (list(api.integrations("local")), list(api.webhook_integrations("local"))) == ([], [])


def test_an_automation_that_nothing_would_fire_is_refused(server: Server) -> None:
    mutation = 'mutation { createFilterTrigger(input: {name: "a"}) { trigger { id } } }'
    with server.client() as client:
        answer = client.post("/graphql", json={"query": mutation})
    assert (answer.status_code, "this server runs no automations" in answer.json()["error"]) == (400, True)


@pytest.mark.parametrize(("query", "complaint"), [
    pytest.param("{ viewer { shoeSize } }", "Cannot query field 'shoeSize' on type 'User'.", id="field"),
    pytest.param("{ nothing { id } }", "Cannot query field 'nothing' on type 'Query'.", id="operation"),
    pytest.param("{ viewer(tall: true) { id } }", "Unknown argument 'tall' on field 'Query.viewer'.", id="argument"),
    pytest.param("mutation M($i: LaunchInput!) { launch(input: $i) { id } }", "Unknown type 'LaunchInput'.", id="type"),
])  # fmt: skip
def test_an_unknown_name_gets_the_words_of_graphql(server: Server, query: str, complaint: str) -> None:
    with server.client() as client:
        answer = client.post("/graphql", json={"query": query})
    assert answer.status_code == 400
    assert complaint in json.dumps(answer.json()["errors"])
