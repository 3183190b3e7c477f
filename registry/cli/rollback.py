"""`reg rollback`: the alias goes back to the version before, by the verdict that had let that version in."""

from __future__ import annotations

import os
from pathlib import Path

import click

from registry import provenance, rollback, standing
from registry.cli.params import REFERENCE, Session, session
from registry.references import Reference


@click.command(
    "rollback",
    epilog="Examples: reg rollback production · reg rollback mnist:production --to model:v2 --reason 'incident 4711'",
)
@click.argument("target")
@click.option("--to", type=REFERENCE, help="An earlier holder (default: the one before).")
@click.option("--reason", metavar="TEXT", default="rolled back", show_default=True, help="Why; recorded.")
@session
def roll_back(session: Session, target: str, to: Reference | None, reason: str) -> None:
    """Give TARGET (an alias, or collection:alias) back to the previous version that a verdict had let in.

    Exit codes: 0 moved, 1 nothing to go back to, 6 the alias moved meanwhile.
    """
    by = provenance.read(environment=os.environ, folder=Path.cwd())
    with session.writing() as backend:
        found = standing.find(backend, target, registry=session.settings.registry)
        done = rollback.rollback(backend, found, to=to, reason=reason, by=by)
    for problem in done.undelivered:
        session.output.warn(problem)
    data = {
        "target": str(done.target),
        "holder": str(done.holder.origin),
        "replaced": str(done.replaced.origin),
        "verdict": str(done.verdict_version.reference),
        "run": done.run_url,
    }
    session.output.result(
        data,
        f"'{done.target}' is again {done.holder.origin}, no longer {done.replaced.origin} (verdict {done.verdict_version})",
    )
