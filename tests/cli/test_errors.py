"""Bad input gets two lines that say what happened and what to do; the exit code says of what kind it is."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
import sqlite3
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.conftest import Done, Inside, Reg


def lines(done: Done) -> list[str]:
    """The error and its hint, without what was said before."""
    return [line for line in done.err.splitlines() if line.startswith(("Error:", "Hint:"))]


@pytest.mark.parametrize(
    ("words", "code", "error", "hint"),
    [
        (["promte"], 2, "no such command 'promte'", "did you mean 'reg promote'?"),
        (["train"], 2, "one of --dataset and --resume", "reg train --dataset mnist:latest"),
        (["ls", "--nonsense"], 2, "no such option", "reg ls --help"),
        (["show", "a/b/c/d:v1"], 2, "'a/b/c/d:v1' is not a reference: 4 parts", "write name, name:v3"),
        (["promote", "model:v0", "--alias", "v3"], 2, "'v3' cannot be an alias", "--alias production"),
        (["show", "m@md5:12"], 2, "'md5:12' is not a digest", "md5:<32 hex digits>"),
        (["ls", "--project", "a/b"], 2, "'a/b' is not a name", "--project my-project"),
        (["dataset", "push", "nowhere/"], 2, "nowhere", ""),
        (["train", "--dataset", "iris", "--name", "mein modell"], 2, "'mein modell' cannot be a name", "--name mein-modell"),
        (["exec", "--out", "ü=out/", "--", "true"], 2, "'ü' cannot be a name", "--out my-name=out/"),
        (["sweep", "nowhere.yaml", "--dataset", "iris"], 2, "nowhere.yaml: No such file", "reg sweep path/to/sweep.yaml"),
    ],
    ids=[
        "command",
        "missing option",
        "unknown option",
        "reference",
        "alias",
        "digest",
        "project",
        "no such folder",
        "name of a model",
        "name of an output",
        "no such file",
    ],
)
def test_bad_words_are_refused_before_anything_is_written(
    inside: Inside, words: list[str], code: int, error: str, hint: str
) -> None:
    done = inside(*words)
    assert done.code == code
    assert error in lines(done)[0]
    assert hint in (lines(done)[1:] or [""])[0]
    assert not (inside.home / "reg.db").exists()


def test_an_absent_artifact_says_where_to_look(inside: Inside) -> None:
    done = inside("show", "model:v3")
    assert done.code == 1
    assert "model:v3" in lines(done)[0]
    assert lines(done)[1] == "Hint: reg dataset push data/"  # of an empty project there is nothing to list


def test_an_error_is_data_with_json(inside: Inside) -> None:
    done = inside("show", "model:v3", "--json")
    assert (done.code, done.data["error"]["exit_code"], done.data["error"]["hint"]) == (1, 1, "reg dataset push data/")
    assert done.err == ""


def test_no_traceback_without_debug(reg: Reg) -> None:
    assert "Traceback" not in reg("show", "model:v3").err
    assert "Traceback" in reg("show", "model:v3", "--debug").err


def test_a_truncated_file_is_named(inside: Inside) -> None:
    (inside.folder / "mnist").mkdir()
    whole = gzip.compress(bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2]) + bytes(8))
    (inside.folder / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(whole[:-6])
    (inside.folder / "mnist" / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 2, 0, 1])))
    done = inside("dataset", "push", "mnist")
    assert done.code == 2
    assert "train-images-idx3-ubyte.gz" in lines(done)[0]
    assert inside("ls", "--json").data["collections"] == []


def test_a_home_that_is_a_file_is_named(inside: Inside) -> None:
    inside.home.write_text("not a folder")
    done = inside("ls")
    assert done.code == 7
    assert str(inside.home) in lines(done)[0]
    assert lines(done)[1].startswith("Hint: export REG_HOME=")


def test_a_port_that_is_taken_is_named(inside: Inside) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = inside("serve", "--port", str(port))
    assert done.code == 7
    assert str(port) in lines(done)[0]


def test_a_server_that_is_not_there_is_named(inside: Inside) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nowhere = {"WANDB_BASE_URL": f"http://127.0.0.1:{port}", "WANDB_API_KEY": "k" * 40}
    # Of itself the SDK asks again for half a minute.
    once = {"WANDB_X_GRAPHQL_RETRY_MAX": "1", "WANDB_X_GRAPHQL_RETRY_WAIT_MIN_SECONDS": "0.1"}
    done = replace(inside, extra=nowhere | once)("ls")
    assert done.code == 8
    error, hint = lines(done)
    assert f"127.0.0.1:{port}" in error
    assert "key" not in error
    assert hint == "Hint: check WANDB_BASE_URL and the network; reg doctor"


def test_a_key_that_is_missing_is_asked_for(reg: Reg) -> None:
    done = Reg(home=reg.home, folder=reg.folder, extra={"WANDB_BASE_URL": "http://127.0.0.1:9"})("ls")
    assert (done.code, lines(done)[1]) == (8, "Hint: export WANDB_API_KEY=...")
    assert "there is no key" in lines(done)[0]


def test_a_command_that_writes_refuses_to_write_nowhere(reg: Reg) -> None:
    done = Reg(home=reg.home, folder=reg.folder, extra={"WANDB_MODE": "offline"})("exec", "--", "touch", "ran")
    assert (done.code, lines(done)[1]) == (2, "Hint: export WANDB_MODE=online")
    assert "W&B is offline" in lines(done)[0]
    assert not (reg.folder / "ran").exists()


def test_gc_ends_as_well_as_it_began(reg: Reg) -> None:
    assert reg("admin", "user", "ls").code == 0  # makes the home
    done = reg("gc", "--dry-run")
    assert (done.code, done.err) == (0, f"home {reg.home}\n")


def test_a_key_that_the_server_does_not_know_is_refused(reg: Reg, inside: Inside) -> None:
    serving = reg.start("serve", "--port", "0")
    try:
        url = wait_for_announcement(reg.home)
        done = replace(inside, extra={"WANDB_BASE_URL": url, "WANDB_API_KEY": "k" * 40})("ls")
    finally:
        serving.send_signal(signal.SIGINT)
        serving.communicate(timeout=30)
    assert done.code == 8
    assert "does not accept the key" in lines(done)[0]
    assert "k" * 40 not in done.err


def test_ctrl_c_ends_with_130_and_leaves_no_server(reg: Reg, inside: Inside) -> None:
    process = a_training_that_never_ends(reg, inside)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Error: interrupted" in err
    assert servers_of(reg.home) == []


def test_a_server_that_is_gone_mid_run_ends_the_run_with_8(reg: Reg, inside: Inside) -> None:
    process = a_training_that_never_ends(reg, inside)
    for server in servers_of(reg.home):
        os.kill(server, signal.SIGKILL)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 8
    error, hint = err.splitlines()[-2:]
    assert error == "Error: the embedded server ended while the run was being written; what it had acknowledged is kept"
    assert hint.startswith("Hint: when the server is back: reg train --resume ")
    assert [c["name"] for c in inside("ls", "--json").data["collections"]] == ["many"]
    assert out == ""


def test_kill_9_of_a_command_takes_its_server_along(reg: Reg, inside: Inside) -> None:
    process = a_training_that_never_ends(reg, inside)
    assert len(servers_of(reg.home)) == 1
    process.kill()
    process.communicate(timeout=60)
    assert_soon(lambda: servers_of(reg.home) == [])
    assert inside("ls", "--json").code == 0


def a_training_that_never_ends(reg: Reg, inside: Inside) -> subprocess.Popen[str]:
    """A `reg train` that has already logged something."""
    (reg.folder / "many").mkdir()
    (reg.folder / "many" / "train.csv").write_text("a,target\n" + "".join(f"{i},{i % 2}\n" for i in range(2000)))
    (reg.folder / "many" / "test.csv").write_text("a,target\n" + "".join(f"{i}.5,{i % 2}\n" for i in range(200)))
    assert inside("dataset", "push", "many").code == 0
    process = reg.start("train", "--dataset", "many:latest", "--set", "epochs=100000", "--set", "patience=null")
    wait_for_a_run(reg.home, "train")
    return process


def servers_of(home: Path) -> list[int]:
    """Process ids of embedded servers of a home."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            if "registry.server" in words and str(home) in words:
                found.append(int(entry.name))
    return found


def assert_soon(holds: object, *, seconds: float = 30) -> None:
    """Wait for what another process will have done in a moment."""
    assert callable(holds)
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it did not happen"
        os.sched_yield()
        time.sleep(0.05)


def wait_for_announcement(home: Path) -> str:
    assert_soon((home / "serve.json").exists)
    url: str = json.loads((home / "serve.json").read_text())["url"]
    return url


def wait_for_a_run(home: Path, job_type: str) -> None:
    """Until a run of this job type has logged something."""

    def logged() -> bool:
        with sqlite3.connect(f"file:{home}/reg.db?mode=ro", uri=True) as database:
            query = "SELECT count(*) FROM runs JOIN history ON history.run_id = runs.id WHERE job_type = ?"
            return bool(database.execute(query, (job_type,)).fetchone()[0])

    assert_soon(logged, seconds=60)


def test_what_init_advises_for_a_recipe_leaves_the_policy_alone(reg: Reg) -> None:
    (reg.folder / "recipe.py").write_text("mine")
    done = reg("init", "--recipe")
    assert (done.code, lines(done)[1]) == (2, "Hint: reg init --recipe --force")
    assert (reg.folder / "recipe.py").read_text() == "mine"


def test_what_serve_says_to_paste_works_for_a_home_with_a_space_in_its_name(reg: Reg) -> None:
    spaced = Reg(home=reg.home.with_name("my home"), folder=reg.folder)
    serving = spaced.start("serve", "--port", "0")
    try:
        wait_for_announcement(spaced.home)
    finally:
        serving.send_signal(signal.SIGINT)
        said, _ = serving.communicate(timeout=30)
    exports = "\n".join(line for line in said.splitlines() if line.startswith("  export"))
    seen = subprocess.run(["sh", "-c", f'{exports}\nprintf %s "$WANDB_API_KEY"'], capture_output=True, text=True, check=True)
    assert seen.stdout == (spaced.home / "key").read_text().strip()
