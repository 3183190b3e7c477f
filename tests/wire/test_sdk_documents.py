"""Every GraphQL document of the installed wandb SDK that this server means to serve validates against its schema.

Two sources: the texts inside its Python package, and those inside the binary of its service process. What is not served stands
in a list by name, so that a new SDK release cannot add an operation unnoticed, and nothing stays on it once it is served.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import wandb
from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    OperationDefinitionNode,
    Visitor,
    parse,
    validate,
    visit,
)

from registry.server.graphql import schema

PACKAGE = Path(wandb.__file__).parent

NOT_SERVED = {
    # launch: a queue on one machine is a cluster of its own, which `reg` does not become; W&B Launch is its own product
    "CreateDefaultResourceConfig", "CreateRunQueue", "DeleteFromRunQueue", "DeleteRunQueue", "GetDefaultResourceConfig",
    "GetRunQueueItem", "GetRunQueueItems", "GetRunQueueMetadata", "LaunchAgent", "ProjectRunQueues", "UpsertRunQueue",
    "ackRunQueueItem", "failRunQueueItem", "fetchRunQueuesFromProject", "popFromRunQueue", "pushToRunQueueByName",
    "updateLaunchAgent", "updateRunQueueItemWarning",
}  # fmt: skip
# Only SDKs before 0.30 hold these: remains of the old internal API that nothing a user calls sends any more, and launch.
NO_LONGER_SENT = {"CreateArtifactType", "ProjectDetails", "ProjectRuns", "RunInfo", "RunUploadUrls", "upsertRunQueue"}

_BEGINNING = re.compile(rb"(?:query|mutation|fragment) +[A-Za-z_]\w*\s*(?:\(|\{|on )")
_TEXT = re.compile(rb"[\t\n\r\x20-\x7e]+")

Definition = OperationDefinitionNode | FragmentDefinitionNode


def test_every_document_of_the_sdk_validates_or_is_known_not_to_be_served() -> None:
    problems = {name: problem for name, document in documents() if (problem := refused(document)) and name not in NOT_SERVED}
    assert {name: problem for name, problem in problems.items() if name not in NO_LONGER_SENT} == {}


def test_the_list_of_what_is_not_served_is_exact() -> None:
    assert NOT_SERVED - {name for name, document in documents() if refused(document)} == set()


@pytest.mark.parametrize("name", ["ArtifactMembershipByName", "UpsertRegistry", "RunFiles", "CommitArtifact", "UpsertBucket"])
def test_the_sdk_is_really_searched(name: str) -> None:
    assert name in {found for found, _ in documents()}


def refused(document: DocumentNode) -> str | None:
    """The first complaint of the schema."""
    problems = validate(schema(), document)
    return problems[0].message if problems else None


@cache
def documents() -> tuple[tuple[str, DocumentNode], ...]:
    """Each operation of the SDK by its name, several times where several places send it."""
    return (*python_documents(), *binary_documents())


def python_documents() -> Iterator[tuple[str, DocumentNode]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        texts = list(texts_of(path))
        # Some files keep a fragment in a text of its own and append it when they send.
        beside = {name: part for text in texts for name, part in fragments_of(text).items()}
        for text in texts:
            own = beside | fragments_of(text)
            for operation in operations_of(text):
                yield assembled(operation, own)


def binary_documents() -> Iterator[tuple[str, DocumentNode]]:
    """The binary holds each definition as a text without an end, one after the other."""
    raw = (PACKAGE / "bin" / "wandb-core").read_bytes()
    parts = [part for match in _BEGINNING.finditer(raw) if (part := beginning_at(raw, match.start()))]
    fragments = {part.name.value: part for part in parts if isinstance(part, FragmentDefinitionNode)}
    for part in parts:
        if isinstance(part, OperationDefinitionNode):
            yield assembled(part, fragments)


def texts_of(path: Path) -> Iterator[tuple[Definition, ...]]:
    """The texts in a file that are whole GraphQL, parsed."""
    source = path.read_text(encoding="utf-8")
    if re.search(r"\b(query|mutation|fragment) \w+", source):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "{" in node.value:
                # One document is kept as a template whose variants differ in this part.
                yield parsed(node.value.replace("_PROJECT_QUERY_", "project { name entity { name } }"))


def parsed(text: str) -> tuple[Definition, ...]:
    try:
        found = parse(text).definitions
    except (GraphQLError, ValueError):
        return ()
    return tuple(part for part in found if isinstance(part, Definition) and part.name)


def fragments_of(text: tuple[Definition, ...]) -> dict[str, FragmentDefinitionNode]:
    return {part.name.value: part for part in text if isinstance(part, FragmentDefinitionNode)}


def operations_of(text: tuple[Definition, ...]) -> Iterator[OperationDefinitionNode]:
    return (part for part in text if isinstance(part, OperationDefinitionNode))


def beginning_at(raw: bytes, start: int) -> Definition | None:
    """The definition that begins here: the shortest text up to a closing brace that parses."""
    match = _TEXT.match(raw, start, start + 20_000)
    text = match.group().decode() if match else ""
    depth = 0
    for position, letter in enumerate(text):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == "}" and depth == 0 and (found := parsed(text[: position + 1])):
            return found[0]
    return None


def assembled(operation: OperationDefinitionNode, fragments: dict[str, FragmentDefinitionNode]) -> tuple[str, DocumentNode]:
    """An operation with the fragments that it spreads, directly or through others."""
    names: list[str] = []

    class Spreads(Visitor):
        def enter_fragment_spread(self, node: FragmentSpreadNode, *_: object) -> None:
            if node.name.value not in names and node.name.value in fragments:
                names.append(node.name.value)
                visit(fragments[node.name.value], self)

    visit(operation, Spreads())
    assert operation.name
    return operation.name.value, DocumentNode(definitions=(operation, *(fragments[name] for name in names)))
