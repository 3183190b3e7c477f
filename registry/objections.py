"""Why evaluations are no evidence for the question at hand, before anything in them is compared.

They may be about another model, other data, another split or another device than was asked about, or not about the same things
as each other. Each objection is one sentence with the actual values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from registry.matching import some
from registry.policy import ParityRule, Policy
from registry.records import Evaluation
from registry.references import Digest
from registry.scores import Scores


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The digests of what the question is about; evidence about anything else is no evidence."""

    candidate: Digest
    baseline: Digest | None
    dataset: Digest


def objections(policy: Policy, scores: Scores, *, model: Digest | None, dataset: Digest | None) -> Iterator[str]:
    """Why an evaluation alone is no evidence under this policy: it is about another model, other data, or another split.

    Args:
        model, dataset: the digests asked about; None when the caller does not know them.
    """
    evaluation, role = scores.evaluation, scores.role
    if model is not None and evaluation.model.digest != str(model):
        yield f"the {role}'s evaluation is of model {evaluation.model.digest}, asked about is {model}"
    if dataset is not None and evaluation.dataset.digest != str(dataset):
        yield f"the {role}'s evaluation is on data {evaluation.dataset.digest}, asked about is {dataset}"
    if evaluation.dataset.split != policy.data.split:
        yield f"the {role}'s evaluation is on split '{evaluation.dataset.split}', the policy wants '{policy.data.split}'"


def unmet(policy: Policy, scores: Scores) -> Iterator[str]:
    """What the policy wants of the machine and the evaluation's machine did not give: device, proof of it, placement, TF32,
    parity.
    """
    role, runtime, rule = scores.role, scores.evaluation.runtime, policy.runtime
    if rule.parity is not None:
        yield from apart(rule.parity, scores)
    if rule.device not in ("any", runtime.device):
        yield f"the {role} was evaluated on {runtime.device} ({runtime.device_name}), the policy wants {rule.device}"
    if runtime.device != "cuda":
        return
    active = runtime.providers[0] if runtime.providers else "none"
    if active == "CPUExecutionProvider" or active != runtime.provider:
        yield f"the {role}'s evaluation says cuda, but its first active provider is {active}, not {runtime.provider}"
    if runtime.device_memory_bytes == 0:
        yield f"the {role}'s evaluation says cuda, but its process held no memory on {runtime.device_name}"
    if bool(runtime.tf32) != rule.tf32:
        yield f"the {role} was evaluated with tf32 {runtime.tf32}, the policy wants {rule.tf32}"
    if rule.placement == "compute" and runtime.placement is None:
        yield f"the {role}'s evaluation has no record of where the graph ran, and the policy wants placement: compute"
    elif rule.placement == "compute" and runtime.placement is not None and runtime.placement.compute_on_cpu:
        nodes = runtime.placement.compute_on_cpu
        yield f"{len(nodes)} computing node(s) of the {role} ran on the CPU{some(list(nodes))}, the policy wants none"


def apart(rule: ParityRule, scores: Scores) -> Iterator[str]:
    """Why the scores of an evaluation are not shown to be those of the model: parity exceeded, or not on record."""
    role, evaluation = scores.role, scores.evaluation
    if not evaluation.parity:
        yield f"the {role}'s evaluation records no parity, and the policy asks for it"
        return
    for found in evaluation.parity:
        needed = found.needed_atol(rule.rtol)
        if not needed <= rule.atol:  # not `>`: NaN is no parity either
            yield (
                f"the scores of the {role} differ between {found.between} by up to {found.max_abs:.3g} on {found.items} items,"
                f" within rtol {rule.rtol:g} only with atol {needed:.3g}; the policy allows {rule.atol:g}"
            )
        if not 0 <= found.flips <= rule.max_flips * found.items:
            yield (
                f"{found.flips} of {found.items} items are predicted otherwise between {found.between} by the {role},"
                f" the policy allows a share of {rule.max_flips:g}"
            )


def incomparable(candidate: Evaluation, baseline: Evaluation) -> Iterator[str]:
    """Why no difference between two evaluations is evidence: other data, other split, other runtime."""
    for what, one, other in (
        ("dataset digest", candidate.dataset.digest, baseline.dataset.digest),
        ("split", candidate.dataset.split, baseline.dataset.split),
        ("task", candidate.dataset.task, baseline.dataset.task),
        ("labels", ", ".join(candidate.dataset.labels), ", ".join(baseline.dataset.labels)),
        ("runtime fingerprint", candidate.runtime.fingerprint, baseline.runtime.fingerprint),
    ):
        if one != other:
            yield f"the {what} differs: {one or 'none'} for the candidate, {other or 'none'} for the baseline"
