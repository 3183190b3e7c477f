"""`reg evaluate`."""

from __future__ import annotations

import math
from typing import Any

import click

from pipelines import devices as device_words
from pipelines import evaluate as stage
from pipelines.cli.own_metrics import loaded, metric_option
from pipelines.devices import Devices
from pipelines.evaluate import Plan, Result
from registry.backend import Backend
from registry.cli.looking import size_text, version_data
from registry.cli.output import table
from registry.cli.params import REFERENCE, Session, session
from registry.errors import NotFound, UsageError
from registry.questions import trained_on
from registry.records import Metric, Version
from registry.references import Reference


class DevicesParam(click.ParamType[Devices]):
    """`auto`, `cpu`, `cuda:1`, `cuda:0,cuda:1`, … parsed at the door."""

    name = "devices"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Devices:
        return value if isinstance(value, Devices) else device_words.parse(value)


@click.command(
    epilog="Examples: reg evaluate model:v3 · reg evaluate model:v4 --against model:v3 --device cuda"
    " · reg evaluate model:v3 --device cuda:0,cuda:1 · reg evaluate model:v3 --metric costs.py:cost"
)
@click.argument("reference", type=REFERENCE)
@click.option("--dataset", type=REFERENCE, help="Dataset version (default: the one the model was trained on, by lineage).")
@click.option("--split", default="test", show_default=True, help="Split of the dataset.")
@click.option("--against", type=REFERENCE, help="Second model, scored on the same items in the same process.")
@click.option(
    "--device",
    "devices",
    metavar="DEVICE[,DEVICE...]",
    type=DevicesParam(),
    default="auto",
    show_default=True,
    help="auto, cpu, cuda or cuda:N; several share the items. cuda fails rather than fall back.",
)
@metric_option
@click.option("--cluster", metavar="COLUMN", help="Items of one patient or user are resampled together for --metric.")
@session
def evaluate(
    session: Session,
    reference: Reference,
    dataset: Reference | None,
    split: str,
    against: Reference | None,
    devices: Devices,
    own: tuple[str, ...],
    cluster: str | None,
) -> None:
    """Score REFERENCE's ONNX graph: metrics with intervals, latency, and proof of the device it ran on."""
    if cluster is not None and not own:
        raise UsageError("--cluster is about a metric of your own", hint=f"--metric costs.py:cost --cluster {cluster}")
    metrics = loaded(own)
    with session.writing() as backend:
        model = backend.resolve(reference, type="model")
        plan = Plan(
            model=model,
            against=backend.resolve(against, type="model") if against is not None else None,
            dataset=backend.resolve(dataset, type="dataset") if dataset is not None else _dataset_of(backend, model),
            split=split,
            devices=devices,
            own=metrics,
            cluster=cluster,
        )
        results = stage.run(backend, plan, progress=session.output.progress)
    for result in results[:1]:
        if result.why_cpu is not None:
            session.output.notice(f"evaluated on the CPU: {result.why_cpu}")
        for metric, why in result.evaluation.omitted.items():
            session.output.notice(f"{metric} is left out: {why}")
    models = [m for m in (plan.model, plan.against) if m is not None]
    data = {"evaluations": [{**version_data(r.version), "evaluation": r.evaluation.model_dump(mode="json")} for r in results]}
    session.output.result(data, _metrics(models, results), _latency(models, results), *_sources(results), _runtime(results[0]))


def _dataset_of(backend: Backend, model: Version) -> Version:
    found = trained_on(backend, model)
    if found is None:
        raise NotFound(
            f"lineage does not say on which dataset '{model}' was trained",
            hint=f"reg evaluate {model.reference} --dataset NAME",
        )
    return found


def _metrics(models: list[Version], results: list[Result]) -> Any:
    names = results[0].evaluation.metrics
    rows = [(name, *(_value(name, result.evaluation.metrics.get(name)) for result in results)) for name in names]
    n = results[0].evaluation.dataset.items
    return table(
        ("metric", *(f"#{model}" for model in models)),
        rows,
        title=f"{n} items of split '{results[0].evaluation.dataset.split}'",
    )


def _value(name: str, metric: Metric | None) -> str:
    if metric is None:
        return "–"
    if metric.unit == "bytes":
        return size_text(int(metric.value))
    # A fraction has four digits behind the point; a price or a squared millimetre needs its leading ones.
    digits = ".4f" if metric.unit in ("fraction", "nats", "items") else ".5g"
    if metric.interval is None:
        return format(metric.value, digits)
    return f"{metric.value:{digits}}  [{metric.interval[0]:{digits}}, {metric.interval[1]:{digits}}]"


def _latency(models: list[Version], results: list[Result]) -> Any:
    rows = [
        (str(model), at.batch, _ms(at.p50_ms), _ms(at.p95_ms), _ms(at.p99_ms), f"{at.throughput:,.0f}", at.runs)
        for model, result in zip(models, results, strict=True)
        for at in result.evaluation.latency
    ]
    return table(("latency", "#batch", "#p50 ms", "#p95 ms", "#p99 ms", "#items/s", "#runs"), rows)


def _sources(results: list[Result]) -> list[str]:
    metrics = results[0].evaluation.metrics
    return [f"{name} by {metric.source}" for name, metric in metrics.items() if metric.source is not None]


def _ms(value: float) -> str:
    """A quantile that too few runs were made for is NaN."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def _runtime(result: Result) -> str:
    runtime = result.evaluation.runtime
    placed = (
        ", ".join(f"{count} nodes on {ep}" for ep, count in runtime.placement.nodes.items())
        if runtime.placement
        else "placement unknown"
    )
    shared = f"; shared by {', '.join(share.name for share in runtime.shares)}" if runtime.shares else ""
    return f"{runtime.device_name}, {runtime.provider}: {placed}{shared}; fingerprint {runtime.fingerprint[:19]}"
