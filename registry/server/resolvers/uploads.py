"""Artifacts: the mutations by which a client uploads a version. They arrive in the order in which they stand here."""

from __future__ import annotations

from typing import Any

from ariadne import MutationType, SchemaBindable

from registry.errors import BadData, Conflict, NotFound
from registry.server import ids, transfers
from registry.server.context import Context
from registry.server.resolvers import Info
from registry.server.store import artifacts, lineage, manifests, people, runs, uploads
from registry.server.store.uploads import Draft

mutation = MutationType()
bindables: list[SchemaBindable] = [mutation]


@mutation.field("createArtifact")
def create_artifact(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    # One name, or a list of one, depending on which half of the client asks.
    names = {*filter(None, [input.get("artifact_collection_name"), *(input.get("artifact_collection_names") or ())])}
    if len(names) != 1:
        raise BadData(f"an artifact is logged to one collection, these are {len(names)}")
    if input.get("digest_algorithm") not in {None, "MANIFEST_MD5"}:
        raise BadData(f"this server knows artifacts by md5, not by {input['digest_algorithm']}")
    owner = people.entity(context.connection, input["entity_name"])
    if owner is None:
        raise NotFound(f"there is no entity '{input['entity_name'][:80]}'")
    project = people.ensure_project(context.connection, owner, input["project_name"], context.user.id)
    run = None
    if input.get("run_name"):
        run = runs.the_run(context.connection, project.entity_name, project.name, input["run_name"])
    draft = Draft(
        type=input["artifact_type_name"],
        collection=names.pop(),
        digest=input["digest"],
        aliases=tuple(alias["alias"] for alias in input.get("aliases") or ()),
        tags=tuple(tag["tag_name"] for tag in input.get("tags") or ()),
        description=input.get("description"),
        metadata=input.get("metadata"),
        ttl_seconds=input.get("ttl_duration_seconds"),
        history_step=input.get("history_step"),
        client_id=input.get("client_id"),
        distributed_id=input.get("distributed_id"),
        run_id=None if run is None else run.id,
        user_id=context.user.id,
    )
    made = uploads.create(context.connection, project, draft)
    return {"artifact": artifacts.by_id(context.connection, made)}


@mutation.field("createArtifactManifest")
def create_manifest(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    artifact_id = ids.decode("Artifact", input["artifact_id"])
    uploads.require_pending(context.connection, [artifact_id])
    md5 = _announced_md5(input)
    manifest_id = manifests.announce(
        context.connection,
        artifact_id,
        kind=input.get("type") or "FULL",
        name=input["name"],
        md5=md5,
        base_id=_base(input),
    )
    return {"artifact_manifest": _manifest(context, manifest_id)}


@mutation.field("createArtifactFiles")
def create_files(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    """Where to put each file. The client pairs answers with files by position, so the order is part of the answer."""
    context = info.context
    # `md_5` is what the schema's name becomes in Python.
    files = [
        {
            "artifact_id": ids.decode("Artifact", file["artifact_id"]),
            "name": file["name"],
            "md5": manifests.hex_md5(file["md_5"]),
        }
        for file in input["artifact_files"]
    ]
    owners = {file["artifact_id"] for file in files}
    uploads.require_pending(context.connection, owners)
    manifests.announce_files(context.connection, files)
    loaded = artifacts.by_ids(context.connection, owners)
    # Asking for no upload is safe only because a blob under its final name is whole.
    stored = context.blobs.sizes(file["md5"] for file in files)
    edges = [
        {
            "node": {
                "id": f"{ids.encode('Artifact', file['artifact_id'])}:{file['name']}",
                "name": file["name"],
                "artifact": loaded[file["artifact_id"]],
                "storage_path": file["md5"],
                "upload_url": None if file["md5"] in stored else transfers.upload_url(context, file["md5"]),
                "upload_headers": [f"Content-MD5:{manifests.base64_md5(file['md5'])}"],
            }
        }
        for file in files
    ]
    page = {"end_cursor": None, "has_next_page": False}
    return {"files": {"edges": edges, "page_info": page, "total_count": len(edges)}}


@mutation.field("updateArtifactManifest")
def update_manifest(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    manifest_id = ids.decode("ArtifactManifest", input["artifact_manifest_id"])
    known = manifests.by_id(context.connection, manifest_id)
    uploads.require_pending(context.connection, [known.artifact_id])
    manifests.complete(context.connection, manifest_id, md5=_announced_md5(input), base_id=_base(input))
    return {"artifact_manifest": _manifest(context, manifest_id)}


@mutation.field("commitArtifact")
def commit(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    artifact_id = ids.decode("Artifact", input["artifact_id"])
    committed = uploads.commit(context.connection, artifact_id, blobs=context.blobs, user_id=context.user.id)
    return {"artifact": artifacts.by_id(context.connection, committed)}


@mutation.field("useArtifact")
def use(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    found = artifacts.by_id(context.connection, ids.decode("Artifact", input["artifact_id"]))
    if found.state != artifacts.COMMITTED:
        raise Conflict(f"an artifact that is {found.state} cannot be used")
    run = runs.the_run(context.connection, input["entity_name"], input["project_name"], input["run_name"])
    lineage.record_use(context.connection, found.id, run.id, used_as=input.get("used_as"))
    return {"artifact": found}


def _announced_md5(input: dict[str, Any]) -> str | None:
    digest = input.get("digest")
    return manifests.hex_md5(digest) if digest else None


def _base(input: dict[str, Any]) -> int | None:
    base = input.get("base_artifact_id")
    return ids.decode("Artifact", base) if base else None


def _manifest(context: Context, manifest_id: int) -> dict[str, Any]:
    """The manifest as announced; it has somewhere to be put once its bytes are known."""
    found = manifests.by_id(context.connection, manifest_id)
    file: dict[str, Any] = {"id": ids.encode("ArtifactManifest", found.id), "name": "wandb_manifest.json"}
    if found.md5 is not None:
        file["upload_url"] = transfers.upload_url(context, found.md5)
        file["upload_headers"] = [f"Content-MD5:{manifests.base64_md5(found.md5)}"]
    return {"id": ids.encode("ArtifactManifest", found.id), "file": file}
