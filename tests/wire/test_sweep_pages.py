"""The page of a sweep: what its trials reached can be seen there, by those who may, and does nothing there but be read."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest

from tests.wire.conftest import Server
from tests.wire.test_sweeps import Sweep, created

NASTY = "<script>alert('x')</script>"
CONFIG = {
    "name": f"rates {NASTY}",
    "method": "grid",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"x": {"values": [3, 1, 2]}, "kind": {"values": [NASTY]}, "model": {"parameters": {"w": {"values": [1, 2]}}}},
}


@pytest.fixture(scope="module")
def sweep(server: Server) -> Sweep:
    """Four trials of six: three with a value, one that failed without."""
    made = created(server, "sweep-pages", CONFIG)
    agent = made.agent()
    for losses in ((3.0,), (0.5,), (1.0,), ()):
        run, _ = made.given(agent)
        made.end(run, *losses, exitcode=0 if losses else 1)
    return made


def page(sweep: Sweep, *, key: str | None = None, accept: str = "text/html") -> httpx.Response:
    address = f"/local/{sweep.project}/sweeps/{sweep.name}"
    with httpx.Client(base_url=sweep.server.url, auth=("api", key or sweep.server.key), trust_env=False) as client:
        return client.get(address, headers={"Accept": accept})


def twin(sweep: Sweep, path: str) -> Any:
    with sweep.server.client() as client:
        answer = client.get(f"/local/{sweep.project}{path}", params={"format": "json"})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_page_shows_the_best_first_and_how_it_came_there(sweep: Sweep) -> None:
    shown = twin(sweep, f"/sweeps/{sweep.name}")
    trials = shown["trials"]["items"]
    assert [(trial["number"], trial["value"]) for trial in trials] == [(2, 0.5), (3, 1.0), (1, 3.0), (4, None)]
    assert shown["best"]["number"] == 2
    assert shown["best_so_far"]["points"] == [[1, 3.0], [2, 0.5], [3, 0.5]]
    assert (shown["parameters"], shown["started"], shown["expected"]) == (["model.w", "x"], 4, 6)
    assert [(agent["name"], agent["runs"]) for agent in shown["agents"]] == [("agent-1", 4)]


def test_the_page_draws_a_line_per_trial_without_a_script(sweep: Sweep) -> None:
    answer = page(sweep)
    assert (answer.status_code, NASTY in answer.text, "<script" in answer.text) == (200, False, False)
    found = re.search(r'<svg class="parallel".*?</svg>', answer.text, re.DOTALL)
    assert found is not None
    drawn = ElementTree.fromstring(found.group())
    assert [path.get("class") for path in drawn.findall("path")] == ["none", "t0", "t2", "best"]


def test_the_project_lists_its_sweeps_and_a_run_leads_to_its_own(sweep: Sweep) -> None:
    (row,) = twin(sweep, "")["sweeps"]["items"]
    assert (row["name"], row["display_name"], row["trials"], row["state"]) == (sweep.name, CONFIG["name"], 4, "RUNNING")
    run = sweep.show()["runs"][0]["name"]
    with sweep.server.client() as client:
        text = client.get(f"/local/{sweep.project}/runs/{run}", headers={"Accept": "text/html"}).text
    assert f'href="/local/{sweep.project}/sweeps/{sweep.name}"' in text


def test_a_sweep_that_is_not_there_is_not_found(sweep: Sweep) -> None:
    with sweep.server.client() as client:
        assert client.get(f"/local/{sweep.project}/sweeps/nowhere", params={"format": "json"}).status_code == 404


def test_a_sweep_without_a_metric_or_a_trial_has_a_page(server: Server) -> None:
    made = created(server, "sweep-pages-empty", {"method": "random", "parameters": {"x": {"min": 0.0, "max": 1.0}}})
    answer = page(made)
    assert (answer.status_code, "None has begun." in answer.text, 'class="parallel"' in answer.text) == (200, True, False)
    agent = made.agent()
    made.given(agent)
    assert page(made).status_code == 200
