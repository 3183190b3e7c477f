"""Gathers what a model's card shows: its `model.yaml`, the dataset's description, and the evaluations and verdicts so far.

All of it is read back from artifacts by lineage, so that a card is as new as the question and needs nothing but this
server. What a version does not have (it was logged by hand, its dataset is gone) is left out and not invented.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from registry import card_words, evidence, verdict_folder
from registry.backend import Backend
from registry.card import Card
from registry.errors import BadReference, NotFound
from registry.records import Evaluation, RunFact, Verdict, Version
from registry.references import parse

DATA = "reg.dataset.json"


def card(backend: Backend, version: Version) -> Card:
    """
    Raises:
        BadReference: it is no model.
        NotFound, BadData: it has no `model.yaml`, or not one that can be read.
    """
    if version.type != "model":
        raise BadReference(f"'{version}' is a {version.type}; only models have a card", hint="reg ls --type model")
    model = card_words.description(backend, version)
    runs = backend.used_by(version)
    return Card(
        model=model,
        data=_data(backend, model),
        reference=str(version),
        evaluations=tuple(_evaluations(backend, version, runs)),
        verdicts=tuple(_verdicts(backend, version, runs)),
    )


def _data(backend: Backend, model: Mapping[str, Any]) -> Mapping[str, Any] | None:
    named = model.get("dataset")
    try:
        version = backend.resolve(parse(str(named["reference"])))  # type: ignore[index]  # anything wrong with it is "none"
        found = json.loads(backend.read_file(version, DATA))
    except (NotFound, BadReference, KeyError, TypeError, ValueError):
        return None
    return found if isinstance(found, Mapping) else None


def _evaluations(backend: Backend, version: Version, runs: list[RunFact]) -> list[tuple[str, Evaluation]]:
    """The newest evaluation of the model on each split of each dataset version."""
    found: dict[tuple[str, str], tuple[str, Evaluation]] = {}
    for logged in _outputs(backend, version, runs, job_type="evaluate", type="evaluation", key="model_digest"):
        read = Evaluation.model_validate_json(backend.read_file(logged, evidence.EVALUATION))
        found.setdefault((read.dataset.digest, read.dataset.split), (str(logged), read))
    return list(found.values())


def _verdicts(backend: Backend, version: Version, runs: list[RunFact]) -> list[tuple[str, Verdict]]:
    logged = _outputs(backend, version, runs, job_type="", type="verdict", key="candidate_digest")
    read = [(str(one), verdict_folder.read(backend, one)) for one in logged]
    return [(name, verdict) for name, verdict in read if verdict.candidate.digest == str(version.digest)]


def _outputs(backend: Backend, version: Version, runs: list[RunFact], *, job_type: str, type: str, key: str) -> list[Version]:
    """What those runs logged of a type, about this model by its label if it has one, newest first."""
    found = {
        output.id: output
        for run in runs
        if not job_type or run.job_type == job_type
        for output in backend.outputs(run)
        if output.type == type and output.metadata.get(key, str(version.digest)) == str(version.digest)
    }
    return sorted(found.values(), key=lambda one: (one.created_at, one.index), reverse=True)
