"""A run's page shows the pictures and tables that it logged, and nothing that could do more than be looked at."""

from __future__ import annotations

import httpx
import numpy as np
import pytest
import wandb

from tests.wire.conftest import Server

PROJECT = "media-pages"
NASTY = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def run_url(server: Server, session_sdk: object, tmp_path_factory: pytest.TempPathFactory) -> str:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("media"))
        with wandb.init(project=PROJECT) as run:
            table = wandb.Table(columns=["item", "image", "said"])
            for number in range(30):
                table.add_data(f"item-{number}", wandb.Image(pixels + number), NASTY)
            run.log(
                {"worst": table, "few": [wandb.Image(pixels, caption=NASTY), wandb.Image(pixels)], "one": wandb.Image(pixels)}
            )
            run.log({"page": wandb.Html(NASTY), "figure": wandb.Image(np.zeros((10, 600), dtype=np.uint8))})
            address: str = run.url
    return address


@pytest.fixture(scope="module")
def page(run_url: str, server: Server) -> str:
    with httpx.Client(base_url=server.url, headers={"Accept": "text/html"}, trust_env=False, timeout=30) as browser:
        assert browser.post("/login", data={"key": server.key}).status_code == 303
        return browser.get(run_url).text


def test_pictures_are_in_the_page_itself(page: str) -> None:
    shown = page.partition("Pictures</h2>")[2].partition("</section>")[0]
    assert shown.count('<img src="data:image/png;base64,') == 4, "two, one, and the figure"
    assert shown.count('<figure class="whole-width">') == 1, "and not `wide`, which phones leave out"
    assert "&lt;script&gt;" in shown


def test_a_table_shows_its_first_rows_with_their_pictures(page: str) -> None:
    shown = page.partition(">worst</h2>")[2].partition("</section>")[0]
    assert shown.count('<td><img src="data:image/png;base64,') == shown.count("item-") == 12
    assert "The first 12 of 30 rows." in shown


def test_what_a_user_logged_runs_nowhere(page: str) -> None:
    assert "<script" not in page


def test_a_table_of_another_project_is_not_shown_to_who_only_names_it(
    run_url: str, server: Server, session_sdk: object
) -> None:
    found = wandb.Api().run(f"local/{PROJECT}/{run_url.rpartition('/')[2]}")
    worst = dict(found.summary["worst"])
    with wandb.init(project=f"{PROJECT}-elsewhere") as run:
        run.summary["worst"] = worst
    with httpx.Client(base_url=server.url, headers={"Accept": "text/html"}, trust_env=False, timeout=30) as browser:
        browser.post("/login", data={"key": server.key})
        page = browser.get(run.url).text
    assert "item-3" not in page


def test_the_twin_for_programs_has_no_pictures(run_url: str, server: Server) -> None:
    with server.client() as client:
        twin = client.get(run_url, params={"format": "json"}).json()
    assert (twin["pictures"], twin["tables"]) == ([], [])
    assert twin["summary"]["one"]["_type"] == "image-file"
