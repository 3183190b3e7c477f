"""What a launcher of distributed training told this process: `torchrun`, SLURM, Kubernetes, or whoever sets the same variables.

The variables are those of torch's `env://` rendezvous, so that every launcher that can start a torch script can start `reg
train`. A process is launched when all four of RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT are there; LOCAL_RANK and
LOCAL_WORLD_SIZE say where it is among those of its machine, of which every launcher numbers the ranks one after the other.
Only torchrun names the job (TORCHELASTIC_RUN_ID), which is how a restarted job finds the run that it began.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from registry.errors import BadSettings, UsageError

_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_NAMELESS = "none"  # torchrun's id of a job of several machines that nobody gave one


@dataclass(frozen=True, kw_only=True)
class Launch:
    """One of `size` processes, the `local_rank`-th of `local_size` on its machine.

    `job` is the same for all processes and restarts of one job and for no other, None where the launcher does not say;
    `restarts` counts how often the launcher has begun anew. `own_threads`: the launcher or a person has said how many CPU
    threads each process may use. `supervised`: somebody ends the other processes when one fails.
    """

    rank: int
    size: int
    local_rank: int = 0
    local_size: int = 1
    job: str | None = None
    restarts: int = 0
    own_threads: bool = False
    supervised: bool = False

    @property
    def leads(self) -> bool:
        return self.rank == 0

    @property
    def first_here(self) -> int:
        """The rank of this machine's first process."""
        return self.rank - self.local_rank

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.size}"


def read(environment: Mapping[str, str]) -> Launch | None:
    """What the environment says; None for a process that was started by hand.

    Raises:
        BadSettings: a variable is no number, or a rank is not below its count.
    """
    if any(not environment.get(name) for name in _NEEDED):
        return None
    job = environment.get("TORCHELASTIC_RUN_ID")
    launch = Launch(
        rank=_number(environment, "RANK"),
        size=_number(environment, "WORLD_SIZE"),
        local_rank=_number(environment, "LOCAL_RANK", usual=0),
        local_size=_number(environment, "LOCAL_WORLD_SIZE", usual=1),
        job=job if job and job != _NAMELESS else None,
        restarts=_number(environment, "TORCHELASTIC_RESTART_COUNT", usual=0),
        own_threads="OMP_NUM_THREADS" in environment,
        supervised=bool(job),
    )
    _number(environment, "MASTER_PORT")
    for rank, size in (("RANK", "WORLD_SIZE"), ("LOCAL_RANK", "LOCAL_WORLD_SIZE")):
        if _number(environment, rank, usual=0) >= _number(environment, size, usual=1) and environment.get(size):
            raise BadSettings(
                f"the environment says {rank}={environment.get(rank)} and {size}={environment[size]}", hint=f"unset {rank}"
            )
    if launch.first_here < 0:
        raise BadSettings(f"the environment says RANK={launch.rank} and LOCAL_RANK={launch.local_rank}", hint="unset RANK")
    return launch


def check_alone(launch: Launch | None, processes: int | None) -> None:
    """
    Raises:
        UsageError: a launched process was told to start others.
    """
    if launch is not None and processes is not None:
        raise UsageError(
            f"--nproc {processes} starts processes, and a launcher has started {launch.size} already (WORLD_SIZE)",
            hint=f"leave --nproc out, or without the launcher: reg train --nproc {processes}",
        )


def _number(environment: Mapping[str, str], name: str, *, usual: int | None = None) -> int:
    text = environment.get(name) or ("" if usual is None else str(usual))
    if not text.isdecimal():
        raise BadSettings(f"the environment says {name}='{text}', a number was expected", hint=f"unset {name}")
    return int(text)
