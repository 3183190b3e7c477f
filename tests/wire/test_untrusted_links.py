"""Links, addresses and pages in the hands of others: they lead nowhere else, and nobody else acts through them."""

from __future__ import annotations

import base64
from pathlib import Path

import httpx
import pytest
import wandb

from registry.server import signing
from registry.server.signing import Signer
from tests.wire.conftest import Server
from tests.wire.drafts import base64_md5
from tests.wire.raw import refused

# -- Links


@pytest.mark.parametrize("spoil", [
    pytest.param({"signature": "é"}, id="a signature of other letters"),
    pytest.param({"signature": ""}, id="no signature"),
    pytest.param({"signature": "a" * 64}, id="another signature"),
    pytest.param({"expires": "9" * 5_000}, id="a moment beyond numbers"),
    pytest.param({"expires": "٣"}, id="other digits"),
    pytest.param({"expires": "-1"}, id="before all time"),
    pytest.param({"expires": "0"}, id="at the beginning of time"),
    pytest.param({}, id="another method"),
])  # fmt: skip
def test_a_link_with_other_words_than_ours_is_refused(server: Server, spoil: dict[str, str]) -> None:
    path = "/uploads/" + "0" * 32
    signed = Signer((server.home / "secret").read_text().encode()).sign("PUT" if spoil else "GET", path)
    words = dict(httpx.URL(signed).params) | spoil
    answer = httpx.put(server.url + path, params=words, content=b"x", trust_env=False)
    assert (answer.status_code, bool(refused(answer))) == (403, True)


@pytest.mark.parametrize(
    "path", ["/run-files/" + "9" * 5_000, "/run-files/" + "9" * 30, "/run-files/-1", "/uploads/..%2f..%2fkey", "/blobs/%00/x"]
)
def test_an_address_of_something_else_is_refused(server: Server, path: str) -> None:
    with server.client() as client:
        for method in ("GET", "PUT", "HEAD", "DELETE"):
            assert 400 <= client.request(method, path).status_code < 500


@pytest.mark.parametrize(
    "path",
    [
        "/../key",
        "/..%2fkey",
        "/blobs/../key",
        "/artifacts/local/..%2f..%2fkey",
        "/%2e%2e/key",
        "/-/../../key",
        "/local/x/runs/r/files/..%2f..%2fkey",
    ],
)
def test_no_address_leads_to_the_key(server: Server, path: str) -> None:
    with server.client() as client:
        answer = client.send(httpx.Request("GET", server.url + path, headers=client.headers), auth=("api", server.key))
    assert (400 <= answer.status_code < 500, server.key in answer.text) == (True, False)


@pytest.mark.parametrize(
    "asked_range",
    ["bytes=" + "9" * 5_000 + "-", "bytes=-" + "9" * 5_000, "bytes=0-" + "9" * 30, "bytes=٣-", "=", "bytes=0-0," * 900],
)
def test_a_range_that_is_none_is_refused(server: Server, asked_range: str) -> None:
    content = b"ranged"
    signer = Signer((server.home / "secret").read_text().encode())
    md5 = base64.b64decode(base64_md5(content)).hex()
    httpx.put(server.url + signer.sign("PUT", f"/uploads/{md5}"), content=content, trust_env=False).raise_for_status()
    link = server.url + signer.sign("GET", f"/blobs/{md5}/x")
    answer = httpx.get(link, headers={"Range": asked_range.encode()}, trust_env=False)
    assert (answer.status_code, bool(refused(answer))) == (400, True)


@pytest.mark.parametrize("path", ["/graphql", "/files/local/p/r/file_stream", "/login", "/", "/nowhere", "/healthz"])
def test_no_page_from_elsewhere_may_ask_anything_but_signed_links(server: Server, path: str) -> None:
    for method in ("OPTIONS", "GET", "POST"):
        answer = httpx.request(method, server.url + path, headers={"Origin": "https://evil.example"}, trust_env=False)
        assert [name for name in answer.headers if name.startswith("access-control-")] == []


def test_logged_content_tells_nobody_its_address_and_acts_for_nobody(server: Server) -> None:
    content = b"<script>fetch('/')</script>"
    signer = Signer((server.home / "secret").read_text().encode())
    md5 = base64.b64decode(base64_md5(content)).hex()
    httpx.put(server.url + signer.sign("PUT", f"/uploads/{md5}"), content=content, trust_env=False).raise_for_status()
    headers = httpx.get(server.url + signer.sign("GET", f"/blobs/{md5}/x.html"), trust_env=False).headers
    assert (headers["referrer-policy"], headers["x-content-type-options"]) == ("no-referrer", "nosniff")
    assert headers["content-security-policy"].startswith("sandbox")


def test_a_download_whose_link_has_expired_is_given_another_by_itself(
    server: Server, project: str, sdk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with wandb.init(project=project, dir=sdk) as run:
        made = wandb.Artifact("late", type="dataset")
        with made.new_file("item") as file:
            file.write("late, and whole")
        run.log_artifact(made).wait()
    artifact = wandb.Api().artifact(f"local/{project}/late:v0")
    entry = artifact.get_entry("item")
    monkeypatch.setattr(signing, "DOWNLOAD_SECONDS", -1)
    signer = Signer((server.home / "secret").read_text().encode())
    md5 = base64.b64decode(entry.digest).hex()
    late = server.url + signer.sign("GET", f"/blobs/{md5}/item")
    assert httpx.get(late, trust_env=False).status_code == 403
    entry._download_url = late
    assert Path(entry.download(root=str(sdk / "here"), skip_cache=True)).read_text() == "late, and whole"
