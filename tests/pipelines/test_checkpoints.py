"""A checkpoint comes back as it was, runs nobody's code, a damaged one is refused by name, and pruned ones free their room."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines import checkpoints, resuming
from pipelines.job import open_job
from registry.backend import Backend
from registry.errors import BadData
from registry.references import parse

STATE: dict[str, Any] = {
    "epoch": 3,
    "lr": 0.1 + 0.2,
    "worst": float("inf"),
    "none": None,
    "optimizer": {
        "state": {0: {"step": torch.tensor(7.0)}, 1: {}},
        "param_groups": [{"betas": [0.9, 0.999], "params": [0, 1]}],
    },
    "random": [{"torch": torch.get_rng_state(), "pos": 624}],
    "half": torch.ones(3, dtype=torch.bfloat16),
}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return type(one) is type(other) and one == other


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    checkpoints.write(tmp_path / "c", STATE)
    assert same(STATE, checkpoints.read(tmp_path / "c"))


def test_tensors_that_share_memory_are_kept_apart(tmp_path: Path) -> None:
    tensor = torch.arange(6.0)
    checkpoints.write(tmp_path / "c", {"whole": tensor, "part": tensor[::2]})
    assert checkpoints.read(tmp_path / "c")["part"].tolist() == [0.0, 2.0, 4.0]


def test_an_older_checkpoint_is_replaced_and_no_draft_stays(tmp_path: Path) -> None:
    for epoch in (1, 2):
        checkpoints.write(tmp_path / "c", {"epoch": epoch, "weights": torch.ones(1)})
    assert checkpoints.read(tmp_path / "c")["epoch"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_what_cannot_be_written_leaves_the_older_one(tmp_path: Path) -> None:
    checkpoints.write(tmp_path / "c", {"epoch": 1, "weights": torch.ones(1)})
    with pytest.raises(TypeError):
        checkpoints.write(tmp_path / "c", {"epoch": object(), "weights": torch.ones(1)})
    assert checkpoints.read(tmp_path / "c")["epoch"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("state.json", b"{"),
        ("state.json", b'{"schema_version": 1, "state": {"a": {"$tensor": "b"}}}'),
        ("state.json", b'{"schema_version": 9, "state": {}}'),
        ("state.safetensors", b"\x80\x04\x95 a pickle"),
        ("state.safetensors", b""),
    ],
    ids=["torn JSON", "a tensor that is not there", "another version", "a pickle", "nothing"],
)
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    checkpoints.write(tmp_path / "c", STATE)
    (tmp_path / "c" / name).write_bytes(content)
    with pytest.raises(BadData, match=str(tmp_path / "c")):
        checkpoints.read(tmp_path / "c")


def test_checkpoints_that_were_pruned_give_their_room_back(backend: Backend, tmp_path: Path) -> None:
    home = backend.settings.home
    with open_job(backend, job_type="train") as job:
        for epoch in range(1, 5):
            folder = tmp_path / str(epoch)
            folder.mkdir()
            (folder / "state.safetensors").write_bytes(os.urandom(1 << 20))
            facts = {"epoch": epoch, "step": epoch, "best": {"epoch": 1, "metrics": {}}}
            resuming.keep(job, backend, folder, facts, better=epoch == 1, newest=1)
    before = stored(home)
    collected = run_gc(home)
    assert before - stored(home) >= 2 << 20, "of four, the newest and the best are kept"
    assert collected["size"] >= 2 << 20
    kept = backend.versions(parse(f"checkpoint-{job.id}"))
    assert [(one.index, len(backend.read_file(one, "state.safetensors"))) for one in kept] == [(3, 1 << 20), (0, 1 << 20)]


def stored(home: Path) -> int:
    """What a home's blob folder takes, bytes."""
    return sum(path.stat().st_size for path in (home / "blobs").rglob("*") if path.is_file())


def run_gc(home: Path) -> dict[str, Any]:
    words = [sys.executable, "-m", "registry", "gc", "--yes", "--grace", "0s", "--json"]
    done = subprocess.run(words, env={**os.environ, "REG_HOME": str(home)}, capture_output=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found
