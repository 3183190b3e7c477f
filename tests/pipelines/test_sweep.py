"""`reg sweep` as a person runs it: trials with lineage, agents that are killed, a best model that can be gated."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.cli.conftest import Done, Inside
from tests.wire.conftest import Server, running

SWEEP = {
    "name": "rates",
    "method": "grid",
    "metric": {"name": "best/val_accuracy", "goal": "maximize"},
    "parameters": {"lr": {"values": [1e-06, 0.03]}, "model": {"parameters": {"width": {"value": 4}}}},
}
TRAINING = ("--set", "epochs=30", "--set", "seed=1", "--set", "patience=null", "--set", "checkpoint.every=10")


@dataclass(frozen=True, kw_only=True)
class Place:
    """`reg` with digits, on a server that outlives its commands."""

    reg: Inside
    server: Server

    def states(self, sweep: str) -> list[str]:
        """The states of a sweep and of its runs."""
        query = """query ($name: String!) { project(name: "reg", entityName: "local") { sweep(sweepName: $name) {
            state runs { edges { node { state } } } } } }"""
        answer: Any = self.server.ask(query, name=sweep)
        found = answer["project"]["sweep"]
        return [found["state"], *(edge["node"]["state"] for edge in found["runs"]["edges"])]

    def run(self, id: str) -> dict[str, Any]:
        """A run as the server has it."""
        query = (
            """query ($id: String!) { project(name: "reg", entityName: "local") { run(name: $id) { state config history } } }"""
        )
        answer: Any = self.server.ask(query, id=id)
        found: dict[str, Any] = answer["project"]["run"]
        return found

    def weights(self, run: str) -> str:
        """The digest of the weights in the model that a run logged."""
        query = """query ($id: String!) { project(name: "reg", entityName: "local") { run(name: $id) { outputArtifacts { edges {
            node { artifactType { name } artifactMemberships { edges { node { files(names: ["model.safetensors"]) {
            edges { node { digest } } } } } } } } } } } }"""
        answer: Any = self.server.ask(query, id=run)
        logged = [edge["node"] for edge in answer["project"]["run"]["outputArtifacts"]["edges"]]
        (model,) = [one for one in logged if one["artifactType"]["name"] == "model"]
        digest: str = model["artifactMemberships"]["edges"][0]["node"]["files"]["edges"][0]["node"]["digest"]
        return digest


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What a sweep said, and the run of the trial that was killed in it."""

    done: Done
    killed: str


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("sweep")
    with running(folder / "home", "--crashed-after", "5") as server:
        # As `reg sweep` has it on a server of its own: what a trial says arrives within a second.
        prompt = {"WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "1"}
        place = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": server.key}
        reg = Inside(home=folder / "home", folder=folder, extra=place | prompt)
        digits = load_digits()
        order = np.random.default_rng(0).permutation(len(digits.images))[:600]
        images, labels = (digits.images[order] * 16).clip(0, 255).astype(np.uint8), digits.target[order]
        data = {"x_train": images[:400], "y_train": labels[:400], "x_test": images[400:], "y_test": labels[400:]}
        np.savez(folder / "digits.npz", **data)
        pushed = reg("dataset", "push", "digits.npz", "--name", "digits")
        assert pushed.code == 0, pushed.err
        yield Place(reg=reg, server=server)


@pytest.fixture(scope="module")
def swept(place: Place) -> Swept:
    """What a sweep of trainings by two agents said, one of which was killed with its trial, as a machine is lost."""
    (place.reg.folder / "sweep.yaml").write_text(yaml.safe_dump(SWEEP))
    words = ("--dataset", "digits:latest", "--agents", "2", "--json", "--", *TRAINING)
    process = place.reg.start("sweep", "sweep.yaml", *words)
    leash = until(lambda: list(place.reg.home.glob("sweeps/*/agent-*-1.leash")), process)[0]
    log = leash.with_suffix(".log")
    run = until(lambda: re.search(r"^run (\w+): ", log.read_text(errors="replace"), flags=re.MULTILINE), process)[1]
    until(lambda: place.run(run)["state"] == "preempting", process)
    kill_session(int(leash.read_text()))
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    return Swept(done=Done(code=process.returncode, out=out, err=err), killed=run)


def kill_session(leader: int) -> None:
    """Kill a process and everything that it started, at once."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            # pid (name) state parent group session
            if int(stat.read_text().rpartition(")")[2].split()[3]) == leader:
                os.kill(int(stat.parent.name), signal.SIGKILL)


def until(found: Callable[[], Any], process: subprocess.Popen[str]) -> Any:
    """The first answer that is something, while a process lives."""
    for _ in range(2_000):
        answer = found()
        if answer:
            return answer
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError("nothing came")


def test_every_point_is_tried_though_an_agent_is_killed(swept: Swept) -> None:
    assert "agent 1 was killed; another takes its place" in swept.done.err
    trials = swept.done.data["trials"]
    assert [(trial["parameters"], trial["state"]) for trial in trials] == [
        ({"lr": 0.03, "model.width": 4}, "finished"),
        ({"lr": 1e-06, "model.width": 4}, "finished"),
    ]
    assert (swept.done.data["state"], swept.done.data["best"]) == ("FINISHED", trials[0])
    assert trials[0]["value"] > trials[1]["value"]


def test_a_killed_trial_goes_on_from_its_checkpoint_in_the_same_run(place: Place, swept: Swept) -> None:
    assert {trial["run"] for trial in swept.done.data["trials"]} >= {swept.killed}
    run = place.run(swept.killed)
    rows = [json.loads(row)["_step"] for row in run["history"]]
    starts = json.loads(run["config"])["trial_starts"]["value"]
    assert (run["state"], starts[0], len(starts)) == ("finished", 0, 2)
    assert 0 < starts[1] < rows[-1]
    assert rows == sorted(set(rows))


def test_a_killed_trial_ends_with_the_bits_of_one_that_was_not(place: Place, swept: Swept) -> None:
    (tried,) = [trial["parameters"] for trial in swept.done.data["trials"] if trial["run"] == swept.killed]
    assigned = [word for key, value in tried.items() for word in ("--set", f"{key}={value}")]
    alone = place.reg("train", "--dataset", "digits", "--name", "alone", "--json", *TRAINING, *assigned)
    assert alone.code == 0, alone.err
    assert place.weights(alone.data["run"].rpartition("/")[2]) == place.weights(swept.killed)


def test_the_best_trials_model_can_be_gated_by_its_alias(place: Place, swept: Swept) -> None:
    gated = place.reg("gate", f"model:sweep-{swept.done.data['sweep']}-best")
    assert gated.code in (0, 3, 4), gated.err
    assert swept.done.data["model"].rpartition("/")[2] in gated.out


def test_lineage_leads_from_the_data_through_a_trial_to_the_model_and_to_the_sweep(place: Place, swept: Swept) -> None:
    graph = place.reg("lineage", swept.done.data["model"], "--json").data
    assert {"dataset", "train", "model", "sweep"} <= {node["kind"] for node in graph["nodes"]}


def test_a_sweep_is_shown_with_what_to_do_next_and_drawn(place: Place, swept: Swept, tmp_path: Path) -> None:
    page = tmp_path / "sweep.html"
    shown = place.reg("sweep", "show", swept.done.data["sweep"], "--save", str(page))
    version = swept.done.data["model"].rpartition("/")[2]
    assert [line.removeprefix("next:").strip() for line in shown.out.splitlines()[-2:]] == [
        f"reg evaluate {version}",
        f"reg gate {version}",
    ]
    assert f"which holds 'sweep-{swept.done.data['sweep']}-best'" in shown.out
    text = page.read_text()
    assert (text.count('<path class="best"'), "<script" in text) == (1, False)


def test_what_is_over_cannot_be_paused(place: Place, swept: Swept) -> None:
    refused = place.reg("sweep", "pause", swept.done.data["sweep"])
    assert refused.code == 6
    assert f"Error: cannot pause sweep {swept.done.data['sweep']}: it is FINISHED" in refused.err


def test_an_interrupted_sweep_leaves_no_process_and_gives_its_trial_back(place: Place) -> None:
    endless = {**SWEEP, "parameters": {"lr": {"value": 0.01}, "epochs": {"value": 1_000_000}, "patience": {"value": None}}}
    (place.reg.folder / "long.yaml").write_text(yaml.safe_dump(endless))
    before = set(place.reg.home.glob("sweeps/*"))
    process = place.reg.start("sweep", "long.yaml", "--dataset", "digits:latest")
    folder = until(lambda: set(place.reg.home.glob("sweeps/*")) - before, process).pop()
    until(lambda: "running" in place.states(folder.name)[1:], process)
    agent = int(next(folder.glob("*.leash")).read_text())
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert f"reg sweep agent {folder.name} goes on" in err
    with pytest.raises(ProcessLookupError):
        os.kill(agent, 0)
    assert place.states(folder.name) == ["RUNNING", "preempted"]
    assert place.reg("sweep", "cancel", folder.name).code == 0
    assert place.states(folder.name)[0] == "CANCELED"
