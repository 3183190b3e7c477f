"""Decoding images only to know their digests and shapes: in as many processes as there are processors, where that pays.

Decoding a small image is Python's own work for two thirds of the time, so threads get in each other's way. A child is
`python -m pipelines.data.glancing`: one line of JSON in, the names and places of its share and how they are to be read; for
each batch of them one line out, what they are known by, or why one of them cannot be used.
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

from pipelines.data.album import Picture
from pipelines.data.contents import image_digest
from pipelines.data.decoding import Decoded, decode, decoded
from pipelines.data.files import File
from pipelines.data.spec import Rendering
from registry.errors import BadData, RegError

# A child costs half a second to start; it decodes so many in five.
_MANY = 20_000
_AT_ONCE = 250


def glance(files: Sequence[File], rendering: Rendering | None) -> Iterator[tuple[File, Picture]]:
    """What each image is known by, in any order.

    Raises:
        BadData: one cannot be decoded, or loses something as 8-bit pixels.
    """
    processes = min(os.cpu_count() or 1, 8, len(files) // (_MANY // 2))
    if processes > 1:
        yield from _by_children(files, rendering, processes)
    else:
        yield from ((file, picture(found)) for file, found in decoded(files, rendering))


def picture(found: Decoded) -> Picture:
    height, width, channels = found.pixels.shape
    return Picture(image_digest(found.pixels).hex(), (height, width, channels), found.turned)


def _by_children(files: Sequence[File], rendering: Rendering | None, processes: int) -> Iterator[tuple[File, Picture]]:
    answers: SimpleQueue[tuple[Sequence[File], Any]] = SimpleQueue()
    children = [_child() for _ in range(processes)]
    shares = [files[number::processes] for number in range(processes)]
    for child, share in zip(children, shares, strict=True):
        Thread(target=_hear, args=(child, share, rendering, answers), daemon=True).start()
    try:
        left = len(files)
        while left:
            batch, said = answers.get()
            if not isinstance(said, list) or len(said) != len(batch):
                raise _problem(said)
            for file, (digest, shape, turned) in zip(batch, said, strict=True):
                height, width, channels = shape
                yield file, Picture(digest, (height, width, channels), turned)
            left -= len(batch)
    finally:
        for child in children:
            child.kill()
            child.wait()


def _child() -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "pipelines.data.glancing"]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)


def _hear(
    child: subprocess.Popen[str],
    share: Sequence[File],
    rendering: Rendering | None,
    answers: SimpleQueue[tuple[Sequence[File], Any]],
) -> None:
    assert child.stdin is not None
    assert child.stdout is not None
    batches = [share[start : start + _AT_ONCE] for start in range(0, len(share), _AT_ONCE)]
    with suppress(OSError), child.stdin as stream:
        how = None if rendering is None else rendering.model_dump(mode="json")
        stream.write(json.dumps([how, [[file.name, file.path, file.size, file.offset] for file in share]]) + "\n")
    with child.stdout as lines:
        for batch, line in zip_longest(batches, lines):
            if batch is not None:
                answers.put((batch, json.loads(line) if line else None))


def _problem(said: Any) -> RegError:
    if isinstance(said, dict):
        return BadData(said["error"], hint=said["hint"])
    return RegError("a process that looks at images ended before it was done", hint="reg dataset push again; free some memory")


def main() -> None:
    how, share = json.loads(sys.stdin.readline())
    rendering = None if how is None else Rendering.model_validate(how)
    files = [File(name=name, path=path, size=size, offset=offset) for name, path, size, offset in share]
    for start in range(0, len(files), _AT_ONCE):
        try:
            said: Any = [picture(decode(file, rendering)) for file in files[start : start + _AT_ONCE]]
        except RegError as error:
            said = {"error": error.message, "hint": error.hint}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
        if isinstance(said, dict):
            return


if __name__ == "__main__":
    main()
