"""A verdict as JUnit XML: each check is a test case, so that a CI's own pages list what failed and why.

JUnit knows passed, failed, broken and skipped. A check that blocks is a failure (FAIL, INCONCLUSIVE) or an error (ERROR); one
that only warns is skipped, with its reason, because a failure would turn the CI red that the gate did not.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from registry.records import CheckResult, Outcome, Verdict

# XML 1.0 has no way to write these, not even escaped.
_IMPOSSIBLE = re.compile(r"[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]")


def to_junit(verdict: Verdict) -> str:
    """The verdict as one test suite, ending in a newline."""
    judgement = verdict.judgement
    suite = ElementTree.Element(
        "testsuite",
        name=_text(f"reg gate {verdict.target}"),
        timestamp=verdict.created_at,
        hostname=_text(verdict.actor),
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in _facts(verdict):
        ElementTree.SubElement(properties, "property", name=name, value=_text(value))
    for check in judgement.checks:
        _case(suite, check)
    blocked = any(_kind(check) in ("failure", "error") for check in judgement.checks)
    if verdict.outcome is not Outcome.PASS and not blocked:
        # The question itself could not be asked, so that no check has an answer.
        case = ElementTree.SubElement(suite, "testcase", classname="reg.gate", name="judgement")
        _answer(case, "error", str(verdict.outcome), judgement.reason)
    for kind in ("failure", "error", "skipped"):
        plural = {"failure": "failures", "error": "errors"}.get(kind, kind)
        suite.set(plural, str(len(suite.findall(f"testcase/{kind}"))))
    suite.set("tests", str(len(suite.findall("testcase"))))
    ElementTree.indent(suite)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(suite, encoding="unicode")}\n'


def _facts(verdict: Verdict) -> list[tuple[str, str]]:
    facts = (
        ("outcome", str(verdict.outcome)),
        ("reason", verdict.judgement.reason),
        ("candidate", verdict.candidate.reference),
        ("baseline", verdict.baseline.reference if verdict.baseline else None),
        ("dataset", verdict.dataset.reference if verdict.dataset else None),
        ("policy", verdict.policy_digest),
        ("commit", verdict.git_commit),
    )
    return [(name, value) for name, value in facts if value]


def _case(suite: ElementTree.Element, check: CheckResult) -> None:
    name = f"{check.id} {check.slice}" if check.slice else check.id
    case = ElementTree.SubElement(suite, "testcase", classname=_text(f"reg.{check.test}"), name=_text(name))
    kind = _kind(check)
    if kind is not None:
        _answer(case, kind, str(check.status), check.reason)
    else:
        ElementTree.SubElement(case, "system-out").text = _text(check.reason)


def _kind(check: CheckResult) -> str | None:
    if check.status is Outcome.PASS:
        return None
    if check.severity == "warn":
        return "skipped"
    return "error" if check.status is Outcome.ERROR else "failure"


def _answer(case: ElementTree.Element, kind: str, status: str, reason: str) -> None:
    said = {"message": _text(reason)} | ({} if kind == "skipped" else {"type": status})
    ElementTree.SubElement(case, kind, said).text = _text(reason)


def _text(text: str) -> str:
    return _IMPOSSIBLE.sub("\N{REPLACEMENT CHARACTER}", text)
