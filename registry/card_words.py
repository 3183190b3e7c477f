"""The words of a model card on their way from one version to the next: what people said about a model stays said.

A file of its own, because everything that logs a model needs it, and what draws whole cards takes a second to load.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from registry.backend import Backend
from registry.card import Card, Words
from registry.errors import BadData, NotFound
from registry.records import Version
from registry.references import Reference

MODEL = "model.yaml"


def of_latest(backend: Backend, name: str) -> Words | None:
    """What people wrote about the latest version of a collection; None where there is none, or nothing was written."""
    try:
        found = Card(model=description(backend, backend.resolve(Reference(name=name))))
    except (NotFound, BadData):
        return None
    return found.words if found.model.get("card") else None


def description(backend: Backend, version: Version) -> Mapping[str, Any]:
    """The content of a version's `model.yaml`.

    Raises:
        NotFound, BadData: it has none, or not one that can be read.
    """
    try:
        content = yaml.safe_load(backend.read_file(version, MODEL))
    except yaml.YAMLError as exc:
        raise BadData(f"{MODEL} of '{version}' is not YAML: {' '.join(str(exc).split())}") from exc
    if not isinstance(content, Mapping):
        raise BadData(f"{MODEL} of '{version}' holds no keys and values")
    return content
