"""Requests that are hostile in form: each gets a clear 4xx, costs bounded memory and time, and changes nothing."""

from __future__ import annotations

import base64
import gzip
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from graphql import get_introspection_query

from registry.errors import BadData
from registry.server import limits, refusals
from tests.wire.conftest import Server
from tests.wire.raw import MIB, asked, limited, peak_memory, refused


@pytest.fixture(scope="module")
def run(server: Server) -> str:
    """A run's name in the project `untrusted`."""
    server.ask('mutation { upsertBucket(input: {modelName: "untrusted", name: "r", config: "{}"}) { inserted } }')
    return "r"


# -- GraphQL documents


def doubling(levels: int) -> str:
    """Fragments each of which asks for the next one twice: as many lines, two to the power of them fields."""
    parts = [
        f"fragment f{n} on Project {{ a: entity {{ project {{ ...f{n + 1} }} }} b: entity {{ project {{ ...f{n + 1} }} }} }}"
        for n in range(levels)
    ]
    return " ".join(["{ project { ...f0 } }", *parts, f"fragment f{levels} on Project {{ name }}"])


@pytest.mark.parametrize(("query", "reason"), [
    pytest.param("{ project { entity " * 40 + "{ id }" + " } }" * 40, "inside each other", id="deep"),
    pytest.param("{ a" * 50_000, "characters", id="deep without an end"),
    pytest.param("{ viewer(x: " + "[" * 5_000, "inside each other", id="deep lists"),
    pytest.param("query Q($x: " + "[" * 5_000, "inside each other", id="deep types"),
    pytest.param("{ project { " + "...on Project { " * 20 + "entity { project " * 20 + "{ id }", "Syntax Error", id="cut off"),
    pytest.param("{" + " ".join(f"a{n}: viewer {{ id }}" for n in range(3_000)) + "}", "fields", id="aliases by the thousand"),
    pytest.param("{" + "viewer { id } " * 500 + "}", "500 times at one place", id="one name by the hundred"),
    pytest.param(doubling(12), "fields", id="fragments that double"),
    pytest.param("{ project { ...A } } fragment A on Project { entity { project { ...A } } }", "levels deep", id="a circle"),
    pytest.param("{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }", "within itself", id="a short circle"),
    pytest.param("query { a } " * 200, "definitions", id="operations by the hundred"),
    pytest.param("{" + " a" * 30_000 + "}", "20000 tokens", id="tokens by the thousand"),
    pytest.param("{ viewer { id } } # " + "x" * limits.DOCUMENT, "characters", id="long"),
    pytest.param('{ run(name: "' + "\\ud800" + '") { id } }', "Syntax Error", id="half a pair"),
    pytest.param("{ project { runs(first: " + "9" * 5_000 + ") { id } } }", "Exceeds the limit", id="a number without an end"),
    pytest.param("{ __schema { types" + " { fields { type" * 3 + " { name }" + " } }" * 4, "introspection", id="schema cubed"),
    pytest.param("{ viewer { id @skip(if: true) @skip(if: false) } }", "directive", id="directives"),
    pytest.param("subscription { viewer { id } }", "subscription", id="a subscription"),
])  # fmt: skip
def test_a_document_that_would_cost_too_much_is_not_begun(server: Server, query: str, reason: str) -> None:
    answer = asked(server, query)
    assert (answer.status_code, reason in refused(answer)) == (400, True), answer.text[:300]
    assert len(answer.content) < 10_000


def test_who_has_a_key_may_ask_for_the_schema(server: Server) -> None:
    assert "__schema" in server.ask(get_introspection_query())


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of small answers and little memory, so that neither has to be used up."""
    with limited(tmp_path_factory.mktemp("small") / "home", ANSWER_OBJECTS=1_000, BODIES=3 * MIB) as server:
        yield server


def test_an_answer_that_grows_without_end_is_given_up(small: Server) -> None:
    for number in range(12):
        make = 'mutation M($n: String) { upsertBucket(input: {modelName: "p", name: $n}) { inserted } }'
        small.ask(make, n=f"r{number}")
    level = "runs(first: 1000000000) { edges { node { project { "
    query = '{ project(name: "p") { ' + level * 4 + "id" + " } } } }" * 4 + " } }"
    assert "more than 1,000 objects" in refused(asked(small, query))
    assert small.ask('{ project(name: "p") { runCount } }') == {"project": {"runCount": 12}}


# -- Variables


@pytest.mark.parametrize(("variables", "reason"), [
    pytest.param({"l": ["x"] * 20_000}, "20,000 items", id="a long list"),
    pytest.param({"s": {"a": 1}}, "is not a text", id="an object for a text"),
    pytest.param({"s": 7}, "is not a text", id="a number for a text"),
    pytest.param({"n": 1 << 63}, "not a whole number", id="beyond 64 bits"),
    pytest.param({"n": 1.5}, "not a whole number", id="a fraction"),
    pytest.param({"n": True}, "not a whole number", id="a boolean"),
    pytest.param({"f": 1 << 40}, "non 32-bit", id="a page beyond 32 bits"),
    pytest.param({"c": "9" * 400}, "not a cursor", id="a cursor beyond numbers"),
    pytest.param({"c": "-1"}, "not a cursor", id="a cursor below zero"),
    pytest.param({"c": "٣"}, "not a cursor", id="a cursor in other digits"),
])  # fmt: skip
def test_a_variable_of_the_wrong_kind_is_named(server: Server, run: str, variables: dict[str, Any], reason: str) -> None:
    query = """query Q($l: [String], $s: JSONString, $n: Int64, $f: Int, $c: String) { project(name: "untrusted") {
        run(name: "r") { history(minStep: $n) files(names: $l, after: $c) { totalCount } }
        runs(filters: $s, first: $f) { totalCount } } }"""
    answer = asked(server, query, **variables)
    assert (answer.status_code, reason in refused(answer)) == (400, True), answer.text


@pytest.mark.parametrize(("body", "reason"), [
    pytest.param(b'{"query":' + b"[" * 100_000, "levels deep", id="deep"),
    pytest.param(b'{"query": 1' + b"0" * 5_000 + b"}", "not JSON", id="a number without an end"),
    pytest.param(b"\xff\xfe\xfa", "not JSON", id="no text"),
    pytest.param(b'{"query": "\xed\xa0\x80"}', "not JSON", id="not UTF-8"),
    pytest.param(b"", "not JSON", id="nothing"),
    pytest.param(b"\0" * 100, "not JSON", id="zeros"),
    pytest.param(b'{"variables": {}, "query": {}}', "needs query", id="a query that is none"),
    pytest.param(b'{"query": "{ viewer { id } }", "variables": [1]}', "variables: object", id="variables that are none"),
])  # fmt: skip
def test_a_body_that_is_no_request_is_refused(server: Server, body: bytes, reason: str) -> None:
    with server.client() as client:
        answer = client.post("/graphql", content=body)
    assert (answer.status_code, reason in refused(answer)) == (400, True), answer.text[:300]


def test_of_two_equal_keys_the_last_counts_as_everywhere(server: Server) -> None:
    with server.client() as client:
        answer = client.post("/graphql", content=b'{"query": "{ nonsense }", "query": "{ viewer { entity } }"}')
    assert answer.json() == {"data": {"viewer": {"entity": "local"}}}


def test_half_a_surrogate_pair_becomes_a_replacement_character(server: Server) -> None:
    query = """mutation M($notes: String) { upsertBucket(input: {modelName: "untrusted", name: "half", notes: $notes}) {
        bucket { notes } } }"""
    with server.client() as client:
        answer = client.post("/graphql", content=json.dumps({"query": query, "variables": {"notes": "a\ud800b 😀"}}))
    assert answer.json() == {"data": {"upsertBucket": {"bucket": {"notes": "a\ufffdb 😀"}}}}


# -- Bombs


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose memory nobody else uses."""
    with limited(tmp_path_factory.mktemp("alone") / "home") as server:
        server.ask('mutation { upsertBucket(input: {modelName: "untrusted", name: "r"}) { inserted } }')
        yield server


@pytest.mark.parametrize(("make", "encoding", "code"), [
    pytest.param(lambda: b'{"files": [' + b"[]," * (20 * MIB) + b"[]]}", None, 400, id="lists"),
    pytest.param(lambda: b'{"files": [' + b"{}," * (20 * MIB) + b"{}]}", None, 400, id="objects"),
    pytest.param(lambda: b"[" * (60 * MIB), None, 400, id="brackets"),
    pytest.param(lambda: b'"' + b'\\"' * (20 * MIB), None, 400, id="a text without an end"),
    pytest.param(lambda: gzip.compress(bytes(80 * MIB), 1), "gzip", 413, id="gzip"),
    pytest.param(lambda: gzip.compress(gzip.compress(bytes(8 * MIB), 1), 1), "gzip", 400, id="gzip in gzip"),
    pytest.param(lambda: gzip.compress(b"") * 10_000, "gzip", 400, id="gzip members by the thousand"),
    pytest.param(lambda: gzip.compress(b"{}")[:-4], "gzip", 400, id="gzip cut off"),
    pytest.param(lambda: b"{}", "gzip", 400, id="no gzip"),
    pytest.param(lambda: b"{}", "br", 400, id="another coding"),
])  # fmt: skip
def test_a_bomb_is_refused_within_memory(alone: Server, make: Callable[[], bytes], encoding: str | None, code: int) -> None:
    headers = {"Content-Encoding": encoding} if encoding else {}
    body = make()
    with alone.client() as client:
        for path in ("/graphql", "/files/local/untrusted/r/file_stream"):
            answer = client.post(path, content=body, headers=headers)
            assert (answer.status_code, bool(refused(answer))) == (code, True)
    # The body as it came, joined, decoded, and without its strings; not the gigabytes that a parser would make of it.
    assert peak_memory(alone) < 450 * MIB


def test_bodies_are_bounded_together(small: Server) -> None:
    answer = asked(small, "{ viewer { id } }", x="a" * 4 * MIB)
    assert (answer.status_code, "try again" in refused(answer)) == (429, True)
    assert small.ask("{ viewer { entity } }") == {"viewer": {"entity": "local"}}


def test_a_stranger_learns_that_he_is_one_before_his_body_is_kept(alone: Server) -> None:
    before = peak_memory(alone)
    answer = httpx.post(f"{alone.url}/graphql", content=b" " * (60 * MIB), trust_env=False)
    assert (answer.status_code, peak_memory(alone) - before < 20 * MIB) == (401, True)


def test_a_pattern_is_matched_in_time_that_grows_with_the_text_only(server: Server) -> None:
    make = 'mutation M($notes: String) { upsertBucket(input: {modelName: "slow", name: "r", notes: $notes}) { inserted } }'
    server.ask(make, notes="a" * 50_000)
    count = 'query Q($f: JSONString) { project(name: "slow") { runCount(filters: $f) } }'
    for pattern, found in (("(a+)+$", 1), ("(a|aa)+b", 0), ("(.*)*x", 0), ("^(([a-z])+.)+[A-Z]([a-z])+$", 0)):
        assert server.ask(count, f=json.dumps({"notes": {"$regex": pattern}})) == {"project": {"runCount": found}}


# -- Filters and cursors


@pytest.mark.parametrize("filters", [
    pytest.param("{" * 2_000, id="deep"),
    pytest.param('{"$and": [' * 30 + "{}" + "]}" * 30, id="nested"),
    pytest.param(json.dumps({"$or": [{"name": str(n)} for n in range(5_000)]}), id="wide"),
    pytest.param(json.dumps({"name": {"$in": list(range(100_000))}}), id="long"),
    pytest.param(json.dumps({"name": 10**30}), id="beyond 64 bits"),
    pytest.param(json.dumps({"name": {"$gt": {}}}), id="an object for a value"),
    pytest.param(json.dumps({"name": {"$regex": "("}}), id="no pattern"),
    pytest.param(json.dumps({"name": {"$regex": "(?=x)"}}), id="a look-ahead"),
    pytest.param(json.dumps({"name": {"$regex": "a" * 2_000}}), id="a long pattern"),
    pytest.param(json.dumps({"name": {"$regex": "((a{1,100}){1,100}){1,100}"}}), id="a pattern that swells"),
    pytest.param(json.dumps({"name": {"$regex": ["x"]}}), id="a list for a pattern"),
    pytest.param(json.dumps({"name": {"$all": 7}}), id="a number for a list"),
    pytest.param(json.dumps({"tags": {"$size": "x" * 9, "$exists": [], "$regex": None}}), id="of many values"),
    pytest.param(json.dumps({"config." + "a." * 5_000: {"$where": "1"}}), id="code"),
    pytest.param("[]", id="a list"),
    pytest.param("7", id="a number"),
])  # fmt: skip
def test_a_filter_that_is_none_is_refused(server: Server, run: str, filters: str) -> None:
    answer = asked(
        server, 'query Q($f: JSONString) { project(name: "untrusted") { runs(filters: $f) { totalCount } } }', f=filters
    )
    assert (answer.status_code, bool(refused(answer))) == (400, True)


@pytest.mark.parametrize(
    "order", ["+name," * 100, "nothing", "-config." + "x" * 10_000 + ",;drop", "tags", "name; drop table runs", "\0"]
)
def test_an_order_that_is_none_is_refused_or_sorts(server: Server, run: str, order: str) -> None:
    answer = asked(server, 'query Q($o: String) { project(name: "untrusted") { runs(order: $o) { totalCount } } }', o=order)
    assert (answer.status_code, bool(refused(answer))) == (400, True)


@pytest.mark.parametrize("number", ["-1", "1_000", " 7", "٣", "1e3", "9" * 30, "9" * 5_000, "", "0x10", "1.0"])
def test_an_id_is_ours_or_nobodys(server: Server, number: str) -> None:
    given = base64.b64encode(f"Run:{number}".encode()).decode()
    answer = asked(server, "mutation M($id: ID!) { stopRun(input: {id: $id}) { success } }", id=given)
    assert (answer.status_code, "not the id of a Run" in refused(answer)) == (404, True)


# -- What is left


def test_a_bug_of_ours_is_a_4xx_and_stands_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer = refusals.of(ZeroDivisionError("secret"))
    assert (answer.status, answer.body["error"]) == (400, "the server failed at this request: ZeroDivisionError")
    assert [record.message for record in caplog.records] == ["a request failed"]


def test_a_refusal_repeats_only_the_beginning_of_what_was_sent() -> None:
    assert len(str(refusals.of(BadData("\ud800" * 10**6)).body["error"])) <= limits.MESSAGE + 1
