"""Nobody holds an alias only when a server that answered says so; any other answer is an error and never an absence."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest

from registry import settings
from registry.connection import connect
from registry.errors import NotFound, RegError, RemoteProblem
from registry.records import Target, Version
from tests.wire.conftest import Server

Answer = tuple[int, bytes]
Meddle = Callable[[dict[str, object], Answer], Answer | None]


class Proxy(http.server.ThreadingHTTPServer):
    """Passes everything on to a real server, and lets a test meddle with the answers to GraphQL; None hangs up."""

    daemon_threads = True
    meddle: Meddle | None = None

    def __init__(self, server: Server) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.client = httpx.Client(base_url=server.url, timeout=30, trust_env=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Passing(http.server.BaseHTTPRequestHandler):
    server: Proxy

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kept = {name: self.headers[name] for name in ("Authorization", "Content-Type") if name in self.headers}
        got = self.server.client.request(self.command, self.path, content=body, headers=kept)
        answer: Answer | None = (got.status_code, got.content)
        if self.path == "/graphql" and self.server.meddle is not None:
            answer = self.server.meddle(json.loads(body), (got.status_code, got.content))
        if answer is None:
            self.close_connection = True
            return
        self.send_response(answer[0])
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer[1])))
        self.end_headers()
        self.wfile.write(answer[1])

    do_GET = do_PUT = do_POST

    def log_message(self, *args: object) -> None:
        """Silence."""


@pytest.fixture(scope="module")
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy(server) as proxy:
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        yield proxy
        proxy.shutdown()
        thread.join()
        proxy.client.close()


TARGET = Target(registry="model", collection="held", alias="production")


@pytest.fixture(scope="module")
def ask(server: Server, proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Version | None]]:
    """Asks a real server who holds an alias, through the proxy, which meddles; `held` has a holder of `production`."""
    folder = tmp_path_factory.mktemp("holder")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment(folder).items():
            patch.setenv(name, value)
        environment = {"REG_HOME": str(folder / "home"), "WANDB_BASE_URL": proxy.url, "WANDB_API_KEY": server.key}
        with connect(settings.read({}, environment=environment, folder=folder)) as backend:
            with backend.run(job_type="train", name="train") as run:
                file = folder / "model.txt"
                file.write_text("a model")
                made = run.output("model", type="model", files=[("model.txt", file)])
                run.link(made, TARGET)

            def asked(target: Target = TARGET, meddle: Meddle | None = None) -> Version | None:
                with _meddling(proxy, meddle):
                    return backend.holder(target)

            yield asked


@contextmanager
def _meddling(proxy: Proxy, meddle: Meddle | None) -> Iterator[None]:
    proxy.meddle = meddle
    try:
        yield
    finally:
        proxy.meddle = None


def elsewhere(**changes: str) -> Target:
    return TARGET.model_copy(update=changes)


def test_the_holder_is_found(ask: Callable[..., Version | None]) -> None:
    found = ask()
    assert found is not None
    assert "production" in found.aliases


@pytest.mark.parametrize(
    "target", [elsewhere(alias="staging"), elsewhere(collection="never-made")], ids=["alias", "collection"]
)
def test_an_answer_that_lists_no_such_alias_proves_its_absence(ask: Callable[..., Version | None], target: Target) -> None:
    assert ask(target) is None


def test_a_registry_that_is_not_to_be_seen_proves_nothing(ask: Callable[..., Version | None]) -> None:
    with pytest.raises(NotFound, match="registry 'absent' does not exist or this key cannot see it"):
        ask(elsewhere(registry="absent"))


def always(answer: Answer | None) -> Meddle:
    return lambda _request, _answer: answer


def nulls(_request: dict[str, object], answer: Answer) -> Answer:
    """Every top-level field null, as a server answers about what one may not see."""
    data = json.loads(answer[1]).get("data") or {}
    return 200, json.dumps({"data": dict.fromkeys(data)}).encode()


FAULTS: dict[str, Meddle] = {
    "401": always((401, b'{"errors": [{"message": "no"}]}')),
    "403": always((403, b'{"errors": [{"message": "permission denied"}]}')),
    "404": always((404, b'{"errors": [{"message": "not here"}]}')),
    "an error with 200": always((200, b'{"errors": [{"message": "permission denied"}], "data": null}')),
    "no JSON": always((200, b"<html>proxy says hello</html>")),
    "half an answer": lambda _request, answer: (200, answer[1][: len(answer[1]) // 2]),
    "nulls": nulls,
    "hung up": always(None),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_answer_that_is_none_is_an_error(ask: Callable[..., Version | None], fault: str) -> None:
    with pytest.raises(RegError) as caught:
        ask(elsewhere(alias="staging"), FAULTS[fault])
    assert isinstance(caught.value, RemoteProblem | NotFound)


@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "hung up"])
def test_an_answer_that_breaks_halfway_is_an_error(ask: Callable[..., Version | None], fault: str) -> None:
    """The registry is seen, and what is asked of it next goes wrong."""
    seen = []

    def later(request: dict[str, object], answer: Answer) -> Answer | None:
        seen.append(request)
        return answer if len(seen) == 1 else FAULTS[fault](request, answer)

    with pytest.raises(RegError) as caught:
        ask(elsewhere(alias="staging"), later)
    assert isinstance(caught.value, RemoteProblem | NotFound)
    assert len(seen) > 1
