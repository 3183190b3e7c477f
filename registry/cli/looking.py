"""`reg ls`, `reg show`, `reg get`: looking, changing nothing on the server."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from registry.cli.output import drawn_markdown, table
from registry.cli.params import FOLDER, REFERENCE, Session, session
from registry.references import Reference

if TYPE_CHECKING:
    from registry.backend_facts import Collection
    from registry.records import RunFact, Version


@click.command(epilog="Examples: reg ls · reg ls model · reg ls --type dataset · reg ls --registries")
@click.argument("reference", type=REFERENCE, required=False)
@click.option("--type", "type_", metavar="TYPE", help="Only collections of this artifact type (dataset, model, …).")
@click.option("--registries", is_flag=True, help="The collections of all registries instead of the project's.")
@session
def ls(session: Session, reference: Reference | None, type_: str | None, registries: bool) -> None:
    """List the collections of the project, or the versions of REFERENCE's collection."""
    with session.reading() as backend:
        if reference is not None:
            versions = backend.versions(reference)
            session.output.result({"versions": [version_data(v) for v in versions]}, versions_table(versions))
            return
        found = backend.registries() if registries else backend.collections(type_)
    shown = [c for c in found if type_ is None or c.type == type_]
    data = {"collections": [dataclasses.asdict(c) for c in shown]}
    session.output.result(data, _collections_table(shown) if shown else _nothing(backend.where, type_, registries))


@click.command(
    epilog="Examples: reg show model:v3 · reg show wandb-registry-model/model:production --json"
    " · reg show model:v3 --card · reg show model:v3 --markdown > CARD.md"
)
@click.argument("reference", type=REFERENCE)
@click.option("--card", "as_card", is_flag=True, help="A model's card: data, metrics, training, intended use, decisions.")
@click.option("--markdown", is_flag=True, help="The card as Markdown, with the metadata that the Hugging Face Hub reads.")
@session
def show(session: Session, reference: Reference, as_card: bool, markdown: bool) -> None:
    """Show one version: what it is, where it came from, what used it, what it holds."""
    if as_card or markdown:
        _show_card(session, reference, as_text=markdown)
        return
    with session.reading() as backend:
        version = backend.resolve(reference)
        made_by, used_by = backend.made_by(version), backend.used_by(version)
        files = backend.files(version)
    data = {
        **version_data(version),
        "description": version.description,
        "metadata": dict(version.metadata),
        "made_by": _run_data(made_by) if made_by else None,
        "used_by": [_run_data(run) for run in used_by],
        "files": files,
    }
    rows = [
        ("version", str(version.reference)),
        ("source", str(version.origin) if version.origin != version.reference else None),
        ("type", version.type),
        ("digest", str(version.digest)),
        ("aliases", ", ".join(version.aliases)),
        ("size", size_text(version.size)),
        ("created", f"{moment_text(version.created_at)} UTC"),
        ("made by", _run_text(made_by) if made_by else "nobody knows"),
        ("used by", "\n".join(_run_text(run) for run in used_by) or "nobody yet"),
        ("files", _files_text(files)),
        ("metadata", yaml.safe_dump(dict(version.metadata), sort_keys=False, allow_unicode=True).strip()),
    ]
    session.output.result(data, table(("", str(version)), [row for row in rows if row[1]]))


def _show_card(session: Session, reference: Reference, *, as_text: bool) -> None:
    from registry import card, carding  # they load the SDK, which commands do while the server starts

    with session.reading() as backend:
        found = carding.card(backend, backend.resolve(reference))
    if as_text and not session.output.as_json:
        session.output.text(card.markdown(found))
        return
    session.output.result(card.data(found), drawn_markdown(card.body(found)))


@click.command(epilog="Example: reg get wandb-registry-model/model:production --to served/")
@click.argument("reference", type=REFERENCE)
@click.option("--to", "to", type=FOLDER, help="Folder to write into (default: ./NAME-vN).")
@session
def get(session: Session, reference: Reference, to: Path | None) -> None:
    """Download the files of REFERENCE, verified against their digests."""
    with session.reading() as backend:
        version = backend.resolve(reference)
        folder = backend.export(version, to or Path(f"{version.name}-v{version.index}"))
    session.output.result({**version_data(version), "folder": str(folder)}, f"{version} is in {folder}")


def versions_table(versions: list[Version]) -> Any:
    return table(
        ("version", "type", "aliases", "#size", "created (UTC)", "digest"),
        [
            (str(v), v.type, ", ".join(v.aliases), size_text(v.size), moment_text(v.created_at), str(v.digest)[:16])
            for v in versions
        ],
    )


def version_data(version: Version) -> dict[str, Any]:
    """A version as JSON-ready data."""
    return {
        "reference": str(version.reference),
        "source": str(version.origin),
        "type": version.type,
        "digest": str(version.digest),
        "aliases": list(version.aliases),
        "size": version.size,
        "created_at": version.created_at,
    }


def size_text(size: int) -> str:
    """Bytes in the unit that a person would choose."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def moment_text(moment: str) -> str:
    """A moment of the server, to the second and without the letters of ISO 8601; always UTC."""
    try:
        return datetime.fromisoformat(moment).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return moment


def _files_text(files: dict[str, int | None]) -> str:
    lines = [name if size is None else f"{name}  {size_text(size)}" for name, size in list(files.items())[:12]]
    return "\n".join([*lines, f"… and {len(files) - 12} more"] if len(files) > 12 else lines)


def _collections_table(collections: list[Collection]) -> Any:
    rows = []
    for found in sorted(collections, key=lambda c: (c.type, c.path)):
        aliases = ", ".join(f"{alias}=v{index}" for alias, index in sorted(found.aliases.items()))
        rows.append((found.path, found.type, found.versions, aliases, moment_text(found.updated_at)))
    return table(("collection", "type", "#versions", "aliases", "updated (UTC)"), rows)


def _nothing(where: str, type_: str | None, registries: bool) -> str:
    if registries:
        return "no registry holds anything yet; next: reg promote model:v0 --alias production"
    if type_ is not None:
        return f"nothing of type {type_} in {where}"
    return f"nothing in {where} yet; next: reg dataset push data/"


def _run_data(run: RunFact) -> dict[str, Any]:
    return {"path": run.path, "job_type": run.job_type, "name": run.name, "state": run.state, "url": run.url}


def _run_text(run: RunFact) -> str:
    what = run.name if run.name.startswith(run.job_type) else f"{run.job_type} {run.name}"
    return f"{what} ({run.state})"
