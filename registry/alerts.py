"""Telling people what a gate did: by W&B's own alerts, and by a webhook where one is configured.

W&B sends a run's alert on to mail or Slack, as each user has chosen there. Who has no such server, or wants it elsewhere, sets
`webhook` (REG_WEBHOOK) to a URL that takes JSON: `text` is what Slack and Mattermost show, the rest is for programs. An alert
that cannot be delivered changes nothing about what happened; it is said, and stays in the run's summary.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Literal

from registry.backend_run import Run
from registry.records import Verdict

_SECONDS = 10


@dataclass(frozen=True, kw_only=True)
class Alert:
    """`event`: an alias moved, a candidate was refused or waits for a person, or the data has decided as often as it can."""

    event: Literal["moved", "refused", "approval-needed", "holdout-spent"]
    title: str
    text: str

    @property
    def warns(self) -> bool:
        return self.event != "moved"


def moved(verdict: Verdict, *, before: str | None) -> Alert:
    target, candidate = verdict.target, verdict.candidate.reference
    how = "by rollback" if verdict.rollback else "by override" if verdict.override else "by a passed gate"
    words = verdict.rollback or verdict.override
    return Alert(
        event="moved",
        title=f"{target.alias} is now {candidate}",
        text=f"'{target}' moved from {before or 'nobody'} to {candidate} {how}" + (f": {words.reason}" if words else ""),
    )


def refused(verdict: Verdict) -> Alert:
    held = verdict.baseline.reference if verdict.baseline else "unset"
    return Alert(
        event="refused",
        title=f"{verdict.outcome}: {verdict.candidate.reference} was not promoted",
        text=f"'{verdict.target}' stays {held}. {verdict.judgement.reason}",
    )


def approval_needed(verdict: Verdict, asked: str) -> Alert:
    return Alert(event="approval-needed", title=f"{verdict.candidate.reference} waits for approval", text=asked)


def holdout_spent(verdict: Verdict) -> Alert | None:
    """None while there are looks left."""
    look = verdict.look
    if look is None or look.of is None or look.number < look.of or verdict.dataset is None or verdict.rollback is not None:
        return None
    where = f"{verdict.dataset.reference} ({verdict.split})"
    return Alert(
        event="holdout-spent",
        title=f"the holdout {where} is spent",
        text=f"look {look.number} of {look.of} on {where}: what wins there from now on may have won by luck; cut a fresh split",
    )


def tell(run: Run, alert: Alert, verdict: Verdict) -> None:
    """Send the alert on every way that is configured; what cannot be delivered is in `run.undelivered`."""
    run.alert(alert.title, alert.text, warns=alert.warns)
    if run.webhook is None:
        return
    body = {
        "text": f"{alert.title}: {alert.text}",
        "event": alert.event,
        "target": str(verdict.target),
        "candidate": verdict.candidate.reference,
        "baseline": verdict.baseline.reference if verdict.baseline else None,
        "outcome": str(verdict.outcome),
        "actor": verdict.actor,
        "run": run.url,
        "ci_url": verdict.ci_url,
    }
    try:
        _post(run.webhook, body)
    except (OSError, ValueError) as exc:
        # Never the URL itself: it is the secret.
        run.undelivered.append(f"the webhook did not take '{alert.title}': {_why(exc)}")
        run.summarise({"undelivered_alerts": list(run.undelivered)})


def _post(url: str, body: dict[str, str | None]) -> None:
    request = urllib.request.Request(
        url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json", "User-Agent": "reg"}
    )
    with urllib.request.urlopen(request, timeout=_SECONDS):
        pass


def _why(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return f"HTTP {error.code}"
    return str(getattr(error, "reason", None) or type(error).__name__)
