"""On what terms a check is asked: at which level, and on which items; the same for all checks of one judgement."""

from __future__ import annotations

from dataclasses import dataclass

from registry import stats
from registry.policy import Policy
from registry.records import Look
from registry.scores import Unanswerable


@dataclass(frozen=True, kw_only=True)
class Terms:
    """`alpha` is the level at which something must be shown; what blocks only when it is shown stays at the policy's own.

    Spending alpha makes showing harder with every look. Were a loss to be shown at the spent level too, each look would make
    blocking harder instead.
    """

    policy: Policy
    alpha: float
    ladder: bool = False

    @property
    def cluster(self) -> str | None:
        return self.policy.data.cluster


def terms(policy: Policy, look: Look | None) -> Terms:
    """The terms of a candidate that is the k-th to be scored on its data.

    Raises:
        Unanswerable: the policy spends alpha by looks, and nobody counted them.
    """
    correction = policy.data.holdout.correction if policy.data.holdout else "none"
    if correction != "spend-alpha":
        return Terms(policy=policy, alpha=policy.alpha, ladder=correction == "ladder")
    position = look.position if look is not None else None
    if position is None or position < 1:
        raise Unanswerable("the policy spends alpha by looks at this data, and lineage was not asked which look this is")
    return Terms(policy=policy, alpha=stats.spent_alpha(policy.alpha, position))
