"""Artifacts through the real client: what is logged is what comes back, and nothing is a version before it is whole."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import wandb
from wandb.errors import CommError

from tests.wire.conftest import Server, since
from tests.wire.drafts import Upload, add, contents, draft, entry, log

PROJECT = "artifacts"


def find(reference: str) -> wandb.Artifact:
    return wandb.Api().artifact(f"{PROJECT}/{reference}")


def test_files_and_folders_come_back_byte_for_byte(sdk: Path, run: wandb.Run, name: str) -> None:
    files = {"plain.txt": "1", "a folder/ünï cödé %41.txt": "2\n", "deep/er/still.csv": "x,y\n", "empty": ""}
    logged = log(run, name, files)
    found = find(f"{name}:latest")
    assert contents(found.download()) == files
    assert (found.version, found.digest, found.size, found.file_count) == ("v0", logged.digest, 7, 4)
    found.verify()


def test_a_folder_of_the_disk_is_logged_with_its_relative_paths(sdk: Path, run: wandb.Run, name: str) -> None:
    (sdk / "data" / "train").mkdir(parents=True)
    (sdk / "data" / "train" / "0.txt").write_text("zero")
    artifact = wandb.Artifact(name, "dataset")
    artifact.add_dir(str(sdk / "data"))
    run.log_artifact(artifact).wait()
    assert contents(find(f"{name}:v0").download()) == {"train/0.txt": "zero"}


def test_the_same_content_is_the_same_version_and_takes_latest_back(sdk: Path, run: wandb.Run, name: str) -> None:
    versions = [log(run, name, {"file": content}).version for content in ("A", "B", "A", "C")]
    assert versions == ["v0", "v1", "v0", "v2"]
    log(run, name, {"file": "A"})
    assert find(f"{name}:latest").version == "v0"


def test_a_repeated_log_adds_aliases_and_tags_and_leaves_the_metadata(sdk: Path, run: wandb.Run, name: str) -> None:
    log(run, name, {"file": "A"}, metadata={"rows": 1}, description="first", aliases=["old"])
    log(run, name, {"file": "A"}, metadata={"rows": 2}, description="second", aliases=["new"])
    found = find(f"{name}:v0")
    assert (found.metadata, found.description, sorted(found.aliases)) == ({"rows": 1}, "first", ["latest", "new", "old"])


@pytest.mark.parametrize("tag", ["", ":latest", ":v1", ":best", "digest"])
def test_a_version_is_found_by_number_alias_and_digest(sdk: Path, run: wandb.Run, name: str, tag: str) -> None:
    log(run, name, {"file": "A"})
    wanted = log(run, name, {"file": "B"}, aliases=["best"])
    found = find(f"{name}:{wanted.digest}" if tag == "digest" else f"{name}{tag}")
    assert (found.id, found.version) == (wanted.id, "v1")


@pytest.mark.parametrize("tag", ["v7", "nobody", "0" * 32])
def test_what_nothing_names_is_not_found(sdk: Path, run: wandb.Run, name: str, tag: str) -> None:
    log(run, name, {"file": "A"})
    assert not wandb.Api().artifact_exists(f"{PROJECT}/{name}:{tag}")
    with pytest.raises(CommError, match="not found"):
        find(f"{name}:{tag}")


def test_a_collection_keeps_its_type(sdk: Path, run: wandb.Run, name: str) -> None:
    log(run, name, {"file": "A"})
    with pytest.raises(ValueError, match="dataset"):
        log(run, name, {"file": "B"}, type="model")


def test_a_file_names_the_place_of_its_bytes_as_wandb_does(sdk: Path, run: wandb.Run, name: str) -> None:
    md5 = hashlib.md5(b"A").hexdigest()
    log(run, name, {"file": "A"})
    (file,) = find(f"{name}:latest").files()
    assert re.fullmatch(rf"wandb_artifacts/\d+/{md5}", file.storage_path)


def test_references_keep_their_address_and_the_local_file_is_fetched(sdk: Path, run: wandb.Run, name: str) -> None:
    (sdk / "big.bin").write_text("big")
    artifact = wandb.Artifact(name, "dataset")
    artifact.add_reference(f"file://{sdk}/big.bin", name="linked.bin")
    artifact.add_reference("store://bucket/key", name="remote", checksum=False)
    run.log_artifact(artifact).wait()
    found = find(f"{name}:latest")
    assert found.manifest.entries["remote"].ref == "store://bucket/key"
    assert [file.name for file in found.files()] == ["linked.bin", "remote"]
    assert Path(found.get_entry("linked.bin").download()).read_text() == "big"


def test_a_folder_of_references_keeps_its_tree_and_an_unchecked_one_is_known_by_its_address(
    sdk: Path, run: wandb.Run, name: str
) -> None:
    (sdk / "data" / "deep").mkdir(parents=True)
    for path in ("a", "deep/b"):
        (sdk / "data" / path).write_text(path)
    artifact = wandb.Artifact(name, "dataset")
    artifact.add_reference(f"file://{sdk}/data")
    artifact.add_reference(f"file://{sdk}/data", name="again", checksum=False)
    artifact.add_reference("https://example.invalid/x.bin", name="web", checksum=False)
    run.log_artifact(artifact).wait()
    found = find(f"{name}:latest")
    assert sorted(found.manifest.entries) == ["a", "again/a", "again/deep/b", "deep/b", "web"]
    assert (found.file_count, found.size, found.manifest.entries["web"].ref) == (5, 14, "https://example.invalid/x.bin")
    assert contents(found.download(path_prefix="deep/")) == {"deep/b": "deep/b"}


def test_only_what_a_prefix_names_is_downloaded(sdk: Path, run: wandb.Run, name: str) -> None:
    found = log(run, name, {"some/one": "1", "some-two": "2", "other": "3"})
    got = {
        prefix: set(contents(found.download(path_prefix=prefix, root=str(sdk / folder))))
        for folder, prefix in (("open", "some"), ("closed", "some/"))
    }
    assert got == {"some": {"some/one", "some-two"}, "some/": {"some/one"}}


def test_a_checkout_is_the_version_and_nothing_else(sdk: Path, run: wandb.Run, name: str) -> None:
    (sdk / "out").mkdir()
    (sdk / "out" / "stray").write_text("x")
    assert contents(log(run, name, {"kept": "1"}).checkout(str(sdk / "out"))) == {"kept": "1"}


def test_a_storage_region_that_this_server_does_not_have_is_refused(sdk: Path, run: wandb.Run, name: str) -> None:
    with pytest.raises(ValueError, match="has no region 'mars'"):
        run.log_artifact(wandb.Artifact(name, "dataset", storage_region="mars")).wait()


@since("0.30")
def test_a_version_is_found_from_its_draft_in_another_project_and_logged_there_by_hand(
    sdk: Path, run: wandb.Run, name: str
) -> None:
    log(run, name, {"file": "A"})
    with wandb.init(project=f"{PROJECT}-other", reinit="create_new") as other:
        other.use_artifact(f"local/{PROJECT}/{name}:v0", use_as="input")
    (used,) = wandb.Api().run(other.path).used_artifacts()
    assert (used.project, used.name) == (PROJECT, f"{name}:v0")
    wandb.Api().run(run.path).log_artifact(used, aliases=["again"])
    assert find(f"{name}:again").version == "v0"


@pytest.mark.parametrize(("path", "reason"), [
    pytest.param("nobody/nowhere/x:v0", "project 'nowhere' not found", id="entity"),
    pytest.param("local/nowhere/x:v0", "project 'nowhere' not found", id="project"),
    pytest.param(f"local/{PROJECT}/nothing:v0", "'nothing:v0' not found", id="collection"),
])  # fmt: skip
def test_what_is_missing_of_a_path_is_named(sdk: Path, run: wandb.Run, path: str, reason: str) -> None:
    with pytest.raises(CommError, match=reason):
        wandb.Api().artifact(path)


def test_an_entry_of_another_artifact_can_be_referenced(sdk: Path, run: wandb.Run, name: str) -> None:
    source = log(run, f"{name}-source", {"weights": "w"})
    artifact = wandb.Artifact(name, "model")
    artifact.add_reference(source.get_entry("weights"), name="borrowed")
    run.log_artifact(artifact).wait()
    assert contents(find(f"{name}:latest").download()) == {"borrowed": "w"}


def test_tables_are_artifacts_and_can_be_referenced_while_they_are_still_on_their_way(
    sdk: Path, script: Callable[..., subprocess.Popen[str]], project: str
) -> None:
    # A process of its own: the client leaves temporary folders to the collector, which warns about each.
    source = f"""
import wandb
with wandb.init(project={project!r}, id="tables") as run:
    table = wandb.Table(columns=["x"], data=[[1], [2]])
    run.log({{"logged": table}})
    first = wandb.Artifact("source", "dataset")
    first.add(table, "table")
    run.log_artifact(first)
    second = wandb.Artifact("borrower", "dataset")
    second.add(table, "borrowed")
    run.log_artifact(second).wait()
"""
    process = script(source)
    assert process.communicate()[1] == ""
    found = {version.name: version for version in wandb.Api().run(f"{project}/tables").logged_artifacts()}
    assert sorted(found) == ["borrower:v0", "run-tables-logged:v0", "source:v0"]
    assert found["run-tables-logged:v0"].type == "run_table"
    assert found["borrower:v0"].manifest.entries["borrowed.table.json"].ref
    assert [found[name].get(key).data for name, key in (("borrower:v0", "borrowed"), ("source:v0", "table"))] == [
        [[1], [2]]
    ] * 2


def test_an_incremental_version_is_its_base_overlaid(sdk: Path, run: wandb.Run, name: str) -> None:
    log(run, name, {"kept": "1", "changed": "2"})
    version = run.log_artifact(draft(name, {"changed": "3", "new": "4"}, incremental=True)).wait()
    assert version.version == "v1"
    assert contents(find(f"{name}:latest").download()) == {"kept": "1", "changed": "3", "new": "4"}


def test_an_incremental_version_that_adds_what_an_older_one_held_is_still_merged(sdk: Path, run: wandb.Run, name: str) -> None:
    log(run, name, {"a": "1"})
    log(run, name, {"b": "2"})
    assert run.log_artifact(draft(name, {"a": "1"}, incremental=True)).wait().version == "v2"
    assert contents(find(f"{name}:latest").download()) == {"a": "1", "b": "2"}


def test_a_merged_version_is_known_by_the_digest_of_its_whole_content(sdk: Path, run: wandb.Run, name: str) -> None:
    log(run, name, {"a": "1"})
    merged = run.log_artifact(draft(name, {"b": "2"}, incremental=True)).wait()
    assert log(run, name, {"a": "1", "b": "2"}).id == merged.id


def test_a_new_draft_changes_only_what_it_says(sdk: Path, run: wandb.Run, name: str) -> None:
    log(run, name, {"kept": "1", "gone": "2"})
    changed = find(f"{name}:v0").new_draft()
    changed.remove("gone")
    add(changed, {"new": "3"})
    run.log_artifact(changed).wait()
    assert contents(find(f"{name}:v1").download()) == {"kept": "1", "new": "3"}


def test_several_writers_make_one_distributed_version(sdk: Path, run: wandb.Run, name: str) -> None:
    for part in ("a", "b"):
        run.upsert_artifact(draft(name, {part: part}), distributed_id=name)
    run.finish_artifact(draft(name, {"c": "c"}), distributed_id=name).wait()
    found = find(f"{name}:v0")
    assert contents(found.download()) == {"a": "a", "b": "b", "c": "c"}
    found.verify()


def test_several_processes_make_one_distributed_version(
    sdk: Path, script: Callable[..., subprocess.Popen[str]], project: str
) -> None:
    source = f"""
import sys, wandb
with wandb.init(project={project!r}, group="writers") as run:
    artifact = wandb.Artifact("shared", "dataset")
    with artifact.new_file(sys.argv[1]) as file:
        file.write(sys.argv[1])
    run.upsert_artifact(artifact)
"""
    writers = [script(f"import sys; sys.argv[1:] = [{part!r}]\n{source}") for part in ("a", "b")]
    assert [(writer.communicate()[1], writer.returncode) for writer in writers] == [("", 0)] * 2
    with wandb.init(project=project, group="writers", reinit="create_new") as last:
        last.finish_artifact(draft("shared", {"c": "c"})).wait()
    assert contents(wandb.Api().artifact(f"{project}/shared:v0").download()) == {"a": "a", "b": "b", "c": "c"}


def test_every_file_of_ten_thousand_is_listed_once(sdk: Path, server: Server, project: str) -> None:
    names = [f"{number // 100:03}/{number:05}" for number in range(10_001)]
    upload = Upload(server, project, {"file": STORED}, manifest=dict.fromkeys(names, entry(STORED)))
    upload.put_files()
    upload.put_manifest()
    assert upload.commit().status_code == 200
    found = wandb.Api().artifact(f"{project}/it:v0")
    listed = [file.name for file in found.files(per_page=5_000)]
    assert (found.file_count, listed) == (10_001, names)


def test_the_files_of_a_version_are_paged(sdk: Path, run: wandb.Run, name: str) -> None:
    files = {f"{number:03}": "same" for number in range(60)}
    found = log(run, name, files)
    listed = found.files(per_page=25)
    assert (len(listed), [file.name for file in listed]) == (60, sorted(files))
    assert [file.name for file in found.files(names=["007", "nothing"])] == ["007"]


def test_versions_are_listed_newest_first(sdk: Path, run: wandb.Run, name: str) -> None:
    for content in "ABC":
        log(run, name, {"file": content})
    found = wandb.Api().artifacts("dataset", f"{PROJECT}/{name}", per_page=2)
    assert ([version.name for version in found], len(found)) == ([f"{name}:v2", f"{name}:v1", f"{name}:v0"], 3)


def test_the_oldest_version_comes_first_when_asked_so(sdk: Path, run: wandb.Run, name: str) -> None:
    for content in "AB":
        log(run, name, {"file": content})
    found = wandb.Api().artifacts("dataset", f"{PROJECT}/{name}", order="+created_at")
    assert [version.version for version in found] == ["v0", "v1"]


def test_collections_and_types_are_listed_and_filtered(sdk: Path, run: wandb.Run, name: str) -> None:
    for letter in "ab":
        log(run, f"{name}-{letter}", {"file": "A"}, type=name)
    kind = wandb.Api().artifact_type(name, PROJECT)
    assert name in [found.name for found in wandb.Api().artifact_types(PROJECT)]
    assert [found.name for found in kind.collections()] == [f"{name}-b", f"{name}-a"]
    assert [found.name for found in kind.collections(filters={"name": f"{name}-a"})] == [f"{name}-a"]
    assert [found.name for found in kind.collections(order="+name", per_page=1)] == [f"{name}-a", f"{name}-b"]


@pytest.mark.parametrize(("type_name", "suffix", "exists"), [
    pytest.param("dataset", "", True, id="there"),
    pytest.param("dataset", "-no", False, id="no such name"),
    pytest.param("model", "", False, id="of another type"),
])  # fmt: skip
def test_a_collection_exists_under_its_name_and_type(
    sdk: Path, run: wandb.Run, name: str, type_name: str, suffix: str, exists: bool
) -> None:
    log(run, name, {"file": "A"})
    log(run, f"{name}-model", {"file": "A"}, type="model")
    assert wandb.Api().artifact_collection_exists(f"{PROJECT}/{name}{suffix}", type_name) is exists


def test_the_artifact_commands_put_list_and_get(sdk: Path, script: Callable[..., subprocess.Popen[str]], project: str) -> None:
    (sdk / "file.txt").write_text("content")
    command = "import sys; from wandb.cli.cli import cli; sys.argv[1:] = {}; cli()"
    told = {}
    for verb, words in {
        "put": ["--name", f"{project}/thing", "--type", "dataset", "file.txt"],
        "ls": [project],
        "get": [f"{project}/thing:v0", "--root", "got"],
    }.items():
        process = script(command.format(["artifact", verb, *words]), WANDB_SILENT="false")
        out, err = process.communicate()
        assert process.returncode == 0, err
        told[verb] = out + err
    assert "thing:v0" in told["ls"]
    assert contents(str(sdk / "got")) == {"file.txt": "content"}


def test_writers_that_race_get_dense_numbers_and_leave_one_holder_of_each_alias(
    sdk: Path, script: Callable[..., subprocess.Popen[str]], project: str
) -> None:
    source = f"""
import wandb, sys
with wandb.init(project={project!r}) as run:
    for number in range(3):
        artifact = wandb.Artifact("shared", "dataset")
        with artifact.new_file("file") as file:
            file.write(f"{{sys.argv[-1]}}-{{number}}")
        run.log_artifact(artifact, aliases=["hot"]).wait()
"""
    writers = [script(source.replace("sys.argv[-1]", repr(str(writer)))) for writer in range(4)]
    errors = [writer.communicate()[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 4, errors
    found = list(wandb.Api().artifacts("dataset", f"{project}/shared"))
    assert [version.version for version in found] == [f"v{number}" for number in reversed(range(12))]
    assert [version.version for version in found if "hot" in version.aliases] == ["v11"]
    assert [version.version for version in found if "latest" in version.aliases] == ["v11"]


def test_writers_that_race_with_equal_content_make_one_version(
    sdk: Path, script: Callable[..., subprocess.Popen[str]], project: str
) -> None:
    source = f"""
import wandb
with wandb.init(project={project!r}) as run:
    artifact = wandb.Artifact("shared", "dataset")
    with artifact.new_file("file") as file:
        file.write("the same")
    assert run.log_artifact(artifact).wait().version == "v0"
"""
    writers = [script(source) for _ in range(3)]
    errors = [writer.communicate()[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 3, errors
    (found,) = wandb.Api().artifacts("dataset", f"{project}/shared")
    loggers = [run for run in wandb.Api().runs(f"local/{project}") if [a.id for a in run.logged_artifacts()] == [found.id]]
    assert len(loggers) == 3


def test_of_two_equal_pending_uploads_the_second_becomes_the_first(server: Server, project: str) -> None:
    first, second = (Upload(server, project, {"file": b"same"}) for _ in range(2))
    for upload in (first, second):
        upload.put_files()
        upload.put_manifest()
    answers = [upload.commit().json()["data"]["commitArtifact"]["artifact"] for upload in (first, second)]
    assert [answer["id"] for answer in answers] == [first.id, first.id]
    (again,) = [server.ask("query($id: ID!) { artifact(id: $id) { id } }", id=second.id)["artifact"]]
    assert again == {"id": first.id}


def test_committing_twice_changes_nothing(server: Server, project: str) -> None:
    upload = Upload(server, project, {"file": b"x"})
    upload.put_files()
    upload.put_manifest()
    answers = [upload.commit().json() for _ in range(2)]
    assert answers[0] == answers[1]


def test_a_pending_artifact_is_nowhere_to_be_seen(server: Server, project: str) -> None:
    upload = Upload(server, project, {"file": b"x"})
    upload.put_files()
    seen = server.ask(
        "query($id: ID!, $project: String!) { artifact(id: $id) { id } project(name: $project, entityName: "
        '"local") { artifactCollectionMembership(name: "it:latest") { id } artifactType(name: "dataset") { artifactCollection('
        'name: "it") { artifacts { totalCount edges { version } } ... on ArtifactSequence { latestArtifact { id } } } } } }',
        id=upload.id,
        project=project,
    )
    collection = {"artifacts": {"totalCount": 0, "edges": []}, "latestArtifact": None}
    membership = {"artifactCollectionMembership": None, "artifactType": {"artifactCollection": collection}}
    assert (upload.state, seen) == ("PENDING", {"artifact": None, "project": membership})


def test_upload_links_come_in_the_order_asked_and_only_for_bytes_not_stored(server: Server, project: str) -> None:
    known = Upload(server, project, {"k": project.encode()})
    known.put_files()
    files = {"z": b"z" + project.encode(), "a": project.encode(), "m": b"m" + project.encode()}
    nodes = Upload(server, project, files).announce()
    assert [(node["name"], node["uploadUrl"] is None) for node in nodes] == [("z", False), ("a", True), ("m", False)]


def test_bytes_with_another_digest_than_announced_are_refused(server: Server, project: str) -> None:
    upload = Upload(server, project, {"file": b"promised" + project.encode()})
    (node,) = upload.announce()
    assert httpx.put(node["uploadUrl"], content=b"other").status_code == 400
    upload.put_manifest()
    assert upload.refusal() == "1 of 1 announced files never arrived, the first is 'file'"


STORED = b"stored"
ABSENT = b"never uploaded"


@pytest.mark.parametrize(("manifest", "raw", "reason"), [
    pytest.param({"gone": entry(ABSENT)}, None, "the manifest names 'gone' with digest", id="unknown bytes"),
    pytest.param({"file": entry(STORED, size=7)}, None, "has 7 bytes; those stored under its digest are 6", id="size"),
    pytest.param({"file": {"digest": "bm8=", "size": 2}}, None, "'bm8=' is not a base64 md5", id="digest"),
    pytest.param({"../file": entry(STORED)}, None, "would be written outside", id="path"),
    pytest.param({"file": {"size": 1}}, None, "the manifest's entry 'file' has no digest", id="no digest"),
    pytest.param(None, b"{not json", "the manifest is not JSON", id="no json"),
    pytest.param(None, b'{"version": 2}', "the manifest has no version 1", id="version"),
    pytest.param(None, b'{"version": 1, "contents": {}}', "the artifact was announced with", id="another manifest"),
])  # fmt: skip
def test_a_version_that_is_not_what_it_says_is_refused(
    server: Server, project: str, manifest: Any, raw: bytes | None, reason: str
) -> None:
    upload = Upload(server, project, {"file": STORED})
    upload.put_files()
    if manifest is not None:
        upload.manifest = manifest
    upload.put_manifest(raw=raw)
    assert reason in upload.refusal()
    listed = server.ask(
        'query($p: String!) { project(name: $p, entityName: "local") { artifactCollectionMembership(name: "it") { id } } }',
        p=project,
    )
    assert listed == {"project": {"artifactCollectionMembership": None}}


def test_a_version_without_a_manifest_is_refused(server: Server, project: str) -> None:
    assert Upload(server, project, {}).refusal() == "no manifest was uploaded for this artifact"


def test_the_manifest_is_served_as_it_came_less_local_paths(server: Server, project: str) -> None:
    upload = Upload(server, project, {"file": b"x"}, manifest={"file": entry(b"x", local_path="/home/me/x", extra={"k": 1})})
    upload.put_files()
    upload.put_manifest()
    assert upload.commit().status_code == 200
    query = "query($id: ID!) { artifact(id: $id) { currentManifest { file { directUrl } } } }"
    answer: Any = server.ask(query, id=upload.id)
    served = json.loads(httpx.get(answer["artifact"]["currentManifest"]["file"]["directUrl"]).content)
    assert served == {
        "version": 1,
        "storagePolicy": "wandb-storage-policy-v1",
        "storagePolicyConfig": {"storageLayout": "V2"},
        "contents": {"file": entry(b"x", extra={"k": 1})},
    }


def test_no_answer_to_a_bad_request_makes_the_client_retry(server: Server) -> None:
    with server.client() as client:
        query = 'mutation { commitArtifact(input: {artifactID: "bm9uc2Vuc2U="}) { artifact { id } } }'
        answer = client.post("/graphql", json={"query": query})
    assert (answer.status_code, answer.json()["errors"][0]["message"]) == (404, "'bm9uc2Vuc2U=' is not the id of a Artifact")
