"""Many clients of several servers of one home, for longer than a test: what they were answered, how fast, and if it adds up.

    python -m benchmarks.many_at_once [--clients 32] [--servers 3] [--moves 20] [--steps 2000]

First raw clients move two aliases of one collection, look and take away; their history must be linearizable. Then as many real
clients, a process each, log to a run of their own, commit to one collection and move one alias; every row must be there, the
numbers dense, and the alias where the server wrote down that it last went.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

from tests.linearizability import linearization
from tests.wire.conftest import Server, running
from tests.wire.crowd import AliasClerk, Crowd, book, calls, shelf

_REAL_CLIENT = """if True:
    import json, sys, time
    import wandb
    number, steps = int(sys.argv[1]), int(sys.argv[2])
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    with wandb.init(project="crowd", id=f"run-{number}") as run:
        for step in range(steps):
            run.log({"loss": 1 / (step + 1)})
        for part in range(3):
            artifact = wandb.Artifact("thing", "model")
            with artifact.new_file("content") as file:
                file.write(f"{number} {part}")
            run.log_artifact(artifact, aliases=["candidate"]).wait()
        linked = run.link_artifact(artifact, "wandb-registry-model/thing", aliases=["production"])
    print(time.monotonic() - began, flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Many clients at once.")
    for name, default in (("clients", 32), ("servers", 3), ("moves", 20), ("steps", 2000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack, ThreadPoolExecutor(given.servers) as pool:
        started = [pool.submit(stack.enter_context, running(Path(folder) / "home")) for _ in range(given.servers)]
        servers = [one.result() for one in started]
        _say(f"{given.clients} clients, {given.servers} servers, one home, {os.cpu_count()} cores")
        raw_clients(servers, clients=given.clients, moves=given.moves)
        real_clients(servers, Path(folder), clients=given.clients, steps=given.steps)


def raw_clients(servers: Sequence[Server], *, clients: int, moves: int) -> None:
    things = shelf(servers[0], "shelf", versions=clients * moves)
    crowd = Crowd(servers=servers)
    together = [("production",), ("staging",), ("production", "staging")]
    began = time.monotonic()
    histories = crowd.at_once(
        lambda client: [
            things.operation(client, call)
            for call in calls(client.luck, versions=range(client.number * moves, (client.number + 1) * moves), aliases=together)
        ],
        clients=clients,
    )
    took = time.monotonic() - began
    seen = [operation for history in histories for operation in history]
    _say(f"raw: {len(seen):,} operations in {took:.1f} s, {len(seen) / took:.0f}/s, {_quantiles(crowd.seconds)}")
    _say(f"raw: answers by status {dict(crowd.answers)}")
    began = time.monotonic()
    linearization(seen, AliasClerk("production", "staging"), (), book=book(servers[0].home, "shelf"))
    _say(f"raw: linearizable (decided in {time.monotonic() - began:.1f} s)")


def real_clients(servers: Sequence[Server], folder: Path, *, clients: int, steps: int) -> None:
    processes = []
    for number in range(clients):
        place = folder / f"client-{number}"
        place.mkdir()
        env = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
        # The client's own patience and rhythm, not those of the tests.
        theirs = servers[number % len(servers)].environment(place)
        env |= {name: value for name, value in theirs.items() if not name.startswith("WANDB_X_")}
        command = [sys.executable, "-c", _REAL_CLIENT, str(number), str(steps)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        processes.append(subprocess.Popen(command, env=env, cwd=place, text=True, **pipes))  # type: ignore[call-overload]
    for process in processes:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
    began = time.monotonic()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    lives = []
    for process in processes:
        out, complaints = process.communicate(timeout=1800)
        assert process.returncode == 0, complaints
        lives.append(float(out))
    took = time.monotonic() - began
    _say(f"real: {clients} processes in {took:.1f} s, {clients * steps / took:.0f} rows/s, a client's life {_quantiles(lives)}")
    _check(servers[0].home / "reg.db", clients=clients, steps=steps)


def _check(database: Path, *, clients: int, steps: int) -> None:
    def ask(query: str) -> list[tuple[object, ...]]:
        return connection.execute(query).fetchall()

    with closing(sqlite3.connect(database)) as connection:
        lines = ask("SELECT count(*) FROM history JOIN runs ON runs.id = run_id WHERE name LIKE 'run-%' GROUP BY run_id")
        assert lines == [(steps,)] * clients, lines
        for kind, count in (("sequence", 3 * clients), ("portfolio", clients)):
            here = f"JOIN collections ON collections.id = collection_id WHERE collections.name = 'thing' AND kind = '{kind}'"
            numbers = ask(f"SELECT version_index FROM memberships {here} ORDER BY 1")
            assert numbers == [(number,) for number in range(count)], numbers
            alias = "candidate" if kind == "sequence" else "production"
            held = ask(
                "SELECT version_index FROM aliases JOIN memberships ON memberships.id = membership_id "
                "JOIN collections ON collections.id = aliases.collection_id "
                f"WHERE collections.name = 'thing' AND kind = '{kind}' AND aliases.name = '{alias}'"
            )
            last = ask(f"SELECT version_index FROM alias_moves {here} AND alias = '{alias}' ORDER BY alias_moves.id")
            assert (len(last), held) == (count, last[-1:]), (held, last)
    _say(f"real: all {clients * steps:,} rows are there, {3 * clients} versions and {clients} links numbered without a gap")


def _quantiles(seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    return ", ".join(
        f"{name} {ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000:.0f} ms"
        for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
