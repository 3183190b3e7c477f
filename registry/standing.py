"""Who stands where: the aliases of a registry, their holders, and what each holder was judged to be.

An alias that a person sets is a *target*; `latest` and the numbers that the server gives are not. Targets are found by listing,
so that `production` alone is a name as long as one collection has it.
"""

from __future__ import annotations

from dataclasses import dataclass

from registry import history, verdict_folder
from registry.backend import Backend
from registry.errors import BadReference, NotFound
from registry.history import Move
from registry.records import CheckResult, Outcome, Target, Verdict, Version
from registry.references import LATEST, REGISTRY_PREFIX, Reference, parse


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A target, its holder and why: `verdict` is None where nothing of ours put it there.

    `newest` is the newest version of the model when that is not the holder, `answer` what the last verdict for this target said
    of it (None: it has not been asked).
    """

    target: Target
    holder: Version
    move: Move
    verdict: Verdict | None = None
    newest: Version | None = None
    answer: Outcome | None = None


def targets(backend: Backend, registry: str | None = None) -> list[Target]:
    """Every alias that people have set in the registries, or in the one of this name."""
    return [
        Target(registry=(parse(collection.path).registry or ""), collection=collection.name, alias=alias)
        for collection in backend.registries(registry)
        for alias in sorted(collection.aliases)
        if alias != LATEST and parse(f"{collection.name}:{alias}").version_index is None
    ]


def find(backend: Backend, text: str, *, registry: str) -> Target:
    """The target that a person's word means: `production`, `mnist:production` or `wandb-registry-model/mnist:production`.

    Args:
        registry: the short name of the registry that is meant when the word names none.
    Raises:
        BadReference: the word is no reference, or several collections have the alias; says which.
        NotFound: no collection has it.
    """
    if ":" in text:
        written = parse(text)
        if written.tag is None or (written.project is not None and written.registry is None):
            raise BadReference(
                f"'{text}' does not name an alias of a registry",
                hint=f"write production, {written.name}:production or {REGISTRY_PREFIX}{registry}/{written.name}:production",
            )
        return Target(registry=written.registry or registry, collection=written.name, alias=written.tag)
    found = [target for target in targets(backend, registry) if target.alias == text]
    if not found:
        raise NotFound(f"no collection of the registry '{registry}' has an alias '{text}'", hint="reg status")
    if len(found) > 1:
        named = ", ".join(f"{target.collection}:{target.alias}" for target in found)
        raise BadReference(
            f"'{text}' is an alias of {len(found)} collections: {named}", hint=f"{named.split(', ')[0]}, for instance"
        )
    return found[0]


def standing(backend: Backend, target: Target) -> Standing:
    """
    Raises:
        NotFound: nothing holds the alias.
    """
    holder = backend.holder(target)
    if holder is None:
        raise NotFound(f"nothing holds '{target}'", hint="reg status")
    move = history.moves(backend, target)[-1]
    newest = _newest(backend, holder)
    return Standing(
        target=target,
        holder=holder,
        move=move,
        verdict=verdict_folder.read(backend, backend.resolve(move.verdict)) if move.verdict else None,
        newest=newest,
        answer=_answer(backend, target, newest) if newest else None,
    )


def headline(verdict: Verdict) -> CheckResult | None:
    """The check by which people know the model: the first that has a value and is about all items."""
    return next((c for c in verdict.judgement.checks if c.candidate is not None and c.slice is None), None)


def _newest(backend: Backend, holder: Version) -> Version | None:
    try:
        found = backend.resolve(holder.origin.at(LATEST))
    except NotFound:  # people may take `latest` away
        return None
    return found if found.origin.version_index != holder.origin.version_index else None


def _answer(backend: Backend, target: Target, candidate: Version) -> Outcome | None:
    try:
        verdicts = backend.versions(Reference(name=verdict_folder.collection(target)))
    except NotFound:
        return None
    found = next((v for v in verdicts if v.metadata.get("candidate") == str(candidate.origin)), None)
    return Outcome(str(found.metadata["outcome"])) if found is not None else None
