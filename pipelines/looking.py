"""Looking at data that are to be pushed, while all that the push will wait for is set going.

Nothing of an artifact exists before the look is over. But from the moment in which the files are known what is new among them
is copied in other processes (`registry.embedded_disk`): on two cores that is most of the time of a push. What did not change
since the last push from here is not read at all (`pipelines.data.memory`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines.data import reading
from pipelines.data.files import Files
from pipelines.data.inputs import Room
from pipelines.data.memory import Memory, recall
from pipelines.data.options import Options
from pipelines.data.reading import Inspection, OnProgress
from pipelines.data.walking import Found, walk
from registry.collector import rare_collection
from registry.embedded_disk import Intake
from registry.errors import EnvironmentProblem
from registry.scratch import scratch
from registry.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Look:
    """Data that were looked at, and that can be pushed until the block of `looking` ends.

    Attributes:
        new: files of which no digest is remembered; `intake` has taken them, if it takes any.
    """

    found: Inspection
    memory: Memory
    new: Files
    intake: Intake


@contextmanager
def looking(
    settings: Settings,
    path: Path,
    options: Options,
    *,
    pack: bool = False,
    take: bool = True,
    on_progress: OnProgress | None = None,
    on_idle: Callable[[], None] = lambda: None,
    walked: Callable[[str], Found] = walk,
) -> Iterator[Look]:
    """Find out what is at a path, and make ready to push it.

    Args:
        pack: whether the files are to be pushed in shards, which are gone when the block ends.
        take: whether the files are to be stored; of data that are only to be referred to, none is copied.
        on_idle: called when other threads may have this process, because others do what is left.
        walked: what finds the files below a folder.
    Raises:
        BadData, MissingDependency: see `pipelines.data.reading.inspect`.
    """
    new = Files.of(())
    with ExitStack() as stack:
        intake = stack.enter_context(Intake(settings.home))
        memory = recall(settings.home, path)

        def begin(files: Files) -> None:
            nonlocal new
            if take:
                new = files.at(~memory.knows(files))
                if settings.embedded:
                    intake.begin(new.paths, size=int(new.sizes.sum()))
            on_idle()

        with rare_collection():
            found = reading.inspect(
                path,
                options,
                on_progress=on_progress,
                on_files=begin,
                memory=memory,
                room=Room(settings.data_memory, settings.home),
                pack_into=_place(stack, settings.home) if pack else None,
                walked=walked,
            )
        yield Look(found=found, memory=memory, new=new, intake=intake)


def _place(stack: ExitStack, home: Path) -> Path:
    """An empty folder on the disk of the home, until the stack ends."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        return stack.enter_context(scratch(home, "packing"))
    except OSError as exc:
        raise EnvironmentProblem(f"cannot write to {home}: {exc.strerror}", hint="export REG_HOME=/a/disk/with/room") from exc
