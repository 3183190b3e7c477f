"""`reg admin user` and `reg admin key`: who has access at all, and by which keys.

A key is read from a file or standard input and written to standard output or a file: it never stands in a command line, where
every user of the machine reads it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click

from registry.administration import Administration
from registry.cli.admin_command import YES, command, confirm, done
from registry.cli.output import Output, table
from registry.errors import BadData, UsageError

_USER = click.option("--user", "username", metavar="NAME", required=True, help="Whose key.")
_KEY_FILE = click.option(
    "--key-file", metavar="FILE", help="Read a key to give from a file ('-': standard input), 40 characters and more."
)
_OUT = click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the new key to a new file that only you can read, instead of printing it.",
)


@click.group(epilog="Example: reg admin user ls")
def user() -> None:
    """Who has access at all."""


@click.group(epilog="Example: reg admin key ls --user alice")
def key() -> None:
    """API keys: made, listed by their first characters, revoked."""


@command(user, "user add alice --email alice@example.org --out alice.key")
@click.argument("name")
@click.option("--email", help="Address, for people to find them by.")
@click.option("--name", "full_name", help="Name as people write it.")
@click.option("--admin", "is_admin", is_flag=True, help="An instance admin, who may do everything.")
@click.option("--org", metavar="ORG", help="Organisation to belong to (default: the only one).")
@_KEY_FILE
@_OUT
def user_add(
    output: Output,
    server: Administration,
    name: str,
    email: str | None,
    full_name: str | None,
    is_admin: bool,
    org: str | None,
    key_file: str | None,
    out: Path | None,
) -> None:
    """Add a user, with a new key (printed once) or a given one."""
    given = _given(key_file)
    body = {"username": name, "email": email, "name": full_name, "admin": is_admin, "organization": org, "api_key": given}
    with _room_for_key(out) as file:
        made = server.ask("POST", "users", body=body)
        _tell_key(output, made, file, f"added {'instance admin' if is_admin else 'user'} {name}")


@command(user, "user ls")
@click.option("--removed", is_flag=True, help="Those who were removed.")
def user_ls(output: Output, server: Administration, removed: bool) -> None:
    """List users."""
    found = server.ask("GET", "users", query="removed=true" if removed else "")["users"]
    rows = [
        (
            one["username"],
            _kind(one),
            one["email"],
            ", ".join(one["organizations"]),
            ", ".join(one["teams"]),
            len(one["keys"]),
        )
        for one in found
    ]
    output.result({"users": found}, table(("user", "kind", "email", "organisations", "teams", "#keys"), rows))


@command(user, "user set alice --admin")
@click.argument("name")
@click.option("--admin/--no-admin", "is_admin", default=None, help="Make an instance admin, or an ordinary user.")
@click.option("--email", help="New address.")
@click.option("--name", "full_name", help="New name as people write it.")
def user_set(
    output: Output, server: Administration, name: str, is_admin: bool | None, email: str | None, full_name: str | None
) -> None:
    """Change a user."""
    if is_admin is None and email is None and full_name is None:
        raise UsageError("nothing to change was given", hint=f"reg admin user set {name} --admin")
    done(
        output,
        server.ask("PATCH", "users", name, body={"admin": is_admin, "email": email, "name": full_name}),
        f"changed {name}",
    )


@command(user, "user rm alice --yes")
@click.argument("name")
@YES
def user_rm(output: Output, server: Administration, name: str, yes: bool) -> None:
    """Remove a user: keys and roles end at once; their runs and artifacts stay, with them as author."""
    confirm(f"Remove the user '{name}' with all keys and roles?", yes)
    done(output, server.ask("DELETE", "users", name), f"removed {name}; their runs and artifacts stay")


@command(user, "user restore alice")
@click.argument("name")
def user_restore(output: Output, server: Administration, name: str) -> None:
    """Bring a removed user back, without keys and roles."""
    done(output, server.ask("POST", "users", name, "restore", body={}), f"restored {name}; reg admin key create --user {name}")


@command(key, "key create --user alice --description ci --out ci.key")
@_USER
@click.option("--description", help="What it is for.")
@_KEY_FILE
@_OUT
def key_create(
    output: Output, server: Administration, username: str, description: str | None, key_file: str | None, out: Path | None
) -> None:
    """Make a key, printed once, or take a given one."""
    body = {"description": description, "api_key": _given(key_file)}
    with _room_for_key(out) as file:
        _tell_key(output, server.ask("POST", "users", username, "keys", body=body), file, f"made a key for {username}")


@command(key, "key ls --user alice")
@_USER
def key_ls(output: Output, server: Administration, username: str) -> None:
    """List a user's keys by their first characters."""
    found = server.ask("GET", "users", username, "keys")["keys"]
    rows = [(f"{one['prefix']}…", one["description"], one["created_at"][:10]) for one in found]
    output.result({"keys": found}, table(("key", "description", "since"), rows))


@command(key, "key revoke 3f9a1c02 --user alice --yes")
@click.argument("prefix")
@_USER
@YES
def key_revoke(output: Output, server: Administration, prefix: str, username: str, yes: bool) -> None:
    """End a key, named by its first characters; it stops working at once."""
    confirm(f"Revoke the key {prefix}… of '{username}'?", yes)
    done(output, server.ask("DELETE", "users", username, "keys", prefix), f"revoked {prefix}…")


def _given(key_file: str | None) -> str | None:
    if key_file is None:
        return None
    try:
        text = sys.stdin.read() if key_file == "-" else Path(key_file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise BadData(f"cannot read a key from {key_file}: {exc}") from exc
    if not text.strip():
        raise BadData(f"there is no key in {'standard input' if key_file == '-' else key_file}")
    return text.strip()


@contextmanager
def _room_for_key(out: Path | None) -> Iterator[IO[str] | None]:
    """A new file that only this user can read, there before the key is made: a key that cannot be kept is not to exist."""
    if out is None:
        yield None
        return
    try:
        opened = open(out, "x", opener=lambda path, flags: os.open(path, flags, 0o600))  # noqa: SIM115 - closed below
    except OSError as exc:
        raise BadData(f"cannot write a key to {out}: {exc.strerror}", hint="--out another-file.key") from exc
    try:
        with opened as file:
            yield file
    except BaseException:
        out.unlink(missing_ok=True)
        raise


def _tell_key(output: Output, made: Mapping[str, Any], file: IO[str] | None, what: str) -> None:
    """Say what was made; its key goes to the file, or alone to standard output, so that it can be piped."""
    new = made.get("api_key")
    if new is None:
        output.notice(what)
        output.result(made)
    elif file is None:
        output.notice(f"{what}; its key, shown this once:")
        output.result(made, str(new))
    else:
        file.write(f"{new}\n")
        output.notice(f"{what}; its key is in {file.name}")
        output.result({name: value for name, value in made.items() if name != "api_key"})


def _kind(one: Mapping[str, Any]) -> str:
    if one["removed_at"]:
        return f"removed {one['removed_at'][:10]}"
    return "instance admin" if one["admin"] else "service account" if one["service"] else "user"
