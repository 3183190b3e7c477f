"""Scoring keeps every item apart, refuses numbers that are none, and times two models fairly."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from digits_model import LABELS, digits, linear, save
from onnx import TensorProto, helper

from pipelines import metrics
from pipelines.onnx_export import Parity as Exported
from pipelines.parity import compare, parities
from pipelines.runtime import Session, open_session
from pipelines.scoring import Predictions, Timings, evaluate, score, time_against, time_alone
from registry.errors import BadData
from registry.evidence import read_evaluation
from registry.records import Pinned, Runtime, Scored

MODEL = Pinned(reference="team/project/model:v1", digest="md5:" + "1" * 32)
OTHER = Pinned(reference="team/project/model:v0", digest="md5:" + "0" * 32)
DATASET = Scored(
    reference="team/project/digits:v0",
    digest="md5:" + "d" * 32,
    split="test",
    items=len(digits().targets),
    task="image-classification",
    labels=LABELS,
)


def opened(path: Path) -> Session:
    return open_session(path, device="cpu", threads=1)


def scored(session: Session, kind: Any = "logits", **changes: Any) -> Predictions:
    facts = digits()
    given = {"inputs": facts.images, "targets": facts.targets, "items": facts.ids, "labels": LABELS, **changes}
    return score(session, kind=kind, **given)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return opened(linear(tmp_path / "model.onnx"))


def test_the_batch_size_changes_nothing_but_float_noise(session: Session) -> None:
    whole = scored(session, batch_size=len(digits().targets))

    for batch_size in (1, 7, 256):
        cut = scored(session, batch_size=batch_size)
        assert cut.item.tolist() == whole.item.tolist()
        assert cut.prediction.tolist() == whole.prediction.tolist()
        np.testing.assert_allclose(cut.nll, whole.nll, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(cut.scores, whole.scores, rtol=1e-3, atol=1e-6)


def test_each_row_belongs_to_its_item(session: Session) -> None:
    facts = digits()
    rows = scored(session)

    logits = facts.images.reshape(len(facts.images), -1).astype(np.float64) @ facts.weights + facts.bias
    expected = np.exp(metrics.log_softmax(logits))
    np.testing.assert_allclose(rows.scores, expected, rtol=2e-3, atol=1e-6)
    assert rows.item.tolist() == list(facts.ids)
    assert rows.label.tolist() == facts.targets.tolist()
    assert rows.correct.tolist() == (expected.argmax(axis=1) == facts.targets).tolist()
    assert rows.correct.mean() > 0.85
    assert rows.confidence.tolist() == rows.scores.max(axis=1).tolist()


def test_probabilities_and_logits_of_one_model_give_one_nll(tmp_path: Path, session: Session) -> None:
    softmax = opened(linear(tmp_path / "softmax.onnx", softmax=True))
    inside = scored(session).nll < -math.log(metrics.CLIP)

    np.testing.assert_allclose(scored(softmax, "probabilities").nll[inside], scored(session).nll[inside], rtol=1e-3, atol=1e-6)


def test_a_probability_of_zero_is_clipped_and_counted(tmp_path: Path) -> None:
    sure = opened(linear(tmp_path / "sure.onnx", softmax=True, scale=1000.0))
    rows = scored(sure, "probabilities")

    assert rows.nll.max() == pytest.approx(-math.log(metrics.CLIP))
    assert rows.clipped == (rows.nll == rows.nll.max()).sum() > 0


def test_progress_ends_at_the_number_of_items(session: Session) -> None:
    seen: list[tuple[int, int]] = []
    scored(session, batch_size=400, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(400, 897), (800, 897), (897, 897)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"items": ("test/0", *digits().ids[:-1])}, "item id 'test/0' occurs 2 times", id="item-twice"),
        pytest.param(
            {"targets": np.where(np.arange(897) == 5, 10, digits().targets)},
            "item 'test/5' has target 10, outside the 10 classes",
            id="target-out-of-range",
        ),
        pytest.param({"items": digits().ids[:5]}, "897 inputs, 897 targets and 5 item ids", id="ids-missing"),
        pytest.param({"inputs": digits().images[:0], "targets": np.zeros(0, int), "items": ()}, "0 inputs", id="no-items"),
        pytest.param(
            {"labels": (*LABELS, "10")}, r"gave scores of shape \[256, 10\], \[256, 11\] are needed", id="other-width"
        ),
    ],
)
def test_items_that_cannot_be_scored_are_named(changes: dict[str, Any], message: str, session: Session) -> None:
    with pytest.raises(BadData, match=message):
        scored(session, **changes)


def test_a_score_that_is_not_finite_names_its_item(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["float"], ["flat"], axis=1),
        helper.make_node("Log", ["flat"], ["log"]),
        helper.make_node("Gemm", ["log", "weights"], ["scores"]),
    ]
    broken = opened(save(tmp_path / "log.onnx", nodes, constants={"weights": np.ones((64, 10), np.float32)}))
    images = np.ones_like(digits().images[:20])
    images[13] = 0
    with pytest.raises(BadData, match=r"log.onnx gave a score of -inf for item 'test/13' \(1 of 20 items\)"):
        scored(broken, inputs=images, targets=digits().targets[:20], items=digits().ids[:20])


def test_logits_called_probabilities_are_refused(session: Session) -> None:
    with pytest.raises(BadData, match="says its scores are probabilities, but those of item 'test/0' add up to") as caught:
        scored(session, "probabilities")
    assert "kind to logits" in (caught.value.hint or "")


def test_a_quantile_needs_its_fewest_runs(session: Session) -> None:
    (hasty,) = time_alone(session, digits().images, batches=(32,), seconds=0)
    (patient,) = time_alone(session, digits().images, batches=(32,), seconds=600, runs=299)

    assert hasty.runs == 5
    assert [math.isnan(quantile) for quantile in (hasty.p50_ms, hasty.p95_ms, hasty.p99_ms)] == [False, True, True]
    assert patient.runs == 299
    assert 0 < patient.p50_ms <= patient.p95_ms <= patient.p99_ms


@dataclass(frozen=True)
class Watched:
    """A session that notes the sizes of the batches it is given."""

    session: Session
    sizes: list[int]

    @property
    def model(self) -> Path:
        return self.session.model

    @property
    def runtime(self) -> Runtime:
        return self.session.runtime

    def run(self, batch: np.ndarray) -> np.ndarray:
        self.sizes.append(len(batch))
        return self.session.run(batch)

    def run_each(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        return map(self.run, batches)


def test_a_batch_larger_than_the_items_is_timed_at_its_size(session: Session) -> None:
    watched = Watched(session, [])
    time_alone(watched, digits().images[:3], batches=(8,), seconds=0)
    assert set(watched.sizes) == {8}


def test_two_models_are_timed_in_blocks_of_shuffled_order(session: Session, tmp_path: Path) -> None:
    other = opened(linear(tmp_path / "other.onnx", noise=0.1))
    timings = time_against(session, other, digits().images, batches=(1, 4), blocks=30, runs=20, seconds=600)

    for batch in (1, 4):
        mine = timings.batch == batch
        for role in ("candidate", "baseline"):
            rows = mine & (timings.role == role)
            assert np.bincount(timings.block[rows]).tolist() == [20] * 30
            assert timings.run[rows].tolist() == list(range(20)) * 30
        first = timings.role[mine & (timings.run == 0)][::2]
        assert set(first) == {"candidate", "baseline"}
    assert (timings.ms > 0).all()


def test_the_baseline_sees_the_same_samples_with_the_roles_exchanged(session: Session) -> None:
    timings = time_against(session, session, digits().images, blocks=8, runs=5)
    seen = timings.seen_from_baseline()

    assert seen.ms.tolist() == timings.ms.tolist()
    assert (seen.role != timings.role).all()


def evaluated(session: Session, folder: Path, **changes: Any) -> Any:
    facts = digits()
    given: dict[str, Any] = {
        "kind": "logits",
        "model": MODEL,
        "dataset": DATASET,
        "latency_batches": (1,),
        "latency_seconds": 0,
    }
    given.update(inputs=facts.images, targets=facts.targets, items=facts.ids, folder=folder, **changes)
    return evaluate(session, **given)


def test_an_evaluation_is_read_back_as_it_was_made(session: Session, tmp_path: Path) -> None:
    timings = time_against(session, session, digits().images, blocks=8, runs=5)
    made = evaluated(session, tmp_path / "evaluation", against=OTHER, timings=timings)

    evidence = read_evaluation(tmp_path / "evaluation")

    assert evidence.evaluation.model_dump_json() == made.evaluation.model_dump_json()
    assert evidence.timings is not None
    for found, wanted in ((evidence.items, made.predictions.columns()), (evidence.timings, timings.columns())):
        assert list(found) == list(wanted)
        for name, column in wanted.items():
            assert (found[name].dtype, found[name].tolist()) == (column.dtype, column.tolist()), name


def test_an_evaluation_says_what_was_measured_on_what(session: Session, tmp_path: Path) -> None:
    made = evaluated(session, tmp_path / "evaluation")
    facts = made.evaluation

    assert (facts.model, facts.dataset, facts.runtime) == (MODEL, DATASET, session.runtime)
    assert sorted(facts.metrics) == [
        *("accuracy", "bytes", "ece", "f1_macro", "nll", "pr_auc", "precision_macro", "recall_macro", "roc_auc")
    ]
    assert facts.metrics["accuracy"].value == made.predictions.correct.mean()
    assert facts.metrics["nll"].value == made.predictions.nll.mean()
    assert facts.metrics["bytes"].value == session.model.stat().st_size
    assert (sorted(facts.by_class), made.evaluation.omitted) == (sorted(LABELS), {})
    assert [latency.batch for latency in facts.latency] == [1]


def test_clipped_probabilities_are_on_record(tmp_path: Path) -> None:
    sure = opened(linear(tmp_path / "sure.onnx", softmax=True, scale=1000.0))
    made = evaluated(sure, tmp_path / "evaluation", kind="probabilities")
    assert made.evaluation.metrics["nll_clipped"].value == made.predictions.clipped


def test_timings_without_the_other_model_are_refused(session: Session, tmp_path: Path) -> None:
    nothing = np.array([], dtype=np.int32)
    timings = Timings(role=nothing, batch=nothing, block=nothing, run=nothing, ms=nothing)
    with pytest.raises(BadData, match=r"latency.parquet without 'against'"):
        evaluated(session, tmp_path / "evaluation", timings=timings)
    assert not (tmp_path / "evaluation").exists()


def test_facts_about_the_items_stand_beside_their_predictions(session: Session, tmp_path: Path) -> None:
    n = len(digits().targets)
    site = np.array(["north" if at % 3 else None for at in range(n)], dtype=object)
    age = np.where(np.arange(n) % 5 == 0, np.nan, np.arange(n) % 90.0)
    evaluated(session, tmp_path / "evaluation", facts={"site": site, "age": age, "flag": np.arange(n) % 2 == 0, "label": site})

    items = read_evaluation(tmp_path / "evaluation").items

    assert items["site"].tolist() == site.tolist()
    assert items["label_"].tolist() == site.tolist()
    np.testing.assert_array_equal(items["age"], age)
    assert items["flag"].dtype == np.bool_


def test_an_evaluation_carries_the_proof_of_its_graph(session: Session, tmp_path: Path) -> None:
    exported = Exported(items=512, max_abs=2e-6, max_rel=1e-7, flips=0)
    found = parities(session, exported, model=session.model, inputs=digits().images)
    made = evaluated(session, tmp_path / "evaluation", parity=found)

    (kept,) = read_evaluation(tmp_path / "evaluation").evaluation.parity or ()
    assert (made.evaluation.parity, kept.max_abs) == (found, 2e-6)
    assert kept.between == "the trained network and its graph on the CPU"


def test_parity_of_two_devices_is_known_exactly_for_every_tolerance() -> None:
    random = np.random.default_rng(0)
    expected = random.normal(scale=10, size=(300, 10))
    got = expected * (1 + 1e-4 * random.normal(size=expected.shape)) + 1e-5 * random.normal(size=expected.shape)
    found = compare(got, expected, between="a GPU and the CPU")

    for rtol in (0.0, 1e-5, 1e-4, 1e-3):
        needed = max(0.0, float((np.abs(got - expected) - rtol * np.abs(expected)).max()))
        assert found.needed_atol(rtol) == pytest.approx(needed, rel=1e-6, abs=1e-12)
    assert found.flips == int((got.argmax(axis=1) != expected.argmax(axis=1)).sum())
