"""A model card says what is known, where it is known from, and what nobody has written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import yaml

from registry.card import Card, Words, body, markdown, metadata, read_words
from registry.errors import BadSettings
from registry.records import Judgement, Outcome, Target, Verdict
from tests.gate_evidence import a_model, change, evidence

MODEL: dict[str, Any] = {
    "schema_version": 1,
    "task": "image-classification",
    "recipe": "image-classification",
    "signature": {
        "inputs": [{"name": "image", "dtype": "uint8", "shape": ["batch", 8, 8, 1]}],
        "outputs": [{"name": "scores", "dtype": "float32", "shape": ["batch", 2], "kind": "logits"}],
        "labels": ["cat|dog", "<b>fish</b>"],
    },
    "dataset": {"reference": "team/vision/pets:v3", "digest": "md5:" + "d" * 32},
    "config": {"epochs": 3, "model": {"width": 16}},
    "training": {
        "epochs": 3,
        "best_epoch": 2,
        "items": 900,
        "validation_items": 100,
        "validation": {"accuracy": 0.91},
        "seconds": 1.5,
        "parameters": 1234,
        "device": "cpu",
        "amp": "off",
    },
    "code": {"commit": "c" * 40, "dirty": True},
    "packages": {"torch": "2.13.0"},
    "files": {"model.onnx": {"bytes": 1000, "sha256": "e" * 64}},
    "card": {"intended_use": "Sorting *pets*.", "license": "apache-2.0", "tags": ["pets"]},
}
DATA = {"splits": {"train": {"items": 1000}, "test": {"items": 200}}}


def evaluated() -> Card:
    found = evidence(np.arange(200) >= 20).evaluation
    of_class = {"1": {"accuracy": found.metrics["accuracy"]}, "7": {"accuracy": change_value(found.metrics["accuracy"], 0.5)}}
    verdict = Verdict(
        target=Target(registry="model", collection="pets", alias="production"),
        judgement=Judgement(outcome=Outcome.FAIL, checks=(), reason="beats: no gain | shown"),
        policy_digest="sha256:" + "a" * 64,
        candidate=a_model(),
        baseline=None,
        candidate_evaluation=None,
        baseline_evaluation=None,
        dataset=None,
        split=None,
        runtime_fingerprint=None,
        actor="alice",
        created_at="2026-01-01T00:00:00+00:00",
    )
    known = change(evidence(np.arange(200) >= 20), by_class=of_class).evaluation
    return Card(
        model=MODEL,
        data=DATA,
        reference="pets:v7",
        evaluations=(("evaluation-pets:v2", known),),
        verdicts=(("verdict-pets-production:v1", verdict),),
    )


def change_value(metric: Any, value: float) -> Any:
    return metric.model_copy(update={"value": value})


def section(card: Card, name: str) -> str:
    return body(card).split(f"## {name}\n")[1].split("\n## ")[0]


def test_the_sections_are_those_of_the_paper_and_the_decisions() -> None:
    assert [line.removeprefix("## ") for line in body(evaluated()).splitlines() if line.startswith("## ")] == [
        "Model details",
        "Intended use",
        "Factors",
        "Metrics",
        "Evaluation data",
        "Training data",
        "Quantitative analyses",
        "Ethical considerations",
        "Caveats and recommendations",
        "Decisions",
    ]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Model details", "| configuration | epochs=3, model.width=16 |"),
        ("Model details", f"| commit | {'c' * 40} and changes that are not in it |"),
        ("Model details", "| parameters | 1,234 |"),
        ("Intended use", "Sorting *pets*."),
        ("Factors", "| 7 | 0.5 |"),
        ("Metrics", "| accuracy | 0.9 |"),
        ("Evaluation data", "| evaluation-pets:v2 | digits:v0 | test | 200 |"),
        ("Training data", "| split train | 1,000 items |"),
        ("Training data", r"| classes | cat\|dog, \<b\>fish\</b\> |"),
        ("Quantitative analyses", "| accuracy | 0.91 |"),
        ("Ethical considerations", "*Nobody has written this yet"),
        ("Decisions", r"| FAIL | beats: no gain \| shown | alice |"),
    ],
)
def test_each_fact_stands_in_its_section(name: str, said: str) -> None:
    assert said in section(evaluated(), name)


def test_the_head_is_what_the_hub_reads() -> None:
    head, _, rest = markdown(evaluated()).removeprefix("---\n").partition("---\n")
    read = yaml.safe_load(head)
    assert rest.startswith("\n# Model card: pets:v7\n")
    assert (read["license"], read["tags"], read["pipeline_tag"]) == ("apache-2.0", ["onnx", "pets"], "image-classification")
    assert (read["library_name"], read["datasets"]) == ("onnx", ["pets"])
    (model,) = read["model-index"]
    (result,) = model["results"]
    assert (model["name"], result["task"], result["dataset"]["split"]) == ("pets", {"type": "image-classification"}, "test")
    assert {"type": "accuracy", "name": "accuracy", "value": 0.9} in result["metrics"]
    assert [one["type"] for one in result["metrics"] if one["type"] == "bytes"] == []


def test_a_model_that_was_made_elsewhere_has_no_training_on_its_card() -> None:
    source = {"file": "m.onnx", "producer": "pytorch 2", "opset": 17, "sha256": "f" * 64, "scores_known_by": "declared"}
    outside = {key: value for key, value in MODEL.items() if key not in ("training", "recipe", "config")} | {"source": source}
    text = body(Card(model=outside))
    assert "elsewhere: m.onnx by pytorch 2, opset 17" in text
    assert "whether it was trained on it is not known" in text
    assert "parameters" not in text
    assert "Not evaluated yet" in text


@pytest.mark.parametrize("model", [{}, {"card": 3, "dataset": [], "files": {"a": 1}, "signature": {"outputs": [1]}}])
def test_a_file_of_another_kind_still_has_a_card(model: dict[str, Any]) -> None:
    assert "# Model card" in markdown(Card(model=model))
    assert "model-index" not in metadata(Card(model=model))


def test_words_are_read_from_a_file() -> None:
    found = read_words("intended_use: sorting\ntags: [pets]\n", name="card.yaml")
    assert found == Words(intended_use="sorting", tags=("pets",))


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("intended_usage: x", "card.yaml: unknown key 'intended_usage'", "did you mean 'intended_use'?"),
        ("limitations: [a]", "card.yaml: limitations is ['a']", 'limitations: "a text"'),
        ("- a", "card.yaml holds no keys and values", "intended_use: "),
        ("a: [", "card.yaml is not YAML", None),
    ],
)
def test_words_that_cannot_be_read_are_told_with_the_key(text: str, message: str, hint: str | None) -> None:
    with pytest.raises(BadSettings) as caught:
        read_words(text, name="card.yaml")
    assert message in caught.value.message
    assert hint is None or hint in (caught.value.hint or "")
