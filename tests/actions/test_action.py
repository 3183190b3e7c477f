"""The composite action, as a step of somebody's workflow: its answer, its outputs, its files, and the one comment it keeps."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.actions import runner
from tests.actions.conftest import ROOT, Machine

pytestmark = pytest.mark.slow

# GitHub's command line, as far as the action uses it: comments in a file, and a token that may or may not write.
GH = """#!/usr/bin/env python3
import json, os, sys
store = os.environ["FAKE_COMMENTS"]
comments = json.load(open(store)) if os.path.exists(store) else []
words = sys.argv[1:]
assert words.pop(0) == "api" and os.environ["GH_TOKEN"] == "a token"
if "--jq" in words:
    assert words[0] == "--paginate" and words[1] == "repos/team/repository/issues/7/comments"
    print("\\n".join(str(c["id"]) for c in comments if c["body"].startswith(os.environ["MARKER"])))
    sys.exit(0)
if os.environ.get("FAKE_READ_ONLY"):
    sys.exit("HTTP 403: Resource not accessible by integration")
method, path = words[words.index("--method") + 1], words[words.index("--method") + 2]
body = open(words[words.index("-F") + 1].removeprefix("body=@")).read()
if method == "POST":
    assert path == "repos/team/repository/issues/7/comments"
    comments.append({"id": len(comments) + 1, "body": body})
else:
    next(c for c in comments if c["id"] == int(path.rpartition("/")[2]))["body"] = body
json.dump(comments, open(store, "w"))
"""


@pytest.fixture
def act(machine: Machine, models: Callable[[], str], tmp_path: Path) -> Callable[..., runner.Job]:
    """Runs the action on a pull request; `extra` are variables of the machine."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "gh").write_text(GH)
    (tools / "gh").chmod(stat.S_IRWXU)
    action = runner.load(ROOT / ".github" / "actions" / "gate" / "action.yml")
    github = {"event_name": "pull_request", "event": {"pull_request": {"number": 7}}, "token": "a token"}

    def run(model: str, *, extra: dict[str, str] | None = None, **inputs: str) -> runner.Job:
        environment = {
            **machine.environment,
            "PATH": f"{tools}{os.pathsep}{machine.environment['PATH']}",
            "WANDB_BASE_URL": machine.server.url,
            "WANDB_API_KEY": machine.server.key,
            "FAKE_COMMENTS": str(tmp_path / "comments.json"),
            **(extra or {}),
        }
        given = {"model": model, "package": ".", "policy": "pipelines/policy.yaml", **inputs}
        contexts = machine.contexts(github=github)
        return runner.run_action(action, given, folder=machine.folder, contexts=contexts, environment=environment)

    return run


def test_it_judges_comments_once_and_keeps_the_comment_current(
    act: Callable[..., runner.Job], models: Callable[[], str], machine: Machine, tmp_path: Path
) -> None:
    failed = act("model:v2")
    assert failed.failed is not None
    assert (failed.failed.name, failed.failed.code) == ("Answer", 3), failed.log
    assert (failed.outputs["outcome"], failed.outputs["exit-code"], failed.outputs["moved"]) == ("FAIL", "3", "false")
    written = {file.name for file in (machine.temporary / "reg-verdict").iterdir()}
    assert written >= {"verdict.md", "verdict.xml", "verdict.html"}
    (comment,) = json.loads((tmp_path / "comments.json").read_text())
    assert comment["body"].startswith("<!-- reg gate: production -->\n# FAIL")
    passed = act("model:v1", package="", command="promote")
    assert passed.failed is None, passed.log
    assert (passed.outputs["outcome"], passed.outputs["moved"]) == ("PASS", "true")
    assert models() == "v1"
    (comment,) = json.loads((tmp_path / "comments.json").read_text())
    assert comment["body"].startswith("<!-- reg gate: production -->\n# PASS")


def test_a_token_that_may_not_comment_changes_no_answer(act: Callable[..., runner.Job]) -> None:
    done = act("model:v1", extra={"FAKE_READ_ONLY": "yes"})
    assert done.failed is None, done.log
    assert "::warning::the verdict could not be put on the pull request" in done["Comment on the pull request"].out


def test_a_word_that_is_no_command_is_refused(act: Callable[..., runner.Job]) -> None:
    done = act("model:v1", command="promote --override=x")
    assert done.failed is not None
    assert (done.failed.name, done.failed.code) == ("Judge", 2)
