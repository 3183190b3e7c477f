"""`reg admin`: the people of a reg server, their keys, their teams, their roles, and the aliases that only admins move.

For the admins of a small team. It speaks HTTP to the server's `/admin`, like any program may (`registry.administration`), so
one command works on the home of this machine, with a server that runs or without, and on a server elsewhere. A key is read from
a file or standard input and written to standard output or a file: it never stands in a command line, where every user of the
machine reads it.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

import click

from registry import settings
from registry.administration import Administration, administration
from registry.cli.output import Output, table
from registry.errors import BadData, Conflict, UsageError

_Command = TypeVar("_Command", bound=Callable[..., Any])

_YES = click.option("--yes", is_flag=True, help="Do not ask.")
_ORG = click.option("--org", metavar="ORG", help="Organisation (default: the only one).")
_USER = click.option("--user", "username", metavar="NAME", required=True, help="Whose key.")
_KEY_FILE = click.option(
    "--key-file", metavar="FILE", help="Read a key to give from a file ('-': standard input), 40 characters and more."
)
_OUT = click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the new key to a new file that only you can read, instead of printing it.",
)
_ROLE = click.option(
    "--role",
    type=click.Choice(["admin", "member", "viewer", "restricted_viewer"]),
    help="Role (default: the present one; member of a team or organisation, viewer of a registry).",
)


def _places(command: _Command) -> _Command:
    for option in (
        click.option("--team", metavar="TEAM", help="In a team."),
        click.option("--registry", metavar="REGISTRY", help="In a registry, such as 'model'."),
        click.option("--org", metavar="ORG", help="In an organisation; with --registry, whose registry it is."),
    ):
        command = option(command)
    return command


def _command(group: click.Group, example: str) -> Callable[[_Command], click.Command]:
    """A command that is handed how to talk and the server's `/admin`."""

    def decorate(command: _Command) -> click.Command:
        @click.option("--json", "as_json", is_flag=True, help="Print data as one JSON document.")
        @click.option("--debug", is_flag=True, help="Show tracebacks.")
        @functools.wraps(command)
        def wrapped(*args: Any, as_json: bool, debug: bool, **kwargs: Any) -> Any:
            read = settings.read({}, environment=os.environ, folder=Path.cwd())
            with administration(read) as server:
                return command(Output(as_json=as_json), server, *args, **kwargs)

        return group.command(command.__name__.rpartition("_")[2], epilog=f"Example: reg admin {example}")(wrapped)

    return decorate


@click.group()
def admin() -> None:
    """Manage users, keys, teams, roles and protected aliases of a reg server.

    Works on this machine's home, or with the key of an instance admin on the server that WANDB_BASE_URL names.
    """


@admin.group()
def user() -> None:
    """Who has access at all."""


@admin.group()
def key() -> None:
    """API keys: made, listed by their first characters, revoked."""


@admin.group()
def org() -> None:
    """Organisations: each owns registries and has teams."""


@admin.group()
def team() -> None:
    """Teams: each owns projects."""


@admin.group()
def member() -> None:
    """Who has which role in an organisation, a team or a registry."""


@admin.group()
def alias() -> None:
    """Protected aliases: those that only admins of a registry move."""


@_command(user, "user add alice --email alice@example.org --out alice.key")
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


@_command(user, "user ls")
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


@_command(user, "user set alice --admin")
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
    _done(
        output,
        server.ask("PATCH", "users", name, body={"admin": is_admin, "email": email, "name": full_name}),
        f"changed {name}",
    )


@_command(user, "user rm alice --yes")
@click.argument("name")
@_YES
def user_rm(output: Output, server: Administration, name: str, yes: bool) -> None:
    """Remove a user: keys and roles end at once; their runs and artifacts stay, with them as author."""
    _confirm(f"Remove the user '{name}' with all keys and roles?", yes)
    _done(output, server.ask("DELETE", "users", name), f"removed {name}; their runs and artifacts stay")


@_command(user, "user restore alice")
@click.argument("name")
def user_restore(output: Output, server: Administration, name: str) -> None:
    """Bring a removed user back, without keys and roles."""
    _done(output, server.ask("POST", "users", name, "restore", body={}), f"restored {name}; reg admin key create --user {name}")


@_command(key, "key create --user alice --description ci --out ci.key")
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


@_command(key, "key ls --user alice")
@_USER
def key_ls(output: Output, server: Administration, username: str) -> None:
    """List a user's keys by their first characters."""
    found = server.ask("GET", "users", username, "keys")["keys"]
    rows = [(f"{one['prefix']}…", one["description"], one["created_at"][:10]) for one in found]
    output.result({"keys": found}, table(("key", "description", "since"), rows))


@_command(key, "key revoke 3f9a1c02 --user alice --yes")
@click.argument("prefix")
@_USER
@_YES
def key_revoke(output: Output, server: Administration, prefix: str, username: str, yes: bool) -> None:
    """End a key, named by its first characters; it stops working at once."""
    _confirm(f"Revoke the key {prefix}… of '{username}'?", yes)
    _done(output, server.ask("DELETE", "users", username, "keys", prefix), f"revoked {prefix}…")


@_command(org, "org add acme")
@click.argument("name")
def org_add(output: Output, server: Administration, name: str) -> None:
    """Add an organisation with its registries 'model' and 'dataset'; whoever adds it is its first admin."""
    made = server.ask("POST", "organizations", body={"name": name})
    _done(output, made, f"added the organisation {name}; its registries are under {made['entity']}")


@_command(org, "org ls")
def org_ls(output: Output, server: Administration) -> None:
    """List organisations."""
    found = server.ask("GET", "organizations")["organizations"]
    rows = [(one["name"], one["entity"], one["members"], one["teams"]) for one in found]
    output.result({"organizations": found}, table(("organisation", "entity", "#members", "#teams"), rows))


@_command(org, "org rm acme --yes")
@click.argument("name")
@_YES
def org_rm(output: Output, server: Administration, name: str, yes: bool) -> None:
    """Remove an organisation that has no teams and nothing in its registries."""
    _confirm(f"Remove the organisation '{name}'?", yes)
    _done(output, server.ask("DELETE", "organizations", name), f"removed the organisation {name}")


@_command(team, "team add vision --org acme")
@click.argument("name")
@_ORG
def team_add(output: Output, server: Administration, name: str, org: str | None) -> None:
    """Add a team to an organisation."""
    made = server.ask("POST", "teams", body={"name": name, "organization": org})
    _done(output, made, f"added the team {name} to {made['organization']}; reg admin member add NAME --team {name}")


@_command(team, "team ls")
def team_ls(output: Output, server: Administration) -> None:
    """List teams."""
    found = server.ask("GET", "teams")["teams"]
    rows = [(one["name"], one["organization"], one["members"], one["projects"]) for one in found]
    output.result({"teams": found}, table(("team", "organisation", "#members", "#projects"), rows))


@_command(team, "team rm vision --yes")
@click.argument("name")
@_YES
def team_rm(output: Output, server: Administration, name: str, yes: bool) -> None:
    """Remove a team that has no runs and artifacts."""
    _confirm(f"Remove the team '{name}'?", yes)
    _done(output, server.ask("DELETE", "teams", name), f"removed the team {name}")


@_command(member, "member add alice --team vision --role member")
@click.argument("name")
@_places
@_ROLE
@click.option("--is-team", is_flag=True, help="NAME is a team, which gets a role in a registry.")
def member_add(
    output: Output,
    server: Administration,
    name: str,
    team: str | None,
    registry: str | None,
    org: str | None,
    role: str | None,
    is_team: bool,
) -> None:
    """Give a user a role in a team, an organisation or a registry, or a team one in a registry."""
    path = _place(server, team=team, registry=registry, org=org)
    found = server.ask("PUT", *path, _kind_of_member(is_team, registry), name, body={"role": role})
    _show_members(output, found)


@_command(member, "member set alice --registry model --role admin")
@click.argument("name")
@_places
@click.option(
    "--role",
    required=True,
    type=click.Choice(["admin", "member", "viewer", "restricted_viewer"]),
    help="New role; restricted_viewer in registries only.",
)
@click.option("--is-team", is_flag=True, help="NAME is a team, which has a role in a registry.")
def member_set(
    output: Output,
    server: Administration,
    name: str,
    team: str | None,
    registry: str | None,
    org: str | None,
    role: str,
    is_team: bool,
) -> None:
    """Change the role of a member."""
    path = _place(server, team=team, registry=registry, org=org)
    present = server.ask("GET", *path, "members")
    known = {one["team"] for one in present.get("teams", ())} if is_team else {one["username"] for one in present["members"]}
    if name not in known:
        raise Conflict(f"'{name}' has no role of their own there yet", hint=f"reg admin member add {name} …")
    _show_members(output, server.ask("PUT", *path, _kind_of_member(is_team, registry), name, body={"role": role}))


@_command(member, "member rm alice --team vision --yes")
@click.argument("name")
@_places
@click.option("--is-team", is_flag=True, help="NAME is a team, which has a role in a registry.")
@_YES
def member_rm(
    output: Output,
    server: Administration,
    name: str,
    team: str | None,
    registry: str | None,
    org: str | None,
    is_team: bool,
    yes: bool,
) -> None:
    """End a role; leaving an organisation ends those in its teams and registries too."""
    _confirm(f"End the role of '{name}' in {team or registry or org}?", yes)
    path = _place(server, team=team, registry=registry, org=org)
    _done(output, server.ask("DELETE", *path, _kind_of_member(is_team, registry), name), f"{name} has left {path[-1]}")


@_command(member, "member ls --registry model")
@_places
def member_ls(output: Output, server: Administration, team: str | None, registry: str | None, org: str | None) -> None:
    """List who has a role of their own somewhere."""
    _show_members(output, server.ask("GET", *_place(server, team=team, registry=registry, org=org), "members"))


@_command(alias, "alias protect model production")
@click.argument("registry")
@click.argument("name")
@_ORG
def alias_protect(output: Output, server: Administration, registry: str, name: str, org: str | None) -> None:
    """Let only admins of a registry move or remove an alias, in all its collections."""
    path = _place(server, team=None, registry=registry, org=org)
    _show_aliases(output, server.ask("PUT", *path, "protected-aliases", name))


@_command(alias, "alias unprotect model production --yes")
@click.argument("registry")
@click.argument("name")
@_ORG
@_YES
def alias_unprotect(output: Output, server: Administration, registry: str, name: str, org: str | None, yes: bool) -> None:
    """Let every member of a registry move an alias again."""
    _confirm(f"Let every member of the registry '{registry}' move '{name}'?", yes)
    path = _place(server, team=None, registry=registry, org=org)
    _done(output, server.ask("DELETE", *path, "protected-aliases", name), f"'{name}' is not protected any more")


@_command(alias, "alias ls model")
@click.argument("registry")
@_ORG
def alias_ls(output: Output, server: Administration, registry: str, org: str | None) -> None:
    """List the protected aliases of a registry."""
    _show_aliases(output, server.ask("GET", *_place(server, team=None, registry=registry, org=org), "protected-aliases"))


def _place(server: Administration, *, team: str | None, registry: str | None, org: str | None) -> Sequence[str]:
    """The beginning of the address of a team, a registry or an organisation."""
    if (registry is not None or org is not None) == (team is not None):
        raise UsageError("say where: --team TEAM, --org ORG, or --registry REGISTRY (with --org where there are several)")
    if team is not None:
        return ("teams", team)
    if org is None:
        present = [one["name"] for one in server.ask("GET", "organizations")["organizations"]]
        if len(present) != 1:
            raise UsageError(f"there are {len(present)} organisations: {', '.join(present)}", hint=f"--org {present[0]}")
        org = present[0]
    return ("organizations", org) if registry is None else ("organizations", org, "registries", registry)


def _kind_of_member(is_team: bool, registry: str | None) -> str:
    if is_team and registry is None:
        raise UsageError("a team has a role in registries only", hint="--registry model")
    return "teams" if is_team else "members"


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


def _show_members(output: Output, found: Mapping[str, Any]) -> None:
    rows = [(one["username"], one["name"], one["role"]) for one in found["members"]]
    rows += [(one["team"], "(team)", one["role"]) for one in found.get("teams", ())]
    output.result(found, table(("member", "name", "role"), rows))


def _show_aliases(output: Output, found: Mapping[str, Any]) -> None:
    output.result(found, table(("protected alias",), [(name,) for name in found["protected_aliases"]]))


def _done(output: Output, answer: Mapping[str, Any], what: str) -> None:
    output.notice(what)
    output.result(answer)


def _kind(one: Mapping[str, Any]) -> str:
    if one["removed_at"]:
        return f"removed {one['removed_at'][:10]}"
    return "instance admin" if one["admin"] else "service account" if one["service"] else "user"


def _confirm(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("this asks first, and nobody is there to answer", hint="add --yes")
    click.confirm(question, abort=True, err=True)
