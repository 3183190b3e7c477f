"""The folder of a `verdict` artifact: what it holds is decided here, for those who write one and those who read it.

`verdict.json` is the verdict, `policy.yaml` the policy as it was read, and the rest says the same for people and for CI.
Judged again from its evidence and its policy, a verdict says the same: that is what `reg verdict verify` does.
"""

from __future__ import annotations

from pathlib import Path

from registry import policy as policies
from registry import verdicts
from registry.backend import Backend
from registry.errors import BadData, BadReference
from registry.policy import Policy
from registry.records import Target, Verdict, Version
from registry.references import check_collection
from registry.verdicts import Case

VERDICT = "verdict.json"
POLICY = "policy.yaml"


def collection(target: Target) -> str:
    """The name under which the verdicts about an alias are logged, numbered by the server in the order they came.

    Raises:
        BadReference: W&B takes no artifact of such a name; said before anything is scored.
    """
    name = f"verdict-{target.collection}-{target.alias}"
    try:
        return check_collection(name)
    except BadReference as exc:
        raise BadReference(
            f"no verdict about '{target}' could be logged, because it would be called '{name}': names on W&B have "
            "128 letters (a to z), digits, '-', '_' and '.' at most",
            hint="--alias production",
        ) from exc


def write(folder: Path, case: Case, policy_text: str) -> list[tuple[str, Path]]:
    """Write the files of a verdict; returns (name, where it lies) of each."""
    files = {
        VERDICT: verdicts.to_json(case.verdict),
        POLICY: policy_text,
        "verdict.md": verdicts.to_markdown(case.verdict),
        "verdict.html": verdicts.to_html(case),
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [(name, folder / name) for name in files]


def read(backend: Backend, version: Version) -> Verdict:
    """
    Raises:
        BadData: it is no verdict of ours, or of a form that this version of `reg` does not know.
    """
    try:
        return Verdict.model_validate_json(backend.read_file(version, VERDICT))
    except ValueError as exc:
        raise BadData(f"{version}: {VERDICT} cannot be read as a verdict: {str(exc).splitlines()[0]}") from exc


def read_policy(backend: Backend, version: Version) -> Policy:
    """The policy that a verdict was judged by.

    Raises:
        BadPolicy: it cannot be read as one.
    """
    return policies.load(backend.read_file(version, POLICY).decode(), name=f"{version}/{POLICY}")
