"""Executes GraphQL documents against the schema in schema/*.graphql.

Two rules come from the client. An empty `operationName` counts as absent (the public API sends it). And an answer is either
data or errors, never both, with a 4xx status for what the caller can mend: the SDK shows our message as it is and does
not retry, while any 5xx would be retried for sixteen minutes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ariadne import ScalarType, load_schema_from_path, make_executable_schema
from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    execute_sync,
    get_operation_ast,
    parse,
    type_from_ast,
    validate,
)

from registry.server import refusals
from registry.server.blobs import Blobs
from registry.server.context import Context, User
from registry.server.database import Database
from registry.server.resolvers import artifacts, people, registries, runs, sweeps
from registry.server.signing import Signer


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A JSON body and its HTTP status."""

    status: int
    body: Mapping[str, Any]


# JSON travels as text (`JSONString`) or as a value (`JSON`); numbers beyond 32 bits and times pass through untouched.
_SCALARS = [ScalarType(name) for name in ("JSONString", "JSON", "Int64", "DateTime", "Duration")]


@lru_cache(maxsize=1)
def schema() -> GraphQLSchema:
    """The executable schema; loading fails when a file or binding is wrong, so a test that calls this covers them all."""
    definitions = load_schema_from_path(str(Path(__file__).parent / "schema"))
    bindables = [bindable for noun in (people, runs, artifacts, registries, sweeps) for bindable in noun.bindables]
    return make_executable_schema(definitions, *_SCALARS, *bindables, convert_names_case=True)


@lru_cache(maxsize=512)
def _checked(query: str) -> DocumentNode | tuple[GraphQLError, ...]:
    """Parsed and validated once per text: the SDK sends the same few dozen documents over and over."""
    try:
        document = parse(query, max_tokens=20_000)
    except GraphQLError as exc:
        return (exc,)
    return tuple(validate(schema(), document)) or document


def run(request: Mapping[str, Any], *, database: Database, blobs: Blobs, signer: Signer, user: User, base_url: str) -> Answer:
    """Execute one request body `{query, variables?, operationName?}`."""
    query = request.get("query")
    variables = request.get("variables") or {}
    name = request.get("operationName") or None
    if not isinstance(query, str) or not isinstance(variables, dict) or not (name is None or isinstance(name, str)):
        return _refusal(400, "the body needs query: string, and may have variables: object, operationName: string")
    document = _checked(query)
    if not isinstance(document, DocumentNode):
        return _errors(400, document)
    operation = get_operation_ast(document, name)
    if not isinstance(operation, OperationDefinitionNode):
        return _refusal(400, f"unknown operation '{name}'" if name else "name one of the document's operations")
    open_transaction = database.writing if operation.operation is OperationType.MUTATION else database.reading
    known = _known_variables(operation, variables)
    try:
        with open_transaction() as connection:
            context = Context(connection=connection, blobs=blobs, signer=signer, user=user, base_url=base_url)
            result = execute_sync(schema(), document, context_value=context, variable_values=known, operation_name=name)
            if result.errors:
                # Leaving by the exception rolls the transaction back, and shows it to the database, which knows a full disk.
                raise result.errors[0].original_error or result.errors[0]
    except GraphQLError as error:
        return _errors(400, (error,))
    return Answer(status=200, body={"data": _finite(result.data)})


def _known_variables(operation: OperationDefinitionNode, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Without the input fields this schema does not have: newer clients send some that concern only the cloud."""
    known = dict(variables)
    for definition in operation.variable_definitions or ():
        name = definition.variable.name.value
        kind = type_from_ast(schema(), definition.type)
        if name in known and kind is not None:
            known[name] = _known_fields(known[name], kind)
    return known


def _known_fields(value: Any, kind: Any) -> Any:
    if isinstance(kind, GraphQLNonNull):
        return _known_fields(value, kind.of_type)
    if isinstance(kind, GraphQLList):
        return [_known_fields(item, kind.of_type) for item in value] if isinstance(value, list) else value
    if isinstance(kind, GraphQLInputObjectType) and isinstance(value, dict):
        return {key: _known_fields(item, kind.fields[key].type) for key, item in value.items() if key in kind.fields}
    return value


def _errors(status: int, errors: tuple[GraphQLError, ...]) -> Answer:
    message = "\n".join(error.message for error in errors)
    refused = refusals.refusal(status, message)
    return Answer(status=refused.status, body=refused.body)


def _refusal(status: int, message: str) -> Answer:
    refused = refusals.refusal(status, message)
    return Answer(status=refused.status, body=refused.body)


def _finite(value: Any) -> Any:
    """NaN and infinities as strings: the client's JSON parser refuses the bare words."""
    if isinstance(value, float):
        return value if math.isfinite(value) else {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value


def encode(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, allow_nan=False, separators=(",", ":")).encode()
