"""A policy in sentences, and what it can see on a dataset of a given size, before any model is judged.

The second is the question that decides whether a policy is worth having: a gate that asks for a gain which its test split
cannot show says INCONCLUSIVE for ever. It depends on how often two models disagree, which nobody knows before, so it is said
for models that are close, usual and far apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from registry import stats
from registry.checks import Absolute, BaseCheck, Margin, NonInferiority, NotWorse, OfItems, Ratio, Superiority
from registry.policy import Policy

# Shares of items on which two models differ, from retrainings of one recipe to different designs.
DISAGREEMENTS = (0.01, 0.03, 0.1)
_POWER = "four times out of five"
_WHERE = "where the models differ on {} % of the items"
_CORRECTNESS = "accuracy"

_ABSENT = {
    "absolute-only": "only the absolute checks are asked",
    "approve": "the absolute checks are asked and then a person",
    "fail": "the gate refuses",
}


@dataclass(frozen=True, kw_only=True)
class Items:
    """How many items the split has, in all and of each class."""

    split: str
    total: int
    by_label: Mapping[str, int]


def sentences(policy: Policy) -> Iterator[str]:
    """What the policy means, a sentence a line, in the order in which it is asked."""
    target = policy.target
    collection = f"'{target.collection}'" if target.collection else "of the model's own name"
    yield f"It guards the alias '{target.alias}' of the collection {collection} in the registry '{target.registry}'."
    yield (
        "The candidate is compared with the version that holds the alias now; when provably nobody does, "
        f"{_ABSENT[policy.baseline.when_absent]}."
    )
    if policy.candidate.holds:
        yield f"The candidate must hold {' and '.join(repr(alias) for alias in policy.candidate.holds)} already."
    yield from _data(policy)
    yield _runtime(policy)
    yield f"Every check runs at alpha = {policy.alpha:g}, and all that block must pass:"
    for check in policy.checks:
        yield f"  {check.id}: {asked(check, policy.alpha)}" + (" It only warns." if check.severity == "warn" else "")
    yield from _decision(policy)


def asked(check: BaseCheck, alpha: float) -> str:
    """One check as a sentence."""
    what = _what(check)
    sure = f"{1 - alpha:.0%}"
    match check:
        case Absolute():
            plain = check.use == "point" or check.of_the_system
            value = what if plain else f"the {sure} confidence bound of {what}"
            limits = [f"at least {check.min:g}"] if check.min is not None else []
            limits += [f"at most {_size(check, check.max)}"] if check.max is not None else []
            said = f"{value} must be {' and '.join(limits)}."
        case Superiority():
            gain = "" if check.min_gain.absolute == 0 else f" by more than {_margin(check.min_gain)}"
            said = f"{what} must be better than the baseline's{gain}, beyond chance."
        case NonInferiority():
            said = f"{what} must be shown to be at most {_margin(check.margin)} worse than the baseline's."
        case NotWorse():
            said = f"{what} must not be shown to be more than {_margin(check.margin)} worse than the baseline's."
        case Ratio():
            together = "timed together in one process, " if check.quantile else ""
            said = f"{what}, {together}must be at most {check.max:g} times the baseline's."
        case _:
            said = f"{what} is asked."
    return said + _slicing(check)


def visible(policy: Policy, items: Items) -> Iterator[str]:
    """What the policy can tell on these items, a sentence a line."""
    yield f"The split '{items.split}' has {items.total:,} items."
    if items.total < policy.data.min_items:
        yield f"That is fewer than data.min_items = {policy.data.min_items:,}: every check would be an ERROR."
        return
    for check in policy.checks:
        if check.metric == _CORRECTNESS:
            yield from (f"  {check.id}: {line}" for line in _visible(check, policy.alpha, items))


def _visible(check: BaseCheck, alpha: float, items: Items) -> Iterator[str]:
    where = _WHERE.format(_listed(f"{100 * share:g}" for share in DISAGREEMENTS))
    match check:
        case Absolute(min=float() as least, use="bound", by=None, where=None):
            yield f"passes {_POWER} when the true accuracy is {_sure_accuracy(least, items.total, alpha):.4f} or more."
        case Superiority(by=None, where=None):
            yield f"a true gain is seen {_POWER} from {_points(_gains(alpha, items.total))}, {where}."
        case NonInferiority(by=None, where=None, margin=Margin(absolute=float() as margin)):
            answers = ("yes" if gain <= margin else "no" for gain in _gains(alpha, items.total))
            yield f"does an equally good model pass {_POWER}? {_listed(answers)}, {where}."
        case NotWorse(by="label"):
            small = {label: n for label, n in items.by_label.items() if n < check.min_items}
            large = {label: n for label, n in items.by_label.items() if n >= check.min_items}
            if small:
                names = ", ".join(f"{label} ({n})" for label, n in small.items())
                yield f"classes with fewer than {check.min_items} items are not asked ({check.on_small}): {names}."
            if large:
                label, n = min(large.items(), key=lambda one: one[1])
                # Holm's first step asks the most of the strongest loss: alpha over the number of classes.
                beyond = f"{_points(_gains(alpha / len(large), n))} beyond the margin"
                yield f"in class {label}, the smallest asked ({n} items), a loss is seen {_POWER} from {beyond}, {where}."


def _gains(alpha: float, n: int) -> list[float]:
    """The smallest visible gain for each of the disagreements."""
    return [stats.smallest_visible(share**0.5, n, alpha=alpha) for share in DISAGREEMENTS]


def _points(gains: Sequence[float]) -> str:
    return f"{_listed(f'{100 * gain:.2f}' for gain in gains)} points"


def _listed(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}"


def _sure_accuracy(least: float, n: int, alpha: float) -> float:
    """The smallest true accuracy whose interval lies above `least` with the usual power, to four digits."""
    low, high = least, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        needed = stats.needed_for_proportion(middle, least, alpha=alpha)
        low, high = (low, middle) if needed is not None and needed <= n else (middle, high)
    return high


def _data(policy: Policy) -> Iterator[str]:
    data = policy.data
    where = f"of {data.dataset}" if data.dataset else "of the dataset version that the candidate was trained on"
    yield f"Both are scored on the split '{data.split}' {where}, which must have {data.min_items:,} items or more."
    if data.cluster:
        yield f"Items with the same '{data.cluster}' are taken as one piece of evidence."
    if data.holdout:
        after = "the verdict says so" if data.holdout.on_exhausted == "warn" else "the gate refuses"
        yield f"After {data.holdout.max_looks} models have been scored on it, {after}."
        if data.holdout.correction == "spend-alpha":
            yield "Each look spends alpha: the k-th model is judged at alpha * 6 / (pi * k)^2."
        if data.holdout.correction == "ladder":
            yield "A gain must also be measured to exceed the least gain by one standard error (the Ladder)."


def _runtime(policy: Policy) -> str:
    runtime = policy.runtime
    device = {
        "any": "on any device",
        "cpu": "on the CPU",
        "cuda": "on a CUDA device, with proof"
        + (" that no computing node ran elsewhere" if runtime.placement == "compute" else ""),
    }[runtime.device]
    parity = runtime.parity
    agree = (
        f"; the served graph may differ from the trained network by {parity.atol:g} + {parity.rtol:g} of each score, "
        f"and in the class of {parity.max_flips:.2%} of items"
        if parity
        else ""
    )
    return f"Evidence must come from evaluations {device}{agree}."


def _decision(policy: Policy) -> Iterator[str]:
    decide = policy.decide
    people = f"{decide.approvals.min} approval{'s' if decide.approvals.min != 1 else ''}"
    whose = ", not by whoever made the candidate" if decide.approvals.not_author else ""
    if decide.approvals.min:
        yield f"A PASS moves the alias after {people}{whose}."
    else:
        yield "A PASS moves the alias."
    if decide.inconclusive == "approve":
        yield f"An INCONCLUSIVE answer asks a person{whose}; it never moves the alias by itself."
    else:
        yield "An INCONCLUSIVE answer refuses."


def _what(check: BaseCheck) -> str:
    batch = f" at batch size {check.batch}" if check.batch else ""
    return f"{check.metric}{batch}"


def _slicing(check: BaseCheck) -> str:
    if not isinstance(check, OfItems):
        return ""
    where = f" Only items with {check.where}." if check.where else ""
    if check.by is None:
        return where
    slices = f"each '{check.by}'" if isinstance(check.by, str) else f"{', '.join(f'{n} ({e})' for n, e in check.by.items())}"
    return f"{where} Asked of {slices} with {check.min_items} items or more."


def _margin(margin: Margin) -> str:
    return f"{margin.absolute:g}" if margin.relative is None else f"{margin.relative:.3g} of its value"


def _size(check: BaseCheck, limit: float) -> str:
    return f"{limit / 2**20:.4g} MiB" if check.metric == "bytes" else f"{limit:g}"
