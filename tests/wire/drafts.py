"""Artifacts for the tests: drafts for the real client, and the upload protocol by hand for what the client never does."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import wandb
import xxhash

from tests.wire.conftest import Server


def draft(name: str, files: Mapping[str, str] | None = None, *, type: str = "dataset", **said: Any) -> wandb.Artifact:
    """An artifact of these files, not logged yet."""
    artifact = wandb.Artifact(name, type, **said)
    add(artifact, files or {})
    return artifact


def add(artifact: wandb.Artifact, files: Mapping[str, str]) -> None:
    """Add files that are written below the working folder; `Artifact.new_file` leaves temporary folders to the collector."""
    folder = Path.cwd() / "drafts" / secrets.token_hex(8)
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
        artifact.add_file(str(folder / path), name=path)


def log(run: wandb.Run, name: str, files: Mapping[str, str] | None = None, **said: Any) -> wandb.Artifact:
    """The version that logging these files gives."""
    aliases = said.pop("aliases", None)
    return run.log_artifact(draft(name, files, **said), aliases=aliases).wait()


def contents(folder: str) -> dict[str, str]:
    """The files below a folder, by relative path."""
    root = Path(folder)
    return {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*") if path.is_file()}


class Upload:
    """One artifact on its way, step by step, with every step in the test's hand.

    Args:
        manifest: the manifest's contents; by default that of `files`.
        xxh128: speak of files and artifact by XXH128.
        entity: whose project it is.
    """

    def __init__(
        self,
        server: Server,
        project: str,
        files: Mapping[str, bytes],
        *,
        manifest: Any = None,
        xxh128: bool = False,
        entity: str = "local",
    ) -> None:
        self.server = server
        self.files = dict(files)
        self.algorithm = "MANIFEST_XXH128" if xxh128 else "MANIFEST_MD5"
        said = xxh128_entry if xxh128 else entry
        self.manifest = manifest if manifest is not None else {name: said(body) for name, body in files.items()}
        self.digest = digest_of(self.manifest, xxh128=xxh128) if isinstance(self.manifest, dict) else secrets.token_hex(16)
        created = self._run(
            "mutation($input: CreateArtifactInput!) { createArtifact(input: $input) { artifact { id state } } }",
            entityName=entity,
            projectName=project,
            artifactTypeName="dataset",
            artifactCollectionName="it",
            digest=self.digest,
            digestAlgorithm=self.algorithm,
            aliases=[{"artifactCollectionName": "it", "alias": "latest"}],
            clientID=secrets.token_hex(64),
        )
        self.id = created["createArtifact"]["artifact"]["id"]
        self.state = created["createArtifact"]["artifact"]["state"]

    def announce(self) -> list[dict[str, Any]]:
        """What the server says about each file: the nodes in its order."""
        specs = [{"name": name, "md5": base64_md5(body), "digest": self._digest(body)} for name, body in self.files.items()]
        return self.announce_as(specs)

    def announce_parts(self, name: str, parts: Sequence[bytes], *, md5: bytes | None = None) -> dict[str, Any]:
        """What the server says about a file that is to come in parts; its md5 is told unless XXH128 is spoken."""
        body = self.files[name]
        hashes = [{"partNumber": number, "hexMD5": hex_md5(part)} for number, part in enumerate(parts, start=1)]
        whole = base64_md5(body if md5 is None else md5) if self.algorithm == "MANIFEST_MD5" else ""
        spec = {"name": name, "md5": whole, "digest": self._digest(body), "uploadPartsInput": hashes}
        return self.announce_as([spec])[0]

    def complete(self, node: Mapping[str, Any], parts: Sequence[bytes]) -> httpx.Response:
        """Say that all parts are there; the server's answer, whatever it is."""
        query = (
            "mutation($parts: [UploadPartsInput!]!, $id: ID!, $path: String!, $upload: String!) { "
            "completeMultipartUploadArtifact(input: {completeMultipartAction: Complete, completedParts: $parts, "
            "artifactID: $id, storagePath: $path, uploadID: $upload}) { digest } }"
        )
        said = [{"partNumber": number, "hexMD5": f'"{hex_md5(part)}"'} for number, part in enumerate(parts, start=1)]
        place = {"id": self.id, "path": node["storagePath"], "upload": node["uploadMultipartUrls"]["uploadID"]}
        with self.server.client() as client:
            return client.post("/graphql", json={"query": query, "variables": place | {"parts": said}})

    def put_files(self) -> None:
        for node in self.announce():
            if node["uploadUrl"]:
                httpx.put(node["uploadUrl"], content=self.files[node["name"]]).raise_for_status()

    def put_manifest(self, *, raw: bytes | None = None) -> None:
        document = {"version": 1, "storagePolicy": "wandb-storage-policy-v1", "storagePolicyConfig": {"storageLayout": "V2"}}
        body = raw if raw is not None else json.dumps(document | {"contents": self.manifest}).encode()
        answer = self._run(
            "mutation($input: CreateArtifactManifestInput!) { createArtifactManifest(input: $input) "
            "{ artifactManifest { id file { uploadUrl } } } }",
            artifactID=self.id,
            name="wandb_manifest.json",
            digest=base64_md5(body),
            entityName="local",
            projectName="",
            type="FULL",
        )
        httpx.put(answer["createArtifactManifest"]["artifactManifest"]["file"]["uploadUrl"], content=body).raise_for_status()

    def commit(self) -> httpx.Response:
        """The server's answer, whatever it is."""
        query = "mutation($id: ID!) { commitArtifact(input: {artifactID: $id}) { artifact { id digest versionIndex } } }"
        with self.server.client() as client:
            return client.post("/graphql", json={"query": query, "variables": {"id": self.id}})

    def refusal(self) -> str:
        """Why the commit is refused."""
        answer = self.commit()
        assert answer.status_code in {400, 404, 422}, answer.text
        message: str = answer.json()["errors"][0]["message"]
        return message

    def _digest(self, body: bytes) -> str:
        return base64_xxh128(body) if self.algorithm == "MANIFEST_XXH128" else base64_md5(body)

    def announce_as(self, specs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The nodes for files announced in these words."""
        answer = self._run(
            "mutation($input: CreateArtifactFilesInput!) { createArtifactFiles(input: $input) { files { edges { node { name "
            "storagePath uploadUrl uploadHeaders uploadMultipartUrls { uploadID uploadUrlParts { partNumber uploadUrl } } "
            "artifact { id } } } } } }",
            artifactFiles=[{"artifactID": self.id} | dict(spec) for spec in specs],
            storageLayout="V2",
            digestAlgorithm=self.algorithm,
        )
        return [edge["node"] for edge in answer["createArtifactFiles"]["files"]["edges"]]

    def _run(self, query: str, **input: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.server.ask(query, input=input)
        return answer


def entry(body: bytes, **more: Any) -> dict[str, Any]:
    """A manifest's entry for stored bytes."""
    return {"digest": base64_md5(body), "size": len(body)} | more


def xxh128_entry(body: bytes, **more: Any) -> dict[str, Any]:
    """The same by XXH128."""
    return {"digest": base64_xxh128(body), "size": len(body), "extra": {"alg": "XXH128"}} | more


def hex_md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


def base64_md5(body: bytes) -> str:
    return base64.b64encode(bytes.fromhex(hex_md5(body))).decode()


def base64_xxh128(body: bytes) -> str:
    return base64.b64encode(xxhash.xxh128(body).digest()).decode()


def digest_of(manifest: Mapping[str, Mapping[str, Any]], *, xxh128: bool = False) -> str:
    lines = [f"{path}:{manifest[path]['digest']}\n" for path in sorted(manifest)]
    said = "wandb-artifact-manifest-v1\n{}".format("".join(lines)).encode()
    return xxhash.xxh128(said).hexdigest() if xxh128 else hex_md5(said)
