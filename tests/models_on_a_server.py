"""A home with a dataset, models and their evaluations, made by the real SDK in seconds: what a gate finds, without training."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from registry import settings
from registry.backend import Backend
from registry.evidence import write_evaluation
from registry.records import Pinned, Version
from tests.gate_evidence import evidence

RULES = """\
version: 1
target: {registry: model, alias: production}
runtime: {device: any}
data: {split: test, min_items: 100}
checks:
  - {id: floor, metric: accuracy, test: absolute, min: 0.5}
"""
STRICT = RULES + "  - {id: beats, metric: accuracy, test: superiority}\n"
ITEMS = 400


def settings_of(home: Path, **environment: str) -> settings.Settings:
    return settings.read({}, environment={"REG_HOME": str(home), **environment}, folder=home.parent)


def dataset(backend: Backend) -> Version:
    with backend.run(job_type="dataset", name="dataset push digits") as run, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "items.csv"
        file.write_text("item\n1\n")
        return run.output("digits", type="dataset", files=[("items.csv", file)])


def model(backend: Backend, data: Version, name: str, *, wrong: int) -> Version:
    """A model trained on the data and evaluated with this many mistakes on its test split."""
    with backend.run(job_type="train", name=f"train {name}") as run, tempfile.TemporaryDirectory() as folder:
        run.use(data)
        file = Path(folder) / "model.onnx"
        file.write_text(f"{name} {wrong}")
        made = run.output("model", type="model", files=[("model.onnx", file)], metadata={"name": name})
    evaluate(backend, data, made, wrong=wrong)
    return made


def evaluate(backend: Backend, data: Version, made: Version, *, wrong: int) -> Version:
    right = np.arange(ITEMS) >= wrong
    plain = evidence(right)
    scored = plain.evaluation.dataset.model_copy(update={"reference": str(data.origin), "digest": str(data.digest)})
    found = plain.evaluation.model_copy(update={"model": Pinned.of(made), "dataset": scored})
    columns = dict(plain.items) | {
        "confidence": np.full(ITEMS, 0.9, dtype=np.float32),
        "scores": np.full((ITEMS, 10), 0.1, dtype=np.float32),
    }
    labels = {
        "model_digest": str(made.digest),
        "dataset_digest": str(data.digest),
        "split": "test",
        "device": found.runtime.device,
        "fingerprint": found.runtime.fingerprint,
    }
    config = {"model_digest": str(made.digest), "split": "test"}
    with (
        backend.run(job_type="evaluate", name=f"evaluate {made}", config=config) as run,
        tempfile.TemporaryDirectory() as place,
    ):
        run.use(made)
        run.use(data)
        folder = write_evaluation(Path(place) / "evaluation", found, columns)
        files = [(file.name, file) for file in sorted(folder.iterdir())]
        return run.output("evaluation-model", type="evaluation", files=files, metadata=labels)
