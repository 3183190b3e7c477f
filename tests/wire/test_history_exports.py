"""Long histories as Parquet: the same rows as one by one, and never stale ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import wandb
from pyarrow import parquet

from registry.server.store.history_exports import WORTH_ROWS
from tests.wire.conftest import Server

QUERY = """query Q($p: String, $r: String!) {
  project(name: $p, entityName: "local") { run(name: $r) { parquetHistory(liveKeys: ["_step"]) { parquetUrls liveData } } }
}"""


def find(project: str, run_id: str) -> wandb.apis.public.Run:
    return wandb.Api().run(f"local/{project}/{run_id}")


def log(server: Server, project: str, run_id: str, rows: list[dict[str, Any]], *, offset: int = 0) -> None:
    """A run as its process would leave it, without the seconds that a process takes."""
    begin = 'mutation M($p: String, $r: String) { upsertBucket(input: {modelName: $p, name: $r, host: "h"}) { inserted } }'
    server.ask(begin, p=project, r=run_id)
    content = [json.dumps(row) for row in rows]
    body = {"files": {"wandb-history.jsonl": {"offset": offset, "content": content}}, "complete": True, "exitcode": 0}
    with server.client() as client:
        assert client.post(f"/files/local/{project}/{run_id}/file_stream", json=body).json() == {"stopped": False}


def offered(server: Server, project: str, run_id: str) -> tuple[int, list[Any]]:
    """How many files a run's history is offered in, and where its rows begin that are not."""
    data: Any = server.ask(QUERY, p=project, r=run_id)
    found = data["project"]["run"]["parquetHistory"]
    return len(found["parquetUrls"]), found["liveData"]


def long(count: int = WORTH_ROWS, *, start: int = 0) -> list[dict[str, Any]]:
    steps = range(start, start + count)
    return [{"_step": step, "_timestamp": step / 3, "x": step, "y": step / 2, "s": "ü", "b": step % 2 == 0} for step in steps]


@pytest.fixture(scope="module")
def exported(server: Server) -> str:
    log(server, "exports", "long", long())
    return "exports"


def test_a_long_run_reads_the_same_from_its_files(exported: str, server: Server, sdk: Path) -> None:
    assert offered(server, exported, "long") == (1, [])
    assert list(find(exported, "long").scan_history()) == long()


def test_some_keys_are_read_without_the_rest(exported: str, sdk: Path) -> None:
    rows = find(exported, "long").scan_history(keys=["y"], min_step=5, max_step=7, use_cache=False)
    assert list(rows) == [{"_step": 5, "y": 2.5}, {"_step": 6, "y": 3.0}]


def test_a_history_is_downloaded_as_parquet(exported: str, sdk: Path) -> None:
    result = find(exported, "long").download_history_exports(sdk / "exports")
    table = parquet.read_table(result.paths[0])
    assert (len(result.paths), result.contains_live_data, result.errors or {}) == (1, False, {})
    assert {name: str(table.schema.field(name).type) for name in table.schema.names} == {
        "_step": "int64", "_timestamp": "double", "x": "int64", "y": "double", "s": "string", "b": "bool",
    }  # fmt: skip
    assert table.to_pylist() == long()


def test_a_short_history_is_not_exported_and_the_client_says_so(sdk: Path, project: str) -> None:
    with wandb.init(project=project) as run:
        run.log({"x": 1})
    with pytest.raises(wandb.apis.public.IncompleteRunHistoryError):
        find(project, run.id).download_history_exports(sdk / "exports")
    result = find(project, run.id).download_history_exports(sdk / "exports", require_complete_history=False)
    assert (result.paths, result.contains_live_data) == ([], True)


def test_a_resumed_run_gets_another_file(server: Server, sdk: Path, project: str) -> None:
    log(server, project, "r", long())
    log(server, project, "r", long(3, start=WORTH_ROWS), offset=WORTH_ROWS)
    assert offered(server, project, "r") == (2, [])
    assert list(find(project, "r").scan_history(min_step=WORTH_ROWS - 1)) == long(4, start=WORTH_ROWS - 1)


@pytest.mark.parametrize("odd", [
    pytest.param({"extra": 1}, id="a key that other rows lack"),
    pytest.param({"x": "text"}, id="a value of another type"),
    pytest.param({"x": {"nested": 1}}, id="a nested value"),
])  # fmt: skip
def test_what_a_table_cannot_say_exactly_is_read_row_by_row(
    server: Server, sdk: Path, request: pytest.FixtureRequest, odd: dict[str, Any]
) -> None:
    project = "odd-" + str(request.node.callspec.id).replace(" ", "-")
    rows = long()
    rows[-1] |= odd
    log(server, project, "r", rows)
    assert offered(server, project, "r") == (0, [{"_step": 0}])
    assert list(find(project, "r").scan_history(min_step=WORTH_ROWS - 1)) == rows[-1:]


REWIND = """mutation M($p: String, $r: String!) {
  rewindRun(input: {projectName: $p, runName: $r, metricName: "_step", metricValue: 10}) { rewoundRun { id } }
}"""


@pytest.mark.parametrize("how", ["rewound", "deleted", "rewritten"])
def test_the_name_of_a_history_that_changed_is_not_exported_again(server: Server, sdk: Path, how: str) -> None:
    project = f"stale-{how}"
    log(server, project, "r", long())
    assert offered(server, project, "r")[0] == 1
    if how == "rewound":
        server.ask(REWIND, p=project, r="r")
        log(server, project, "r", long(start=11), offset=11)
    elif how == "deleted":
        find(project, "r").delete()
        log(server, project, "r", long(start=1))
    else:
        log(server, project, "r", [{**long(1)[0], "x": -1}])
    assert offered(server, project, "r")[0] == 0
