"""Artifacts for the tests: drafts for the real client, and the upload protocol by hand for what the client never does."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import wandb

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
    """

    def __init__(self, server: Server, project: str, files: Mapping[str, bytes], *, manifest: Any = None) -> None:
        self.server = server
        self.files = dict(files)
        self.manifest = manifest if manifest is not None else {name: entry(body) for name, body in files.items()}
        self.digest = digest_of(self.manifest) if isinstance(self.manifest, dict) else secrets.token_hex(16)
        created = self._run(
            "mutation($input: CreateArtifactInput!) { createArtifact(input: $input) { artifact { id state } } }",
            entityName="local",
            projectName=project,
            artifactTypeName="dataset",
            artifactCollectionName="it",
            digest=self.digest,
            aliases=[{"artifactCollectionName": "it", "alias": "latest"}],
            clientID=secrets.token_hex(64),
        )
        self.id = created["createArtifact"]["artifact"]["id"]
        self.state = created["createArtifact"]["artifact"]["state"]

    def announce(self) -> list[dict[str, Any]]:
        """What the server says about each file: the nodes in its order."""
        specs = [{"artifactID": self.id, "name": name, "md5": base64_md5(body)} for name, body in self.files.items()]
        answer = self._run(
            "mutation($input: CreateArtifactFilesInput!) { createArtifactFiles(input: $input) { files { edges { node "
            "{ name storagePath uploadUrl uploadHeaders artifact { id } } } } } }",
            artifactFiles=specs,
            storageLayout="V2",
        )
        return [edge["node"] for edge in answer["createArtifactFiles"]["files"]["edges"]]

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

    def _run(self, query: str, **input: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.server.ask(query, input=input)
        return answer


def entry(body: bytes, **more: Any) -> dict[str, Any]:
    """A manifest's entry for stored bytes."""
    return {"digest": base64_md5(body), "size": len(body)} | more


def base64_md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


def digest_of(manifest: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [f"{path}:{manifest[path]['digest']}\n" for path in sorted(manifest)]
    return hashlib.md5("wandb-artifact-manifest-v1\n{}".format("".join(lines)).encode(), usedforsecurity=False).hexdigest()
