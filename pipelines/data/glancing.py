"""Decoding images only to know their digests and shapes: in as many processes as there are processors, where that pays.

Decoding a small image is Python's own work for two thirds of the time, so threads get in each other's way. A child is
`python -m pipelines.data.glancing`: one line of JSON in, the names and places of its share; for each batch of them one line
out, their digests and shapes, or why one of them cannot be used.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import zip_longest
from queue import SimpleQueue
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.data.contents import image_digest
from pipelines.data.decoding import decode, decoded
from pipelines.data.folder import File
from pipelines.data.memory import Picture
from registry.errors import BadData, RegError

# A child costs half a second to start; it decodes so many in five.
_MANY = 20_000
_AT_ONCE = 250


def glance(files: Sequence[File]) -> Iterator[tuple[File, Picture]]:
    """What each image is known by, in any order.

    Raises:
        BadData: one cannot be decoded, or loses something as 8-bit pixels.
    """
    processes = min(os.cpu_count() or 1, 8, len(files) // (_MANY // 2))
    if processes > 1:
        yield from _by_children(files, processes)
    else:
        yield from ((file, picture(pixels)) for file, pixels in decoded(files))


def picture(pixels: NDArray[np.uint8]) -> Picture:
    height, width, channels = pixels.shape
    return Picture(image_digest(pixels).hex(), (height, width, channels))


def _by_children(files: Sequence[File], processes: int) -> Iterator[tuple[File, Picture]]:
    answers: SimpleQueue[tuple[Sequence[File], Any]] = SimpleQueue()
    children = [_child() for _ in range(processes)]
    shares = [files[number::processes] for number in range(processes)]
    for child, share in zip(children, shares, strict=True):
        Thread(target=_hear, args=(child, share, answers), daemon=True).start()
    try:
        left = len(files)
        while left:
            batch, said = answers.get()
            if not isinstance(said, list) or len(said) != len(batch):
                raise _problem(said)
            for file, (digest, height, width, channels) in zip(batch, said, strict=True):
                yield file, Picture(digest, (height, width, channels))
            left -= len(batch)
    finally:
        for child in children:
            child.kill()
            child.wait()


def _child() -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "pipelines.data.glancing"]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)


def _hear(child: subprocess.Popen[str], share: Sequence[File], answers: SimpleQueue[tuple[Sequence[File], Any]]) -> None:
    assert child.stdin is not None
    assert child.stdout is not None
    batches = [share[start : start + _AT_ONCE] for start in range(0, len(share), _AT_ONCE)]
    with suppress(OSError), child.stdin as stream:
        stream.write(json.dumps([[file.name, file.path, file.size, file.offset] for file in share]) + "\n")
    with child.stdout as lines:
        for batch, line in zip_longest(batches, lines):
            if batch is not None:
                answers.put((batch, json.loads(line) if line else None))


def _problem(said: Any) -> RegError:
    if isinstance(said, dict):
        return BadData(said["error"], hint=said["hint"])
    return RegError("a process that looks at images ended before it was done", hint="reg dataset push again; free some memory")


def main() -> None:
    files = [
        File(name=name, path=path, size=size, offset=offset) for name, path, size, offset in json.loads(sys.stdin.readline())
    ]
    for start in range(0, len(files), _AT_ONCE):
        try:
            found = [picture(decode(file)) for file in files[start : start + _AT_ONCE]]
            said: Any = [[digest, *shape] for digest, shape in found]
        except RegError as error:
            said = {"error": error.message, "hint": error.hint}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
        if isinstance(said, dict):
            return


if __name__ == "__main__":
    main()
