"""What a step of GitHub Actions says besides its exit code: outputs, the job's summary, and an annotation per failed check.

Everything here is text for files and streams that the runner names; it is made from the verdict, so that a workflow needs no
shell of its own to read one. Workflow commands and outputs are escaped as the runner's own toolkit does it, because reasons and
names come from elsewhere and a line break in one would start a new command.
Source: docs.github.com, "Workflow commands for GitHub Actions"; a step's summary holds at most 1 MiB.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from registry import verdicts
from registry.records import CheckResult, Outcome, Target, Verdict, Version

_SUMMARY_BYTES = 1 << 20
_CUT = "\n\n*(cut: the whole verdict is in its artifact)*\n"


def outputs(verdict: Verdict, *, moved: bool, holder: str | None, artifact: str | None, exit_code: int) -> str:
    """The lines for `$GITHUB_OUTPUT`."""
    values: Mapping[str, object] = {
        "outcome": verdict.outcome,
        "reason": verdict.judgement.reason,
        "candidate": verdict.candidate.reference,
        "baseline": verdict.baseline.reference if verdict.baseline else "",
        "target": verdict.target,
        "verdict": artifact or "",
        "moved": str(moved).lower(),
        "holder": holder or "",
        "exit-code": exit_code,
    }
    return _lines(values)


def outputs_of_holder(candidate: Version, target: Target) -> str:
    """The same lines where nothing was decided, because the candidate holds the alias already."""
    held = str(candidate.origin)
    values = {"outcome": Outcome.PASS, "candidate": held, "target": target, "moved": "false", "holder": held, "exit-code": 0}
    return _lines(values)


def _lines(values: Mapping[str, object]) -> str:
    return "".join(f"{name}={' '.join(str(value).split())}\n" for name, value in values.items())


def summary(verdict: Verdict) -> str:
    """Markdown for `$GITHUB_STEP_SUMMARY`, within its limit."""
    return _within(verdicts.to_markdown(verdict), _SUMMARY_BYTES)


def annotated(verdict: Verdict) -> Iterator[str]:
    """A workflow command per check that did not pass, and one for the whole where no check says why."""
    told = [check for check in verdict.judgement.checks if check.status is not Outcome.PASS]
    yield from (_annotation(check) for check in told)
    if not told and verdict.outcome is not Outcome.PASS:
        yield f"::error title={_property(f'reg: {verdict.outcome}')}::{_data(verdict.judgement.reason)}"


def _annotation(check: CheckResult) -> str:
    blocks = check.severity == "error"
    name = f"{check.id} {check.slice}" if check.slice else check.id
    return f"::{'error' if blocks else 'warning'} title={_property(f'{check.status}: {name}')}::{_data(check.reason)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _within(text: str, limit: int) -> str:
    encoded = text.encode()
    if len(encoded) <= limit:
        return text
    return encoded[: limit - len(_CUT.encode())].decode(errors="ignore") + _CUT
