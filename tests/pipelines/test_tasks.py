"""Segmentation and regression go the whole way from push to promotion, and the worse model is refused on its items."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import wandb
import yaml
from task_samples import CLASSES, write_diabetes, write_ink, write_scenes

from pipelines import dataset, evaluate, train
from pipelines.config import resolve
from pipelines.data.options import Options
from pipelines.devices import Devices
from pipelines.evaluate import Plan
from pipelines.looking import looking
from pipelines.model_files import read_model
from registry import policy as policies
from registry import promotion, questions
from registry.backend import Backend
from registry.errors import EvaluationMismatch
from registry.evidence import read_evaluation
from registry.provenance import Provenance
from registry.records import Evaluation, Outcome, Version

BY = Provenance(actor="tester", ci_url=None, git_commit=None, dirty=None)


@contextmanager
def silent(title: str) -> Iterator[Callable[[int, int], None]]:
    yield lambda done, total: None


@dataclass(frozen=True, kw_only=True)
class Life:
    """What happened to two models of one task: the good one was promoted, then the poor one was asked about."""

    data: Version
    good: Version
    poor: Version
    evaluations: dict[str, tuple[Version, Evaluation]]
    train_run: str
    evaluate_run: str
    promoted: promotion.Decision
    refused: promotion.Decision


# Each task: where its data come from, what trains a good and a poor model in a second, and a policy line only it can ask.
TASKS: dict[str, tuple[Callable[[Path], Path], Sequence[str], Sequence[str], str]] = {
    "semantic-segmentation": (
        lambda place: write_scenes(place / "scenes", train=120, test=60),
        ("epochs=10", "model.width=8", "model.depth=2", "lr=0.01"),
        ("epochs=1", "model.width=2", "model.depth=1", "lr=0.0001"),
        "{id: all, metric: mean_dice, test: superiority}",
    ),
    "image-regression": (
        lambda place: write_ink(place / "ink", items=300),
        ("epochs=12", "model.width=8"),
        ("epochs=1", "model.width=1", "lr=0.00001"),
        "{id: pens, metric: mae, by: pen, test: not-worse, margin: 1.0}",
    ),
    "tabular-regression": (
        lambda place: write_diabetes(place),
        ("epochs=20",),
        ("epochs=1", "lr=0.00001"),
        "{id: outliers, metric: rmse, test: non-inferiority, margin: {relative: 0.05}}",
    ),
}


TWO = Devices(kind="cpu", indices=(0, 1))


@pytest.fixture(scope="module", params=TASKS)
def life(request: pytest.FixtureRequest, backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Life:
    task = request.param
    write, good, poor, line = TASKS[task]
    with looking(backend.settings, write(tmp_path_factory.mktemp(task)), Options()) as look:
        data = dataset.push(backend, look).version
    models = [
        train.run(
            backend,
            data,
            resolve(task=task, assignments=("device=cpu", "threads=1", *settings)),
            name=task,
            by=BY,
            progress=silent,
        )
        for settings in (good, poor)
    ]
    better, worse = (made.version for made in models)
    plan = Plan(model=better, against=worse, dataset=data, split="test", devices=TWO, latency_seconds=0.01)
    scored = evaluate.run(backend, plan, progress=silent)
    shipped = files("pipelines").joinpath(f"policy.{task.rpartition('-')[2]}.yaml").read_text()
    policy = policies.load(shipped.replace("checks:\n", f"checks:\n  - {line}\n"), name="policy.yaml")
    decisions = [
        promotion.promote(backend, questions.ask(backend, version.reference, policy), None, by=BY)
        for version in (better, worse)
    ]
    return Life(
        data=data,
        good=better,
        poor=worse,
        evaluations={name: (one.version, one.evaluation) for name, one in zip(("good", "poor"), scored, strict=True)},
        train_run=models[0].run_url.rpartition("/")[2],
        evaluate_run=scored[0].run_url.rpartition("/")[2],
        promoted=decisions[0],
        refused=decisions[1],
    )


def test_the_first_good_model_is_promoted(life: Life, backend: Backend) -> None:
    assert life.promoted.verdict.outcome is Outcome.PASS
    assert life.promoted.moved


def test_the_worse_model_is_refused_by_its_items(life: Life) -> None:
    results = {check.id: check for check in life.refused.verdict.judgement.checks}
    assert life.refused.verdict.outcome is Outcome.FAIL
    assert not life.refused.moved
    assert results["beats"].status is Outcome.FAIL
    assert results["beats"].interval is not None
    assert results["beats"].interval[1] is not None
    assert results["beats"].interval[1] < 0


def test_the_devices_that_shared_the_items_are_in_the_evaluation(life: Life, backend: Backend) -> None:
    for version, evaluation in life.evaluations.values():
        kept = read_evaluation(backend.download(version)).evaluation.runtime
        assert [share.name for share in kept.shares] == ["cpu", "cpu"]
        assert all(share.placement == kept.placement for share in kept.shares)
        assert kept == evaluation.runtime


def test_what_only_this_task_can_ask_is_answered(life: Life) -> None:
    asked = {"all", "pens", "outliers"}
    (found, *_) = [check for check in life.refused.verdict.judgement.checks if check.id.partition("[")[0] in asked]
    assert found.status is Outcome.FAIL, found.reason


def test_the_graph_is_proven_and_says_what_it_gives(life: Life, backend: Backend) -> None:
    file = read_model(backend.download(life.good))
    shape, kind = file.signature.outputs[0].shape, file.signature.outputs[0].kind
    if file.task == "semantic-segmentation":
        assert (shape, kind, file.signature.labels) == (("batch", 3, 12, 14), "logits", CLASSES)
    else:
        assert (shape, kind, file.signature.labels) == (("batch", 1), "values", ())
        assert file.signature.targets == ("ink",) or file.signature.targets == ("target",)
    assert file.parity.flips == 0
    assert file.parity.max_abs < 1e-2


def test_the_evaluation_survives_its_files(life: Life, backend: Backend) -> None:
    version, evaluation = life.evaluations["good"]
    found = read_evaluation(backend.download(version)).evaluation
    assert (found.metrics, found.by_class, found.parity) == (evaluation.metrics, evaluation.by_class, evaluation.parity)


def test_a_good_model_beats_chance_and_says_so(life: Life) -> None:
    metrics = life.evaluations["good"][1].metrics
    guessed = {name: metric for name, metric in metrics.items() if metric.chance is not None and name != "pixel_accuracy"}
    assert len(guessed) >= 3
    for name, metric in guessed.items():
        assert metric.chance is not None
        assert (metric.value > metric.chance) == (metric.direction == "higher"), name


def test_the_validation_curves_are_in_the_history_of_the_run(life: Life, backend: Backend) -> None:
    with wandb_api(backend) as api:
        rows = list(
            api.run(f"{life.data.entity}/{life.data.project}/{life.train_run}").scan_history(keys=["epoch", "val/loss"])
        )
    assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
    assert len(rows) >= 10


def test_the_runs_show_pictures(life: Life, backend: Backend, tmp_path: Path) -> None:
    with wandb_api(backend) as api:
        logged = {
            name: api.run(f"{life.data.entity}/{life.data.project}/{run}").summary
            for name, run in (("train", life.train_run), ("evaluate", life.evaluate_run))
        }
        shown = {name: {key for key, value in summary.items() if _is_media(value)} for name, summary in logged.items()}
    task = yaml.safe_load((backend.download(life.good) / "model.yaml").read_text())["task"]
    expected = {
        "semantic-segmentation": ({"saliency"}, {"predictions", "masks", "confusion_matrix_table"}),
        "image-regression": ({"saliency"}, {"predictions", "worst_predictions", "residuals"}),
        "tabular-regression": (set(), {"predictions", "worst_predictions", "residuals"}),
    }[task]
    assert (shown["train"], shown["evaluate"]) == expected


def test_a_model_is_not_scored_on_data_of_another_task(life: Life, backend: Backend, tmp_path: Path) -> None:
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets" / "pets.csv").write_text("size,kind\n" + "".join(f"{k},{'ab'[k % 2]}\n" for k in range(20)))
    with looking(backend.settings, tmp_path / "pets", Options(target="kind")) as look:
        other = dataset.push(backend, look).version
    plan = Plan(model=life.good, dataset=other, split="test", devices=Devices(kind="cpu"))
    with pytest.raises(EvaluationMismatch, match=r"was trained for .*'pets:v0' is data for tabular-classification"):
        evaluate.run(backend, plan, progress=silent)


@contextmanager
def wandb_api(backend: Backend) -> Iterator[Any]:
    yield wandb.Api()


def _is_media(value: Any) -> bool:
    return hasattr(value, "keys") and "_type" in value
