"""The file stream's edge: what comes twice is kept once, what comes from several is kept apart, and no answer loses a row."""

from __future__ import annotations

import asyncio
import gzip
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import wandb

from registry.server.app import create_app
from registry.server.database import StorageProblem
from registry.server.home import open_home
from registry.server.store import history
from tests.wire.conftest import Server

CREATE = 'mutation M($p: String) { upsertBucket(input: {modelName: $p, name: "r", config: "{}"}) { inserted } }'


def rows(*steps: int) -> list[str]:
    return [json.dumps({"_step": step, "x": step}) for step in steps]


def send(server: Server, project: str, body: dict[str, Any], *, client: str | None = None, **headers: str) -> None:
    if client is not None:
        headers |= {"X-WANDB-USE-ASYNC-FILESTREAM": "true", "X-WANDB-ASYNC-CLIENT-ID": client}
    with server.client() as http:
        answer = http.post(f"/files/local/{project}/r/file_stream", json=body, headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"stopped": False})


def chunk(offset: int, content: list[str], *, file: str = "wandb-history.jsonl") -> dict[str, Any]:
    return {"files": {file: {"offset": offset, "content": content}}}


def found(project: str) -> wandb.apis.public.Run:
    return wandb.Api().run(f"local/{project}/r")


def test_the_client_may_send_its_rows_packed(sdk: Path, project: str) -> None:
    with wandb.init(project=project, settings=wandb.Settings(x_file_stream_no_gzip=False)) as run:
        for step in range(50):
            run.log({"x": step})
    assert [row["x"] for row in wandb.Api().run(f"local/{project}/{run.id}").scan_history()] == list(range(50))


def test_a_packed_body_is_unpacked_only_so_far(server: Server, project: str) -> None:
    server.ask(CREATE, p=project)
    bomb = gzip.compress(b'{"files": "' + b" " * (65 << 20) + b'"}')
    with server.client() as http:
        answer = http.post(f"/files/local/{project}/r/file_stream", content=bomb, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, "unpacks to more than" in answer.json()["error"]) == (413, True)


def test_a_writer_of_a_shared_run_may_repeat_its_lines(server: Server, sdk: Path, project: str) -> None:
    server.ask(CREATE, p=project)
    for client, offset, steps in [("a", 0, (0, 1)), ("b", 0, (10,)), ("a", 0, (0, 1)), ("a", 1, (1, 2)), ("b", 1, (11,))]:
        send(server, project, chunk(offset, rows(*steps)), client=client)
    assert [row["x"] for row in found(project).scan_history()] == [0, 1, 2, 10, 11]


def test_a_redrawn_line_of_one_writer_leaves_the_others_alone(server: Server, sdk: Path, project: str) -> None:
    server.ask(CREATE, p=project)
    for client, text in [("a", "10%"), ("b", "hello"), ("a", "100%")]:
        send(server, project, chunk(0, [json.dumps({"content": text, "label": client})], file="output.log"), client=client)
    assert [(line.label, line.content) for line in found(project).console_logs()] == [("a", "100%"), ("b", "hello")]


def test_several_processes_log_to_one_run(script: Callable[..., subprocess.Popen[str]], sdk: Path, project: str) -> None:
    source = f"""if True:
        import sys, wandb
        number = int(sys.stdin.readline())
        first = number == 0
        settings = wandb.Settings(mode="shared", x_label=f"w{{number}}", x_primary=first, x_update_finish_state=first)
        run = wandb.init(project={project!r}, id="r", settings=settings, config={{f"c{{number}}": number}})
        for value in range(20):
            run.log({{f"m{{number}}": value}})
        run.summary[f"s{{number}}"] = number
        print("done", flush=True)
        sys.stdin.readline()
        run.finish()
    """
    processes = [script(source) for _ in range(2)]
    for number, process in enumerate(processes):
        assert process.stdin is not None
        process.stdin.write(f"{number}\n")
        process.stdin.flush()
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
    # The first one decides about the run's state, so it leaves last.
    for process in reversed(processes):
        _, complaints = process.communicate("\n")
        assert process.returncode == 0, complaints
    run = found(project)
    logged = [*run.scan_history()]
    assert [[row[f"m{number}"] for row in logged if f"m{number}" in row] for number in (0, 1)] == [[*range(20)]] * 2
    assert (run.state, run.config) == ("finished", {"c0": 0, "c1": 1})
    assert {key: run.summary[key] for key in ("m0", "s0", "m1", "s1")} == {"m0": 19, "s0": 0, "m1": 19, "s1": 1}


def test_the_server_may_be_left_to_summarise(sdk: Path, project: str) -> None:
    with wandb.init(project=project, settings=wandb.Settings(x_server_side_derived_summary=True)) as run:
        for value in range(3):
            run.log({"x": value})
        run.summary["mine"] = 5
    summary = wandb.Api().run(f"local/{project}/{run.id}").summary
    assert (summary["x"], summary["mine"]) == (2, 5)


@pytest.mark.parametrize("broken", ["[1]", "{", "null"])
def test_a_summary_that_cannot_be_read_back_is_not_kept(server: Server, sdk: Path, project: str, broken: str) -> None:
    project = f"summary-{ord(broken[0])}"
    server.ask(CREATE, p=project)
    for summary in ('{"good": 1}', broken):
        send(server, project, chunk(0, [summary], file="wandb-summary.json"))
    assert dict(found(project).summary) == {"good": 1}


def test_a_process_that_takes_over_a_name_begins_a_new_console(server: Server, sdk: Path, project: str) -> None:
    begin = 'mutation M($p: String) { upsertBucket(input: {modelName: $p, name: "r", host: "h"}) { inserted } }'
    for lines in (["a", "b", "c"], ["d"]):
        server.ask(begin, p=project)
        send(server, project, chunk(0, lines, file="output.log"))
    assert [line.content for line in found(project).console_logs()] == ["d"]


def test_rows_that_find_no_room_are_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = open_home(tmp_path / "home")
    transport = httpx.ASGITransport(app=create_app(home))

    async def talk() -> list[tuple[int, str]]:
        answers = []
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", auth=("api", home.key)) as client:
            await client.post("/graphql", json={"query": CREATE, "variables": {"p": "p"}})
            for full in (True, False):
                with monkeypatch.context() as patch:
                    if full:
                        patch.setattr(history, "assign", _refuse)
                    answer = await client.post("/files/local/p/r/file_stream", json=chunk(0, rows(0)))
                answers.append((answer.status_code, answer.json().get("error", "")))
        return answers

    answers = asyncio.run(talk())
    home.close()
    # 429 is what the client repeats until it is taken; any 4xx of another kind would end its stream.
    sentence = "the disk is full; nothing of this is stored, send it again (free some space)"
    assert answers == [(429, sentence), (200, "")]


def _refuse(*_: object) -> bool:
    raise StorageProblem("the disk is full", hint="free some space")
