"""The life of a run through the real client: what its process says is what the public API reads back."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import wandb

from tests.wire.conftest import Server, running


def find(project: str, run_id: str) -> wandb.apis.public.Run:
    return wandb.Api().run(f"local/{project}/{run_id}")


def test_a_finished_run_reads_back_with_config_history_and_summary(sdk: Path, project: str) -> None:
    config = {"lr": 0.1, "net": {"depth": 3}, "tags": ["x", 1, None]}
    with wandb.init(project=project, config=config, tags=["a"], notes="why", job_type="train", group="g", name="first") as run:
        for step in range(3):
            run.log({"loss": 1 / (step + 1)})
        run.summary["best"] = {"loss": 0.1}
    found = find(project, run.id)
    assert (found.state, found.config, found.tags, found.notes) == ("finished", config, ["a"], "why")
    assert (found.name, found.group, found.job_type, found.user.username) == ("first", "g", "train", "local")
    assert [row["loss"] for row in found.scan_history()] == [1, 1 / 2, 1 / 3]
    assert (found.summary["loss"], found.summary["best"]["loss"]) == (1 / 3, 0.1)


def test_a_run_gets_a_readable_name_when_none_is_given(sdk: Path, project: str) -> None:
    with wandb.init(project=project) as run:
        pass
    adjective, noun, number = find(project, run.id).name.split("-")
    assert (adjective.isalpha(), noun.isalpha(), number) == (True, True, "1")


@pytest.mark.parametrize(("source", "code", "state"), [
    pytest.param("pass", 0, "finished", id="ends"),
    pytest.param("raise RuntimeError('no')", 1, "failed", id="raises"),
    pytest.param("import sys; sys.exit(7)", 7, "failed", id="exits"),
])  # fmt: skip
def test_how_a_process_ends_is_the_state_of_its_run(
    script: Callable[..., subprocess.Popen[str]], sdk: Path, project: str, source: str, code: int, state: str
) -> None:
    project = project.replace("-", "")
    process = script(f"import wandb\nrun = wandb.init(project='{project}', id='it')\nrun.log({{'x': 1}})\n{source}")
    process.communicate()
    assert process.returncode == code
    found = find(project, "it")
    assert (found.state, found.history(pandas=False)[0]["x"]) == (state, 1)


def test_a_killed_run_is_crashed_and_a_restarted_server_still_knows_everything(tmp_path: Path) -> None:
    home = tmp_path / "home"
    source = """if True:
        import sys, wandb
        run = wandb.init(project="p", id="killed", config={"a": 1})
        print("up", flush=True)
        sys.stdin.read()
    """
    with running(home) as first:
        with subprocess.Popen(
            [sys.executable, "-c", source],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=first.environment(tmp_path) | {"PATH": ""},
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            process.send_signal(signal.SIGKILL)
        assert _state(first) == {"state": "running", "config": _state(first)["config"]}
    with closing(sqlite3.connect(home / "reg.db")) as database, database:
        database.execute("UPDATE runs SET heartbeat_at = '2026-01-01T00:00:00.000000Z'")
    # A server that lives for one short command must know it too: it looks before it answers.
    with running(home) as second:
        state = _state(second)
    assert (state["state"], '"a":{"value":1}' in str(state["config"]).replace(" ", "")) == ("crashed", True)


def _state(server: Server) -> dict[str, object]:
    data = server.ask('{ project(name: "p", entityName: "local") { run(name: "killed") { state config } } }')
    run: dict[str, object] = data["project"]["run"]  # type: ignore[index]
    return run


def test_a_crashed_run_that_speaks_again_is_running(tmp_path: Path) -> None:
    create = 'mutation { upsertBucket(input: {modelName: "p", name: "killed", config: "{}"}) { inserted } }'
    with running(tmp_path / "home") as first:
        first.ask(create)
    with running(tmp_path / "home", "--crashed-after", "0.01") as second:
        assert _state(second)["state"] == "crashed"
    with running(tmp_path / "home") as third, third.client() as client:
        assert client.post("/files/local/p/killed/file_stream", json={}).json() == {"stopped": False}
        assert _state(third)["state"] == "running"


def test_resume_continues_steps_history_and_console(sdk: Path, project: str) -> None:
    with wandb.init(project=project, id="r", config={"a": 1}) as run:
        run.log({"x": 1})
        run.log({"x": 2})
    with wandb.init(project=project, id="r", resume="must", config={"b": 2}) as run:
        assert (run.resumed, run.starting_step) == (True, 2)
        run.log({"x": 3})
    found = find(project, "r")
    assert [(row["_step"], row["x"]) for row in found.scan_history()] == [(0, 1), (1, 2), (2, 3)]
    assert (found.state, found.config) == ("finished", {"a": 1, "b": 2})


@pytest.mark.parametrize(("resume", "exists"), [("must", False), ("never", True)])
def test_resume_refuses(sdk: Path, project: str, resume: str, exists: bool) -> None:
    if exists:
        with wandb.init(project=project, id=f"r-{resume}") as run:
            run.log({"x": 1})
    with pytest.raises(wandb.errors.UsageError, match=f"r-{resume}"):
        wandb.init(project=project, id=f"r-{resume}", resume=resume)


def test_resume_allow_begins_a_run_and_then_goes_on_with_it(sdk: Path, project: str) -> None:
    for value in (1, 2):
        with wandb.init(project=project, id="r", resume="allow") as run:
            assert (run.resumed, run.starting_step) == (value == 2, value - 1)
            run.log({"x": value})
    assert [(row["_step"], row["x"]) for row in find(project, "r").scan_history()] == [(0, 1), (1, 2)]


def test_resume_auto_finds_the_run_that_failed_in_this_folder(
    script: Callable[..., subprocess.Popen[str]], sdk: Path, project: str
) -> None:
    source = f"""
import json, wandb
with wandb.init(project={project!r}, resume="auto") as run:
    run.log({{"x": run.starting_step}})
    print(json.dumps([run.id, bool(run.resumed)]), flush=True)
    if not run.resumed:
        raise SystemExit(3)
"""
    said = []
    for code in (3, 0, 3):  # after the end without a fault there is nothing to resume
        process = script(source)
        output, errors = process.communicate(timeout=120)
        assert process.returncode == code, errors
        said.append(json.loads(output.splitlines()[-1]))
    (first, one), (second, other), (third, last) = said
    assert (first == second, one, other, last) == (True, False, True, False)
    assert third != first
    assert [(row["_step"], row["x"]) for row in find(project, first).scan_history()] == [(0, 0), (1, 1)]


def test_the_same_id_without_resume_appends(sdk: Path, project: str) -> None:
    for value in (1, 2):
        with wandb.init(project=project, id="again") as run:
            run.log({"x": value})
    assert sorted(row["x"] for row in find(project, "again").scan_history()) == [1, 2]


def test_the_public_api_edits_a_run_and_leaves_its_state(sdk: Path, project: str) -> None:
    with wandb.init(project=project, config={"a": 1}, tags=["old"]) as run:
        run.log({"x": 1})
    found = find(project, run.id)
    found.config["a"] = 2
    found.tags = []
    found.notes = "edited"
    found.display_name = "renamed"
    found.update()
    found.summary.update({"score": 0.9})
    again = find(project, run.id)
    assert (again.config, again.tags, again.notes, again.display_name) == ({"a": 2}, [], "edited", "renamed")
    assert (again.summary["score"], again.summary["x"], again.state) == (0.9, 1, "finished")


def test_deleted_summary_keys_stay_deleted(sdk: Path, project: str) -> None:
    with wandb.init(project=project) as run:
        run.log({"keep": 1, "drop": 2})
        del run.summary["drop"]
    assert set(find(project, run.id).summary.keys()) & {"keep", "drop"} == {"keep"}


def test_a_pending_run_is_made_through_the_api_and_started_by_a_process(sdk: Path, project: str) -> None:
    created = wandb.apis.public.Run.create(wandb.Api(), run_id="later", project=project, entity="local", state="pending")
    assert find(project, created.id).state == "pending"
    with wandb.init(project=project, id="later") as run:
        run.log({"x": 1})
    assert find(project, "later").state == "finished"


def test_a_deleted_run_is_gone_and_may_be_deleted_again(sdk: Path, project: str) -> None:
    with wandb.init(project=project) as run:
        run.log({"x": 1})
    found = find(project, run.id)
    found.delete()
    found.delete(delete_artifacts=True)
    with pytest.raises((wandb.errors.CommError, ValueError), match="Could not find run"):
        find(project, run.id)


def test_a_state_changes_only_where_the_client_documents_it(sdk: Path, project: str) -> None:
    created = wandb.Api().create_run(project=project, entity="local", run_id="s")
    assert created.update_state("failed")
    assert find(project, "s").state == "failed"
    for state in ("finished", "failed"):
        with pytest.raises(wandb.errors.CommError, match=f"invalid state transition: .* cannot be set to '{state}'"):
            find(project, "s").update_state(state)


def test_stop_reaches_the_process_with_its_next_words(server: Server, sdk: Path, project: str) -> None:
    wandb.Api().create_run(project=project, entity="local", run_id="s")
    find(project, "s").stop()
    with server.client() as client:
        assert client.post(f"/files/local/{project}/s/file_stream", json={}).json() == {"stopped": True}


def test_an_alert_is_kept_once_within_its_wait(server: Server, sdk: Path, project: str) -> None:
    from registry.server.database import Database
    from registry.server.store import runs

    with wandb.init(project=project) as run:
        run.alert("low", "accuracy fell", level=wandb.AlertLevel.WARN, wait_duration=300)
        run.alert("low", "accuracy fell again", level=wandb.AlertLevel.WARN, wait_duration=300)
        run.alert("high", "too good")
    database = Database(server.home / "reg.db")
    with database.reading() as connection:
        found = runs.the_run(connection, "local", project, run.id)
        alerts = runs.alerts_of(connection, found.id)
    database.close()
    assert sorted(alerts) == [("high", "too good", "INFO"), ("low", "accuracy fell", "WARN")]


def test_console_lines_are_read_back_in_order(script: Callable[..., subprocess.Popen[str]], sdk: Path) -> None:
    source = (
        "import wandb, sys\nrun = wandb.init(project='console', id='c')\nprint('one')\nprint('two', file=sys.stderr)\n"
        "for number in range(2500): print('line', number)\nrun.finish()"
    )
    process = script(source, WANDB_CONSOLE="wrap", WANDB_SILENT="false")
    process.communicate()
    found = find("console", "c")
    lines = [line.content for line in found.console_logs()]
    assert [lines.count(wanted) for wanted in ("one", "two", "line 0", "line 2499")] == [1, 1, 1, 1]
    assert [line.content for line in found.console_logs(last=1)] == lines[-1:]
    stderr = next(line for line in found.console_logs() if line.content == "two")
    assert (stderr.level, stderr.timestamp is not None) == ("error", True)


@pytest.fixture(scope="module")
def several(session_sdk: Path) -> str:
    """Five runs in a project: r0 to r4."""
    for number in range(5):
        config = {"lr": 10.0**-number, "opt": {"name": "adam" if number % 2 else "sgd"}, "layers": [number, 1]}
        tags = ["even"] if number % 2 == 0 else ["odd", "x"]
        names = {"id": f"r{number}", "name": f"run {number}", "group": f"g{number % 2}"}
        with wandb.init(project="several", config=config, tags=tags, **names) as run:
            run.log({"acc": number / 10, "other": float("nan")})
            if number == 4:
                run.summary["only"] = 4
    return "several"


@pytest.mark.parametrize(("filters", "expected"), [
    pytest.param({}, [0, 1, 2, 3, 4], id="none"),
    pytest.param({"state": "finished"}, [0, 1, 2, 3, 4], id="state"),
    pytest.param({"display_name": "run 3"}, [3], id="display name"),
    pytest.param({"displayName": {"$regex": "run [12]"}}, [1, 2], id="regex"),
    pytest.param({"name": {"$in": ["r0", "r4"]}}, [0, 4], id="in"),
    pytest.param({"name": {"$nin": ["r0", "r4"]}}, [1, 2, 3], id="nin"),
    pytest.param({"group": "g1"}, [1, 3], id="group"),
    pytest.param({"tags": "even"}, [0, 2, 4], id="tag"),
    pytest.param({"tags": {"$in": ["x", "y"]}}, [1, 3], id="any tag"),
    pytest.param({"tags": {"$ne": "even"}}, [1, 3], id="without a tag"),
    pytest.param({"username": "local"}, [0, 1, 2, 3, 4], id="user"),
    pytest.param({"config.lr": {"$lt": 0.05}}, [2, 3, 4], id="config"),
    pytest.param({"config.lr.value": {"$gte": 0.05}}, [0, 1], id="config with its wrapping"),
    pytest.param({"config.opt.name": "adam"}, [1, 3], id="nested config"),
    pytest.param({"config.opt.value.name": "adam"}, [1, 3], id="nested config with its wrapping"),
    pytest.param({"summary_metrics.acc": {"$gt": 0.1, "$lt": 0.4}}, [2, 3], id="summary between"),
    pytest.param({"summaryMetrics.only": {"$exists": True}}, [4], id="exists"),
    pytest.param({"summary_metrics.only": {"$ne": 4}}, [0, 1, 2, 3], id="ne matches missing"),
    pytest.param({"$or": [{"name": "r1"}, {"name": "r2"}]}, [1, 2], id="or"),
    pytest.param({"$and": [{"group": "g0"}, {"$not": {"name": "r2"}}]}, [0, 4], id="and not"),
    pytest.param({"$nor": [{"group": "g0"}, {"name": "r1"}]}, [3], id="nor"),
    pytest.param({"created_at": {"$gt": "2020-01-01"}}, [0, 1, 2, 3, 4], id="time"),
    pytest.param({"createdAt": {"$lt": "2090-01-01T00:00:00+05:00"}}, [0, 1, 2, 3, 4], id="time with an offset"),
    pytest.param({"heartbeatAt": {"$gt": 4_000_000_000}}, [], id="time in seconds"),
    pytest.param({"duration": {"$lt": 3600, "$gte": 0}}, [0, 1, 2, 3, 4], id="duration"),
    pytest.param({"entity": "local", "project": "several", "jobType": None}, [0, 1, 2, 3, 4], id="place"),
    pytest.param({"display_name": {"$regex": "^RUN 3", "$options": "i"}}, [3], id="regex in any case"),
    pytest.param({"display_name": {"$not": {"$regex": "[12]$"}}}, [0, 3, 4], id="not regex"),
    pytest.param({"display_name": {"$contains": "n 4"}}, [4], id="contains"),
    pytest.param({"tags": {"$all": ["odd", "x"]}}, [1, 3], id="all tags"),
    pytest.param({"tags.even": True}, [0, 2, 4], id="tag as a name"),
    pytest.param({"keys_info.keys.acc": {"$exists": True}}, [0, 1, 2, 3, 4], id="logged key"),
    pytest.param({"keys_info.keys.never": {"$exists": True}}, [], id="key that was not logged"),
    pytest.param({"config.layers": [4, 1]}, [4], id="list"),
    pytest.param({"config.opt": {"name": "adam"}}, [1, 3], id="object"),
    pytest.param({"config.lr": {"$in": [1.0, 0.1]}}, [0, 1], id="config in"),
    pytest.param({"state": {"$eq": "finished"}, "name": {"$lte": "r1"}}, [0, 1], id="eq and lte"),
    pytest.param({"config.opt.name": {"$gt": 3}}, [], id="no comparison across types"),
])  # fmt: skip
def test_runs_are_filtered(several: str, sdk: Path, filters: dict[str, object], expected: list[int]) -> None:
    found = wandb.Api().runs(f"local/{several}", filters=filters)
    assert [run.id for run in found] == [f"r{number}" for number in expected]
    assert len(found) == len(expected)


@pytest.mark.parametrize(("order", "expected"), [
    ("-created_at", [4, 3, 2, 1, 0]),
    ("+config.lr.value", [4, 3, 2, 1, 0]),
    ("-summary_metrics.acc", [4, 3, 2, 1, 0]),
    ("+summary_metrics.only", [4, 0, 1, 2, 3]),
    ("-heartbeat_at", [4, 3, 2, 1, 0]),
    ("+group,-display_name", [4, 2, 0, 3, 1]),
])  # fmt: skip
def test_runs_are_ordered_with_missing_values_last(several: str, sdk: Path, order: str, expected: list[int]) -> None:
    found = wandb.Api().runs(f"local/{several}", order=order, per_page=2)
    assert [run.id for run in found] == [f"r{number}" for number in expected]


@pytest.mark.parametrize(("filters", "complaint"), [
    ({"nonsense": 1}, "under the name 'nonsense'"),
    ({"name": {"$near": 1}}, "'\\$near' is not an operator"),
    ({"name": {"$regex": "("}}, "'\\(' is not a regular expression"),
    ({"$and": 3}, "\\$and takes a list, not 3"),
    ({"name": {"$regex": "r", "$options": "q"}}, "\\$options are some of the letters i, m and s"),
    ({"tags": ["even"]}, "'tags' has many values"),
])  # fmt: skip
def test_a_filter_that_means_nothing_is_an_error(several: str, sdk: Path, filters: dict[str, object], complaint: str) -> None:
    with pytest.raises(Exception, match=complaint):
        len(wandb.Api().runs(f"local/{several}", filters=filters))
