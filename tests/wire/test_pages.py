"""The pages: what the real client logged can be read there by those who may, and does nothing there but be read."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import wandb

from registry.server.signing import Signer
from registry.server.ui import login
from tests.wire.conftest import Server
from tests.wire.drafts import log

PROJECT = "pages"
SELECTION = f"local-org%2Fwandb-registry-model%2F{PROJECT}"
NASTY = "<script>alert('x')</script>"
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@dataclass(frozen=True, kw_only=True)
class Life:
    """A small life of a model: the addresses that the SDK gave for its parts."""

    run: str
    failed: str
    model: str
    verdict: str
    evaluation: str
    production: str
    project: str


def verdict(candidate: int, outcome: str) -> dict[str, str]:
    check = {"id": "floor", "metric": "accuracy", "test": "absolute", "status": outcome, "reason": f"because {NASTY}"}
    file = {
        "schema_version": 1,
        "target": {"registry": "model", "collection": PROJECT, "alias": "production"},
        "judgement": {"outcome": outcome, "reason": "all checks passed", "checks": [check | {"candidate": float("nan")}]},
        "candidate": {"reference": f"local/{PROJECT}/model:v{candidate}", "digest": "md5:00"},
    }
    return {"verdict.json": json.dumps(file)}


@pytest.fixture(scope="module")
def life(server: Server, session_sdk: Path, tmp_path_factory: pytest.TempPathFactory) -> Life:
    """Data, a run with everything in it, two models, an evaluation, a promotion, and a move by hand."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("life"))
        with wandb.init(project=PROJECT, job_type="dataset") as run:
            log(run, "data", {f"train/{number}.txt": str(number) for number in range(60)})
        config = {"lr": 0.1, "model": {"width": 32}, NASTY: NASTY}
        with wandb.init(project=PROJECT, job_type="train", name=NASTY, config=config, notes=NASTY, tags=["quick"]) as run:
            run.use_artifact("data:latest")
            for step in range(5):
                run.log({"loss": 1 / (step + 1), "broken": float("nan")} | ({"val/accuracy": 0.5} if step == 2 else {}))
            # Not printed: the client wraps the console that it met when it was imported, which may have been another test's.
            run.write_logs(f"\x1b[32mepoch 1\x1b[0m {NASTY}")
            Path(run.dir, "notes <1>.txt").write_text("remember")
            run.save(str(Path(run.dir, "notes <1>.txt")), base_path=run.dir)
            models = [
                log(run, "model", {"weights": str(number)}, type="model", metadata={"note": NASTY}, description=NASTY)
                for number in range(2)
            ]
        run_url = run.url
        with wandb.init(project=PROJECT, job_type="evaluate") as run:
            run.use_artifact("model:v0")
            metrics = {"accuracy": {"value": 0.97, "direction": "higher", "unit": "fraction", "n": 60, "interval": [0.9, 1]}}
            files = {"evaluation.json": json.dumps({"schema_version": 1, "metrics": metrics})}
            evaluation = log(run, "evaluation-model", files, type="evaluation")
        with wandb.init(project=PROJECT, job_type="promote", name="promotion") as run:
            run.use_artifact("model:v0")
            said = {"outcome": "PASS", "reason": "all checks passed", "candidate": f"local/{PROJECT}/model:v0"}
            said["target"] = f"wandb-registry-model/{PROJECT}:production"
            judged = log(run, f"verdict-{PROJECT}-production", verdict(0, "PASS"), type="verdict", metadata=said)
            run.link_artifact(models[0], f"wandb-registry-model/{PROJECT}", aliases=["production"])
        with wandb.init(project=PROJECT, job_type="manual") as run:
            run.link_artifact(models[1], f"wandb-registry-model/{PROJECT}", aliases=["production"])
        with pytest.raises(SystemExit), wandb.init(project=PROJECT, job_type="train", name="broke") as run:
            raise SystemExit(3)
    api = wandb.Api()
    return Life(
        run=run_url,
        failed=run.url,
        model=models[0].url,
        verdict=judged.url,
        evaluation=evaluation.url,
        production=api.artifact(f"wandb-registry-model/{PROJECT}:production").url,
        project=api.project(PROJECT, entity="local").url,
    )


@pytest.fixture
def browser(server: Server) -> Iterator[httpx.Client]:
    """A browser without a cookie."""
    with httpx.Client(base_url=server.url, headers=BROWSER, timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture
def inside(browser: httpx.Client, server: Server) -> httpx.Client:
    """A browser that has logged in."""
    assert browser.post("/login", data={"key": server.key}).status_code == 303
    return browser


def twin(client: httpx.Client, address: str) -> Any:
    answer = client.get(address, params=None if "?" in address else {"format": "json"})
    assert answer.status_code == 200, answer.text
    return answer.json()


ADDRESSES = list(Life.__dataclass_fields__)


@pytest.mark.parametrize("thing", ADDRESSES)
def test_every_address_that_the_sdk_gives_has_a_page(life: Life, inside: httpx.Client, thing: str) -> None:
    answer = inside.get(getattr(life, thing))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")


@pytest.mark.parametrize("thing", ADDRESSES)
def test_a_page_shows_what_users_logged_as_text_only(life: Life, inside: httpx.Client, thing: str) -> None:
    page = inside.get(getattr(life, thing)).text
    assert "<script" not in page
    assert re.findall(r"<[^>]*\son\w+=", page) == []
    assert "\x1b" not in page


def test_a_run_shows_its_life(life: Life, inside: httpx.Client) -> None:
    page = inside.get(life.run).text
    for piece in (
        "&lt;script&gt;",
        "model.width",
        ">32<",
        "loss",
        "<svg",
        "epoch 1",
        "notes &lt;1&gt;.txt",
        "data:v0",
        "model:v1",
    ):
        assert piece in page, piece


def test_the_twin_of_a_run_says_the_same(life: Life, inside: httpx.Client) -> None:
    found = twin(inside, life.run)
    assert (found["state"], found["job_type"], found["exitcode"], found["tags"]) == ("finished", "train", 0, ["quick"])
    assert (found["display_name"], found["config"]) == (NASTY, {"lr": 0.1, "model": {"width": 32}, NASTY: NASTY})
    assert [item["url"] for item in found["inputs"]["items"]] == [f"/local/{PROJECT}/artifacts/dataset/data/v0"]
    outputs = [(item["collection"], item["index"]) for item in found["outputs"]["items"]]
    assert outputs == [("model", 0), ("model", 1)]
    series = {item["key"]: item["points"] for item in found["charts"]["items"]}
    assert series["loss"] == [[0, 1], [1, 0.5], [2, 1 / 3], [3, 0.25], [4, 0.2]]
    assert series["val/accuracy"] == [[2, 0.5]]
    assert series["broken"] == [[step, "NaN"] for step in range(5)]


def test_a_failed_run_says_so(life: Life, inside: httpx.Client) -> None:
    found = twin(inside, life.failed)
    assert (found["state"], found["exitcode"]) == ("failed", 1)


def test_a_version_shows_one_step_of_lineage_both_ways(life: Life, inside: httpx.Client) -> None:
    found = twin(inside, life.model)
    maker = found["made_by"]["items"][0]
    assert (maker["url"], maker["job_type"]) == (urlsplit(life.run).path, "train")
    assert [item["collection"] for item in found["took"][str(maker["id"])]] == ["data"]
    users = {run["job_type"]: found["gave"][str(run["id"])] for run in found["used_by"]["items"]}
    assert {job: [item["collection"] for item in made] for job, made in users.items()} == {
        "promote": [f"verdict-{PROJECT}-production"],
        "evaluate": ["evaluation-model"],
    }


def test_files_are_listed_with_sizes_page_by_page(life: Life, inside: httpx.Client) -> None:
    files = twin(inside, f"/local/{PROJECT}/artifacts/dataset/data/v0")["files"]
    assert (files["total"], files["pages"], len(files["items"])) == (60, 2, 50)
    more = twin(inside, files["next"])["files"]
    assert (more["number"], len(more["items"]), more["next"]) == (2, 10, None)
    assert {item["path"] for item in [*files["items"], *more["items"]]} == {f"train/{number}.txt" for number in range(60)}
    assert inside.get(files["previous"] or "/").status_code == 200


@pytest.mark.parametrize(("path", "content"), [
    pytest.param("artifacts/dataset/data/v0/files/train/7.txt", "7", id="of a version"),
    pytest.param("artifacts/dataset/data/latest/files/train/7.txt", "7", id="of an alias"),
])  # fmt: skip
def test_a_file_of_a_version_can_be_opened(life: Life, inside: httpx.Client, path: str, content: str) -> None:
    answer = inside.get(f"/local/{PROJECT}/{path}", follow_redirects=True)
    assert (answer.text, "sandbox" in answer.headers["content-security-policy"]) == (content, True)


def test_a_file_of_a_run_can_be_opened_by_its_link(life: Life, inside: httpx.Client) -> None:
    link = re.search(r'href="([^"]*/files/notes[^"]*)"', inside.get(life.run).text)
    assert link is not None
    assert inside.get(link[1], follow_redirects=True).text == "remember"


def test_a_verdict_shows_its_checks(life: Life, inside: httpx.Client) -> None:
    found = twin(inside, life.verdict)["verdict"]
    assert (found["outcome"], found["target"]) == ("PASS", f"wandb-registry-model/{PROJECT}:production")
    assert [(check["id"], check["status"], check["candidate"]) for check in found["checks"]] == [("floor", "PASS", "NaN")]
    page = inside.get(life.verdict).text
    assert all(piece in page for piece in ("because &lt;script&gt;", ">nan<", f'/local/{PROJECT}/artifacts/model/model/v0"'))


def test_an_evaluation_shows_its_metrics(life: Life, inside: httpx.Client) -> None:
    metric = twin(inside, life.evaluation)["evaluation"]["metrics"][0]
    assert (metric["name"], metric["value"], metric["interval"], metric["n"]) == ("accuracy", 0.97, [0.9, 1], 60)
    assert all(piece in inside.get(life.evaluation).text for piece in ("accuracy", "0.97", "[0.9, 1]"))


@pytest.mark.parametrize(("content", "complaint"), [
    pytest.param("{", "verdict.json is not JSON", id="broken JSON"),
    pytest.param("[]", "not of schema_version 1", id="a list"),
    pytest.param('{"schema_version": 2}', "not of schema_version 1", id="a later version"),
    pytest.param('{"schema_version": 1, "judgement": 7}', "no judgement with checks", id="no judgement"),
    pytest.param("[" * 100_000, "verdict.json is not JSON", id="bottomless"),
])  # fmt: skip
def test_a_verdict_that_cannot_be_read_is_said_to_be_so(
    sdk: Path, inside: httpx.Client, project: str, content: str, complaint: str
) -> None:
    with wandb.init(project="unreadable", dir=sdk) as run:
        url = log(run, project, {"verdict.json": content}, type="verdict").url
    assert complaint in twin(inside, url)["unreadable"]
    assert complaint in inside.get(url).text


def registry_of(client: httpx.Client) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The holders of the aliases of this module's collection, and the moves."""
    found = twin(client, "/orgs/local/registry/model")
    number = next(row["id"] for row in found["collections"]["items"] if row["name"] == PROJECT)
    holders = {move["alias"]: move for move in found["holders"][str(number)]}
    return holders, [move for move in found["moves"]["items"] if move["collection_id"] == number]


def test_a_registry_shows_who_holds_an_alias_and_since_when(life: Life, inside: httpx.Client) -> None:
    holder = registry_of(inside)[0]["production"]
    assert (holder["index"], holder["before"], holder["by"]) == (1, 0, "local")
    assert holder["origin"]["url"] == f"/local/{PROJECT}/artifacts/model/model/v1"
    assert holder["holder"]["url"] == urlsplit(life.production)._replace(scheme="", netloc="").geturl()


def test_the_verdict_stands_beside_the_move_that_rests_on_it_and_no_other(life: Life, inside: httpx.Client) -> None:
    by_hand, promoted = (move for move in registry_of(inside)[1] if move["alias"] == "production")
    assert (promoted["before"], promoted["index"], by_hand["before"], by_hand["index"]) == (None, 0, 0, 1)
    assert (promoted["verdict"]["outcome"], promoted["verdict"]["reason"]) == ("PASS", "all checks passed")
    assert promoted["verdict"]["version"]["url"] == urlsplit(life.verdict).path
    assert by_hand["verdict"] is None
    assert "no verdict" in inside.get("/orgs/local/registry/model").text


def test_a_linked_version_says_where_it_was_logged_and_what_it_holds(life: Life, inside: httpx.Client) -> None:
    found = twin(inside, f"{life.production}&format=json")
    assert (found["version"]["project"], found["version"]["index"]) == ("wandb-registry-model", 1)
    assert (found["origin"]["project"], found["origin"]["index"]) == (PROJECT, 1)
    held = {place["version"]["project"]: sorted(move["alias"] for move in place["holds"]) for place in found["places"]}
    assert held == {PROJECT: ["latest"], "wandb-registry-model": ["latest", "production"]}


@pytest.mark.parametrize("address", [
    pytest.param(f"/orgs/local/registry/model?format=json&selectionPath={SELECTION}", id="registry"),
    pytest.param(f"/local-org/wandb-registry-model/artifacts/model/{PROJECT}?format=json", id="plain form"),
    pytest.param(f"/local/registry/model?format=json&selectionPath={SELECTION}", id="legacy form"),
])  # fmt: skip
def test_a_collection_lists_its_versions_newest_first(life: Life, inside: httpx.Client, address: str) -> None:
    found = twin(inside, address)
    versions = [(row["version"]["index"], sorted(row["aliases"])) for row in found["versions"]["items"]]
    assert versions == [(1, ["latest", "production"]), (0, [])]


def test_projects_runs_and_collections_are_listed(life: Life, inside: httpx.Client) -> None:
    projects = {row["name"]: row for row in twin(inside, "/index.json")["projects"]["items"]}
    assert (projects[PROJECT]["runs"], projects[PROJECT]["collections"]) == (6, 4)
    found = twin(inside, projects[PROJECT]["url"])
    assert [row["name"] for row in found["collections"]["items"]] == [
        "data", "evaluation-model", "model", f"verdict-{PROJECT}-production",
    ]  # fmt: skip
    assert [row["job_type"] for row in found["runs"]["items"]] == ["train", "manual", "promote", "evaluate", "train", "dataset"]
    assert dict(found["job_types"])["train"] == 2
    trained = inside.get(projects[PROJECT]["url"], params={"job_type": "train", "format": "json"}).json()
    assert [row["display_name"] for row in trained["runs"]["items"]] == ["broke", NASTY]


@pytest.mark.parametrize("address", [
    pytest.param("/index.json", id="start"),
    pytest.param(f"/local/{PROJECT}.json", id="project"),
    pytest.param(f"/local/{PROJECT}/artifacts/dataset/data.json", id="collection"),
    pytest.param(f"/local/{PROJECT}/artifacts/dataset/data/v0.json", id="version"),
    pytest.param("/orgs/local/registry/model.json", id="registry"),
])  # fmt: skip
def test_a_twin_has_the_address_of_its_page_and_json(life: Life, inside: httpx.Client, address: str) -> None:
    def plain() -> httpx.Response:
        return inside.get(address.removesuffix(".json").replace("/index", "/"), params={"format": "json"})

    def said(reply: httpx.Response) -> Any:
        """Without the addresses of further pages, which go on as one asked; others' projects may fill more than one."""
        return json.loads(reply.text, object_hook=lambda found: {k: found[k] for k in found if k not in ("previous", "next")})

    # Another test's run may say something between two questions.
    before, asked, after = plain(), inside.get(address), plain()
    assert said(asked) in (said(before), said(after))
    assert before.headers["content-type"] == "application/json"


def test_a_name_that_ends_like_a_twin_is_a_name(sdk: Path, inside: httpx.Client) -> None:
    with wandb.init(project="twins", dir=sdk) as run:
        log(run, "table", {"a": "1"})
        log(run, "table.json", {"a": "22"})
    page = inside.get("/local/twins/artifacts/dataset/table.json")
    assert (page.headers["content-type"], "<h1>table.json " in page.text) == ("text/html; charset=utf-8", True)
    assert twin(inside, "/local/twins/artifacts/dataset/table.json.json")["collection"]["name"] == "table.json"


def test_a_seldom_metric_of_a_long_history_is_drawn_with_all_its_points(server: Server, inside: httpx.Client) -> None:
    server.ask('mutation { upsertBucket(input: {modelName: "long", name: "r"}) { inserted } }')
    rows = [{"_step": step, "loss": step % 7} | ({"val/loss": step} if step % 1000 == 0 else {}) for step in range(4000)]
    body = {"files": {"wandb-history.jsonl": {"offset": 0, "content": [json.dumps(row) for row in rows]}}}
    with server.client() as client:
        assert client.post("/files/local/long/r/file_stream", json=body).status_code == 200
    series = {item["key"]: item["points"] for item in twin(inside, "/local/long/runs/r")["charts"]["items"]}
    assert series["val/loss"] == [[0, 0], [1000, 1000], [2000, 2000], [3000, 3000]]
    assert (series["loss"][0][0], series["loss"][-1][0], len(series["loss"]) < 400) == (0, 3999, True)


@pytest.mark.parametrize("address", [
    pytest.param("/nowhere/nothing", id="project"),
    pytest.param(f"/local/{PROJECT}/runs/nothing", id="run"),
    pytest.param(f"/local/{PROJECT}/artifacts/dataset/nothing", id="collection"),
    pytest.param(f"/local/{PROJECT}/artifacts/dataset/data/v9", id="version"),
    pytest.param(f"/local/{PROJECT}/artifacts/dataset/data/v0/files/nothing", id="file"),
    pytest.param("/orgs/nobody/registry/model", id="organisation"),
    pytest.param("/orgs/local/registry/nothing", id="registry"),
    pytest.param("/orgs/local/registry/model?selectionPath=local-org", id="selection"),
    pytest.param("/one", id="no such address"),
    pytest.param("/a/b/c/d/e/f", id="no such long address"),
])  # fmt: skip
def test_what_is_not_there_is_not_found(life: Life, inside: httpx.Client, address: str) -> None:
    page = inside.get(address)
    data = inside.get(address, headers={"Accept": "application/json"})
    assert (page.status_code, "Not found" in page.text, data.status_code, set(data.json())) == (
        404,
        True,
        404,
        {"errors", "error"},
    )


@pytest.mark.parametrize("number", ["0", "-1", "x", "1e3", "9" * 40, "٣"])
def test_a_page_number_that_is_none_is_refused(inside: httpx.Client, number: str) -> None:
    assert inside.get("/", params={"page": number}).status_code == 400


def test_a_page_beyond_the_end_is_empty_and_leads_back(inside: httpx.Client) -> None:
    projects = twin(inside, "/?format=json&page=1000")["projects"]
    assert (projects["items"], projects["next"], projects["previous"] is not None) == ([], None, True)


PAGES = ["/", f"/local/{PROJECT}", f"/local/{PROJECT}/artifacts/dataset/data/v0", "/orgs/local/registry/model"]


@pytest.mark.parametrize("address", PAGES)
@pytest.mark.parametrize("headers", [
    pytest.param({}, id="nobody"),
    pytest.param({"Authorization": "Bearer 0123456789"}, id="unknown key"),
    pytest.param({"Cookie": "reg_session_{port}=1.99999999999.00"}, id="forged cookie"),
    pytest.param({"Cookie": "reg_session_{port}=ä"}, id="broken cookie"),
])  # fmt: skip
def test_without_a_key_a_page_shows_only_the_login(
    life: Life, server: Server, browser: httpx.Client, address: str, headers: dict[str, str]
) -> None:
    headers = {name: value.format(port=urlsplit(server.url).port).encode() for name, value in headers.items()}
    page = browser.get(address, headers=headers)
    assert (page.status_code, 'name="key"' in page.text, "latest" in page.text) == (401, True, False)
    data = browser.get(address, params={"format": "json"}, headers=headers)
    assert (data.status_code, set(data.json())) == (401, {"errors", "error"})


def test_programs_use_the_key_as_the_sdk_does(server: Server) -> None:
    with server.client() as client:
        assert client.get("/?format=json").status_code == 200


def test_a_cookie_is_for_this_server_and_no_script(server: Server, browser: httpx.Client) -> None:
    answer = browser.post("/login", data={"key": server.key, "next": f"/local/{PROJECT}"})
    cookie = answer.headers["set-cookie"]
    assert (answer.status_code, answer.headers["location"]) == (303, f"/local/{PROJECT}")
    assert all(word in cookie for word in ("HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=86400"))
    assert server.key not in cookie


def test_a_cookie_opens_pages_and_nothing_else(inside: httpx.Client) -> None:
    assert inside.get("/").status_code == 200
    assert inside.post("/graphql", json={"query": "{ viewer { id } }"}).status_code == 401
    assert inside.post("/files/local/p/r/file_stream", json={}).status_code == 401


def test_a_session_ends_with_the_logout(inside: httpx.Client) -> None:
    assert inside.post("/logout").status_code == 303
    assert inside.get("/").status_code == 401


def test_a_session_ends_with_its_key(server: Server, browser: httpx.Client) -> None:
    made = server.ask("mutation { generateApiKey(input: {}) { apiKey { id name } } }")
    key: Any = made["generateApiKey"]
    assert browser.post("/login", data={"key": key["apiKey"]["name"]}).status_code == 303
    assert browser.get("/").status_code == 200
    server.ask("mutation($id: String!) { deleteApiKey(input: {id: $id}) { success } }", id=key["apiKey"]["id"])
    assert browser.get("/").status_code == 401


@pytest.mark.parametrize("key", ["", "nonsense", "0" * 40, "x" * 100_000])
def test_a_wrong_key_gives_no_cookie(browser: httpx.Client, key: str) -> None:
    answer = browser.post("/login", data={"key": key})
    assert (answer.status_code in (401, 413), "set-cookie" in answer.headers) == (True, False)


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}])
def test_another_site_can_neither_log_in_nor_out(server: Server, browser: httpx.Client, headers: dict[str, str]) -> None:
    for address in ("/login", "/logout"):
        assert "set-cookie" not in browser.post(address, data={"key": server.key}, headers=headers).headers


def test_a_link_from_another_site_is_asked_again_from_here(browser: httpx.Client) -> None:
    again = '<meta http-equiv="refresh" content="0; url=/local/pages?page=2">'
    assert again in browser.get("/local/pages?page=2", headers={"Sec-Fetch-Site": "cross-site"}).text
    assert "refresh" not in browser.get("/local/pages?page=2", headers={"Sec-Fetch-Site": "same-origin"}).text


@pytest.mark.parametrize(("asked", "given"), [
    ("/local/pages?page=2", "/local/pages?page=2"),
    ("https://elsewhere.example/", "/"),
    ("//elsewhere.example/", "/"),
    ("/\\elsewhere.example/", "/"),
    ("/%0d%0aSet-Cookie: a=b", "/%0d%0aSet-Cookie:%20a=b"),
    ("/\r\nSet-Cookie: a=b", "/"),
    ("javascript:alert(1)", "/"),
    ("/login?next=/", "/"),
    ("", "/"),
])  # fmt: skip
def test_a_login_leads_nowhere_else(server: Server, browser: httpx.Client, asked: str, given: str) -> None:
    assert browser.post("/login", data={"key": server.key, "next": asked}).headers["location"] == given


def signer(server: Server) -> Signer:
    return Signer((server.home / "secret").read_text().strip().encode())


def test_a_one_time_link_logs_in_once(server: Server, browser: httpx.Client) -> None:
    link = login.login_url(signer(server), server.url)
    assert browser.head(link).status_code == 200
    assert 'content="0; url=/"' in browser.get(link).text
    assert browser.get("/").status_code == 200
    again = httpx.get(link, headers=BROWSER, trust_env=False)
    assert (again.status_code, "used before" in again.text, "set-cookie" in again.headers) == (401, True, False)


def test_a_one_time_link_grows_old(server: Server, browser: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = time.time() - login.LINK_SECONDS - 1
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: moment)
        link = login.login_url(signer(server), server.url)
    assert "set-cookie" not in browser.get(link).headers


@pytest.mark.parametrize("token", ["", "x", "1-2.3.4", "99999999999-a.99999999999.00", "ä.1.ö"])
def test_a_forged_link_gives_no_cookie(browser: httpx.Client, token: str) -> None:
    assert "set-cookie" not in browser.get("/login", params={"token": token}).headers


def test_a_link_for_bytes_is_no_session(server: Server, browser: httpx.Client) -> None:
    expires, signature = re.findall("=([^&]+)", signer(server).sign("GET", "/1"))
    name = f"reg_session_{urlsplit(server.url).port}"
    assert browser.get("/", headers={"Cookie": f"{name}=1.{expires}.{signature}"}).status_code == 401


@pytest.mark.parametrize("address", [*PAGES, "/login", "/authorize", "/local/nothing", "/?format=json"])
def test_a_browser_is_told_to_run_nothing_and_tell_nobody(life: Life, inside: httpx.Client, address: str) -> None:
    headers = inside.get(address).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'; img-src data:; form-action 'self'")
    assert "script-src" not in policy
    assert "unsafe" not in policy
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("thing", [*ADDRESSES, "start", "authorize"])
def test_no_page_shows_a_secret(life: Life, server: Server, inside: httpx.Client, thing: str) -> None:
    page = inside.get({"start": "/", "authorize": "/authorize"}.get(thing) or getattr(life, thing)).text
    secrets = (server.key, (server.home / "secret").read_text().strip(), str(server.home), "signature=")
    assert [secret for secret in secrets if secret in page] == []


def test_a_person_walks_from_the_start_page_to_a_run(life: Life, server: Server) -> None:
    chromium = Path("/usr/bin/chromium")
    if not chromium.exists():
        pytest.skip("Debian's chromium is not installed")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    arguments = ["--headless", "--no-sandbox", "--disable-background-networking"]
    with (
        sync_api.sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=chromium, args=arguments) as chrome,
    ):
        page = chrome.new_page(viewport={"width": 400, "height": 800})
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.goto(login.login_url(signer(server), server.url))
        page.wait_for_url(f"{server.url}/")
        page.get_by_role("link", name=PROJECT, exact=True).click()
        page.get_by_role("link", name="promotion").click()
        page.get_by_role("link", name=f"verdict-{PROJECT}-production:v0").click()
        assert page.locator(".checks .badge").inner_text() == "PASS"
        page.goto(life.run)
        assert page.locator("h1").inner_text().startswith(NASTY)
        assert page.locator("svg .line").first.is_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == 400
        assert complaints == []
