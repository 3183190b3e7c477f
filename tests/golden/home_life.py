"""What lies in a golden home, and how it is read back: three programs of the real client.

`write` gives a new home one of everything that has to survive; `read` tells what is there, as JSON; `go_on` uses what it finds
as if nothing had happened. They speak to whatever server the environment names, and use nothing that the oldest SDK of the
range lacks. What `read` tells may grow; what it told of an older home it must go on telling.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import wandb
from wandb.errors import CommError

PROJECT = "golden"
REGISTRY = "wandb-registry-model"


def write() -> None:
    with wandb.init(project=PROJECT, id="data", job_type="dataset", config={"source": "scanner", "nan": float("nan")}) as run:
        for content in ("one", "two"):
            made = run.log_artifact(_artifact("digits", "dataset", {"a.txt": content, "deep/b.txt": "same"}), aliases=[content])
            made.wait()
        made.description, made.metadata["rows"] = "the second", 10
        made.tags, made.ttl = ["checked"], None
        made.save()
        pointer = wandb.Artifact("elsewhere", "dataset")
        pointer.add_reference("nfs://bucket/key", name="key", checksum=False)
        run.log_artifact(pointer).wait()
    settings: dict[str, Any] = {"group": "first", "job_type": "train", "tags": ["small", "überprüft"], "notes": "why\nnot"}
    for name, rate in (("slow", 0.1), ("fast", 0.5)):
        with wandb.init(
            project=PROJECT, id=name, name=f"{name} one", config={"rate": rate, "net": {"width": 8}}, **settings
        ) as run:
            run.use_artifact("digits:latest", use_as="train")
            for step in range(20):
                run.log({"loss": rate / (step + 1), "nested": {"x": step}})
            run.log({"table": wandb.Table(columns=["label", "right"], data=[["7", True], ["1", False]])})
            run.summary["best"] = rate
            run.alert("done", "it is done")
            print(f"a line of {name}")
            Path("notes.txt").write_text(f"of {name}")
            run.save("notes.txt", policy="now")
            model = run.log_artifact(_artifact("net", "model", {"weights": name}, rate=rate))
            model.wait()
            run.link_artifact(model, f"{REGISTRY}/mnist", aliases=["staging"])
    api = wandb.Api()
    for version in ("v0", "v1"):
        promoted = api.artifact(f"{REGISTRY}/mnist:{version}")
        promoted.aliases.append("production")
        promoted.save()
    wandb.init(project=PROJECT, id="broken").finish(exit_code=1)
    with wandb.init(project=PROJECT, id="deleting", job_type="clean") as run:
        run.log_artifact(_artifact("digits", "dataset", {"a.txt": "three"})).wait()
    api.artifact(f"{PROJECT}/digits:v2").delete(delete_aliases=True)
    api.create_registry("reviewed", "organization", organization="local", artifact_types=["model"], description="by hand")
    sweep = wandb.sweep(
        {"method": "grid", "metric": {"name": "loss", "goal": "minimize"}, "parameters": {"x": {"values": [1, 2, 3]}}},
        project=PROJECT,
    )

    def trial() -> None:
        with wandb.init() as run:
            run.log({"loss": run.config.x})

    wandb.agent(sweep, trial, project=PROJECT, count=2)


def read() -> dict[str, Any]:
    api = wandb.Api()
    runs = {run.id: _run(run) for run in api.runs(f"local/{PROJECT}", order="+created_at")}
    sweeps = list(api.project(PROJECT, "local").sweeps())
    return {
        "runs": {name: told for name, told in runs.items() if not told["sweep"]},
        "trials": sorted(
            [told["config"]["x"], told["summary"]["loss"], told["state"]] for told in runs.values() if told["sweep"]
        ),
        "sweeps": [{"config": sweep.config, "state": sweep.state, "runs": len(sweep.runs)} for sweep in sweeps],
        "artifacts": _collections(api, f"local/{PROJECT}", ("dataset", "model")),
        "registry": _collections(api, f"local-org/{REGISTRY}", ("model",)),
        "registries": sorted(registry.name for registry in api.registries()),
    }


def _run(run: Any) -> dict[str, Any]:
    files = {file.name: file for file in run.files()}
    return {
        "name": run.name if run.id in ("slow", "fast") else None,
        "state": run.state,
        "config": {key: value for key, value in run.config.items() if not key.startswith("_")},
        "summary": {key: run.summary[key] for key in ("loss", "best") if key in run.summary},
        "tags": sorted(run.tags),
        "notes": run.notes,
        "group": run.group,
        "job_type": run.job_type,
        "sweep": bool(run.sweep),
        "history": [[found["loss"], found["nested"]["x"]] for found in run.scan_history() if "nested" in found],
        "note": _text(files["notes.txt"]) if "notes.txt" in files else None,
        "logged": sorted(artifact.name for artifact in run.logged_artifacts()),
        "used": sorted(artifact.name for artifact in run.used_artifacts()),
    }


def _collections(api: Any, place: str, types: tuple[str, ...]) -> dict[str, Any]:
    names = [(kind, collection.name) for kind in types for collection in api.artifact_type(kind, place).collections()]
    return {
        name: {version.version: _version(version) for version in api.artifacts(kind, f"{place}/{name}")} for kind, name in names
    }


def _version(artifact: Any) -> dict[str, Any]:
    by = artifact.logged_by()
    return {
        "digest": artifact.digest,
        "aliases": sorted(artifact.aliases),
        "metadata": artifact.metadata,
        "description": artifact.description,
        "tags": sorted(artifact.tags),
        "source": artifact.source_name,
        "logged_by": by.id if by else None,
        "used_by": sorted(run.id for run in artifact.used_by()),
        "files": _files(artifact),
    }


def _files(artifact: Any) -> dict[str, str]:
    entries = artifact.manifest.entries
    if any(entry.ref for entry in entries.values()):
        return {path: str(entry.ref) for path, entry in entries.items()}
    with tempfile.TemporaryDirectory() as folder:
        artifact.download(folder)
        return {path: (Path(folder) / path).read_text() for path in entries}


def _text(file: Any) -> str:
    with tempfile.TemporaryDirectory() as folder, file.download(folder) as text:
        return str(text.read())


def go_on() -> dict[str, Any]:
    """What a client is told that uses what it found."""
    api = wandb.Api()
    with wandb.init(project=PROJECT, id="slow", resume="must") as run:
        run.log({"loss": 0.0})
        step = run.step
    with wandb.init(project=PROJECT, id="later") as run:
        run.use_artifact("digits:two")
        fresh = run.log_artifact(_artifact("digits", "dataset", {"a.txt": "four"})).wait()
        again = run.log_artifact(_artifact("net", "model", {"weights": "fast"}, rate=0.5)).wait()
        run.link_artifact(again, f"{REGISTRY}/mnist", aliases=["third"])
    found = api.artifact(f"{REGISTRY}/mnist:v0")
    found.aliases.append("production")
    found.save()
    try:
        api.artifact(f"{PROJECT}/digits:v2")
        deleted = False
    except (CommError, ValueError):
        deleted = True
    return {
        "resumed at": step,
        "fresh": fresh.version,
        "again": again.version,
        "production": api.artifact(f"{REGISTRY}/mnist:production").version,
        "third": api.artifact(f"{REGISTRY}/mnist:third").version,
        "deleted stays deleted": deleted,
    }


def _artifact(name: str, kind: str, files: dict[str, str], **metadata: Any) -> wandb.Artifact:
    artifact = wandb.Artifact(name, kind, metadata=metadata)
    for path, content in files.items():
        with artifact.new_file(path) as file:
            file.write(content)
    return artifact


if __name__ == "__main__":
    said = {"write": write, "read": read, "go_on": go_on}[sys.argv[1]]()
    Path(sys.argv[2]).write_text(json.dumps(said, indent=1, sort_keys=True) + "\n")
