"""Uploads as the client only does them for gigabytes, or when asked to: files in parts, and XXH128 instead of md5.

The client sends parts from 2 GiB on, so here they are sent by hand, as it sends them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx
import pytest
import wandb

from registry.server.database import Database
from registry.server.store import multiparts
from tests.wire.conftest import Server, running
from tests.wire.drafts import Upload, base64_md5, base64_xxh128, contents, draft, log, xxh128_entry

PROJECT = "uploads"
PARTS = [b"one" * 40_000, b"two" * 40_000, b"the rest"]


@pytest.fixture
def parts(project: str) -> list[bytes]:
    """Parts of this test's own: what is stored already is not asked for again."""
    return [part + project.encode() for part in PARTS]


def large(server: Server, project: str, parts: list[bytes], **said: Any) -> Upload:
    return Upload(server, project, {"large.bin": b"".join(parts)}, **said)


def put(node: dict[str, Any], parts: list[bytes], *numbers: int) -> None:
    """Send some parts, all by default, each to its link."""
    for number in numbers or range(1, len(parts) + 1):
        link = node["uploadMultipartUrls"]["uploadUrlParts"][number - 1]
        assert link["partNumber"] == number
        answer = httpx.put(link["uploadUrl"], content=parts[number - 1])
        assert (answer.status_code, bool(answer.headers["ETag"])) == (200, True), answer.text


def fetched(server: Server, project: str) -> bytes:
    """The file of the version, by the link that the server gives for it."""
    answer: Any = server.ask(
        'query($p: String!) { project(name: $p, entityName: "local") { artifactCollectionMembership(name: "it:latest") '
        "{ files { edges { node { directUrl } } } } } }",
        p=project,
    )
    (edge,) = answer["project"]["artifactCollectionMembership"]["files"]["edges"]
    return httpx.get(edge["node"]["directUrl"]).content


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 1, 3, 2)], ids=["in order", "last first", "one twice"])
@pytest.mark.parametrize("xxh128", [False, True], ids=["md5", "XXH128"])
def test_a_file_in_parts_comes_back_whole(
    server: Server, project: str, parts: list[bytes], order: tuple[int, ...], xxh128: bool
) -> None:
    upload = large(server, project, parts, xxh128=xxh128)
    node = upload.announce_parts("large.bin", parts)
    put(node, parts, *order)
    answers = [upload.complete(node, parts).json() for _ in range(2)]
    assert answers == [{"data": {"completeMultipartUploadArtifact": {"digest": base64_md5(b"".join(parts))}}}] * 2
    upload.put_manifest()
    assert upload.commit().status_code == 200
    assert fetched(server, project) == b"".join(parts)


def test_parts_that_were_put_together_leave_nothing_behind(server: Server, project: str, parts: list[bytes]) -> None:
    upload = large(server, project, parts)
    node = upload.announce_parts("large.bin", parts)
    put(node, parts)
    assert upload.complete(node, parts).status_code == 200
    upload.put_manifest()
    assert upload.commit().status_code == 200
    assert not (server.home / "blobs" / "parts" / node["uploadMultipartUrls"]["uploadID"]).exists()


def test_a_file_in_parts_that_is_stored_already_is_not_asked_for(server: Server, project: str, parts: list[bytes]) -> None:
    first = large(server, project, parts)
    put(node := first.announce_parts("large.bin", parts), parts)
    assert first.complete(node, parts).status_code == 200
    again = [large(server, f"{project}-{way}", parts, xxh128=way).announce_parts("large.bin", parts) for way in (False, True)]
    assert [(node["uploadUrl"], node["uploadMultipartUrls"]) for node in again] == [(None, None)] * 2


def test_a_part_with_another_digest_than_announced_is_refused_and_can_be_sent_again(
    server: Server, project: str, parts: list[bytes]
) -> None:
    upload = large(server, project, parts)
    node = upload.announce_parts("large.bin", parts)
    link = node["uploadMultipartUrls"]["uploadUrlParts"][1]["uploadUrl"]
    refused = httpx.put(link, content=b"damaged on the way")
    assert (refused.status_code, "it was not stored" in refused.text) == (400, True)
    put(node, parts, 1, 3)
    missing = upload.complete(node, parts)
    assert (missing.status_code, missing.json()["error"]) == (
        400,
        "1 of 3 parts of 'large.bin' never arrived, the first is 2",
    )
    put(node, parts, 2)
    assert upload.complete(node, parts).status_code == 200


def test_a_link_to_one_part_is_no_link_to_another(server: Server, project: str, parts: list[bytes]) -> None:
    node = large(server, project, parts).announce_parts("large.bin", parts)
    url = node["uploadMultipartUrls"]["uploadUrlParts"][0]["uploadUrl"]
    assert [httpx.put(link, content=parts[0]).status_code for link in (url.replace("/1?", "/2?"), url.partition("?")[0])] == [
        403,
        403,
    ]


def test_parts_that_make_another_file_than_announced_make_none(server: Server, project: str, parts: list[bytes]) -> None:
    upload = large(server, project, parts)
    node = upload.announce_parts("large.bin", parts, md5=b"another file" + project.encode())
    put(node, parts)
    refused = upload.complete(node, parts)
    assert (refused.status_code, "announced were" in refused.json()["error"]) == (400, True)
    upload.put_manifest()
    assert "announced files never arrived" in upload.refusal()


def test_an_upload_in_parts_goes_on_with_another_server_of_the_home(tmp_path: Path, project: str, parts: list[bytes]) -> None:
    with running(tmp_path / "home") as first:
        upload = large(first, project, parts)
        node = upload.announce_parts("large.bin", parts)
        put(node, parts, 1, 3)
    folder = tmp_path / "home" / "blobs" / "parts" / node["uploadMultipartUrls"]["uploadID"]
    # As if it was killed while it appended the second part: its beginning is in the file.
    with (folder / "whole").open("ab") as whole:
        whole.write(parts[1][:1000])
    with running(tmp_path / "home") as second:
        upload.server = second
        for link in node["uploadMultipartUrls"]["uploadUrlParts"]:
            link["uploadUrl"] = link["uploadUrl"].replace(first.url, second.url)
        put(node, parts, 2)
        assert upload.complete(node, parts).status_code == 200
        upload.put_manifest()
        assert upload.commit().status_code == 200
        assert fetched(second, project) == b"".join(parts)


def test_a_server_that_did_not_see_the_parts_hashes_them_without_letting_the_client_wait(
    tmp_path: Path, project: str, parts: list[bytes]
) -> None:
    with running(tmp_path / "home") as first:
        upload = large(first, project, parts)
        put(node := upload.announce_parts("large.bin", parts), parts)
    with running(tmp_path / "home") as upload.server:
        # 429 is what the client asks again for.
        statuses = [upload.complete(node, parts).status_code]
        while statuses[-1] == 429:
            statuses.append(upload.complete(node, parts).status_code)
    assert (statuses[0], statuses[-1]) == (429, 200)


def test_parts_that_nobody_can_go_on_with_are_removed_when_somebody_begins(
    server: Server, project: str, parts: list[bytes]
) -> None:
    upload = large(server, project, parts)
    node = upload.announce_parts("large.bin", parts)
    put(node, parts, 2)
    folder = server.home / "blobs" / "parts" / node["uploadMultipartUrls"]["uploadID"]
    database = Database(server.home / "reg.db")
    with database.writing() as connection:
        token = node["uploadMultipartUrls"]["uploadID"]
        multiparts.forget(connection, multiparts.by_token(connection, token).artifact_id)
    database.close()
    os.utime(folder, (0, 0))
    assert folder.exists()
    large(server, f"{project}-next", parts).announce_parts("large.bin", parts)
    assert not folder.exists()


def test_the_memory_of_the_server_does_not_grow_with_the_file(server: Server, project: str) -> None:
    part = os.urandom(1 << 20) * 16
    parts = [bytes([number]) + part for number in range(4)]
    before = peak(server)
    upload = large(server, project, parts)
    put(node := upload.announce_parts("large.bin", parts), parts)
    assert upload.complete(node, parts).status_code == 200
    assert peak(server) - before < 32 << 20


def peak(server: Server) -> int:
    """The most memory that the server ever had, in bytes."""
    status = Path(f"/proc/{server.pid}/status")
    if not status.exists():
        pytest.skip("this system does not tell the memory of another process")
    (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) << 10


def xxh128(name: str, files: dict[str, str]) -> wandb.Artifact:
    return draft(name, files, digest_algorithm="XXH128")


def find(reference: str) -> wandb.Artifact:
    return wandb.Api().artifact(f"{PROJECT}/{reference}")


def test_an_artifact_known_by_xxh128_comes_back_and_verifies(sdk: Path, run: wandb.Run) -> None:
    logged = xxh128("fast", {"file1.txt": "hello", "same": "hello"})
    digest = logged.digest
    run.log_artifact(logged).wait()
    found = find("fast:latest")
    assert (found.digest, found.digest_algorithm, found.version) == (digest, "MANIFEST_XXH128", "v0")
    assert found.manifest.entries["file1.txt"].digest == "tenBrQcbPn/Hec+qXlI4GA=="
    assert contents(found.download()) == {"file1.txt": "hello", "same": "hello"}
    found.verify()
    alone = found.get_entry("same").download(root=str(sdk / "alone"), skip_cache=True)
    assert Path(alone).read_text() == "hello"


def test_the_next_versions_of_an_xxh128_artifact_are_known_by_it_too(sdk: Path, run: wandb.Run) -> None:
    run.log_artifact(xxh128("grown", {"a": "1"})).wait()
    grown = find("grown:v0").new_draft()
    (sdk / "b").write_text("2")
    grown.add_file(str(sdk / "b"))
    run.log_artifact(grown).wait()
    again = run.log_artifact(xxh128("grown", {"a": "1", "b": "2"})).wait()
    merged = run.log_artifact(draft("grown", {"c": "3"}, incremental=True, digest_algorithm="XXH128")).wait()
    assert (again.version, merged.version) == ("v1", "v2")
    assert contents(find("grown:latest").download()) == {"a": "1", "b": "2", "c": "3"}
    assert find("grown:latest").digest == xxh128("x", {"a": "1", "b": "2", "c": "3"}).digest


def test_an_xxh128_artifact_in_a_sequence_of_md5_becomes_md5(sdk: Path, run: wandb.Run) -> None:
    log(run, "old", {"a": "1"})
    logged = run.log_artifact(xxh128("old", {"file1.txt": "hello"})).wait()
    assert (logged.version, logged.digest) == ("v1", "a00c2239f036fb656c1dcbf9a32d89b4")
    assert find("old:v1").digest_algorithm == "MANIFEST_MD5"


def test_bytes_stored_by_md5_are_sent_once_more_before_they_are_known_by_xxh128(server: Server, project: str) -> None:
    body = project.encode()
    Upload(server, project, {"file": body}).put_files()
    asked = [Upload(server, f"{project}-{number}", {"file": body}, xxh128=True) for number in range(2)]
    first = asked[0].announce()[0]["uploadUrl"]
    asked[0].put_files()
    assert (first is None, asked[1].announce()[0]["uploadUrl"]) == (False, None)


def test_bytes_with_another_xxh128_than_announced_are_never_known_by_it(server: Server, project: str) -> None:
    body, other = project.encode(), b"something else" + project.encode()
    upload = Upload(server, project, {"file": body}, xxh128=True, manifest={"file": xxh128_entry(other, size=len(body))})
    (node,) = upload.announce_as([{"name": "file", "md5": base64_md5(body), "digest": base64_xxh128(other)}])
    refused = httpx.put(node["uploadUrl"], content=body)
    assert (refused.status_code, "the upload has XXH128" in refused.text) == (400, True)
    # The same bytes under their true digest do not help the lie.
    upload.put_files()
    upload.put_manifest()
    assert "with XXH128" in upload.refusal()
