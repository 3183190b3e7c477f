"""A walk through a folder (`pipelines.data.walking`) in a process of its own, while this one does something else."""

from __future__ import annotations

import marshal
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from pipelines.data import walking

# Fewer are found while a process starts.
_MANY = 5_000


class Walker:
    """A walk that is under way in a process of its own, for the time of a `with` block.

    Args:
        expected: about how many files there are; of few, there is no such process, and `found` walks.
    """

    def __init__(self, root: Path, *, expected: int) -> None:
        self._root = str(root)
        self._child: subprocess.Popen[bytes] | None = None
        # Neither the folder of this file nor the environment is searched for modules, and no installed package is needed.
        words = [sys.executable, "-I", "-S", walking.__file__, os.path.abspath(root)]
        with suppress(OSError):
            if expected >= _MANY:
                self._child = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
                )

    def __enter__(self) -> Walker:
        return self

    def __exit__(self, _type: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None) -> None:
        if self._child is not None:
            self._child.kill()
            with self._child:  # closes its output and waits for it
                pass

    def found(self, root: str) -> walking.Found:
        """What `walk` finds there; of another folder, or where the child came to nothing, it is looked for here.

        Raises:
            OSError: see `walk`.
        """
        if self._child is not None and root == self._root:
            said, _ = self._child.communicate()
            if self._child.returncode == 0:
                return walking.Found(*marshal.loads(said))
        return walking.walk(root)
