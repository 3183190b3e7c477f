"""A disk without room, or that may not be written: the client hears it in words, nothing is lost, and room mends it.

The home lies on a file system of its own, of a few mebibytes, which only root may mount; where the tests are not root, a
limit on the size of files stands in for it (`test_edge`).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.wire.conftest import running
from tests.wire.crashing import crashing, faults_of, history, wandb_process
from tests.wire.drafts import Upload


def _may_mount() -> bool:
    return sys.platform == "linux" and os.geteuid() == 0 and shutil.which("mount") is not None


pytestmark = pytest.mark.skipif(not _may_mount(), reason="only root may mount a small file system")

# Logs rows and artifacts; between its lines of output it waits for a line of input.
_CLIENT = """
import sys
import wandb

def wait():
    print("ready", flush=True)
    sys.stdin.readline()

def log(name):
    artifact = wandb.Artifact(name, "dataset")
    artifact.add_file("large.bin")
    return run.log_artifact(artifact).wait()

with open("large.bin", "wb") as file:
    file.write(bytes(range(256)) * 4 * 2048)
with wandb.init(project="p", id="r") as run:
    run.log({"x": 0})
    wait()
    try:
        log("full")
    except Exception as error:
        print(" ".join(str(error).split()), flush=True)
    for step in range(1, 400):
        run.log({"x": step, "text": "y" * 10_000})
    wait()
    print(log("roomy").state, flush=True)
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home on a disk of 16 MiB."""
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(home)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this root may not mount: {done.stderr.strip()}")
    yield home
    subprocess.run(["umount", str(home)], check=True)


def fill(home: Path) -> None:
    with (home / "ballast").open("wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def make_room(home: Path) -> None:
    (home / "ballast").unlink()


def test_the_real_client_hears_of_a_full_disk_and_goes_on_when_there_is_room(home: Path, tmp_path: Path) -> None:
    with crashing(home, (), seed=0) as (watched, server):
        client = wandb_process(server, tmp_path / "work", "-c", _CLIENT)
        assert client.stdin is not None
        assert client.stdout is not None
        assert client.stdout.readline() == "ready\n"
        fill(home)
        client.stdin.write("\n")
        client.stdin.flush()
        assert "the server's disk refused: database or disk is full" in client.stdout.readline()
        assert client.stdout.readline() == "ready\n"
        while ("POST files/file_stream", 429) not in watched.acknowledged.refused:
            assert client.poll() is None
            time.sleep(0.02)
        make_room(home)
        out, err = client.communicate("\n", timeout=120)
        assert (client.returncode, out, err) == (0, "COMMITTED\n", "")
    assert history(home, "r") == [(step, step) for step in range(400)]
    assert faults_of(home) == []


CREATE = 'mutation($config: JSONString) { upsertBucket(input: {modelName: "p", name: "r", config: $config}) { inserted } }'
LARGE = json.dumps({"text": {"value": "z" * (4 << 20)}})


def test_a_mutation_without_room_is_refused_in_words_and_changes_nothing(home: Path) -> None:
    with running(home) as server, server.client() as client:
        fill(home)
        answer = client.post("/graphql", json={"query": CREATE, "variables": {"config": LARGE}})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["message"].startswith("the server's disk refused: ")
        assert server.ask('{ project(name: "p", entityName: "local") { runCount } }') == {"project": None}
        make_room(home)
        assert server.ask(CREATE, config=LARGE) == {"upsertBucket": {"inserted": True}}
    assert faults_of(home) == []


def test_an_upload_without_room_is_refused_in_words_and_leaves_nothing(home: Path) -> None:
    with running(home) as server:
        upload = Upload(server, "p", {"large.bin": bytes(range(256)) * 8192})
        (node,) = upload.announce()
        fill(home)
        answer = httpx.put(node["uploadUrl"], content=upload.files["large.bin"], trust_env=False)
        assert (answer.status_code, answer.json()["error"]) == (422, "the server's disk refused: No space left on device")
        assert list((home / "blobs" / "incoming").iterdir()) == []
        make_room(home)
        upload.put_files()
        upload.put_manifest()
        assert upload.commit().status_code == 200
    assert faults_of(home) == []


def test_a_server_does_not_start_on_a_disk_that_may_not_be_written_and_says_so(home: Path) -> None:
    with running(home) as server:
        server.ask(CREATE, config="{}")
    subprocess.run(["mount", "-o", "remount,ro", str(home)], check=True)
    command = [sys.executable, "-m", "registry.server", "--home", str(home)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    message = f"Error: cannot open the database {home / 'reg.db'}: Read-only file system"
    assert (ended.returncode, ended.stderr.splitlines()[0]) == (7, message)
