"""A process knows who started it, and the ranks of one attempt find each other and nobody else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore

from pipelines import launch, meeting
from pipelines.launch import Launch
from pipelines.meeting import LostRank, Meeting, OtherFailed
from pipelines.team import gpu_of
from registry.errors import BadData, BadSettings, DeviceUnavailable, Interrupted, RegError, UsageError

TORCHRUN = {
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "10.0.0.1",
    "MASTER_PORT": "29500",
    "TORCHELASTIC_RUN_ID": "job-7",
    "TORCHELASTIC_RESTART_COUNT": "2",
    "OMP_NUM_THREADS": "1",
}
LEADER, FOLLOWER = Launch(rank=0, size=2), Launch(rank=1, size=2, local_rank=1, local_size=2)


def without(*names: str) -> dict[str, str]:
    return {name: value for name, value in TORCHRUN.items() if name not in names}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({}, None, id="by hand"),
        pytest.param({"RANK": "0", "WORLD_SIZE": "4"}, None, id="a scheduler that numbers its tasks"),
        pytest.param(
            TORCHRUN,
            Launch(rank=5, size=8, local_rank=1, local_size=4, job="job-7", restarts=2, own_threads=True, supervised=True),
            id="torchrun",
        ),
        pytest.param(
            {**TORCHRUN, "TORCHELASTIC_RUN_ID": "none"},
            Launch(rank=5, size=8, local_rank=1, local_size=4, restarts=2, own_threads=True, supervised=True),
            id="torchrun without an id",
        ),
        pytest.param(
            {"RANK": "3", "WORLD_SIZE": "4", "MASTER_ADDR": "worker-0", "MASTER_PORT": "23456"},
            Launch(rank=3, size=4),
            id="a pod for each rank",
        ),
    ],
)
def test_what_a_launcher_says_is_read(environment: Mapping[str, str], expected: Launch | None) -> None:
    assert launch.read(environment) == expected


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"RANK": "first"}, "the environment says RANK='first', a number was expected"),
        ({"MASTER_PORT": "http"}, "the environment says MASTER_PORT='http', a number was expected"),
        ({"RANK": "8"}, "the environment says RANK=8 and WORLD_SIZE=8"),
        ({"LOCAL_RANK": "4"}, "the environment says LOCAL_RANK=4 and LOCAL_WORLD_SIZE=4"),
        ({"RANK": "0", "LOCAL_RANK": "1"}, "the environment says RANK=0 and LOCAL_RANK=1"),
    ],
)
def test_an_environment_that_contradicts_itself_is_refused(change: Mapping[str, str], complaint: str) -> None:
    with pytest.raises(BadSettings) as caught:
        launch.read({**TORCHRUN, **change})
    assert caught.value.message == complaint


def test_a_launched_process_starts_no_others() -> None:
    launch.check_alone(launch.read(TORCHRUN), None)
    launch.check_alone(None, 4)
    with pytest.raises(UsageError, match="--nproc 4 starts processes, and a launcher has started 8 already"):
        launch.check_alone(launch.read(TORCHRUN), 4)


def test_the_first_process_of_each_machine_is_known() -> None:
    found = launch.read(TORCHRUN)
    assert found is not None
    assert (found.leads, found.first_here, str(found)) == (False, 4, "rank 5 of 8")


@pytest.mark.parametrize(
    ("seen", "visible", "local_rank", "gpu"),
    [
        pytest.param(8, None, 5, 5, id="a machine of eight"),
        pytest.param(4, "4,5,6,7", 3, 3, id="four of them"),
        pytest.param(1, "6", 3, 0, id="a scheduler that shows each process its own"),
    ],
)
def test_each_process_of_a_machine_has_a_gpu_of_its_own(
    seen: int, visible: str | None, local_rank: int, gpu: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr("torch.cuda.device_count", lambda: seen)
    assert gpu_of(local_rank) == gpu


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(DeviceUnavailable, match="process 2 of this machine needs a GPU of its own, there are 2") as caught:
        gpu_of(2)
    assert caught.value.hint == "--nproc-per-node 2"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Ranks as threads that look often; yields the file in which torchrun looks for the words of a failure."""
    monkeypatch.setattr(meeting, "_LOOK_SECONDS", 0.001)
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    return tmp_path / "error.json"


def attempt(store: HashStore) -> tuple[Meeting, Meeting]:
    """Leader and follower of one attempt, as they find each other."""
    with ThreadPoolExecutor(2) as pool:
        leader, follower = (pool.submit(meeting._gathered, one, store, print) for one in (LEADER, FOLLOWER))
        return leader.result(), follower.result()


def test_words_of_an_earlier_attempt_are_not_heard(quick: Path) -> None:
    store = HashStore()
    before = attempt(store)
    before[0].tell("plan", "old")
    assert isinstance(before[1].ended(BadData("gone")), RegError)
    leader, follower = attempt(store)
    leader.tell("plan", {"epochs": 3})
    assert (before[1].hear("plan"), follower.hear("plan")) == ("old", {"epochs": 3})
    assert leader.ended(Interrupted("stopped")).args == ("stopped",)


def test_who_waits_for_word_is_told_of_a_failure(quick: Path) -> None:
    leader, follower = attempt(HashStore())
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(follower.hear, "plan")
        assert leader.ended(BadData("no split 'train'")).args == ("no split 'train'",)
        with pytest.raises(OtherFailed) as caught:
            waiting.result()
    assert caught.value.exit_code == BadData.exit_code


def test_a_rank_that_fails_before_all_are_ready_keeps_nobody_waiting(quick: Path) -> None:
    leader, follower = attempt(HashStore())
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(leader.team(torch.device("cpu")).__enter__)
        assert isinstance(follower.ended(BadData("a split is damaged")), RegError)
        with pytest.raises(OtherFailed):
            waiting.result()


def test_the_first_that_fails_speaks_and_the_others_are_silent(quick: Path) -> None:
    leader, follower = attempt(HashStore())
    first = follower.ended(BadData("a split is damaged", hint="reg doctor"))
    assert isinstance(first, RegError)
    assert (first.message, first.hint, first.exit_code) == ("rank 1 of 2: a split is damaged", "reg doctor", 2)
    assert json.loads(quick.read_text())["message"]["message"] == "Error: rank 1 of 2: a split is damaged\nHint: reg doctor"
    for later in (BadData("the same here"), LostRank("another rank was lost"), Interrupted("ended")):
        silent = leader.ended(later)
        assert isinstance(silent, OtherFailed)
        assert silent.exit_code == 2
    assert "because of another rank: Error: rank 1 of 2" in quick.read_text()


def test_a_rank_that_is_lost_without_a_word_is_told_by_the_leader(quick: Path) -> None:
    leader, follower = attempt(HashStore())
    lost = LostRank("another rank was lost: Connection closed by peer")
    silent = follower.ended(lost)
    assert isinstance(silent, OtherFailed)
    assert silent.exit_code == 7
    assert leader.ended(lost) is lost


@pytest.mark.parametrize(
    ("exc", "lost"),
    [
        (RuntimeError("[/torch/gloo/transport/tcp/pair.cc:547] Connection closed by peer [10.0.0.2]:4711"), True),
        (dist.DistBackendError("NCCL error: remote process exited"), True),
        (RuntimeError("no such pixel"), False),
        (ValueError("gloo is no colour"), False),
    ],
    ids=["gloo", "nccl", "a recipe", "another error"],
)
def test_a_cut_connection_is_told_from_an_error_of_ones_own(exc: Exception, lost: bool) -> None:
    assert (meeting._loss(exc) is exc) is lost


def test_a_rank_that_does_not_come_is_named(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "_COME", meeting.timedelta(0))
    monkeypatch.setattr(meeting, "_LONG_SECONDS", -1)
    told: list[str] = []
    for name, value in (("MASTER_ADDR", "10.0.0.1"), ("MASTER_PORT", "29500")):
        monkeypatch.setenv(name, value)
    with pytest.raises(
        RegError, match=r"^of 12 ranks 1, 2, 3, 4, 5, 6, 7, 8 and 3 more did not come within .* at 10.0.0.1:29500"
    ):
        meeting._gathered(replace(LEADER, size=12), HashStore(), told.append)
    assert told == ["waiting for 1, 2, 3, 4, 5, 6, 7, 8 and 3 more of 12 ranks"]
