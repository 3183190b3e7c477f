"""`reg admin`: on a home without a server, against one that runs, and against what is none of ours."""

from __future__ import annotations

import http.server
import io
import json
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from registry.cli import run
from tests.cli.conftest import Done, Inside, Reg
from tests.wire.conftest import Server, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("home")) as server:
        yield server


Remote = Callable[..., Done]


@pytest.fixture
def remote(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Remote:
    """`reg admin` in this process, pointed at a server that runs by its address and the key of an instance admin."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", server.key)

    def call(*words: str) -> Done:
        code = run(["admin", *words])
        said = capsys.readouterr()
        return Done(code=code, out=said.out, err=said.err)

    return call


def test_a_home_without_a_server_is_administered(inside: Inside) -> None:
    added = inside("admin", "user", "add", "alice", "--email", "alice@example.org")
    assert (added.code, added.err) == (0, "added user alice; its key, shown this once:\n")
    assert len(added.out.strip()) == 40
    listed = inside("admin", "user", "ls", "--json").data["users"]
    assert [(one["username"], one["keys"]) for one in listed][1:] == [("alice", [added.out[:8]])]


def test_a_small_team_is_set_up(remote: Remote) -> None:
    assert remote("org", "add", "acme").code == 0
    assert remote("team", "add", "vision", "--org", "acme").code == 0
    assert remote("user", "add", "bob", "--org", "acme", "--out", "bob.key").out == ""
    assert remote("member", "add", "bob", "--team", "vision", "--role", "viewer", "--json").data["members"] == [
        {"username": "bob", "name": "bob", "role": "viewer"}
    ]
    changed = remote("member", "set", "bob", "--team", "vision", "--role", "admin", "--json")
    assert [one["role"] for one in changed.data["members"]] == ["admin"]
    asked = remote("alias", "protect", "model", "production")
    assert (asked.code, asked.err.splitlines()) == (
        2,
        ["Error: there are 2 organisations: local, acme", "Hint: --org local"],
    )
    protected = remote("alias", "protect", "model", "production", "--org", "acme", "--json")
    assert protected.data == {"schema_version": 1, "protected_aliases": ["production"]}


def test_a_key_is_written_to_a_file_that_only_its_user_reads(remote: Remote) -> None:
    made = remote("key", "create", "--user", "local", "--description", "ci", "--out", "ci.key")
    file = Path("ci.key")
    key = file.read_text().strip()
    assert (made.code, made.out, key in made.err, stat.S_IMODE(file.stat().st_mode)) == (0, "", False, 0o600)
    listed = remote("key", "ls", "--user", "local", "--json").data["keys"]
    assert (key[:8], "ci") in [(one["prefix"], one["description"]) for one in listed]
    again = remote("key", "create", "--user", "local", "--out", "ci.key")
    assert (again.code, "cannot write a key to ci.key: File exists" in again.err, file.read_text().strip()) == (2, True, key)
    assert len(remote("key", "ls", "--user", "local", "--json").data["keys"]) == len(listed)
    gone = remote("key", "revoke", key[:8], "--user", "local", "--yes")
    assert (gone.code, gone.err) == (0, f"revoked {key[:8]}…\n")


def test_a_key_is_given_on_standard_input(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    given = "local-0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c"
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{given}\n"))
    done = remote("user", "add", "carol", "--key-file", "-")
    assert (done.code, given in done.out + done.err) == (0, False)
    monkeypatch.setenv("WANDB_API_KEY", given)
    refused = remote("user", "ls")
    assert (refused.code, refused.err) == (8, "Error: /admin takes the key of an instance admin, and carol is none\n")


@pytest.mark.parametrize("words", [
    ("user", "rm", "local"),
    ("key", "revoke", "12345678", "--user", "local"),
    ("org", "rm", "local"),
    ("team", "rm", "nix"),
    ("member", "rm", "local", "--org", "local"),
    ("alias", "unprotect", "model", "production"),
], ids=lambda words: " ".join(words[:2]))  # fmt: skip
def test_what_cannot_be_undone_asks_first(remote: Remote, words: tuple[str, ...]) -> None:
    done = remote(*words)
    assert (done.code, done.err.splitlines()) == (
        2,
        ["Error: this asks first, and nobody is there to answer", "Hint: add --yes"],
    )


class _Elsewhere(http.server.BaseHTTPRequestHandler):
    """Answers like W&B, which has no /admin: with a page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<!doctype html>")

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_server_that_is_none_of_ours_is_named(inside: Inside) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), _Elsewhere) as elsewhere:
        threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{elsewhere.server_port}"
        done = replace(inside, extra={"WANDB_BASE_URL": url, "WANDB_API_KEY": "0" * 40})("admin", "user", "ls")
        elsewhere.shutdown()
    assert (done.code, done.err.splitlines()[0]) == (
        8,
        f"Error: {url} is not a reg server: it answered 200 with something else than JSON; "
        "on W&B users and roles are set in its pages",
    )


def test_the_cloud_is_not_administered(inside: Inside) -> None:
    done = replace(inside, extra={"WANDB_API_KEY": "0" * 40})("admin", "user", "ls", "--json")
    error = json.loads(done.out)["error"]
    assert (done.code, "the settings name W&B's cloud" in error["message"]) == (2, True)


def test_serving_beyond_this_machine_says_who_gets_in(reg: Reg) -> None:
    with reg.start("serve", "--host", "0.0.0.0", "--port", "0") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.terminate()
        _, said = process.communicate(timeout=30)
    assert said.startswith("Warning: every machine that reaches this one can ask at port 0 over plain HTTP")
    assert "with a key get in: local (1 key)." in said
    assert (reg.home / "key").read_text() not in said
