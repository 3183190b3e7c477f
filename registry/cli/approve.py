"""`reg approve`: a person's consent to what a verdict judged."""

from __future__ import annotations

import os
from pathlib import Path

import click

from registry import approvals, provenance, verdict_folder
from registry.cli.params import REFERENCE, Session, session
from registry.references import Reference


@click.command(epilog="Example: reg approve verdict-model-production:v4 --reason 'looked at the flipped items'")
@click.argument("verdict", type=REFERENCE)
@click.option("--reason", metavar="TEXT", help="Why; recorded.")
@session
def approve(session: Session, verdict: Reference, reason: str | None) -> None:
    """Approve what VERDICT judged, so that the promotion it waits for may go ahead.

    An approval counts for the same candidate, baseline, data, evaluations and policy only. The server knows who you are by your
    key; where the policy says `not_author`, whoever made the candidate or proposes it does not count.
    """
    by = provenance.read(environment=os.environ, folder=Path.cwd())
    with session.writing() as backend:
        version = backend.resolve(verdict, type="verdict")
        judged = verdict_folder.read(backend, version)
        logged = approvals.approve(backend, version, judged, reason=reason, by=by)
        person = backend.user
    again = f"reg promote {judged.candidate.reference} --alias {judged.target.alias}"
    data = {"approval": str(logged.reference), "subject": judged.subject, "person": person, "next": again}
    session.output.result(
        data, f"{person} approves {judged.candidate.reference} for '{judged.target}' ({logged}); next: {again}"
    )
