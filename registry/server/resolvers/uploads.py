"""Artifacts: the mutations by which a client uploads a version. They arrive in the order in which they stand here."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from ariadne import MutationType, SchemaBindable

from registry.errors import BadData, Conflict
from registry.server import ids, parts, transfers
from registry.server.context import Context
from registry.server.resolvers import Info, places
from registry.server.store import artifacts, lineage, manifests, multiparts, possession, runs, uploads
from registry.server.store.uploads import Draft

_AN_HOUR = 3600.0

mutation = MutationType()
bindables: list[SchemaBindable] = [mutation]


@mutation.field("createArtifact")
def create_artifact(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    # One name, or a list of one, depending on which half of the client asks.
    names = {*filter(None, [input.get("artifact_collection_name"), *(input.get("artifact_collection_names") or ())])}
    if len(names) != 1:
        raise BadData(f"an artifact is logged to one collection, these are {len(names)}")
    if input.get("storage_region"):
        raise BadData(f"this server stores in one place and has no region '{input['storage_region'][:80]}'")
    # A run that was offline names no entity.
    owner = places.owner_named(context, input["entity_name"])
    project = places.place(context, owner, input["project_name"])
    run = None
    if input.get("run_name"):
        run = runs.the_run(context.connection, project.entity_name, project.name, input["run_name"])
    draft = Draft(
        type=input["artifact_type_name"],
        collection=names.pop(),
        digest=input["digest"],
        algorithm=input.get("digest_algorithm") or manifests.MD5,
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
    context.access.write_artifact(artifact_id)
    uploads.require_pending(context.connection, [artifact_id])
    md5 = _announced_md5(input)
    manifest_id = manifests.announce(
        context.connection,
        artifact_id,
        kind=input.get("type") or "FULL",
        name=input["name"],
        md5=md5,
        base_id=_base(context, input),
    )
    return {"artifact_manifest": _manifest(context, manifest_id)}


@mutation.field("createArtifactFiles")
def create_files(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    """Where to put each file. The client pairs answers with files by position, so the order is part of the answer."""
    context = info.context
    doubly = input.get("digest_algorithm") == manifests.XXH128
    files = [_announced_file(file, doubly=doubly) for file in input["artifact_files"]]
    owners = {file.artifact_id for file in files}
    for owner in owners:
        context.access.write_artifact(owner)
    context.access.allow()  # no files of nobody's
    uploads.require_pending(context.connection, owners)
    # Asking for no upload is safe only because a blob under its final name is whole, and was seen to have both digests.
    known = multiparts.md5s_of(context.connection, (file.xxh128 for file in files if file.xxh128))
    files = [file.found(known.get(file.xxh128 or "", set())) for file in files]
    stored = context.blobs.sizes(file.md5 for file in files if file.md5)
    for owner in owners:
        named = {file.md5 for file in files if file.md5 and file.artifact_id == owner}
        for md5 in possession.contest(context.connection, context.access, context.blobs, owner, named):
            stored.pop(md5, None)
    manifests.announce_files(
        context.connection,
        [{"artifact_id": file.artifact_id, "name": file.name, "md5": file.md5} for file in files if file.md5],
    )
    loaded = artifacts.by_ids(context.connection, owners)
    edges = []
    for file in files:
        whole = file.md5 in stored and (file.xxh128 is None or file.md5 in known.get(file.xxh128, set()))
        where = {} if whole else _where_to_put(context, file)
        node = {"id": f"{ids.encode('Artifact', file.artifact_id)}:{file.name}", "name": file.name}
        edges.append({"node": node | {"artifact": loaded[file.artifact_id], "storage_path": file.md5 or file.xxh128} | where})
    page = {"end_cursor": None, "has_next_page": False}
    return {"files": {"edges": edges, "page_info": page, "total_count": len(edges)}}


@mutation.field("completeMultipartUploadArtifact")
def complete_multipart_upload(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    artifact_id = ids.decode("Artifact", input["artifact_id"])
    context.access.write_artifact(artifact_id)
    uploads.require_pending(context.connection, [artifact_id])
    # The client says the ETag as it stood in the header.
    said = {part["part_number"]: part["hex_m_d_5"].strip('"') for part in input["completed_parts"]}
    md5 = uploads.complete_parts(context.connection, artifact_id, input["upload_id"], said, blobs=context.blobs)
    possession.bring(context.connection, artifact_id, md5)
    return {"digest": manifests.base64_digest(md5)}


@mutation.field("updateArtifactManifest")
def update_manifest(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    manifest_id = ids.decode("ArtifactManifest", input["artifact_manifest_id"])
    known = manifests.by_id(context.connection, manifest_id)
    context.access.write_artifact(known.artifact_id)
    uploads.require_pending(context.connection, [known.artifact_id])
    manifests.complete(context.connection, manifest_id, md5=_announced_md5(input), base_id=_base(context, input))
    return {"artifact_manifest": _manifest(context, manifest_id)}


@mutation.field("commitArtifact")
def commit(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    artifact_id = ids.decode("Artifact", input["artifact_id"])
    context.access.write_artifact(artifact_id)
    brought = possession.announced(context.connection, artifact_id)
    base_id = uploads.base_of(context.connection, artifact_id)
    committed = uploads.commit(context.connection, artifact_id, blobs=context.blobs, user_id=context.user.id)
    possession.require(context.connection, context.access, artifact_id, brought, base_id=base_id)
    return {"artifact": artifacts.by_id(context.connection, committed)}


@mutation.field("useArtifact")
def use(_: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    context = info.context
    found = artifacts.by_id(context.connection, ids.decode("Artifact", input["artifact_id"]))
    context.access.read_artifact(found.id)
    if found.state != artifacts.COMMITTED:
        raise Conflict(f"an artifact that is {found.state} cannot be used")
    run = places.run_named(context, input)
    context.access.write(run.project_id)
    lineage.record_use(context.connection, found.id, run.id, used_as=input.get("used_as"))
    return {"artifact": found}


@dataclass(frozen=True, kw_only=True)
class _File:
    """A file that the client wants to upload; digests in hex. Of a large one it may know the XXH128 only."""

    artifact_id: int
    name: str
    md5: str | None
    xxh128: str | None
    part_md5s: tuple[str, ...]

    def found(self, md5s: Collection[str]) -> _File:
        """With the md5 of stored bytes that have this XXH128, where the client does not know it."""
        return replace(self, md5=next(iter(md5s))) if self.md5 is None and len(md5s) == 1 else self


def _announced_file(file: dict[str, Any], *, doubly: bool) -> _File:
    # `md_5` and `hex_m_d_5` are what the schema's names become in Python.
    part_md5s = tuple(part["hex_m_d_5"] for part in file.get("upload_parts_input") or ())
    xxh128 = manifests.hex_digest(file.get("digest") or "", algorithm=manifests.XXH128) if doubly else None
    return _File(
        artifact_id=ids.decode("Artifact", file["artifact_id"]),
        name=file["name"],
        md5=None if doubly and part_md5s and not file["md_5"] else manifests.hex_digest(file["md_5"]),
        xxh128=xxh128,
        part_md5s=part_md5s,
    )


def _where_to_put(context: Context, file: _File) -> dict[str, Any]:
    """One link, or a link for each part."""
    if not file.part_md5s:
        assert file.md5 is not None
        headers = [f"Content-MD5:{manifests.base64_digest(file.md5)}"]
        named = possession.is_contested(context.connection, file.artifact_id, file.md5)
        link = transfers.upload_url(context, file.md5, xxh128=file.xxh128, artifact_id=file.artifact_id if named else None)
        return {"upload_url": link, "upload_headers": headers}
    upload = multiparts.begin(
        context.connection, file.artifact_id, file.name, md5=file.md5, xxh128=file.xxh128, part_md5s=file.part_md5s
    )
    # What nobody can go on with is removed when somebody else begins.
    parts.below(context.blobs.folder).forget_all_but(multiparts.tokens(context.connection), untouched_for=_AN_HOUR)
    urls = [
        {"part_number": number, "upload_url": transfers.part_url(context, upload.token, number)}
        for number in range(1, len(file.part_md5s) + 1)
    ]
    # The client reads the single link too, as the sign that something is to be sent.
    return {
        "upload_url": urls[0]["upload_url"],
        "upload_headers": [],
        "upload_multipart_urls": {"upload_id": upload.token, "upload_url_parts": urls},
    }


def _announced_md5(input: dict[str, Any]) -> str | None:
    digest = input.get("digest")
    return manifests.hex_digest(digest) if digest else None


def _base(context: Context, input: dict[str, Any]) -> int | None:
    if not input.get("base_artifact_id"):
        return None
    base = ids.decode("Artifact", input["base_artifact_id"])
    # Its content becomes a part of this version.
    context.access.read_artifact(base)
    return base


def _manifest(context: Context, manifest_id: int) -> dict[str, Any]:
    """The manifest as announced; it has somewhere to be put once its bytes are known."""
    found = manifests.by_id(context.connection, manifest_id)
    file: dict[str, Any] = {"id": ids.encode("ArtifactManifest", found.id), "name": "wandb_manifest.json"}
    if found.md5 is not None:
        named = possession.contest(context.connection, context.access, context.blobs, found.artifact_id, {found.md5})
        file["upload_url"] = transfers.upload_url(context, found.md5, artifact_id=found.artifact_id if named else None)
        file["upload_headers"] = [f"Content-MD5:{manifests.base64_digest(found.md5)}"]
    return {"id": ids.encode("ArtifactManifest", found.id), "file": file}
