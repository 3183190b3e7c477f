"""Rewinding and forking: a run goes on from the middle of its own history, or of another's."""

from __future__ import annotations

from pathlib import Path

import pytest
import wandb


def find(project: str, run_id: str) -> wandb.apis.public.Run:
    return wandb.Api().run(f"local/{project}/{run_id}")


def steps(project: str, run_id: str) -> list[tuple[int, int]]:
    return [(row["_step"], row["x"]) for row in find(project, run_id).scan_history()]


def log_five(project: str, run_id: str) -> None:
    with wandb.init(project=project, id=run_id, config={"lr": 1}) as run:
        for value in range(5):
            run.log({"x": value, "page": wandb.Html(f"<b>{value}</b>"), **({"late": 1} if value == 4 else {})})


def test_rewind_forgets_what_came_after(sdk: Path, project: str) -> None:
    log_five(project, "r")
    with wandb.init(project=project, resume_from="r?_step=1", config={"wd": 2}) as run:
        run.log({"x": 100})
    found = find(project, "r")
    assert steps(project, "r") == [(0, 0), (1, 1), (2, 100)]
    assert (found.state, found.config, found.history_keys["lastStep"]) == ("finished", {"lr": 1, "wd": 2}, 2)


def test_the_summary_of_a_rewound_run_is_that_of_its_rows(sdk: Path, project: str) -> None:
    log_five(project, "r")
    with wandb.init(project=project, resume_from="r?_step=1") as run:
        run.log({"y": 100})
    summary = find(project, "r").summary
    assert (summary["x"], summary["y"], "late" in summary.keys()) == (1, 100, False)  # noqa: SIM118, a summary is no dict


def test_a_rewound_run_can_be_resumed(sdk: Path, project: str) -> None:
    log_five(project, "r")
    with wandb.init(project=project, resume_from="r?_step=1") as run:
        run.log({"x": 100})
    with wandb.init(project=project, id="r", resume="must") as run:
        run.log({"x": 101})
    assert steps(project, "r") == [(0, 0), (1, 1), (2, 100), (3, 101)]


def test_a_fork_begins_with_the_rows_the_summary_and_the_media_of_its_parent(sdk: Path, project: str) -> None:
    log_five(project, "parent")
    with wandb.init(project=project, id="child", fork_from="parent?_step=1", config={"wd": 2}) as run:
        run.log({"x": 100})
    assert steps(project, "child") == [(0, 0), (1, 1), (2, 100)]
    assert steps(project, "parent") == [(number, number) for number in range(5)]
    child = find(project, "child")
    assert child.rawconfig["_wandb"]["branch_point"] == {"run_id": "parent", "step": 1}
    assert (child.config, child.summary["x"]) == ({"wd": 2}, 100)
    with child.file(child.summary["page"]["path"]).download(root=str(sdk / "back")) as page:
        assert "<b>1</b>" in page.read()


def test_what_a_fork_inherited_can_be_deleted_once_it_is_resumed(sdk: Path, project: str) -> None:
    log_five(project, "parent")
    with wandb.init(project=project, id="child", fork_from="parent?_step=4") as run:
        run.log({"y": 1})
    assert find(project, "child").summary_metrics["late"] == 1
    with wandb.init(project=project, id="child", resume="must") as run:
        del run.summary["late"]
    assert "late" not in find(project, "child").summary_metrics


def test_a_fork_of_a_fork_has_the_rows_of_both(sdk: Path, project: str) -> None:
    log_five(project, "a")
    with wandb.init(project=project, id="b", fork_from="a?_step=2") as run:
        run.log({"x": 10})
    with wandb.init(project=project, id="c", fork_from="b?_step=3") as run:
        run.log({"x": 20})
    assert steps(project, "c") == [(0, 0), (1, 1), (2, 2), (3, 10), (4, 20)]


@pytest.mark.parametrize(("how", "complaint"), [
    pytest.param({"fork_from": "nobody?_step=1"}, "there is no run 'nobody' to fork from", id="fork"),
    pytest.param({"resume_from": "nobody?_step=1"}, "there is no run local/.*/nobody", id="rewind"),
])  # fmt: skip
def test_a_branch_of_nothing_is_refused_at_once(sdk: Path, project: str, how: dict[str, str], complaint: str) -> None:
    with pytest.raises(wandb.errors.CommError, match=complaint):
        wandb.init(project="branches", **how)  # type: ignore[arg-type]
