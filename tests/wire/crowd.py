"""A crowd: many clients that speak the protocol at once, to several servers of one home, and write down what they saw.

Raw requests rather than the SDK, because what is asked for is the moment of each question and each answer. Everything the
server may say to a crowd is 200, or 429, which a client answers by asking again; both are counted, anything else ends the test.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.linearizability import Operation
from tests.wire.conftest import Server
from tests.wire.drafts import base64_md5, digest_of

REGISTRY = {"entityName": "local-org", "projectName": "wandb-registry-model"}
# Mutations in one request.
_BATCH = 50
# What each alias points at; absent: nothing.
Holders = tuple[tuple[str, int], ...]


@dataclass(frozen=True, kw_only=True)
class Move:
    """Point aliases at a version, all in one request."""

    version: int
    aliases: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Drop:
    """Take aliases from a version, where it holds them."""

    version: int
    aliases: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Read:
    """Who holds these aliases, asked in one request."""

    aliases: tuple[str, ...]


Call = Move | Drop | Read


class AliasClerk:
    """Keeps the aliases of one collection as one careful person would; a fact is an alias and its holder, or None."""

    def __init__(self, *aliases: str) -> None:
        self._aliases = aliases

    def apply(self, state: Holders, call: Call) -> tuple[Holders, tuple[int | None, ...] | None]:
        held = dict(state)
        if isinstance(call, Read):
            return state, tuple(held.get(alias) for alias in call.aliases)
        for alias in call.aliases:
            if isinstance(call, Move):
                held[alias] = call.version
            elif held.get(alias) == call.version:
                del held[alias]
        return tuple(sorted(held.items())), None

    def facts(self, state: Holders) -> frozenset[Hashable]:
        return frozenset((alias, dict(state).get(alias)) for alias in self._aliases)

    def gives(self, call: Call) -> frozenset[Hashable]:
        if isinstance(call, Read):
            return frozenset()
        return frozenset((alias, call.version if isinstance(call, Move) else None) for alias in call.aliases)

    def needs(self, call: Call, answer: Hashable) -> frozenset[Hashable]:
        if not isinstance(call, Read):
            return frozenset()
        assert isinstance(answer, tuple)
        return frozenset(zip(call.aliases, answer, strict=True))


@dataclass(kw_only=True)
class Crowd:
    """Clients of the servers of one home; `answers` counts what they were told, by status, `seconds` how long it took."""

    servers: Sequence[Server]
    answers: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    def at_once(self, work: Callable[[Client], Any], *, clients: int) -> list[Any]:
        """What `work` gives for each of the clients, who all begin at the same moment."""
        together = threading.Barrier(clients)

        def one(number: int) -> Any:
            with Client(self, number) as client:
                together.wait()
                return work(client)

        with ThreadPoolExecutor(clients) as pool:
            return list(pool.map(one, range(clients)))


class Client:
    """One of a crowd, who goes to the next server when one does not answer any more."""

    def __init__(self, crowd: Crowd, number: int) -> None:
        self.number = number
        self.luck = random.Random(number)
        self._crowd = crowd
        self._servers = itertools.cycle(
            (*crowd.servers[number % len(crowd.servers) :], *crowd.servers[: number % len(crowd.servers)])
        )
        self._http = next(self._servers).client()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def post(self, path: str, body: object) -> Any:
        """The answer to a request that succeeds, at the latest when it is repeated as the SDK would.

        Raises:
            httpx.TransportError: the server is gone; the request may have been done or not.
        """
        while True:
            began = time.monotonic()
            try:
                answer = self._http.post(path, json=body)
            except httpx.TransportError:
                self._http.close()
                self._http = next(self._servers).client()
                raise
            self._crowd.seconds.append(time.monotonic() - began)
            self._crowd.answers[answer.status_code] += 1
            if answer.status_code != 429:
                assert answer.status_code == 200, answer.text
                return answer.json()

    def ask(self, query: str, **variables: object) -> Any:
        return self.post("/graphql", {"query": query, "variables": variables})["data"]

    def change(self, operation: str, kind: str, returning: str, **input: object) -> Any:
        """The payload of a mutation with one input."""
        query = f"mutation($input: {kind}!) {{ {operation}(input: $input) {{ {returning} }} }}"
        return self.ask(query, input=input)[operation]


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """A collection of the model registry and the ids of its versions, in the order of their numbers."""

    name: str
    artifacts: tuple[str, ...]

    def operation(self, client: Client, call: Call) -> Operation[Call]:
        """Do it, and write down when it was asked and answered."""
        asked = time.monotonic()
        answer, answered = None, None
        with suppress(httpx.TransportError):
            answer, answered = self.do(client, call), time.monotonic()
        return Operation(client=client.number, call=call, answer=answer, asked=asked, answered=answered)

    def do(self, client: Client, call: Call) -> object:
        if isinstance(call, Read):
            return self._holders(client, call.aliases)
        operation, kind = (
            ("addAliases", "AddAliasesInput") if isinstance(call, Move) else ("deleteAliases", "DeleteAliasesInput")
        )
        aliases = [{"artifactCollectionName": self.name, "alias": alias, **REGISTRY} for alias in call.aliases]
        client.change(operation, kind, "success", artifactID=self.artifacts[call.version], aliases=aliases)
        return None

    def _holders(self, client: Client, aliases: Iterable[str]) -> tuple[int | None, ...]:
        fields = " ".join(
            f'{alias}: artifactCollectionMembership(name: "{self.name}:{alias}") {{ versionIndex }}' for alias in aliases
        )
        query = f'{{ project(name: "wandb-registry-model", entityName: "local-org") {{ {fields} }} }}'
        found = client.ask(query)["project"]
        return tuple(None if held is None else held["versionIndex"] for held in found.values())


def shelf(server: Server, name: str, *, versions: int) -> Shelf:
    """A collection in the model registry with so many versions, a reference each, which hold no alias but `latest`."""
    artifacts: list[str] = []
    for start in range(0, versions, _BATCH):
        artifacts += _linked(server, name, range(start, min(start + _BATCH, versions)))
    return Shelf(name=name, artifacts=tuple(artifacts))


def _linked(server: Server, name: str, numbers: Sequence[int]) -> list[str]:
    """Many versions by few requests: GraphQL takes many mutations at once, and does them in order."""
    contents = [{"it": {"digest": f"{name} {number}", "ref": f"s3://{name}/{number}", "size": 1}} for number in numbers]
    sequence = {"entityName": "local", "projectName": name, "artifactTypeName": "model", "artifactCollectionName": name}
    drafts = [sequence | {"digest": digest_of(content)} for content in contents]
    made = _each(server, "createArtifact", "CreateArtifactInput", "artifact { id }", drafts)
    ids = [one["artifact"]["id"] for one in made]
    header = {"version": 1, "storagePolicy": "wandb-storage-policy-v1", "storagePolicyConfig": {"storageLayout": "V2"}}
    bodies = [json.dumps(header | {"contents": content}).encode() for content in contents]
    manifest = {"name": "wandb_manifest.json", "entityName": "local", "projectName": name, "type": "FULL"}
    announced = [manifest | {"artifactID": id, "digest": base64_md5(body)} for id, body in zip(ids, bodies, strict=True)]
    wanted = "artifactManifest { file { uploadUrl } }"
    with httpx.Client(trust_env=False, verify=False) as client:
        for one, body in zip(
            _each(server, "createArtifactManifest", "CreateArtifactManifestInput", wanted, announced), bodies, strict=True
        ):
            client.put(one["artifactManifest"]["file"]["uploadUrl"], content=body).raise_for_status()
    _each(server, "commitArtifact", "CommitArtifactInput", "artifact { id }", [{"artifactID": id} for id in ids])
    links = [{"artifactID": id, "artifactPortfolioName": name, "aliases": [], **REGISTRY} for id in ids]
    linked = _each(server, "linkArtifact", "LinkArtifactInput", "versionIndex", links)
    assert [one["versionIndex"] for one in linked] == list(numbers)
    return ids


def _each(server: Server, operation: str, kind: str, returning: str, inputs: Sequence[Mapping[str, object]]) -> list[Any]:
    variables = {f"i{number}": given for number, given in enumerate(inputs)}
    declared = ", ".join(f"${variable}: {kind}!" for variable in variables)
    fields = " ".join(f"{variable}: {operation}(input: ${variable}) {{ {returning} }}" for variable in variables)
    return list(server.ask(f"mutation({declared}) {{ {fields} }}", **variables).values())


def calls(luck: random.Random, *, versions: Iterable[int], aliases: Sequence[tuple[str, ...]]) -> list[Call]:
    """What a client does who moves aliases to each of these versions, looks in between, and sometimes takes one away."""
    found: list[Call] = []
    for version in versions:
        found += [Read(aliases=luck.choice(aliases)) for _ in range(luck.randrange(3))]
        found.append(Move(version=version, aliases=luck.choice(aliases)))
        if luck.random() < 0.2:
            found.append(Drop(version=version, aliases=luck.choice(aliases)))
    return found


def book(home: Path, name: str) -> Callable[[Operation[Call]], float]:
    """The place of each change in what the server wrote down of a collection's aliases; of one without effect, the last."""
    places: dict[tuple[type[Call], str, int], int] = {}
    holders: dict[str, int] = {}
    for place, (alias, version) in enumerate(moves(home, name)):
        if version is None:
            places[Drop, alias, holders[alias]] = place
        else:
            places[Move, alias, version] = place
            holders[alias] = version

    def place_of(operation: Operation[Call]) -> float:
        call = operation.call
        assert not isinstance(call, Read)
        return min(places.get((type(call), alias, call.version), math.inf) for alias in call.aliases)

    return place_of


def moves(home: Path, name: str) -> list[tuple[str, int | None]]:
    """What the server wrote down of the aliases of a collection of the registry, in its order: who held which from then on."""
    query = """SELECT alias, version_index FROM alias_moves JOIN collections ON collections.id = collection_id
        WHERE collections.name = ? AND kind = 'portfolio' AND alias != 'latest' ORDER BY alias_moves.id"""
    with closing(sqlite3.connect(home / "reg.db")) as database:
        return database.execute(query, (name,)).fetchall()
