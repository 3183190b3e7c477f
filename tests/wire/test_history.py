"""Rows go in as the client numbers them and come out whole, sampled, or cut down to some keys."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import wandb

from tests.wire.conftest import Server


@pytest.fixture(scope="module")
def logged(session_sdk: Path) -> str:
    """A run of 1200 rows: `x` in each, `rare` in every hundredth, sparse steps at the end."""
    with wandb.init(project="history", id="long") as run:
        for step in range(1200):
            run.log({"x": step, "nested": {"square": step**2}} | ({"rare": -step} if step % 100 == 0 else {}))
        run.log({"x": -1}, step=5_000)
    return "local/history/long"


def test_scan_history_yields_every_row_once_in_order(logged: str, sdk: Path) -> None:
    rows = list(wandb.Api().run(logged).scan_history())
    assert [row["_step"] for row in rows] == [*range(1200), 5_000]
    assert [row["x"] for row in rows] == [*range(1200), -1]


@pytest.mark.parametrize("page_size", [7, 100, 10_000])
def test_scan_history_of_some_keys_yields_the_rows_that_have_them_all(logged: str, sdk: Path, page_size: int) -> None:
    rows = wandb.Api().run(logged).scan_history(keys=["x", "rare"], page_size=page_size, max_step=1200)
    assert list(rows) == [{"_step": step, "x": step, "rare": -step} for step in range(0, 1200, 100)]


def test_scan_history_between_two_steps(logged: str, sdk: Path) -> None:
    rows = wandb.Api().run(logged).scan_history(min_step=10, max_step=13)
    assert [row["_step"] for row in rows] == [10, 11, 12]


def test_history_samples_evenly_and_keeps_both_ends(logged: str, sdk: Path) -> None:
    steps = [row["_step"] for row in wandb.Api().run(logged).history(samples=5, pandas=False)]
    assert steps == [0, 300, 600, 900, 5_000]


def test_history_of_some_keys_has_the_rows_that_have_them(logged: str, sdk: Path) -> None:
    rows = wandb.Api().run(logged).history(keys=["rare", "nested.square"], samples=1_000, pandas=False)
    assert rows[1] == {"_step": 100, "rare": -100, "nested.square": 10_000}
    assert len(rows) == 12


def test_history_keys_are_flat_counted_and_know_the_last_value(logged: str, sdk: Path) -> None:
    keys = wandb.Api().run(logged).history_keys
    assert keys["lastStep"] == 5_000
    assert keys["keys"]["nested.square"] == {
        "typeCounts": [{"type": "number", "count": 1200}],
        "monotonic": True,
        "previousValue": 1199**2,
    }
    assert (keys["keys"]["x"]["monotonic"], keys["keys"]["rare"]["typeCounts"][0]["count"]) == (False, 12)


def test_values_that_are_not_numbers_survive(sdk: Path, project: str) -> None:
    with wandb.init(project=project) as run:
        run.log({"nan": math.nan, "inf": math.inf, "low": -math.inf, "text": "ü\u2028", "list": [1, None], "big": 2**60})
    found = wandb.Api().run(f"local/{project}/{run.id}")
    (row,) = found.scan_history()
    assert math.isnan(row["nan"])
    assert (row["inf"], row["low"], row["text"], row["list"], row["big"]) == (math.inf, -math.inf, "ü\u2028", [1, None], 2**60)
    assert found.history(keys=["nan", "inf"], pandas=False) == [{"_step": 0, "nan": "NaN", "inf": "Infinity"}]
    assert found.history_keys["keys"]["text"]["typeCounts"] == [{"type": "string", "count": 1}]


def test_media_are_one_key_of_their_own_type(sdk: Path, project: str) -> None:
    with wandb.init(project=project) as run:
        run.log({"page": wandb.Html("<b>hi</b>"), "hist": wandb.Histogram([1, 2, 3])})
    keys = wandb.Api().run(f"local/{project}/{run.id}").history_keys["keys"]
    assert (keys["page"]["typeCounts"][0]["type"], keys["hist"]["typeCounts"][0]["type"]) == ("html-file", "histogram")


def test_a_run_without_rows_has_no_history(sdk: Path, project: str) -> None:
    with wandb.init(project=project) as run:
        pass
    found = wandb.Api().run(f"local/{project}/{run.id}")
    assert (list(found.scan_history()), found.history(pandas=False)) == ([], [])


def test_system_metrics_are_the_last_event(sdk: Path, project: str, server: Server) -> None:
    _create(server, project)
    events = [json.dumps({"system.cpu": value, "_timestamp": value, "_runtime": value}) for value in (10, 20)]
    _stream(server, project, {"wandb-events.jsonl": {"offset": 0, "content": events}})
    found = wandb.Api().run(f"local/{project}/r")
    assert found.system_metrics["system.cpu"] == 20
    assert [row["system.cpu"] for row in found.history(stream="system", pandas=False)] == [10, 20]


@pytest.mark.parametrize(("requests", "rows", "count"), [
    pytest.param([(0, [0, 1]), (0, [0, 1])], [0, 1], 2, id="the same request again"),
    pytest.param([(0, [0, 1]), (1, [1, 2])], [0, 1, 2], 3, id="overlapping requests"),
    pytest.param([(0, [0, 1]), (1, [5])], [0, 5], 2, id="another row under the same number"),
    pytest.param([(0, [0]), (3, [3])], [0, 3], 2, id="a gap"),
    pytest.param([(2, [2]), (0, [0, 1])], [0, 1, 2], 3, id="out of order"),
])  # fmt: skip
def test_rows_are_assigned_at_their_line(
    server: Server,
    sdk: Path,
    request: pytest.FixtureRequest,
    requests: list[tuple[int, list[int]]],
    rows: list[int],
    count: int,
) -> None:
    project = "assign-" + str(request.node.callspec.id).replace(" ", "-")
    _create(server, project)
    for offset, values in requests:
        content = [json.dumps({"_step": value, "x": value}) for value in values]
        _stream(server, project, {"wandb-history.jsonl": {"offset": offset, "content": content}})
    found = wandb.Api().run(f"local/{project}/r")
    assert [row["x"] for row in found.scan_history()] == rows
    assert found.history_keys["keys"]["x"]["typeCounts"] == [{"type": "number", "count": count}]


def test_the_keys_of_a_replaced_row_are_forgotten(server: Server, sdk: Path, project: str) -> None:
    _create(server, project)
    for key in ("old", "new"):
        chunk = {"offset": 0, "content": [json.dumps({"_step": 0, key: 1})]}
        _stream(server, project, {"wandb-history.jsonl": chunk})
    assert wandb.Api().run(f"local/{project}/r").history_keys["keys"].keys() == {"_step", "new"}


def test_the_next_offset_counts_a_gap(server: Server, sdk: Path, project: str) -> None:
    _create(server, project)
    _stream(server, project, {"wandb-history.jsonl": {"offset": 3, "content": ['{"_step": 3}']}})
    query = 'query Q($project: String) { project(name: $project) { run(name: "r") { historyLineCount } } }'
    assert server.ask(query, project=project) == {"project": {"run": {"historyLineCount": 4}}}


def test_a_broken_line_costs_only_itself(server: Server, sdk: Path, project: str) -> None:
    _create(server, project)
    content = ['{"_step": 0, "x": 0}', "{broken", "[1]", '{"_step": 3, "x": 3, "s": "\\ud800"}']
    _stream(server, project, {"wandb-history.jsonl": {"offset": 0, "content": content}})
    assert [row["x"] for row in wandb.Api().run(f"local/{project}/r").scan_history()] == [0, 3]


def test_several_writers_of_one_run_append(server: Server, sdk: Path, project: str) -> None:
    _create(server, project)
    for value in (1, 2):
        chunk = {"offset": 0, "content": [json.dumps({"_step": value, "x": value})]}
        _stream(server, project, {"wandb-history.jsonl": chunk}, **{"X-WANDB-USE-ASYNC-FILESTREAM": "true"})
    assert [row["x"] for row in wandb.Api().run(f"local/{project}/r").scan_history()] == [1, 2]


def _create(server: Server, project: str) -> None:
    server.ask('mutation M($p: String) { upsertBucket(input: {modelName: $p, name: "r"}) { inserted } }', p=project)


def _stream(server: Server, project: str, files: dict[str, object], **headers: str) -> None:
    with server.client() as client:
        answer = client.post(f"/files/local/{project}/r/file_stream", json={"files": files}, headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"stopped": False})
