"""Kills a process at chosen lines of the code that stores bytes, and looks at what it left: `test_crash_points.py` runs some.

    python -m tests.crash_points batch 7 40        an operation, a seed, how many points

The operation runs in a child that SIGKILLs itself just before the n-th line of `registry/server` that it executes; so a point
may lie between any two steps, not only between those that somebody thought of. A line that runs a thousand times is one line:
points are lines of the source, at one of their turns. Then the parent, another process with nothing remembered, checks the
promises of that operation and does it again. Prints how many lines there are and what was wrong.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import registry.server
from registry.server.batches import Batch
from registry.server.blobs import Blobs
from registry.server.parts import Parts

_CODE = str(Path(registry.server.__file__).parent)
_SMALL = [f"small {number}".encode() * (number + 1) for number in range(40)]
_MIDDLE, _LARGE = b"m" * 100_000, b"l" * (5 << 20)
_PARTS = [bytes([65 + number]) * 200_000 for number in range(4)]

Said = list[str]
Tell = Callable[[str], None]


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def prepare_batch(home: Path) -> None:
    for number, content in enumerate([*_SMALL, _MIDDLE, _LARGE]):
        (home / f"{number}.bin").write_bytes(content)


def batch(home: Path, tell: Tell) -> None:
    with Batch(Blobs(home / "blobs")) as made:
        for path in sorted(home.glob("*.bin")):
            made.add(str(path))
        made.keep()
        tell("kept")


def check_batch(home: Path, said: Said) -> Iterator[str]:
    contents = {md5(content): content for content in [*_SMALL, _MIDDLE, _LARGE]}
    yield from _unreadable(home, contents, all_of_them="kept" in said)
    blobs = Blobs(home / "blobs")
    blobs.remove_abandoned()
    known = sum(len(blobs.listing(f"{prefix:02x}")) for prefix in range(256))
    if not known:
        left = [str(path) for path in blobs.folder.rglob("*") if path.is_file() and not path.name.startswith("index.db")]
        if left:
            yield f"nothing is stored, and {left} is left"
    batch(home, said.append)
    yield from _unreadable(home, contents, all_of_them=True)


def prepare_compaction(home: Path) -> None:
    prepare_batch(home)
    batch(home, lambda _: None)
    Blobs(home / "blobs").discard(md5(content) for content in _SMALL[8:])


def compaction(home: Path, tell: Tell) -> None:
    Blobs(home / "blobs").compact()
    tell("compacted")


def check_compaction(home: Path, said: Said) -> Iterator[str]:
    contents = {md5(content): content for content in [*_SMALL[:8], _MIDDLE, _LARGE]}
    yield from _unreadable(home, contents, all_of_them=True)
    Blobs(home / "blobs").remove_abandoned()
    compaction(home, said.append)
    yield from _unreadable(home, contents, all_of_them=True)
    blobs = Blobs(home / "blobs")
    if back := [content for content in _SMALL[8:] if blobs.has(md5(content))]:
        yield f"{len(back)} removed blobs are back"
    if len(packs := list(blobs.folder.rglob("*.pack"))) != 1:
        yield f"{len(packs)} packs hold what one would"


def prepare_parts(home: Path) -> None:
    (home / "blobs").mkdir()


def parts(home: Path, tell: Tell) -> None:
    """The parts come in an order of their own; each is told when a client would be."""
    folder, blobs = Parts(home / "parts"), Blobs(home / "blobs")
    sizes: dict[int, int] = {}
    for number in (2, 1, 4, 3):
        content = _PARTS[number - 1]
        with folder.incoming("token", number) as part:
            part.add(content)
            part.keep(expected=md5(content))
        sizes[number] = len(content)
        tell(str(number))
        folder.advance("token", sizes)
    while (whole := folder.whole("token", sizes)) is None:
        time.sleep(0.001)
    folder.hand_over(whole, blobs)
    tell("whole")
    folder.forget("token")


def check_parts(home: Path, said: Said) -> Iterator[str]:
    whole = b"".join(_PARTS)
    contents = {md5(whole): whole}
    yield from _unreadable(home, contents, all_of_them="whole" in said)
    if "whole" in said:
        return
    numbers = [int(word) for word in said]
    folder, sizes = Parts(home / "parts"), {number: len(_PARTS[number - 1]) for number in numbers}
    if sizes:
        folder.advance("token", sizes)
    for number in {1, 2, 3, 4} - set(numbers):
        with folder.incoming("token", number) as part:
            part.add(_PARTS[number - 1])
            part.keep(expected=md5(_PARTS[number - 1]))
        sizes[number] = len(_PARTS[number - 1])
        folder.advance("token", sizes)
    until = time.monotonic() + 20
    while (found := folder.whole("token", sizes)) is None and time.monotonic() < until:
        time.sleep(0.001)
    if found is None or (found.md5, found.size) != (md5(whole), len(whole)):
        yield f"after parts {numbers}, the rest made {found}"
    else:
        folder.hand_over(found, Blobs(home / "blobs"))
        yield from _unreadable(home, contents, all_of_them=True)


def _unreadable(home: Path, contents: dict[str, bytes], *, all_of_them: bool) -> Iterator[str]:
    """What a new process finds wrong with these blobs: none may be there by halves, and none missing that was promised."""
    blobs = Blobs(home / "blobs")
    for digest, content in contents.items():
        if blobs.has(digest):
            if blobs.read(digest) != content:
                yield f"blob {digest} of {len(content)} bytes has other bytes"
        elif all_of_them:
            yield f"blob {digest} of {len(content)} bytes is gone"
    if problems := blobs.packs.problems():
        yield f"the index of the packs: {problems}"


OPERATIONS: dict[str, tuple[Callable[[Path], None], Callable[[Path, Tell], None], Callable[[Path, Said], Iterator[str]]]] = {
    "batch": (prepare_batch, batch, check_batch),
    "compaction": (prepare_compaction, compaction, check_compaction),
    "parts": (prepare_parts, parts, check_parts),
}


def struck(operation: Callable[[Path, Tell], None], home: Path, point: int) -> tuple[int, Said]:
    """Run an operation in a child that is killed before its `point`-th line; how it ended, and what it had told by then."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            passed: list[str] = []

            def look(frame: FrameType, event: str, _: Any) -> Any:
                if event == "line":
                    passed.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
                    if len(passed) == point:
                        os.kill(os.getpid(), signal.SIGKILL)
                return look if frame.f_code.co_filename.startswith(_CODE) else None

            sys.settrace(look)
            operation(home, lambda word: os.write(writing, f"{word}\n".encode()))
            sys.settrace(None)
            Path(home, "passed").write_text("\n".join(passed))
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as heard:
        said = heard.read().split("\n")[:-1]
    return os.waitpid(child, 0)[1], said


def main(name: str, seed: str, count: str) -> int:
    prepare, operation, check = OPERATIONS[name]
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        whole.mkdir()
        prepare(whole)
        status, said = struck(operation, whole, 1 << 60)
        turns: dict[str, list[int]] = defaultdict(list)
        for number, place in enumerate((whole / "passed").read_text().split("\n"), start=1):
            turns[place].append(number)
        wrong += [f"without a kill (status {status}): {line}" for line in check(whole, said)]
        chance = random.Random(seed)
        for place in chance.sample(sorted(turns), min(int(count), len(turns))):
            point = chance.choice(turns[place])
            home = Path(folder) / str(point)
            home.mkdir()
            prepare(home)
            status, said = struck(operation, home, point)
            if status != signal.SIGKILL:
                wrong.append(f"{place}: the child ended with status {status} and not by the kill")
            wrong += [f"{place}, after {said}: {line}" for line in check(home, said)]
    print(json.dumps({"lines": len(turns), "wrong": wrong}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
