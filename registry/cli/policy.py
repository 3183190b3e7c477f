"""`reg policy check`, `explain`, `schema`: a policy before it decides anything."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from registry import explanation, settings
from registry import policy as policies
from registry.backend import Backend
from registry.cli.output import Output, table
from registry.cli.params import REFERENCE, Session, session
from registry.errors import BadData, BadPolicy, RegError, UsageError
from registry.explanation import Items
from registry.policy import Policy
from registry.records import Version
from registry.references import Reference

_DESCRIPTION = "reg.dataset.json"


@click.group(epilog="Example: reg policy check policy.yaml")
def policy() -> None:
    """Check a policy, or see what it means."""


@policy.command(epilog="Examples: reg policy check policy.yaml · reg policy check policies/*.yaml --json")
@click.argument("files", type=click.Path(path_type=Path, dir_okay=False), nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print data as one JSON document.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def check(files: tuple[Path, ...], as_json: bool, debug: bool) -> int:
    """Check policy FILES (default: the one of the settings); needs no server.

    Exit codes: 0 all can be used, 2 one cannot; says file, line and key, and the nearest known key.
    """
    chosen = files or _default()
    rows: list[dict[str, Any]] = []
    for file in chosen:
        try:
            loaded = read(file)
            rows.append({"file": str(file), "ok": True, "checks": len(loaded.checks), "digest": loaded.digest})
        except BadPolicy as exc:
            if len(chosen) == 1:
                raise
            rows.append({"file": str(file), "ok": False, "message": exc.message, "hint": exc.hint})
    shown = [
        (row["file"], "ok" if row["ok"] else "bad", row.get("message") or f"{row['checks']} checks, {row['digest']}")
        for row in rows
    ]
    Output(as_json=as_json).result({"policies": rows}, table(("policy", "", ""), shown))
    return 0 if all(row["ok"] for row in rows) else BadPolicy.exit_code


@policy.command(epilog="Examples: reg policy explain policy.yaml · reg policy explain policy.yaml --dataset mnist:latest")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option("--dataset", type=REFERENCE, help="Also say what the policy can see on this dataset.")
@session
def explain(session: Session, file: Path | None, dataset: Reference | None) -> None:
    """Say in sentences what the policy FILE means, and the smallest gain it can see on a dataset."""
    loaded = read(file or _default()[0])
    means, sees = list(explanation.sentences(loaded)), []
    if dataset is not None:
        with session.reading() as backend:
            version = backend.resolve(dataset, type="dataset")
            sees = list(explanation.visible(loaded, _items(backend, version, loaded.data.split)))
    heading = [f"\nOn {dataset}:"] if dataset is not None else []
    session.output.result({"means": means, "sees": sees, "digest": loaded.digest}, *means, *heading, *sees)


@policy.command(epilog="Example: reg policy schema > policy.schema.json")
def schema() -> None:
    """Print the JSON Schema of policies, for editors.

    In an editor with a YAML language server, begin a policy with:  # yaml-language-server: $schema=policy.schema.json
    """
    described = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Policy.model_json_schema(), "title": "reg policy"}
    Output(as_json=False).text(json.dumps(described, indent=2) + "\n")


def read(file: Path) -> Policy:
    """
    Raises:
        BadPolicy: the file cannot be read, or is no policy.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise BadPolicy(f"cannot read the policy {file}: {getattr(exc, 'strerror', None) or exc}", hint="reg init") from exc
    return policies.load(text, name=str(file))


def _default() -> tuple[Path, ...]:
    named = settings.read({}, environment=os.environ, folder=Path.cwd()).policy
    if named is None:
        raise UsageError("no policy is named, and the settings name none", hint="reg policy check policy.yaml")
    return (named,)


def _items(backend: Backend, version: Version, split: str) -> Items:
    """How many items the dataset's own description counts in the split."""
    try:
        description: Mapping[str, Any] = json.loads(backend.read_file(version, _DESCRIPTION))
        counts = description["splits"][split]
        return Items(split=split, total=int(counts["items"]), by_label=dict(counts.get("classes") or {}))
    except (RegError, ValueError, KeyError, TypeError) as exc:
        raise BadData(
            f"'{version}' does not say how many items its split '{split}' has", hint=f"reg dataset show {version.reference}"
        ) from exc
