"""The model card: what a model is, what it was made from, how good it is, and what people say it is for.

A card is a view and never a source: the facts come from `model.yaml`, from the evaluations and verdicts that exist when it is
drawn, and from the dataset's description. Only the words of people (`Words`) have their home here; they travel in `model.yaml`
from version to version, and what nobody has written is shown as not written. The sections are those of Mitchell et al. (2019),
"Model Cards for Model Reporting"; the head is the metadata that the Hugging Face Hub reads, `model-index` included.

`model.yaml` comes back from anywhere and from other versions of `reg`, so it is read here as a mapping in which anything may
be missing.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import Field, ValidationError

from registry.errors import BadSettings
from registry.records import Evaluation, Fact, Metric, Verdict

_UNWRITTEN = "*Nobody has written this yet: put `{key}:` into a YAML file and log the next version with `--card FILE`.*"
_CLASSES_SHOWN = 30
_WORST_SHOWN = 5


class Words(Fact):
    """What only people can say about a model. The texts may be Markdown; None is not written."""

    intended_use: str | None = Field(default=None, description="who should use it, for what")
    out_of_scope: str | None = Field(default=None, description="what it must not be used for")
    factors: str | None = Field(default=None, description="groups, instruments and conditions that change how well it works")
    limitations: str | None = Field(default=None, description="what it does badly, and what to do about it")
    ethical_considerations: str | None = Field(default=None, description="harms, risks, sensitive data")
    owners: str | None = Field(default=None, description="who answers for it")
    license: str | None = Field(default=None, description="an identifier such as apache-2.0")
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Card:
    """All that is known about one model version.

    Attributes:
        model: the content of `model.yaml`.
        data: the content of the dataset's `reg.dataset.json`; None where there is none.
        reference: the version; None while it is being made.
        evaluations, verdicts: those that exist, by their references, the newest first.
    """

    model: Mapping[str, Any]
    data: Mapping[str, Any] | None = None
    reference: str | None = None
    evaluations: tuple[tuple[str, Evaluation], ...] = ()
    verdicts: tuple[tuple[str, Verdict], ...] = ()

    @property
    def words(self) -> Words:
        """What people say; nothing where it cannot be read."""
        try:
            return Words.model_validate(self.model.get("card") or {})
        except ValidationError:
            return Words()


def read_words(text: str, *, name: str) -> Words:
    """The content of a `--card` file: YAML with the keys of `Words`.

    Raises:
        BadSettings: no YAML, an unknown key (says the nearest) or a value that is no text.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise BadSettings(f"{name} is not YAML: {' '.join(str(exc).split())}") from exc
    if not isinstance(content, Mapping):
        raise BadSettings(f"{name} holds no keys and values", hint="intended_use: reads single digits from scanned forms")
    for key in content:
        if key not in Words.model_fields:
            near = difflib.get_close_matches(str(key), Words.model_fields, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(Words.model_fields)}"
            raise BadSettings(f"{name}: unknown key '{key}'", hint=hint)
    try:
        return Words.model_validate(dict(content))
    except ValidationError as exc:
        first = exc.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        raise BadSettings(f"{name}: {at} is {first['input']!r}: {first['msg'].lower()}", hint=f'{at}: "a text"') from exc


def markdown(card: Card) -> str:
    """The card with the Hub's metadata as its head; the same for the same facts."""
    head = yaml.safe_dump(metadata(card), sort_keys=False, allow_unicode=True, width=128)
    return f"---\n{head}---\n\n{body(card)}"


def data(card: Card) -> dict[str, Any]:
    """The card as JSON-ready data."""
    return {
        "reference": card.reference,
        "model": dict(card.model),
        "dataset": None if card.data is None else dict(card.data),
        "words": card.words.model_dump(mode="json"),
        "evaluations": [{"reference": name, "evaluation": found.model_dump(mode="json")} for name, found in card.evaluations],
        "verdicts": [{"reference": name, "verdict": found.model_dump(mode="json")} for name, found in card.verdicts],
        "metadata": metadata(card),
    }


def metadata(card: Card) -> dict[str, Any]:
    """The head of the card as the Hugging Face Hub defines it; what is not known is left out."""
    words, task = card.words, str(card.model.get("task") or "")
    metrics = list(dict.fromkeys(name for _, found in card.evaluations for name in _quality(found)))
    head: dict[str, Any] = {
        "library_name": "onnx",
        "license": words.license,
        "tags": list(dict.fromkeys(["onnx", *words.tags])),
        "pipeline_tag": task or None,
        "datasets": [_name(reference)] if (reference := _dataset(card).get("reference")) else None,
        "metrics": metrics or None,
    }
    if card.evaluations:
        results = [_result(found, task) for _, found in card.evaluations]
        head["model-index"] = [{"name": _name(card.reference or "model"), "results": results}]
    return {key: value for key, value in head.items() if value}


def body(card: Card) -> str:
    """The card without its head."""
    words = card.words
    title = card.reference or f"a model for {_name(str(_dataset(card).get('reference') or card.model.get('task')))}"
    parts: list[tuple[str, Sequence[str]]] = [
        ("Model details", _table(("", ""), _details(card))),
        ("Intended use", _intended(words)),
        ("Factors", [*_written(words, "factors"), *_worst(card)]),
        ("Metrics", _metrics(card)),
        ("Evaluation data", _scored_on(card)),
        ("Training data", _training_data(card)),
        ("Quantitative analyses", _validation(card)),
        ("Ethical considerations", _written(words, "ethical_considerations")),
        ("Caveats and recommendations", _written(words, "limitations")),
        ("Decisions", _decisions(card)),
    ]
    sections = "\n\n".join("\n".join([f"## {name}", "", *lines]) for name, lines in parts if lines)
    return f"# Model card: {_text(title)}\n\n{sections}\n"


def _details(card: Card) -> Iterator[tuple[str, str]]:
    model, code = card.model, _mapping(card.model.get("code"))
    source, training, signature = (_mapping(model.get(key)) for key in ("source", "training", "signature"))
    yield "task", str(model.get("task") or "not known")
    if source:
        yield "made", f"elsewhere: {source.get('file')} by {source.get('producer')}, opset {source.get('opset')}"
        yield "sha256 as it came", str(source.get("sha256"))
        before = source.get("before")
        yield (
            "before the graph",
            "; then ".join(str(step) for step in _sequence(before)) or "nothing: it takes the items as they are",
        )
        yield "scores", f"{_kind(signature)}, {source.get('scores_known_by')}"
    else:
        yield "recipe", str(model.get("recipe") or "not known")
        yield "scores", _kind(signature)
    if training:
        yield (
            "training",
            f"{training.get('epochs')} epochs, the best {training.get('best_epoch')}, {training.get('seconds')} s on "
            f"{training.get('device')}, mixed precision {training.get('amp')}",
        )
        yield "parameters", _count(training.get("parameters"))
    if config := _mapping(model.get("config")):
        yield "configuration", ", ".join(f"{key}={value}" for key, value in _flat(config))
    for way, ports in (("input", signature.get("inputs")), ("output", signature.get("outputs"))):
        for port in filter(_mapping, map(_mapping, _sequence(ports))):
            shape = ", ".join(str(size) for size in _sequence(port.get("shape")))
            yield way, f"{port.get('name')}: {port.get('dtype')} [{shape}]"
    if rendering := _mapping(signature.get("rendering")):
        yield "image files become the input by", _rendering(rendering)
    dirty = " and changes that are not in it" if code.get("dirty") else ""
    yield "commit", f"{code['commit']}{dirty}" if code.get("commit") else "not known"
    yield "packages", ", ".join(f"{name} {version}" for name, version in _mapping(model.get("packages")).items())
    for name, file in _mapping(model.get("files")).items():
        if isinstance(file, Mapping):
            yield str(name), f"{_count(file.get('bytes'))} bytes, sha256 {file.get('sha256')}"
    if card.words.owners:
        yield "owners", card.words.owners
    if card.words.license:
        yield "license", card.words.license


def _intended(words: Words) -> list[str]:
    lines = [*_written(words, "intended_use")]
    return [*lines, "", "**Out of scope.**", "", *_written(words, "out_of_scope")] if words.out_of_scope else lines


def _written(words: Words, key: str) -> list[str]:
    text = getattr(words, key)
    return [text.strip() if text else _UNWRITTEN.format(key=key)]


def _worst(card: Card) -> list[str]:
    """The classes that the newest evaluation is worst at: the factor that is always known."""
    if not card.evaluations or not card.evaluations[0][1].by_class:
        return []
    reference, found = card.evaluations[0]
    known = [(name, metrics["accuracy"]) for name, metrics in found.by_class.items() if "accuracy" in metrics]
    worst = sorted(known, key=lambda one: (one[1].value, one[0]))[:_WORST_SHOWN]
    rows = [(name, _value(metric), _interval(metric), str(metric.n)) for name, metric in worst]
    if not rows:
        return []
    return ["", f"The classes it does worst on ({_text(reference)}):", "", *_table(("class", "accuracy", "95 %", "n"), rows)]


def _metrics(card: Card) -> list[str]:
    """Every metric of the evaluations, each with interval, number of items and chance."""
    if not card.evaluations:
        return ["*Not evaluated yet: `reg evaluate` scores the graph on a split that it was not trained on.*"]
    rows = [
        (name, _value(metric), _interval(metric), _chance(metric), f"{metric.n:,}", metric.direction, _where(found))
        for _, found in card.evaluations
        for name, metric in found.metrics.items()
    ]
    return _table(("metric", "value", "95 % interval", "chance", "n", "better", "on"), rows)


def _scored_on(card: Card) -> list[str]:
    rows = [
        (
            reference,
            found.dataset.reference,
            found.dataset.split,
            f"{found.dataset.items:,}",
            found.dataset.digest,
            f"{found.runtime.device_name}, {found.runtime.provider}",
        )
        for reference, found in card.evaluations
    ]
    return _table(("evaluation", "dataset", "split", "items", "digest", "runtime"), rows) if rows else []


def _training_data(card: Card) -> list[str]:
    dataset, training = _dataset(card), _mapping(card.model.get("training"))
    signature, data = _mapping(card.model.get("signature")), card.data or {}
    rows = [
        ("dataset", str(dataset.get("reference") or "not known")),
        ("digest", str(dataset.get("digest") or "not known")),
    ]
    if card.model.get("source"):
        rows.append(("relation", "checked against it; whether it was trained on it is not known"))
    for name, split in _mapping(data.get("splits")).items():
        if isinstance(split, Mapping):
            rows.append((f"split {name}", f"{_count(split.get('items'))} items"))
    if training:
        used, held_out = (_count(training.get(key)) for key in ("items", "validation_items"))
        rows.append(("used", f"{used} items to train on, {held_out} to validate on"))
    labels = [str(label) for label in _sequence(signature.get("labels"))]
    if labels:
        more = f", … ({len(labels)})" if len(labels) > _CLASSES_SHOWN else ""
        rows.append(("classes", ", ".join(labels[:_CLASSES_SHOWN]) + more))
    if targets := [str(target) for target in _sequence(signature.get("targets"))]:
        rows.append(("predicts", ", ".join(targets)))
    if columns := [str(one.get("name")) for one in _sequence(signature.get("features")) if isinstance(one, Mapping)]:
        rows.append(("columns", ", ".join(columns)))
    return _table(("", ""), rows)


def _validation(card: Card) -> list[str]:
    values = _mapping(_mapping(card.model.get("training")).get("validation"))
    parity = _mapping(card.model.get("parity"))
    lines = []
    if values:
        lines += ["On the validation part of the train split, which also chose the epoch (so they flatter):", ""]
        lines += _table(("metric", "value"), [(str(name), _number(value)) for name, value in values.items()])
    if parity:
        compared = f"{parity.get('items')} items, {parity.get('flips')} other predictions"
        lines += ["", f"The graph against the trained network: at most {_number(parity.get('max_abs'))} apart on {compared}."]
    return lines


def _decisions(card: Card) -> list[str]:
    rows = [
        (reference, str(verdict.target), str(verdict.outcome), verdict.judgement.reason, verdict.actor, verdict.created_at)
        for reference, verdict in card.verdicts
    ]
    return _table(("verdict", "alias", "outcome", "because", "by", "at"), rows) if rows else []


def _result(found: Evaluation, task: str) -> dict[str, Any]:
    name = _name(found.dataset.reference)
    dataset = {"name": name, "type": name, "split": found.dataset.split, "revision": found.dataset.digest}
    values = [{"type": name, "name": name, "value": metric.value} for name, metric in _quality(found).items()]
    return {"task": {"type": task}, "dataset": dataset, "metrics": values}


def _quality(found: Evaluation) -> dict[str, Metric]:
    """The metrics that say how good a model is; sizes and times are of another kind."""
    return {name: metric for name, metric in found.metrics.items() if metric.kind != "system"}


def _dataset(card: Card) -> Mapping[str, Any]:
    return _mapping(card.model.get("dataset"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _sequence(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _kind(signature: Mapping[str, Any]) -> str:
    outputs = _sequence(signature.get("outputs"))
    return str(_mapping(outputs[0]).get("kind", "not known")) if outputs else "not known"


def _rendering(found: Mapping[str, Any]) -> str:
    size, levels = _sequence(found.get("size")), _sequence(found.get("levels"))
    steps = ["turning them upright (EXIF)"]
    if len(levels) == 2:
        steps.append(f"making {levels[0]} black and {levels[1]} white where they have more than 8 bits")
    if size:
        shape = " × ".join(str(side) for side in size)
        fit = {"crop": "scaling to fill {} and cutting out the centre", "pad": "scaling to fit into {} with black around"}
        steps.append(fit.get(str(found.get("fit")), "scaling to {}").format(shape))
    if found.get("channels") == 3:
        steps.append("making grey ones RGB, transparent ones lie on white")
    return "; ".join(steps)


def _name(reference: str) -> str:
    """`mnist` of `entity/project/mnist:v0`."""
    return reference.rpartition("/")[2].partition(":")[0]


def _where(found: Evaluation) -> str:
    return f"{found.dataset.reference.rpartition('/')[2]} ({found.dataset.split})"


def _value(metric: Metric) -> str:
    return f"{metric.value:,.0f} {metric.unit}" if metric.kind == "system" else _number(metric.value)


def _chance(metric: Metric) -> str:
    return "" if metric.chance is None else _number(metric.chance)


def _interval(metric: Metric) -> str:
    return "" if metric.interval is None else f"[{_number(metric.interval[0])}, {_number(metric.interval[1])}]"


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "not known"


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "not known"


def _table(columns: Sequence[str], rows: Any) -> list[str]:
    drawn = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    return [*drawn, *(f"| {' | '.join(_text(str(cell)) for cell in row)} |" for row in rows)]


def _text(text: str) -> str:
    """One line of text in which nothing is Markdown or HTML."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))


def card_of(model: Mapping[str, Any], data: Mapping[str, Any] | None = None) -> Card:
    """The card of a version that is being made: there are no evaluations of it yet."""
    return Card(model=model, data=data)
