"""Memory against file size: the largest resident set of each process while a file of 64 MiB, and one of 2 GiB, goes in and out.

    python benchmarks/memory.py [--mib 64 2048] [--work FOLDER]

Three ways, each with a fresh home: `reg dataset push` and `pull` of a small table with a large document beside it (`reg`
itself, its server, the process that copies, the SDK's service); and the plain SDK logging and downloading a file over HTTP (the
server, the script, the SDK's service). All descendants of the benchmark are looked at fifty times a second. What a format's
reader holds is not part of this: it reads a split into memory by design.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from logging_rate import server
from rounds import as_installed, conditions, markdown

_SCRIPT = """
import sys, wandb
with wandb.init(project="memory", settings=wandb.Settings(silent=True, disable_job_creation=True)) as run:
    artifact = wandb.Artifact("big", type="dataset")
    artifact.add_file(sys.argv[1], policy="immutable", skip_cache=True)
    logged = run.log_artifact(artifact).wait()
    logged.download(root=sys.argv[2], skip_cache=True)
"""
_KINDS = {
    "registry.server.sharing": "copying process",
    "registry.server ": "server",
    "-m registry dataset": "reg",
    "wandb-core": "SDK's service",
    "-c": "script",
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory against file size.")
    parser.add_argument("--mib", type=int, nargs="+", default=[64, 2048])
    parser.add_argument("--work", type=Path, help="folder to work in (default: a temporary one)")
    given = parser.parse_args()
    peaks: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
    for mib in given.mib:
        with tempfile.TemporaryDirectory(dir=given.work) as folder:
            work = Path(folder)
            file = work / "data" / "README"
            file.parent.mkdir()
            with file.open("wb") as stream:
                for _ in range(mib):
                    stream.write(os.urandom(1 << 20))
            (work / "data" / "table.csv").write_text("x,y\n" + "".join(f"{n}.5,{n % 2}\n" for n in range(200)))
            plain = as_installed()
            home = plain | {"REG_HOME": str(work / "home"), "HOME": str(work)}
            dataset = [sys.executable, "-m", "registry", "dataset"]
            for way, words in {
                "reg dataset push": [*dataset, "push", str(file.parent), "--name", "big", "--target", "y"],
                "reg dataset pull": [*dataset, "pull", "big", "--to", str(work / "back")],
            }.items():
                with watching() as seen:
                    run(words, home, work)
                note(peaks, way, mib, seen)
            shutil.rmtree(work / "back")
            with watching() as seen, server(work / "plain") as environment:
                run([sys.executable, "-c", _SCRIPT, str(file), str(work / "down")], environment, work)
            note(peaks, "plain SDK over HTTP", mib, seen)
    rows = [[way, kind, *(f"{sizes.get(mib, 0) / 1024:.0f} MiB" for mib in given.mib)] for (way, kind), sizes in peaks.items()]
    print(f"{conditions('reg-lifecycle')}\n")
    print(markdown(("way", "process", *(f"file of {mib:,} MiB" for mib in given.mib)), rows))


def run(words: list[str], environment: Mapping[str, str], folder: Path) -> None:
    subprocess.run(words, env=dict(environment), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)


def note(peaks: dict[tuple[str, str], dict[int, int]], way: str, mib: int, seen: Mapping[str, int]) -> None:
    for kind, size in sorted(seen.items()):
        peaks[way, kind][mib] = size
        print(f"{way}, {mib} MiB, {kind}: {size / 1024:.0f} MiB", file=sys.stderr, flush=True)


@contextmanager
def watching() -> Iterator[dict[str, int]]:
    """The largest resident set (KiB) of each kind of descendant while the block runs."""
    seen: dict[str, int] = {}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            for process in descendants():
                try:
                    words = Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    status = Path(f"/proc/{process}/status").read_text()
                except OSError:
                    continue
                kind = next((kind for mark, kind in _KINDS.items() if mark in words), None)
                size = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)
                if kind is not None:
                    seen[kind] = max(seen.get(kind, 0), size)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def descendants() -> list[int]:
    children: dict[int, list[int]] = defaultdict(list)
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parent = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children[parent].append(int(entry))
    found: list[int] = []
    waiting = [os.getpid()]
    while waiting:
        new = children[waiting.pop()]
        found += new
        waiting += new
    return found


if __name__ == "__main__":
    main()
