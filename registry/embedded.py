"""Finds the embedded server of a home, or starts it as a child of this process.

`reg serve` announces itself in the home (`serve.json`); then every command uses it. Otherwise a command starts its own
child and nobody else uses that one, because it ends with the command: the child reads its standard input, which only this
process holds open, and stops at end of file. The kernel closes it even after `kill -9`, so no daemon is left behind.
Several children on one home are normal; the database decides between them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from registry.errors import EnvironmentProblem, RegError

ANNOUNCEMENT = "serve.json"
_START_SECONDS = 60


class ServerDidNotStart(EnvironmentProblem):
    """The child ended, or said nothing, before it was ready."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a server answers and the key it accepts."""

    url: str
    key: str


class EmbeddedServer:
    """The server of one home for the time of a `with` block.

    The child starts at construction and is awaited at `address()`, so that the caller can import the SDK meanwhile.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._child: subprocess.Popen[str] | None = None
        self._url = announced(home)
        if self._url is None:
            self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as the child
            self._child = subprocess.Popen(
                [sys.executable, "-m", "registry.server", "--home", str(home), "--port", "0", "--until-stdin-closes"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                # Ctrl-C belongs to the command: the server must live until the run has been finished properly.
                start_new_session=True,
            )

    def address(self) -> Address:
        """
        Raises:
            RegError: what the child said (an unwritable home, a newer database), with its exit code.
            ServerDidNotStart: the child ended without a word.
        """
        if self._url is None:
            self._url = self._await_child()
        try:
            return Address(url=self._url, key=(self._home / "key").read_text().strip())
        except OSError as exc:
            raise EnvironmentProblem(f"cannot read {self._home / 'key'}: {exc.strerror}") from exc

    @property
    def own(self) -> bool:
        """Whether it is this process's child and ends with it."""
        return self._child is not None

    @property
    def alive(self) -> bool:
        return self._child is None or self._child.poll() is None

    def close(self) -> None:
        """Let the child finish what it is doing and wait for it; a server we only found is left alone."""
        if self._child is not None:
            assert self._child.stdin is not None
            assert self._child.stdout is not None
            self._child.stdin.close()
            if self._url is None:
                self._child.kill()  # nobody has asked it anything, and it would first finish to start
            try:
                self._child.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
            self._child.stdout.close()
            self._errors.close()
            self._child = None

    def __enter__(self) -> EmbeddedServer:
        return self

    def __exit__(self, _type: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None) -> None:
        self.close()

    def _await_child(self) -> str:
        assert self._child is not None
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        try:
            said = json.loads(line)
            if "url" in said:
                return str(said["url"])
            raise refused(said)
        except (json.JSONDecodeError, KeyError, TypeError) as exc:
            self._child.wait(timeout=_START_SECONDS)
            self._errors.seek(0)
            last = (self._errors.read().strip().splitlines() or ["it said nothing"])[-1]
            raise ServerDidNotStart(
                f"the embedded server ended with status {self._child.returncode}: {last}", hint="reg doctor"
            ) from exc


def refused(said: Mapping[str, object]) -> RegError:
    """The error that a child process of the server's half told in JSON."""
    error = RegError(str(said["error"]), hint=str(said["hint"]) if said.get("hint") else None)
    error.exit_code = int(str(said["exit_code"]))  # type: ignore[misc]  # the child's own class is not here, its code is
    return error


@contextmanager
def announce(home: Path, url: str) -> Iterator[None]:
    """Tell other commands of this home where the server listens, for the time of the block."""
    file = home / ANNOUNCEMENT
    draft = file.with_name(f"{ANNOUNCEMENT}.{os.getpid()}")
    draft.write_text(json.dumps({"url": url, "pid": os.getpid()}))
    draft.replace(file)
    try:
        yield
    finally:
        # Another `reg serve` of this home may have begun meanwhile; its announcement is not ours to take away.
        with suppress(OSError, ValueError, KeyError, TypeError):
            if json.loads(file.read_text())["pid"] == os.getpid():
                file.unlink()


def announced(home: Path) -> str | None:
    """The URL of the `reg serve` that runs for this home, or None.

    A `reg serve` that was killed leaves its announcement behind and another program may have its port by now, so only an
    answer to this home's key counts.
    """
    try:
        url = str(json.loads((home / ANNOUNCEMENT).read_text())["url"])
        key = (home / "key").read_text().strip()
        request = urllib.request.Request(
            f"{url}/graphql",
            data=json.dumps({"query": "{ viewer { id } }"}).encode(),
            headers={"Authorization": f"Basic {b64encode(f'api:{key}'.encode()).decode()}", "Content-Type": "application/json"},
        )
        # Whatever proxy the environment names, this machine is not behind it.
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(request, timeout=5) as reply:
            return url if json.loads(reply.read())["data"]["viewer"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
