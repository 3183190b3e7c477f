"""What a hostile or broken client may send, as hypothesis strategies.

Random texts alone meet the first refusal and nothing behind it, so most strategies begin with what is really there: names and
ids of the small project that `attacks.Target` makes, the SDK's own documents, manifests and streams that are right but for one
thing.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from graphql import (
    DocumentNode,
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    OperationDefinitionNode,
    print_ast,
    type_from_ast,
    validate,
)
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from registry.server import ids
from registry.server.graphql import schema
from tests.wire.test_sdk_documents import documents

PROJECT = "fuzz"

# -- Texts

ODD_TEXTS = (
    "", " ", "\0", "\n", "a\0b", "\ud800", "\udfff\ud800", "😀", "é", "\u202e", "A" * 300, "%", "%00", "..", "../..", "/",
    "\\", "'", '"', "{", "[]", "null", "NaN", "-1", "0", "9" * 30, "1e400", "٣", "it:", ":", "it:latest", "it:v0",
    "it:v-1", "it:v" + "9" * 25, ":" * 99, "*", "$", "$eq", "<script>alert(1)</script>", "'; drop table runs; --",
    "javascript:alert(1)", "file:///etc/passwd", "C:\\x", "CON", "\r\nX: y", "=?", "\x1b[2J",
)  # fmt: skip
NAMES = (
    "local", "local-org", PROJECT, "r", "swept", "it", "dataset", "latest", "v0", "wandb-registry-model", "production",
    "model", "a.txt", "_step", "loss", "x",
)  # fmt: skip
texts = st.one_of(st.sampled_from(NAMES), st.sampled_from(ODD_TEXTS), st.text(st.characters(codec=None), max_size=20))

numbers = st.one_of(
    st.sampled_from([-1, 0, 1, 2, 10_000, 2**31 - 1, 2**31, -(2**31), 2**53, 2**63 - 1, 2**63, -(2**63) - 1, 10**400]),
    st.integers(-5, 5),
)
leaves = st.one_of(st.none(), st.booleans(), numbers, st.floats(), texts)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=12
)

FIELDS = (
    "name", "displayName", "state", "tags", "createdAt", "config.lr", "config.x.value", "summary_metrics.loss", "username",
    "sweep", "id", "version", "aliases", "digest", "metadata.a.b", "type", "tag", "description", "entity_id", "linked_at",
    "nonsense", "config.", ".", "",
)  # fmt: skip
OPERATORS = (
    "$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$not", "$all", "$size", "$exists", "$contains", "$regex",
    "$where",
)  # fmt: skip
_operands: SearchStrategy[Any] = st.one_of(
    leaves, st.lists(leaves, max_size=3), st.dictionaries(st.sampled_from(OPERATORS), leaves, max_size=2)
)
_terms = st.dictionaries(
    st.sampled_from(FIELDS),
    st.one_of(_operands, st.dictionaries(st.sampled_from(OPERATORS), _operands, max_size=2)),
    max_size=3,
)
filters = st.recursive(
    _terms,
    lambda inner: st.dictionaries(
        st.sampled_from(["$and", "$or", "$nor", "$not"]), inner | st.lists(inner, max_size=3), max_size=2
    ),
    max_leaves=6,
)
orders = (
    st.lists(st.tuples(st.sampled_from(["+", "-", "", " "]), st.sampled_from(FIELDS)).map("".join), max_size=3).map(",".join)
    | texts
)


def dumped(value: Any) -> str:
    return json.dumps(value)


specs = st.fixed_dictionaries(
    {},
    optional={
        "keys": st.lists(texts, max_size=3) | values,
        "samples": numbers | values,
        "minStep": numbers | values,
        "maxStep": numbers | values,
    },
)
_YAMLS = (
    "method: grid\nparameters: {x: {values: [1, 2]}}",
    "method: random\nparameters: {x: {min: 0, max: 1}}",
    "method: bayes\nmetric: {name: l}",
    "controller: {type: local}\nparameters: {x: {value: 1}}",
    "&a [*a]",
    "!!binary x",
    "2001-01-01: 1",
    "method: grid\nparameters: {x: {values: []}}",
)
distributions = st.fixed_dictionaries(
    {},
    optional={
        "distribution": st.sampled_from(
            ["uniform", "q_uniform", "int_uniform", "log_uniform", "inv_log_uniform_values", "q_log_normal", "normal", "x"]
        ),
        **dict.fromkeys(("min", "max", "mu", "sigma", "q", "value"), leaves),
        "values": st.lists(leaves, max_size=3) | leaves,
        "probabilities": st.lists(leaves, max_size=3),
    },
)
sweeps = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["grid", "random", "bayes", "x"]),
        "parameters": st.dictionaries(texts, distributions | leaves, max_size=2) | leaves,
    },
    optional={
        "metric": st.fixed_dictionaries({"name": texts, "goal": st.sampled_from(["minimize", "maximize", "x"])}) | leaves,
        "run_cap": leaves,
        "early_terminate": st.fixed_dictionaries(
            {"type": st.just("hyperband")}, optional=dict.fromkeys(("min_iter", "max_iter", "s", "eta"), leaves)
        )
        | leaves,
        "controller": values,
    },
)
json_texts = st.one_of(filters.map(dumped), specs.map(dumped), values.map(dumped), sweeps.map(dumped), texts)
configurations = st.one_of(sweeps.map(dumped), st.sampled_from(_YAMLS), texts)

KINDS = (
    "Run", "Artifact", "ArtifactCollection", "ArtifactManifest", "Project", "Sweep", "Agent", "RunFile", "User", "Entity",
    "ApiKey", "ProjectInternalId",
)  # fmt: skip
# `@Run` stands for the present id of a run: what is deleted by one request is made anew, under another id, for the next.
REAL = tuple(f"@{kind}" for kind in KINDS)
any_ids = st.one_of(
    st.sampled_from(REAL),
    st.builds(ids.encode, st.sampled_from(KINDS), st.integers(0, 4)),
    st.builds(
        lambda kind, text: base64.b64encode(f"{kind}:{text}".encode("utf-8", "replace")).decode(), st.sampled_from(KINDS), texts
    ),
    texts,
)


# -- GraphQL

# Which kind of thing an id of this name belongs to.
_KIND = {
    "manifestid": "@ArtifactManifest",
    "portfolioid": "@ArtifactCollection",
    "sequenceid": "@ArtifactCollection",
    "collectionid": "@ArtifactCollection",
    "artifactid": "@Artifact",
    "projectid": "@Project",
    "userid": "@User",
}

# What a field of this name really takes, so that requests get past the first look-up.
_LIKELY: Mapping[str, SearchStrategy[Any]] = {
    "entity": st.sampled_from(["local", "local-org"]),
    "project": st.sampled_from([PROJECT, PROJECT, "wandb-registry-model"]),
    "run": st.sampled_from(["r", "swept"]),
    "sweep": st.just("@SweepName"),
    "filter": filters.map(dumped),
    "order": orders,
    "config": configurations,
    "digest": st.just(base64.b64encode(hashlib.md5(b"one", usedforsecurity=False).digest()).decode()),
    "md5": st.just(base64.b64encode(hashlib.md5(b"one", usedforsecurity=False).digest()).decode()),
    "collection": st.just("it"),
    "portfolio": st.just("it"),
    "type": st.just("dataset"),
    "alias": st.sampled_from(["latest", "v0", "production", "x"]),
    "name": st.sampled_from(["it", "it:latest", "r", PROJECT]),
}


def likely(name: str, usual: SearchStrategy[Any]) -> SearchStrategy[Any]:
    known = next((strategy for word, strategy in _LIKELY.items() if word in name.lower()), None)
    return usual if known is None else st.one_of(known, known, known, usual)


def of_type(kind: Any, name: str) -> SearchStrategy[Any]:
    """Values for an input of this type and name: mostly of the type."""
    if isinstance(kind, GraphQLNonNull):
        return of_type(kind.of_type, name)
    if isinstance(kind, GraphQLList):
        return st.lists(of_type(kind.of_type, name), max_size=3)
    if isinstance(kind, GraphQLInputObjectType):
        needed = {key: of_type(field.type, key) for key, field in kind.fields.items() if isinstance(field.type, GraphQLNonNull)}
        rest = {key: st.none() | of_type(field.type, key) for key, field in kind.fields.items() if key not in needed}
        return st.fixed_dictionaries(needed, optional=rest)
    if isinstance(kind, GraphQLEnumType):
        return st.sampled_from([*kind.values, "NONSENSE"])
    named = next((there for word, there in _KIND.items() if word in name.lower()), None)
    real = st.sampled_from(REAL) if named is None else st.just(named)
    usual: dict[str, SearchStrategy[Any]] = {
        "ID": st.one_of(real, real, real, any_ids),
        "Int": st.one_of(st.integers(-2, 20), st.sampled_from([2**31 - 1, 10_000])),
        "Int64": numbers,
        "Duration": numbers,
        "Float": st.floats() | numbers,
        "Boolean": st.booleans(),
        "JSONString": json_texts,
    }
    return likely(name, usual.get(kind.name, texts)) if kind.name in ("String", "JSONString") else usual.get(kind.name, texts)


@cache
def served() -> tuple[tuple[str, DocumentNode], ...]:
    """The SDK's documents that this server serves, each text once."""
    found = {print_ast(document): (name, document) for name, document in documents() if not validate(schema(), document)}
    return tuple(found[text] for text in sorted(found))


@st.composite
def sdk_requests(draw: Callable[..., Any]) -> tuple[str, dict[str, Any]]:
    """One of the SDK's own documents with variables that it would hardly send."""
    _, document = draw(st.sampled_from(served()))
    operation = next(part for part in document.definitions if isinstance(part, OperationDefinitionNode))
    variables = {}
    for definition in operation.variable_definitions or ():
        kind = type_from_ast(schema(), definition.type)
        if isinstance(kind, GraphQLNonNull) or draw(st.integers(0, 3)):
            name = definition.variable.name.value
            variables[name] = draw(of_type(kind, name))
    places = list(leaves_of(variables))
    # One thing wrong is what gets furthest in.
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 1, 2])) if places else 0):
        where, key = draw(st.sampled_from(places))
        where[key] = draw(st.one_of(texts, numbers, values, st.sampled_from(ODD_TEXTS)))
    return print_ast(document), variables


def leaves_of(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of everything in a JSON value."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from leaves_of(value[key])


@st.composite
def broken_documents(draw: Callable[..., Any]) -> str:
    """One of the SDK's documents with pieces cut out, doubled, swapped or replaced."""
    _, document = draw(st.sampled_from(served()))
    words = print_ast(document).split(" ")
    for _ in range(draw(st.integers(1, 4))):
        at, until = sorted((draw(st.integers(0, len(words) - 1)), draw(st.integers(0, len(words) - 1))))
        piece = words[at : min(until, at + 20) + 1]
        change = draw(st.integers(0, 4))
        if change == 0:
            words[at : at + len(piece)] = []
        elif change == 1:
            words[at:at] = piece * draw(st.sampled_from([1, 2, 50]))
        elif change == 2:
            words[at] = draw(texts)
        elif change == 3:
            words[at:at] = draw(
                st.sampled_from(
                    [["{"], ["}"], ["..."], ["@skip(if: true)"], ["$x"], ["("], ["__typename"], ["#"], ['"""'], ["!"], ["["]]
                )
            )
        else:
            words[at : at + len(piece)] = piece[::-1]
        words = words or [""]
    return " ".join(words)


# -- File streams and manifests

_rows = st.dictionaries(st.sampled_from(["_step", "loss", "a.b", "_timestamp", "\ud800", ""]) | texts, values, max_size=4).map(
    dumped
)
_lines = st.lists(st.one_of(_rows, texts, st.just("\ud800"), values), max_size=4)
_chunks = st.one_of(
    st.fixed_dictionaries({"offset": st.integers(0, 9), "content": st.lists(_rows | texts, max_size=4)}),
    st.fixed_dictionaries({"offset": numbers | values, "content": _lines | values}),
    values,
)
_streams = st.sampled_from(["wandb-history.jsonl", "wandb-events.jsonl", "wandb-summary.json", "output.log", "media/x", ""])
file_streams = st.fixed_dictionaries(
    {},
    optional={
        "files": st.dictionaries(_streams, _chunks, max_size=3) | values,
        "exitcode": numbers | values,
        "complete": st.booleans() | values,
        "preempting": st.booleans() | values,
        "dropped": values,
        "uploaded": values,
    },
)
stream_headers = st.fixed_dictionaries(
    {},
    optional={
        "x-wandb-use-async-filestream": st.sampled_from(["true", "false", "x"]),
        "x-wandb-async-client-id": st.sampled_from(["a", "b", "", "\xff"]),
        "x-wandb-server-side-derived-summary": st.sampled_from(["true", "x"]),
        "content-encoding": st.sampled_from(["identity", "gzip", "x"]),
    },
)

_parts = st.one_of(st.sampled_from(["a", "..", ".", "", "CON", "b.txt", " ", "c:", "\0", "é"]), texts)
paths = st.lists(_parts, min_size=1, max_size=4).flatmap(
    lambda parts: st.sampled_from(["/", "\\", "//"]).map(lambda mark: mark.join(parts))
)


def manifests(stored: list[dict[str, Any]]) -> SearchStrategy[Any]:
    """Contents of manifests that name these entries, or others."""
    wrong = st.fixed_dictionaries(
        {"digest": st.sampled_from([stored[0]["digest"], "x", ""]) | values},
        optional={
            "size": numbers | values,
            "ref": texts | values,
            "extra": values,
            "local_path": values,
            "birthArtifactID": values,
        },
    )
    return st.dictionaries(paths, st.one_of(st.sampled_from(stored), wrong, values), max_size=4) | values


# -- Addresses and pages

_segments = st.one_of(
    st.sampled_from(
        [
            "local",
            PROJECT,
            "runs",
            "r",
            "artifacts",
            "dataset",
            "it",
            "v0",
            "latest",
            "files",
            "a.txt",
            "orgs",
            "registry",
            "model",
            "graphql",
            "blobs",
            "uploads",
            "run-files",
            "artifactsV2",
            "-",
            "login",
            "index.json",
            "r.json",
            "1",
            "..",
            "admin",
            "parts",
            "sweeps",
            "exports",
        ]
    ),
    texts,
)
addresses = st.lists(_segments, max_size=7)
words = st.dictionaries(
    st.sampled_from(
        [
            "format",
            "made_by",
            "files",
            "runs",
            "page",
            "next",
            "token",
            "expires",
            "signature",
            "selectionPath",
            "view",
            "version",
            "charts",
        ]
    )
    | texts,
    texts,
    max_size=3,
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND")
accepts = st.sampled_from(["text/html", "application/json", "*/*", ""])
