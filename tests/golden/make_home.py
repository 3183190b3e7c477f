"""Makes a golden home: the home of a server at one schema, with one of everything in it, as the real client wrote it.

    python -m tests.golden.make_home [--code FOLDER]

writes `tests/golden/homes/NNNN.tar.xz`, NNNN being the last migration that the code in FOLDER knows (this tree, by default).
Inside: `home/` (database, blobs, key, secret) and `expected.json`, what `home_life.read` told of it. The key and the secret are
throw-aways, made for this and used by nobody.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.wire.conftest import Server

ROOT = Path(__file__).parents[2]
HOMES = Path(__file__).parent / "homes"
# A golden home is published, so it says nothing of the machine that made it.
_ANYWHERE = {
    "WANDB_X_DISABLE_META": "true",
    "WANDB_X_DISABLE_MACHINE_INFO": "true",
    "WANDB_X_SAVE_REQUIREMENTS": "false",
    "WANDB_DISABLE_CODE": "true",
    "WANDB_HOST": "anywhere",
    "WANDB_PROGRAM": "life.py",
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the golden home of a schema.")
    parser.add_argument("--code", type=Path, default=ROOT, help="the source tree whose server writes it")
    code: Path = parser.parse_args().code
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        with _server(home, code) as server:
            live("write", server, Path(folder) / "writing")
            expected = live("read", server, Path(folder) / "reading")
        (Path(folder) / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")
        _shrink(home)
        archive = HOMES / f"{_schema(home)}.tar.xz"
        archive.parent.mkdir(exist_ok=True)
        with tarfile.open(archive, "w:xz") as tar:
            for name in ("home", "expected.json"):
                tar.add(Path(folder) / name, name, filter=_anonymous)
    sys.stdout.write(f"{archive.relative_to(ROOT)}: {archive.stat().st_size:,} bytes\n")


def live(part: str, server: Server, folder: Path) -> dict[str, object]:
    """What a part of `home_life` tells, in a process of its own."""
    folder.mkdir()
    env = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    env |= (
        server.environment(folder) | _ANYWHERE | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    )
    told = folder / "told.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.golden.home_life", part, str(told)], env=env, cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, object] = json.loads(told.read_text())
    return found


@contextmanager
def _server(home: Path, code: Path) -> Iterator[Server]:
    command = [sys.executable, "-m", "registry.server", "--home", str(home), "--until-stdin-closes"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "REG_"))}
    environment["PYTHONPATH"] = str(code.resolve())
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=code
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        yield Server(url=ready["url"], key=(home / "key").read_text().strip(), home=home, pid=ready["pid"])
        process.stdin.close()


def _shrink(home: Path) -> None:
    with closing(sqlite3.connect(home / "reg.db", isolation_level=None)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
        database.execute("PRAGMA journal_mode = DELETE").close()
        database.execute("UPDATE agents SET host = 'anywhere'").close()
        database.execute("VACUUM").close()
    shutil.rmtree(home / "blobs" / "incoming", ignore_errors=True)
    (home / "reg.db-turn").unlink(missing_ok=True)


def _schema(home: Path) -> str:
    with closing(sqlite3.connect(home / "reg.db")) as database:
        (name,) = database.execute("SELECT max(name) FROM migrations").fetchone()
    return str(name).partition(" ")[0]


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    main()
