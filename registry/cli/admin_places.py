"""`reg admin org`, `team`, `member` and `alias`: the places of a server, who has which role there, and protected aliases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from registry.administration import Administration
from registry.cli.admin_command import ORG, YES, Command, command, confirm, done
from registry.cli.output import Output, table
from registry.errors import Conflict, UsageError

_ROLE = click.option(
    "--role",
    type=click.Choice(["admin", "member", "viewer", "restricted_viewer"]),
    help="Role (default: the present one; member of a team or organisation, viewer of a registry).",
)


def _places(command: Command) -> Command:
    for option in (
        click.option("--team", metavar="TEAM", help="In a team."),
        click.option("--registry", metavar="REGISTRY", help="In a registry, such as 'model'."),
        click.option("--org", metavar="ORG", help="In an organisation; with --registry, whose registry it is."),
    ):
        command = option(command)
    return command


@click.group(epilog="Example: reg admin org ls")
def org() -> None:
    """Organisations: each owns registries and has teams."""


@click.group(epilog="Example: reg admin team add vision")
def team() -> None:
    """Teams: each owns projects."""


@click.group(epilog="Example: reg admin member ls --team vision")
def member() -> None:
    """Who has which role in an organisation, a team or a registry."""


@click.group(epilog="Example: reg admin alias ls model")
def alias() -> None:
    """Protected aliases: those that only admins of a registry move."""


@command(org, "org add acme")
@click.argument("name")
def org_add(output: Output, server: Administration, name: str) -> None:
    """Add an organisation with its registries 'model' and 'dataset'; whoever adds it is its first admin."""
    made = server.ask("POST", "organizations", body={"name": name})
    done(output, made, f"added the organisation {name}; its registries are under {made['entity']}")


@command(org, "org ls")
def org_ls(output: Output, server: Administration) -> None:
    """List organisations."""
    found = server.ask("GET", "organizations")["organizations"]
    rows = [(one["name"], one["entity"], one["members"], one["teams"]) for one in found]
    output.result({"organizations": found}, table(("organisation", "entity", "#members", "#teams"), rows))


@command(org, "org rm acme --yes")
@click.argument("name")
@YES
def org_rm(output: Output, server: Administration, name: str, yes: bool) -> None:
    """Remove an organisation that has no teams and nothing in its registries."""
    confirm(f"Remove the organisation '{name}'?", yes)
    done(output, server.ask("DELETE", "organizations", name), f"removed the organisation {name}")


@command(team, "team add vision --org acme")
@click.argument("name")
@ORG
def team_add(output: Output, server: Administration, name: str, org: str | None) -> None:
    """Add a team to an organisation."""
    made = server.ask("POST", "teams", body={"name": name, "organization": org})
    done(output, made, f"added the team {name} to {made['organization']}; reg admin member add NAME --team {name}")


@command(team, "team ls")
def team_ls(output: Output, server: Administration) -> None:
    """List teams."""
    found = server.ask("GET", "teams")["teams"]
    rows = [(one["name"], one["organization"], one["members"], one["projects"]) for one in found]
    output.result({"teams": found}, table(("team", "organisation", "#members", "#projects"), rows))


@command(team, "team rm vision --yes")
@click.argument("name")
@YES
def team_rm(output: Output, server: Administration, name: str, yes: bool) -> None:
    """Remove a team that has no runs and artifacts."""
    confirm(f"Remove the team '{name}'?", yes)
    done(output, server.ask("DELETE", "teams", name), f"removed the team {name}")


@command(member, "member add alice --team vision --role member")
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


@command(member, "member set alice --registry model --role admin")
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


@command(member, "member rm alice --team vision --yes")
@click.argument("name")
@_places
@click.option("--is-team", is_flag=True, help="NAME is a team, which has a role in a registry.")
@YES
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
    confirm(f"End the role of '{name}' in {team or registry or org}?", yes)
    path = _place(server, team=team, registry=registry, org=org)
    done(output, server.ask("DELETE", *path, _kind_of_member(is_team, registry), name), f"{name} has left {path[-1]}")


@command(member, "member ls --registry model")
@_places
def member_ls(output: Output, server: Administration, team: str | None, registry: str | None, org: str | None) -> None:
    """List who has a role of their own somewhere."""
    _show_members(output, server.ask("GET", *_place(server, team=team, registry=registry, org=org), "members"))


@command(alias, "alias protect model production")
@click.argument("registry")
@click.argument("name")
@ORG
def alias_protect(output: Output, server: Administration, registry: str, name: str, org: str | None) -> None:
    """Let only admins of a registry move or remove an alias, in all its collections."""
    path = _place(server, team=None, registry=registry, org=org)
    _show_aliases(output, server.ask("PUT", *path, "protected-aliases", name))


@command(alias, "alias unprotect model production --yes")
@click.argument("registry")
@click.argument("name")
@ORG
@YES
def alias_unprotect(output: Output, server: Administration, registry: str, name: str, org: str | None, yes: bool) -> None:
    """Let every member of a registry move an alias again."""
    confirm(f"Let every member of the registry '{registry}' move '{name}'?", yes)
    path = _place(server, team=None, registry=registry, org=org)
    done(output, server.ask("DELETE", *path, "protected-aliases", name), f"'{name}' is not protected any more")


@command(alias, "alias ls model")
@click.argument("registry")
@ORG
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


def _show_members(output: Output, found: Mapping[str, Any]) -> None:
    rows = [(one["username"], one["name"], one["role"]) for one in found["members"]]
    rows += [(one["team"], "(team)", one["role"]) for one in found.get("teams", ())]
    output.result(found, table(("member", "name", "role"), rows))


def _show_aliases(output: Output, found: Mapping[str, Any]) -> None:
    output.result(found, table(("protected alias",), [(name,) for name in found["protected_aliases"]]))
