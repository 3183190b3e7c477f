"""Where launched processes leave words for each other: what is to be done, where its files lie, and who failed first.

It is the store of torch's rendezvous, which is there before any process group is and outlives it. Under torchrun it even
outlives the processes: it is the agent's, and after a restart the words of the attempt before are still in it, where torch's
own source says that each attempt has a store of its own. The agents' counts of restarts may differ. So whoever comes draws a
number, and the leader writes on every number the name of its attempt, under which all else is said (see pytorch issue 135712,
where NCCL met the processes of an earlier attempt).

One failure ends them all: the first that fails on its own account leaves its words here and is the one that prints them; the
others, which fail for want of it, look here and end in silence. So the log of a job of sixty-four processes has one error.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore, PrefixStore, Store  # torch.distributed has them too, but no types of them
from torch.distributed.rendezvous import rendezvous

from pipelines.launch import Launch
from pipelines.team import PATIENCE, Team, gpu_of, team
from registry.errors import EnvironmentProblem, Interrupted, RegError

_COME = timedelta(minutes=15)  # between the first and the last: a machine may have to fetch its container first
_LONG_SECONDS = 10
_LOOK_SECONDS = 0.1
_FAILED = "failed"


class LostRank(EnvironmentProblem):
    """Another rank is gone without a word: killed, out of memory, or its machine was lost."""


class OtherFailed(Exception):
    """Another rank has failed, or the leader is gone; this one has nothing to add."""

    def __init__(self, exit_code: int) -> None:
        super().__init__("another rank failed")
        self.exit_code = exit_code


@dataclass(frozen=True, kw_only=True)
class _Failure:
    rank: int
    exit_code: int
    words: str

    def told(self) -> OtherFailed:
        _tell_launcher(f"ended because of another rank: {self.words}")
        return OtherFailed(self.exit_code)


class Meeting:
    """One rank's side of the meeting; made by `met`."""

    def __init__(self, launch: Launch, store: Store) -> None:
        self.launch = launch
        self.terminated = False
        self._store, self._words = PrefixStore("team", store), PrefixStore("words", store)

    def tell(self, what: str, value: Any) -> None:
        """Leave something that JSON can say for the others."""
        self._words.set(what, json.dumps(value))

    def hear(self, what: str) -> Any:
        """What another rank tells, as soon as it does.

        Raises:
            OtherFailed: a rank failed meanwhile, or the leader's side of the store is gone.
            EnvironmentProblem: nothing came in half an hour.
        """
        until = time.monotonic() + PATIENCE.total_seconds()
        while time.monotonic() < until:
            try:
                if self._words.check([what]):
                    return json.loads(self._words.get(what))
            except dist.DistError as exc:
                raise OtherFailed(EnvironmentProblem.exit_code) from exc
            if (failure := self._failure()) is not None:
                raise failure.told()
            time.sleep(_LOOK_SECONDS)
        raise EnvironmentProblem(
            f"{self.launch} waited {PATIENCE.seconds // 60} minutes for another rank's word ('{what}')",
            hint="is every process of the job alive?",
        )

    @contextmanager
    def team(self, device: torch.device) -> Iterator[Team]:
        """Compute together for the time of the block.

        Args:
            device: of the configuration; of several GPUs each process gets its own.
        Raises:
            DeviceUnavailable: this machine has fewer GPUs than processes.
            LostRank: a rank was lost.
        """
        here = self.launch
        mates = Team(
            rank=here.rank,
            size=here.size,
            place=gpu_of(here.local_rank) if device.type == "cuda" else 0,
            sharing=1 if here.own_threads else here.local_size,
        )
        if here.size == 1:
            yield mates
            return
        self._wait_for_all()
        with team(mates, store=self._store, device=device):
            try:
                yield mates
            except Exception as exc:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)  # ending already
                if (loss := _loss(exc)) is not None:
                    raise LostRank(f"another rank was lost: {_words_of(loss)}") from exc
                # Said before the connections are cut, which is all that the others would otherwise know.
                self._claim(_named(exc, here))
                raise

    def _wait_for_all(self) -> None:
        """Come back when every rank has read its data: torch's own wait hears of no failure, and no signal ends it."""
        here = self.launch
        if not here.leads:
            self.tell(f"ready/{here.rank}", True)
            self.hear("go")
            return
        for rank in range(1, here.size):
            self.hear(f"ready/{rank}")
        self.tell("go", True)

    def ended(self, exc: BaseException) -> BaseException:
        """What is to be raised for an exception: itself with this rank's name, or `OtherFailed`."""
        if isinstance(exc, OtherFailed) or not isinstance(exc, Exception | KeyboardInterrupt):
            return exc
        known = self._failure()
        if known is not None and known.rank != self.launch.rank:
            return known.told()
        if isinstance(exc, Interrupted) and self.terminated:
            return Interrupted("ended by SIGTERM, as launchers do when a rank is lost; the run can go on", hint=exc.hint)
        if isinstance(exc, KeyboardInterrupt | Interrupted):
            return exc
        if isinstance(exc, LostRank) and not self.launch.leads:
            return OtherFailed(exc.exit_code)  # the leader has lost it, too, and knows how to go on
        error = _named(exc, self.launch)
        claimed = self._claim(error)
        return error if claimed.rank == self.launch.rank else claimed.told()

    def _claim(self, error: RegError) -> _Failure:
        """Be the first that failed, unless another was."""
        words = f"Error: {error.message}" + (f"\nHint: {error.hint}" if error.hint else "")
        mine = _Failure(rank=self.launch.rank, exit_code=error.exit_code, words=words)
        try:
            first = _Failure(**json.loads(self._words.compare_set(_FAILED, "", json.dumps(vars(mine)))))
        except dist.DistError:
            first = mine
        if first.rank == mine.rank:
            _tell_launcher(words)
        return first

    def _failure(self) -> _Failure | None:
        try:
            return _Failure(**json.loads(self._words.get(_FAILED))) if self._words.check([_FAILED]) else None
        except dist.DistError:
            return None


@contextmanager
def met(launch: Launch, *, tell: Callable[[str], None] = lambda text: None) -> Iterator[Meeting]:
    """Meet the other ranks for the time of the block.

    Args:
        tell: told, where this is the leader, whom it is waiting for if that takes long.
    Raises:
        EnvironmentProblem: nobody answers at MASTER_ADDR, or not all of them come within a quarter of an hour.
        RegError: what ended this rank, if it was the first; its message names the rank.
        OtherFailed: another rank was the first, and says why.
        Interrupted: the launcher ended this rank.
    """
    meeting = _gathered(launch, _store(launch), tell)
    with _stoppable(meeting):
        try:
            yield meeting
        except BaseException as exc:
            found = meeting.ended(exc)
            if found is exc:
                raise
            raise found from exc


def _store(launch: Launch) -> Store:
    if launch.size == 1 and not launch.supervised:
        return HashStore()
    try:
        store, _, _ = next(rendezvous("env://", launch.rank, launch.size, timeout=_COME))
    except (dist.DistError, RuntimeError, ValueError) as exc:
        place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise EnvironmentProblem(
            f"{launch} cannot meet the others at MASTER_ADDR:MASTER_PORT, {place}: {_words_of(exc)}",
            hint="torchrun --standalone --nproc-per-node 2 -m registry train --dataset mnist:latest",
        ) from exc
    found: Store = store
    return found


def _gathered(launch: Launch, store: Store, tell: Callable[[str], None]) -> Meeting:
    """All ranks, in the part of the store that belongs to the processes which are alive now."""
    hall = PrefixStore("reg", store)
    started = time.monotonic()
    until, told = started + _COME.total_seconds(), False
    if launch.leads:
        attempt, numbers = uuid.uuid4().hex, 0
        found = PrefixStore(attempt, hall)
        while missing := [rank for rank in range(1, launch.size) if not found.check([f"here/{rank}"])]:
            drawn = hall.add("numbers", 0)
            for number in range(numbers + 1, drawn + 1):
                hall.set(f"attempt/{number}", attempt)
            numbers = drawn
            if not told and time.monotonic() - started > _LONG_SECONDS:
                tell(f"waiting for {_few(missing)} of {launch.size} ranks")
                told = True
            _wait(until, f"of {launch.size} ranks {_few(missing)} did not come")
        return Meeting(launch, found)
    number = hall.add("numbers", 1)
    while not hall.check([f"attempt/{number}"]):
        _wait(until, f"{launch} met no leader")
    found = PrefixStore(hall.get(f"attempt/{number}").decode(), hall)
    found.set(f"here/{launch.rank}", "")
    return Meeting(launch, found)


def _wait(until: float, otherwise: str) -> None:
    if time.monotonic() > until:
        raise EnvironmentProblem(
            f"{otherwise} within {_COME.seconds // 60} minutes at {os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}",
            hint="is the command the same on all machines, and does each reach MASTER_ADDR?",
        )
    time.sleep(_LOOK_SECONDS)


def _few(ranks: Sequence[int]) -> str:
    return ", ".join(map(str, ranks[:8])) + (f" and {len(ranks) - 8} more" if len(ranks) > 8 else "")


@contextmanager
def _stoppable(meeting: Meeting) -> Iterator[None]:
    """Let SIGTERM, with which a launcher ends what it started, end this process as Ctrl-C does: with its run finished."""

    def end(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # ending already
        meeting.terminated = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _loss(exc: Exception) -> BaseException | None:
    """What says that the connection to another rank is gone, if that is all that happened; gloo has no type for it.

    A recipe of somebody's own may be on the way of it, and is blamed for it then.
    """
    found = exc.__cause__ if isinstance(exc, RegError) and exc.__cause__ is not None else exc
    cut = isinstance(found, dist.DistError) or (isinstance(found, RuntimeError) and "gloo" in str(found))
    return found if cut else None


def _named(exc: BaseException, launch: Launch) -> RegError:
    """The exception as an error of ours that says which rank it was, where there are several."""
    if isinstance(exc, RegError) and launch.leads:
        return exc
    if isinstance(exc, RegError):
        error = RegError(f"{launch}: {exc.message}", hint=exc.hint)
        error.exit_code = exc.exit_code  # type: ignore[misc]  # a family of errors shares a code, this one has its own
        return error
    return RegError(f"{launch} failed: {exc!r}")


def _tell_launcher(words: str) -> None:
    """Leave the words where torchrun looks for them: its closing report quotes them.

    Source: torch.distributed.elastic.multiprocessing.errors.ErrorHandler.record_exception, which has the format.
    """
    place = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if place is None:
        return
    told = {"message": {"message": words, "extraInfo": {"py_callstack": words, "timestamp": str(int(time.time()))}}}
    with open(place, "w", encoding="utf-8") as file:
        json.dump(told, file)


def _words_of(exc: BaseException) -> str:
    """The first sentence without the place in torch's source that it begins with, and without torch's advice."""
    line = next(iter(str(exc).strip().splitlines()), type(exc).__name__)
    return re.sub(r"^\[\S+\]:?\s*", "", line).partition(". ")[0]
