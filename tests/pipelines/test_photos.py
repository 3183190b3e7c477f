"""Photographs of many sizes go the whole way from push to promotion, and every artifact says how they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from own_code import SERVING
from photos import write_petals, write_photos

from pipelines import dataset, evaluate, train
from pipelines.config import resolve
from pipelines.data.decoding import pixels_of
from pipelines.data.options import Options
from pipelines.data.spec import Rendering
from pipelines.devices import Devices
from pipelines.evaluate import Plan
from pipelines.exhibits import with_pictures
from pipelines.looking import looking
from pipelines.model_files import read_model
from pipelines.own_metrics import load
from pipelines.promote import evaluator
from pipelines.runtime import open_session
from registry import policy as policies
from registry import promotion, questions, verification
from registry.backend import Backend
from registry.evidence import read_evaluation
from registry.provenance import Provenance
from registry.records import Outcome, Version

BY = Provenance(actor="tester", ci_url=None, git_commit=None, dirty=None)
POLICY = """\
version: 1
runtime: {device: any}
data: {min_items: 5}
checks:
  - {id: floor, metric: accuracy, test: absolute, min: 0.5, use: point}
  - {id: worst, metric: worst, test: superiority, min_gain: 0.01}
"""
WORST = """\
def worst(items):
    return min(items["correct"][items["label"] == k].mean() for k in (0, 1))
worst.direction = "higher"
"""


@contextmanager
def silent(title: str) -> Iterator[Callable[[int, int], None]]:
    yield lambda done, total: None


def trained(backend: Backend, data: Version, task: str, *settings: str) -> Version:
    config = resolve(task=task, assignments=("device=cpu", "threads=1", *settings))
    return train.run(backend, data, config, name=task, by=BY, progress=silent).version


def pushed(backend: Backend, folder: Path, options: Options) -> Version:
    with looking(backend.settings, folder, options) as look:
        return dataset.push(backend, look).version


@dataclass(frozen=True, kw_only=True)
class Life:
    """Two classifiers of photographs: the poor one was promoted where nobody held the alias, then the good one beat it."""

    folder: Path
    data: Version
    poor: Version
    good: Version
    first: promotion.Decision
    second: promotion.Decision


@pytest.fixture(scope="module")
def life(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Life:
    place = tmp_path_factory.mktemp("photos")
    folder = write_photos(place / "photos")
    data = pushed(backend, folder, Options(size=(32, 40)))
    poor = trained(backend, data, "image-classification", "epochs=1", "lr=0.00001")
    good = trained(backend, data, "image-classification", "epochs=8")
    (place / "worst.py").write_text(WORST)
    own = load(f"{place}/worst.py:worst")
    policy = policies.load(POLICY, name="policy.yaml")
    decisions = []
    for model in (poor, good):
        question = questions.ask(backend, model.reference, policy, own_metrics={"worst": own.source})
        decisions.append(promotion.promote(backend, question, evaluator(backend, progress=silent, own=(own,)), by=BY))
    (place / "worst.py").unlink()
    return Life(folder=folder, data=data, poor=poor, good=good, first=decisions[0], second=decisions[1])


def test_the_better_model_is_promoted_on_a_metric_of_ones_own(life: Life) -> None:
    assert life.first.moved
    check = {one.id: one for one in life.second.verdict.judgement.checks}["worst"]
    assert (check.status, check.baseline, check.resamples) == (Outcome.PASS, 0.0, 1000)
    assert life.second.moved


def test_the_verdict_follows_again_from_its_evidence_without_the_code(life: Life, backend: Backend) -> None:
    assert life.second.verdict_version is not None
    found = verification.verify(backend, life.second.verdict_version)
    assert found.differences == ()


def test_the_model_says_how_a_photograph_becomes_its_input(life: Life, backend: Backend) -> None:
    folder = backend.download(life.good)
    signature = read_model(folder).signature
    assert signature.rendering == Rendering(size=(32, 40), fit="crop", channels=3)
    assert signature.inputs[0].shape == ("batch", 32, 40, 3)
    assert "scaling to fill 32 × 40 and cutting out the centre" in (folder / "MODEL_CARD.md").read_text()


def test_who_serves_a_photograph_gets_the_answer_of_the_evaluation(life: Life, backend: Backend) -> None:
    folder = backend.download(life.good)
    assert life.second.verdict.candidate_evaluation is not None
    evaluated = backend.resolve(life.second.verdict.candidate_evaluation.parsed, type="evaluation")
    items = read_evaluation(backend.download(evaluated)).items
    session = open_session(folder / "model.onnx", device="cpu")
    rendering = read_model(folder).signature.rendering
    for item, prediction in list(zip(items["item"], items["prediction"], strict=True))[::5]:
        scores = session.run(pixels_of(life.folder / item, rendering)[np.newaxis])
        assert int(scores.argmax()) == prediction, item


def test_the_documented_lines_make_the_input_of_a_model(
    life: Life, backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photo.jpg").write_bytes((life.folder / "test/china/0.jpg").read_bytes())
    monkeypatch.chdir(tmp_path)
    known: dict[str, Any] = {"folder": backend.download(life.good)}
    exec(SERVING, known)
    assert (known["image"].shape, known["image"].dtype) == ((1, 32, 40, 3), np.uint8)


def test_the_page_of_a_verdict_shows_pictures_of_photographs(life: Life, backend: Backend) -> None:
    assert life.second.verdict_version is not None
    case = verification.case_of(backend, life.second.verdict_version)
    shown = with_pictures(backend, case, life.data)
    assert shown.unseen == ""
    assert len(shown.pictures) > 0


def test_photographs_are_segmented(backend: Backend, tmp_path: Path) -> None:
    data = pushed(backend, write_petals(tmp_path / "petals"), Options(size=(32, 32), fit="pad", labels=("leaf", "petal")))
    model = trained(backend, data, "semantic-segmentation", "epochs=8", "model.width=8", "model.depth=2", "lr=0.01")
    plan = Plan(model=model, dataset=data, split="test", devices=Devices(kind="cpu"), latency_seconds=0.01)
    (result,) = evaluate.run(backend, plan, progress=silent)
    dice = result.evaluation.metrics["mean_dice"]
    assert dice.chance is None or dice.value > dice.chance
    assert dice.value > 0.7
    described = yaml.safe_load((backend.download(model) / "model.yaml").read_text())["signature"]["rendering"]
    assert described == {"size": [32, 32], "fit": "pad", "levels": None, "channels": None}
