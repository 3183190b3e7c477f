"""`reg verdict show`, `reg verdict verify`: reading a verdict, and judging again what it judged."""

from __future__ import annotations

from pathlib import Path

import click

from registry import verdict_folder, verification
from registry.cli.decision import explained, save, saved_option
from registry.cli.output import styled
from registry.cli.params import REFERENCE, Session, session
from registry.references import Reference
from registry.verdicts import PAGE, Case


@click.group(epilog="Example: reg verdict show verdict-model:latest")
def verdict() -> None:
    """Read a verdict, or judge again what it judged."""


@verdict.command(epilog="Examples: reg verdict show verdict-model-production:v4 · reg verdict show … --save verdict.html")
@click.argument("reference", type=REFERENCE)
@saved_option
@session
def show(session: Session, reference: Reference, save_to: tuple[Path, ...]) -> None:
    """Show the verdict REFERENCE: the checks, the numbers, and the sentence that decided."""
    with session.reading() as backend:
        version = backend.resolve(reference, type="verdict")
        if any(file.suffix == PAGE for file in save_to):
            case = verification.case_of(backend, version)
        else:
            case = Case(verdict=verdict_folder.read(backend, version), logged=str(version.reference))
    save(case, save_to)
    found = case.verdict
    session.output.result({"artifact": str(version.reference), "verdict": found.model_dump(mode="json")}, *explained(found))


@verdict.command(epilog="Example: reg verdict verify verdict-model-production:v4")
@click.argument("reference", type=REFERENCE)
@session
def verify(session: Session, reference: Reference) -> int:
    """Judge again, from the evaluations and the policy that the verdict REFERENCE names; needs no GPU and no torch.

    Exit codes: 0 the verdict follows from them, 1 it does not.
    """
    with session.reading() as backend:
        done = verification.verify(backend, backend.resolve(reference, type="verdict"))
    data = {"artifact": str(done.version.reference), "holds": done.holds, "differences": list(done.differences)}
    if done.holds:
        checks = len(done.again.checks)
        said = f"{done.version} holds: {done.again.outcome} follows again from its evidence and policy ({checks} checks equal)"
        session.output.result(data, said)
        return 0
    count = f"{done.version} does not follow from its evidence and policy ({len(done.differences)} differences)"
    session.output.result(data, styled(count, "red"), *(f"  {line}" for line in done.differences))
    return 1
