"""Files of a run: announced, uploaded, listed, deleted."""

from __future__ import annotations

import base64
from typing import Any

from ariadne import MutationType, ObjectType, SchemaBindable

from registry.server import ids, transfers
from registry.server.resolvers import Info, places
from registry.server.store import run_files, runs
from registry.server.store.pages import Page
from registry.server.store.run_files import RunFile
from registry.server.store.runs import Run

mutation = MutationType()
run = ObjectType("Run")
run_file = ObjectType("RunFile")


@mutation.field("createRunFiles")
def create_run_files(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    found = places.run_named(context, input)
    context.access.write(found.project_id)
    files = run_files.announce(context.connection, found.id, input["files"])
    # The client pairs by name as it asked, so the name goes back as it came.
    uploads = [
        {"name": name, "upload_url": transfers.run_file_upload_url(context, file.id)}
        for name, file in zip(input["files"], files, strict=True)
    ]
    return {"run_id": ids.encode("Run", found.id), "upload_headers": [], "files": uploads}


@mutation.field("markRunFilesUploaded")
def mark_run_files_uploaded(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    """An upload makes its file visible by itself; this only says whether all of them did."""
    context = info.context
    found = places.run_named(context, input)
    context.access.write(found.project_id)
    names = {run_files.normal(name) for name in input["files"]}
    here = run_files.listing(context.connection, found.id, names=sorted(names), first=len(names))
    return {"success": len(here.items) == len(names)}


@mutation.field("deleteFiles")
def delete_files(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    numbers = [ids.decode("RunFile", file) for file in input["files"]]
    context.access.allow()  # no files are nobody's
    for project_id in run_files.projects_of(context.connection, numbers):
        context.access.write(project_id)
    run_files.remove(context.connection, numbers)
    return {"success": True}


@run.field("fileCount")
def file_count(parent: Run, info: Info) -> int:
    return run_files.listing(info.context.connection, parent.id, first=0).total_count


@run.field("files")
def files(parent: Run, info: Info, names: list[str] | None = None, **asked: Any) -> Page[RunFile]:
    return run_files.listing(info.context.connection, parent.id, names=names or (), **asked)


@run_file.field("id")
def run_file_id(parent: RunFile, info: Info) -> str:
    return ids.encode("RunFile", parent.id)


@run_file.field("url")
def run_file_url(parent: RunFile, info: Info, upload: bool | None = None) -> str:
    context = info.context
    if not upload:
        return transfers.run_file_url(context, parent.id)
    context.access.write(runs.by_id(context.connection, parent.run_id).project_id)
    return transfers.run_file_upload_url(context, parent.id)


@run_file.field("directUrl")
def run_file_direct_url(parent: RunFile, info: Info) -> str:
    return transfers.run_file_url(info.context, parent.id)


@run_file.field("md5")
def run_file_md5(parent: RunFile, info: Info) -> str | None:
    return None if parent.md5 is None else base64.b64encode(bytes.fromhex(parent.md5)).decode()


run_file.set_alias("sizeBytes", "size")

bindables: list[SchemaBindable] = [mutation, run, run_file]
