"""Who asks, from which CI run, on which commit: what a verdict remembers about its making."""

from __future__ import annotations

import getpass
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Each None when unknown. `dirty` means that the working tree differed from the commit."""

    actor: str
    ci_url: str | None = None
    git_commit: str | None = None
    dirty: bool | None = None


def read(*, environment: Mapping[str, str], folder: Path) -> Provenance:
    """Ask the environment (GitHub Actions' variables) and git."""
    commit = environment.get("GITHUB_SHA") or git(folder, "rev-parse", "HEAD")
    changes = git(folder, "status", "--porcelain", "--untracked-files=no") if commit else None
    run = environment.get("GITHUB_RUN_ID")
    server, repository = environment.get("GITHUB_SERVER_URL"), environment.get("GITHUB_REPOSITORY")
    return Provenance(
        actor=environment.get("GITHUB_ACTOR") or _user(),
        ci_url=f"{server}/{repository}/actions/runs/{run}" if run and server and repository else None,
        git_commit=commit or None,
        dirty=None if changes is None else bool(changes),
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user id without a name
        return "unknown"


def git(folder: Path, *words: str) -> str | None:
    """What git says in this folder; None where it says nothing, or is not there."""
    try:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
