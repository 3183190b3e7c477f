"""Scores of masks agree with scikit-learn and torchmetrics, per image and over the corpus; unlabelled pixels count nowhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score
from torchmetrics.functional.classification import multiclass_jaccard_index, multiclass_specificity
from torchmetrics.functional.segmentation import dice_score

from pipelines.segmentation import Masks, score_masks
from registry.errors import BadData
from registry.records import Metric, Runtime

LABELS = ("paper", "ink", "blot")
N, HEIGHT, WIDTH = 30, 9, 11


class Recorded:
    """A session that gives scores worked out before."""

    model = Path("model.onnx")

    def __init__(self, scores: NDArray[np.float32]) -> None:
        self._left = scores

    @property
    def runtime(self) -> Runtime:
        raise AssertionError("scoring asks for no runtime")

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        now, self._left = self._left[: len(batch)], self._left[len(batch) :]
        return now

    def run_each(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        return map(self.run, batches)


def masks_and_scores(seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Truth with a rare third class that half of the images lack, and logits that are mostly right."""
    random = np.random.default_rng(seed)
    truth = random.choice(3, size=(N, HEIGHT, WIDTH), p=[0.8, 0.17, 0.03]).astype(np.uint8)
    truth[::2][truth[::2] == 2] = 0
    logits = random.normal(size=(N, 3, HEIGHT, WIDTH)) + 1.6 * np.eye(3)[truth].transpose(0, 3, 1, 2)
    return truth, logits.astype(np.float32)


def scored(truth: NDArray[np.uint8], scores: NDArray[np.float32], kind: str = "logits") -> Masks:
    return score_masks(
        Recorded(scores),
        kind=kind,  # type: ignore[arg-type]
        inputs=np.zeros((len(truth), HEIGHT, WIDTH, 1), np.uint8),
        targets=truth,
        items=[f"test/{at}" for at in range(len(truth))],
        labels=LABELS,
    )


def test_each_image_agrees_with_scikit_learn_on_the_classes_it_shows() -> None:
    truth, scores = masks_and_scores()
    answer = scores.argmax(axis=1)
    found = scored(truth, scores).columns()
    pairs = [(t.ravel(), a.ravel()) for t, a in zip(truth, answer, strict=True)]
    assert found["dice"] == pytest.approx([f1_score(t, a, average="macro") for t, a in pairs])
    assert found["iou"] == pytest.approx([jaccard_score(t, a, average="macro") for t, a in pairs])
    assert found["pixel_accuracy"] == pytest.approx([(t == a).mean() for t, a in pairs])


def test_one_class_of_each_image_agrees_with_torchmetrics_and_is_1_where_there_is_nothing() -> None:
    truth, scores = masks_and_scores()
    answer = scores.argmax(axis=1)
    answer[0][answer[0] == 2] = 0  # the first image shows no blot, and now none is found
    of_answer = np.eye(3, dtype=np.float32)[answer].transpose(0, 3, 1, 2)
    found = scored(truth, of_answer).columns()
    theirs = dice_score(
        torch.from_numpy(answer), torch.from_numpy(truth.astype(np.int64)), num_classes=3, input_format="index", average="none"
    ).numpy()
    assert not (truth[0] == 2).any()
    assert found["dice_blot"][0] == 1.0
    assert found["dice_blot"][1:] == pytest.approx(np.nan_to_num(theirs[1:, 2], nan=1.0))
    assert found["dice_ink"] == pytest.approx(theirs[:, 1])


def test_the_corpus_agrees_with_scikit_learn_and_torchmetrics() -> None:
    truth, scores = masks_and_scores()
    t, a = truth.ravel(), scores.argmax(axis=1).ravel()
    report = scored(truth, scores).report(LABELS)
    pair = torch.from_numpy(a), torch.from_numpy(t.astype(np.int64))
    assert {
        name: report.metrics[name].value for name in ("mean_iou", "mean_dice", "sensitivity", "specificity")
    } == pytest.approx(
        {
            "mean_iou": float(multiclass_jaccard_index(*pair, num_classes=3)),
            "mean_dice": f1_score(t, a, average="macro"),
            "sensitivity": recall_score(t, a, average="macro"),
            "specificity": float(multiclass_specificity(*pair, num_classes=3)),
        },
        abs=1e-6,
    )
    assert {name: metric.value for name, metric in report.by_class["blot"].items()} == pytest.approx(
        {
            "dice": f1_score(t == 2, a == 2),
            "iou": jaccard_score(t == 2, a == 2),
            "sensitivity": recall_score(t == 2, a == 2),
            "precision": precision_score(t == 2, a == 2),
            "specificity": recall_score(t != 2, a != 2),
        }
    )


def test_unlabelled_pixels_count_nowhere() -> None:
    truth, scores = masks_and_scores()
    wrong = scores.argmax(axis=1) != truth
    known = truth.copy()
    known[wrong] = 255
    found = scored(known, scores)
    metrics = found.report(LABELS).metrics
    assert {metrics[name].value for name in ("dice", "iou", "pixel_accuracy", "mean_iou", "sensitivity", "specificity")} == {
        1.0
    }
    assert found.confusion.sum() == (known != 255).sum() == np.trace(found.confusion)


def test_losses_are_those_of_torch_from_logits_and_from_probabilities() -> None:
    truth, scores = masks_and_scores()
    truth[:, 0] = 255
    theirs = torch.nn.functional.cross_entropy(
        torch.from_numpy(scores).double(), torch.from_numpy(truth).long(), ignore_index=255, reduction="none"
    ).numpy()
    expected = theirs[:, 1:].mean(axis=(1, 2))
    assert scored(truth, scores).nll == pytest.approx(expected)
    chances = torch.from_numpy(scores).softmax(dim=1).numpy()
    assert scored(truth, chances, "probabilities").nll == pytest.approx(expected, rel=1e-5)


def test_metrics_say_how_they_are_compared() -> None:
    metrics = scored(*masks_and_scores()).report(LABELS).metrics

    def told(metric: Metric) -> tuple[str, str, str | None, str | None]:
        return metric.kind, metric.direction, metric.column, metric.formula

    assert told(metrics["dice"]) == ("mean", "higher", "dice", None)
    assert told(metrics["nll"]) == ("mean", "lower", "nll", None)
    assert told(metrics["mean_iou"]) == ("corpus", "higher", None, "mean_iou")
    assert all(metric.interval is not None and metric.interval[0] < metric.value for metric in metrics.values())


def test_an_image_says_what_it_shows() -> None:
    truth, scores = masks_and_scores()
    shows = scored(truth, scores).columns()["shows"]
    assert set(shows[::2]) == {"paper + ink"}
    assert "paper + ink + blot" in set(shows[1::2])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t, s: (t, s[:, :2]), r"gave scores of shape \[30, 2, 9, 11\], \[30, 3, 9, 11\] are needed"),
        (lambda t, s: (t, np.where(np.arange(WIDTH) == 3, np.nan, s)), "a score of nan for item 'test/0'"),
        (lambda t, s: (np.full_like(t, 255), s), "item 'test/0' has no labelled pixel"),
    ],
    ids=["classes", "NaN", "unlabelled"],
)
def test_what_cannot_be_scored_is_named(damage: object, message: str) -> None:
    truth, scores = damage(*masks_and_scores())  # type: ignore[operator]
    with pytest.raises(BadData, match=message):
        scored(truth, scores)
