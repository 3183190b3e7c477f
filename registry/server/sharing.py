"""Bytes between a home and files of the same disk, without HTTP: `python -m registry.server.sharing --home HOME`.

A command of `reg` that uses the embedded server on its own home starts this process for its own files. It can do nothing that
its user cannot: it has that user's rights, it listens nowhere, and it takes its orders from the pipe that it was born with, so
neither another user nor a client of `reg serve` can make a server read a file. What it stores it hashed itself, and stores as
an upload is stored; the server then answers the SDK, which asks as always, that these bytes are here. What it hands out is
compared with its digest on the way.

One order is one line of JSON on standard input, one answer one line on standard output:

    {"put": [path, ...]}            {"blobs": [[md5, size], ...]}   copied and hashed, not yet visible
    {"keep": true}                  {"kept": true}                  all of them are blobs now, synced
    {"get": [[md5, path], ...]}     {"damaged": [path, ...]}        written; those did not have their digest, or were gone

An order that fails is answered with {"error": ..., "hint": ..., "exit_code": ...}. At the end of standard input what was not
kept is removed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from registry.errors import BadData, EnvironmentProblem, NotFound, RegError
from registry.server import limits
from registry.server.batches import CREATE, Batch, Behind, write_all
from registry.server.blobs import CHUNK, Blobs


def put(blobs: Blobs, batch: Batch, paths: Iterable[str]) -> list[tuple[str, int]]:
    """Copy files into a batch; the md5 and the size of each.

    Raises:
        BadData: a file cannot be read, or changed while it was.
        EnvironmentProblem: the disk of the home has no room for them.
    """
    found = []
    for path in paths:
        try:
            _check_room(blobs, path)
            blob = batch.add(path)
        except OSError as exc:
            if exc.filename != path:
                raise
            raise BadData(f"{path} cannot be read: {exc.strerror}", hint=f"ls -l '{path}'") from exc
        found.append((blob.md5, blob.size))
    return found


def get(blobs: Blobs, wanted: Iterable[tuple[str, str]]) -> list[str]:
    """Write blobs to new files; the paths of those whose bytes are gone or do not have their digest."""
    return [path for md5, path in wanted if not _copy_out(blobs, md5, path)]


def _copy_out(blobs: Blobs, md5: str, path: str) -> bool:
    hasher = hashlib.md5(usedforsecurity=False)
    target = os.open(path, CREATE, 0o666)
    try:
        pieces = blobs.pieces(md5)
        first = next(pieces, b"")
        hasher.update(first)
        write_all(target, first)
        if len(first) == CHUNK:  # else there is no more, as of nearly every file
            with Behind(target) as copying:
                for piece in pieces:
                    copying.add(piece)
                    hasher.update(piece)
    except NotFound:
        return False
    finally:
        os.close(target)
    return hasher.hexdigest() == md5


def _check_room(blobs: Blobs, path: str) -> None:
    size = os.stat(path).st_size
    if size >= limits.DISK_LOOK and shutil.disk_usage(blobs.folder).free - size < limits.DISK_RESERVE:
        raise EnvironmentProblem(
            f"{path} has {size:,} bytes, and the disk of {blobs.folder} has not that much room", hint="df -h"
        )


def _obey(blobs: Blobs, batch: Batch, order: Mapping[str, Any]) -> dict[str, Any]:
    if "put" in order:
        return {"blobs": put(blobs, batch, order["put"])}
    if "get" in order:
        return {"damaged": get(blobs, order["get"])}
    batch.keep()
    return {"kept": True}


def _refusal(error: RegError) -> dict[str, Any]:
    return {"error": error.message, "hint": error.hint, "exit_code": error.exit_code}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m registry.server.sharing", description="Move bytes of one home of reg.")
    parser.add_argument("--home", type=Path, required=True, help="the folder of the data")
    blobs = Blobs(parser.parse_args().home / "blobs")
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # and so removes what was not kept
    with Batch(blobs) as batch:
        for line in sys.stdin:
            try:
                answer = _obey(blobs, batch, json.loads(line))
            except RegError as error:
                answer = _refusal(error)
            except OSError as exc:
                answer = _refusal(EnvironmentProblem(f"the disk refused: {exc}", hint="free some space, then try again"))
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
