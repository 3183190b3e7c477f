"""The stages `gate` and `promote`: `registry.promotion` decides and moves; here is what it may ask this machine for.

A missing evaluation is made on the spot when this machine can meet the policy's runtime, with the baseline scored beside the
candidate. A machine without torch's company, such as a CI job that only promotes, still judges what others evaluated.
"""

from __future__ import annotations

from pipelines import evaluate
from pipelines.devices import Devices
from pipelines.evaluate import Plan
from pipelines.job import Progress
from pipelines.own_metrics import OwnMetric
from registry.backend import Backend
from registry.gathering import Evaluate
from registry.questions import Question


def evaluator(backend: Backend, *, progress: Progress, own: tuple[OwnMetric, ...] = ()) -> Evaluate:
    """Makes the evaluations that a question needs, with these metrics of the user's own."""

    def make(question: Question) -> None:
        runtime = question.policy.runtime
        plan = Plan(
            model=question.candidate,
            against=question.baseline,
            dataset=question.dataset,
            split=question.split,
            devices=Devices(kind="auto" if runtime.device == "any" else runtime.device),
            placement=runtime.placement,
            tf32=runtime.tf32,
            batches=question.policy.timed_batches or (1,),
            # Where no check reads a latency, a glance for the record is enough.
            own=own,
            cluster=question.policy.data.cluster,
            latency_seconds=2.0 if any(check.quantile is not None for check in question.policy.checks) else 0.2,
        )
        evaluate.run(backend, plan, progress=progress)

    return make
