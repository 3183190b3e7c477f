"""Which of several promotions under way may move an alias.

W&B has no compare-and-set: whoever links last holds the alias, so re-reading it before the move leaves a window in which two
promotions both see the baseline they have beaten. What W&B does give is order: the versions of a collection are numbered by
the server, densely, one after the other. A promotion therefore logs its verdict first, which is a claim with a number, and
then looks for other claims on the same alias by runs that have not ended; the lowest number goes ahead and the others stop
(Conflict). Two claims cannot miss each other: the one with the higher number was logged after the lower one was there to be
seen. A run that ended has moved the alias, which re-reading shows, or will never do so. One that was killed counts as under way
until the server notices its silence, minutes later.

Claims are numbered per project: promotions into one registry collection from several projects still re-read and read back,
but their order is not decided by numbers.
"""

from __future__ import annotations

from registry.backend import Backend
from registry.errors import Conflict
from registry.records import RunFact, Target, Version


class PromotionUnderWay(Conflict):
    """Another promotion of the same alias came first and has not ended."""


def check_first(backend: Backend, claim: Version, run: RunFact, target: Target) -> None:
    """
    Args:
        claim: the verdict that this run has logged.
    Raises:
        PromotionUnderWay: a claim with a lower number is by a run that still runs.
    """
    for rival in backend.runs(job_type="promote", state="running"):
        if rival.id == run.id or rival.config.get("target") != str(target):
            continue
        for other in backend.outputs(rival):
            if other.type == "verdict" and other.metadata.get("allowed") and other.index < claim.index:
                raise PromotionUnderWay(
                    f"a promotion of {rival.config.get('candidate')} to '{target}' came first and is under way ({rival.url})",
                    hint=f"wait until it has ended (if it was killed, minutes), then: reg history {target.alias}",
                )
