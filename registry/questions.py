"""The question of a gate: which candidate, for which alias, against which baseline, on which data; all pinned by digest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from registry import verdict_folder
from registry.backend import Backend
from registry.errors import NotFound
from registry.policy import Policy
from registry.records import Target, Version
from registry.references import Reference, parse


@dataclass(frozen=True, kw_only=True)
class Question:
    """May `candidate` take the place of `baseline` at `target`? `baseline` None means provably nobody holds it.

    `held` are those of the aliases that the policy wants the candidate to hold which it does hold. `own_metrics` are those of
    the asker's own that the evidence must have, with the digests of their code.
    """

    policy: Policy
    target: Target
    candidate: Version
    baseline: Version | None
    dataset: Version
    split: str
    held: tuple[str, ...] = ()
    own_metrics: Mapping[str, str] = field(default_factory=dict)

    @property
    def already_answered(self) -> bool:
        """The candidate itself holds the alias."""
        return self.baseline is not None and self.baseline.origin == self.candidate.origin


def ask(backend: Backend, reference: Reference, policy: Policy, *, own_metrics: Mapping[str, str] | None = None) -> Question:
    """Pin down everything the policy leaves open.

    Args:
        own_metrics: see `Question`.
    Raises:
        NotFound: candidate, registry or dataset do not exist; or no dataset is named and lineage knows none.
        BadReference: no verdict about this alias could be logged.
    """
    candidate = backend.resolve(reference, type="model")
    target = policy.target_for(candidate.origin.name)
    verdict_folder.collection(target)  # before hours of scoring: whether its verdict can be logged at all
    return Question(
        policy=policy,
        target=target,
        candidate=candidate,
        baseline=backend.holder(target),
        dataset=_dataset(backend, candidate, policy),
        split=policy.data.split,
        held=tuple(alias for alias in policy.candidate.holds if _holds(backend, candidate, target, alias)),
        own_metrics=own_metrics or {},
    )


def _holds(backend: Backend, candidate: Version, target: Target, alias: str) -> bool:
    holder = backend.holder(target.model_copy(update={"alias": alias}))
    return holder is not None and holder.origin == candidate.origin


def trained_on(backend: Backend, model: Version) -> Version | None:
    """The dataset that the run which made the model used, by lineage; None when it is not known or not unique."""
    run = backend.made_by(model)
    used = [version for version in backend.inputs(run) if version.type == "dataset"] if run else []
    return used[0] if len(used) == 1 else None


def _dataset(backend: Backend, candidate: Version, policy: Policy) -> Version:
    if policy.data.dataset is not None:
        return backend.resolve(parse(policy.data.dataset), type="dataset")
    found = trained_on(backend, candidate)
    if found is None:
        raise NotFound(
            f"lineage does not say on which dataset '{candidate}' was trained, and the policy names none",
            hint="write data: {dataset: NAME} into the policy",
        )
    return found
