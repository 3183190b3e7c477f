"""The stable addresses, equal to those that the SDK prints.

They are relative to the server's root. A version that is linked into a registry has the address that W&B gives it there, with
the collection in the query; the plain form `/{entity}/{project}/artifacts/...` leads to the same page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from registry import references
from registry.errors import BadReference
from registry.references import REGISTRY_PREFIX
from registry.server.store.overview import CollectionRow, ProjectRow, RunRow, SweepRow, VersionRow

HOME = "/"
LOGIN = "/login"
LOGOUT = "/logout"


def address(thing: Any) -> str | None:
    """Where the page of a row is; None for what has no page."""
    match thing:
        case RunRow(project="restricted") | VersionRow(project="restricted"):
            return HOME
        case ProjectRow() if thing.is_registry and thing.organization:
            return registry(thing.organization, thing.name)
        case ProjectRow():
            return project(thing.entity, thing.name)
        case SweepRow():
            return sweep(thing.entity, thing.project, thing.name)
        case RunRow():
            return run(thing.entity, thing.project, thing.name)
        case CollectionRow():
            return collection(thing.entity, thing.organization, thing.project, thing.type, thing.name)
        case VersionRow():
            return version(thing.entity, thing.organization, thing.project, thing.type, thing.collection, thing.index)
    return None


def project(entity: str, name: str) -> str:
    return f"/{_part(entity)}/{_part(name)}"


def run(entity: str, project_name: str, name: str) -> str:
    # The characters that the SDK leaves as they are in a run's id.
    return f"{project(entity, project_name)}/runs/{quote(name, safe='=+&$@')}"


def sweep(entity: str, project_name: str, name: str) -> str:
    return f"{project(entity, project_name)}/sweeps/{_part(name)}"


def run_file(entity: str, project_name: str, run_name: str, file: str) -> str:
    return f"{run(entity, project_name, run_name)}/files/{quote(file)}"


def registry(organization: str, project_name: str) -> str:
    return f"/orgs/{_part(organization)}/registry/{_part(project_name.removeprefix(REGISTRY_PREFIX))}"


def collection(entity: str, organization: str | None, project_name: str, type_name: str, name: str) -> str:
    if organization is not None and project_name.startswith(REGISTRY_PREFIX):
        selection = urlencode({"selectionPath": f"{entity}/{project_name}/{name}"}, quote_via=quote, safe="")
        return f"{registry(organization, project_name)}?{selection}"
    return f"{project(entity, project_name)}/artifacts/{_part(type_name)}/{_part(name)}"


def version(entity: str, organization: str | None, project_name: str, type_name: str, name: str, index: int) -> str:
    there = collection(entity, organization, project_name, type_name, name)
    return f"{there}&view=membership&version=v{index}" if "?" in there else f"{there}/v{index}"


def version_file(version_row: VersionRow, path: str) -> str:
    """The content of a file of a version, at the plain form of the version's address."""
    row = version_row
    return f"{version(row.entity, None, row.project, row.type, row.collection, row.index)}/files/{quote(path)}"


def reference(text: str, type_name: str) -> str | None:
    """Where the version is that a file names by a full reference `entity/project/name:tag`; None for anything else."""
    try:
        named = references.parse(text)
    except BadReference:
        return None
    if named.entity is None or named.project is None or named.tag is None:
        return None
    return f"{project(named.entity, named.project)}/artifacts/{_part(type_name)}/{_part(named.name)}/{_part(named.tag)}"


def path(segments: Sequence[str]) -> str:
    """The path of an address from its decoded parts."""
    return "/" + "/".join(_part(segment) for segment in segments)


def also(address_: str, **words: str) -> str:
    """An address of ours with more words in its query."""
    return f"{address_}{'&' if '?' in address_ else '?'}{urlencode(words, quote_via=quote)}"


def varied(here: str, query: Mapping[str, str], **changes: str) -> str:
    """The same address with other words in its query."""
    return f"{here}?{urlencode({**query, **changes}, quote_via=quote)}"


def _part(text: str) -> str:
    return quote(text, safe="")
