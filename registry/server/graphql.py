"""Executes GraphQL documents against the schema in schema/*.graphql.

Two rules come from the client. An empty `operationName` counts as absent (the public API sends it). And an answer is either
data or errors, never both, with a 4xx status for what the caller can mend: the SDK shows our message as it is and does
not retry, while any 5xx would be retried for sixteen minutes. What a request may cost stands in `asking`.

Whoever has a key may ask for the schema: the SDK does, to learn what this server can, and the schema is no secret.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from ariadne import ScalarType, make_executable_schema
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
    type_from_ast,
    validate,
)

from registry.errors import BadData
from registry.server import asking, attributes, limits, refusals
from registry.server.asking import BoundedExecutor, TooMuch
from registry.server.blobs import Blobs
from registry.server.context import Context, User
from registry.server.database import Database
from registry.server.guards import guard
from registry.server.resolvers import (
    absent,
    artifacts,
    console,
    history,
    people,
    registries,
    run_files,
    run_starts,
    runs,
    sweeps,
)
from registry.server.signing import Signer
from registry.server.store import access


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A JSON body and its HTTP status."""

    status: int
    body: Mapping[str, Any]


# The largest number a column holds, and the longest wait that a date can be reckoned from: a century, in milliseconds.
_INT64 = 1 << 63
_LONGEST_WAIT = 100 * 365 * 86_400_000
# Each error repeats a part of the request; nobody reads the hundredth.
_MOST_ERRORS = 10


def _whole(value: Any, *, below: int) -> int:
    # As text too: programs whose numbers are floats send it so.
    number = int(value) if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value) else value
    if isinstance(number, bool) or not isinstance(number, int) or not -below <= number < below:
        raise ValueError(f"{str(value)[:40]!r} is not a whole number of at most {below.bit_length()} bits")
    return number


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a {type(value).__name__} is not a text")
    return value


# JSON travels as text (`JSONString`) or as a value (`JSON`); what the server sends of these passes through untouched.
_SCALARS = [
    ScalarType("JSON"),
    ScalarType("JSONString", value_parser=_text),
    ScalarType("DateTime", value_parser=_text),
    ScalarType("Int64", value_parser=partial(_whole, below=_INT64)),
    ScalarType("Duration", value_parser=partial(_whole, below=_LONGEST_WAIT)),
]


_NOUNS = (absent, artifacts, console, history, people, registries, run_files, run_starts, runs, sweeps)


@lru_cache(maxsize=1)
def schema() -> GraphQLSchema:
    """The executable schema; loading fails when a file or binding is wrong, so a test that calls this covers them all."""
    files = sorted((Path(__file__).parent / "schema").glob("*.graphql"))
    definitions = "\n".join(file.read_text(encoding="utf-8") for file in files)  # the library's loader would parse them twice
    bindables = [bindable for noun in _NOUNS for bindable in noun.bindables]
    return guard(attributes.bind(make_executable_schema(definitions, *_SCALARS, *bindables, convert_names_case=True)))


def _check(query: str) -> DocumentNode | tuple[GraphQLError, ...]:
    try:
        document = asking.parsed(query)
        return tuple(validate(schema(), document, max_errors=_MOST_ERRORS)) or document
    except GraphQLError as exc:
        return (exc,)
    except BadData as exc:
        return (asking.located(exc),)
    except RecursionError:
        return (GraphQLError("the document is nested too deeply"),)


_checked = asking.Remembered(_check)


def run(
    request: Mapping[str, Any],
    *,
    database: Database,
    blobs: Blobs,
    signer: Signer,
    user: User,
    base_url: str,
    shared: bool = False,
) -> Answer:
    """Execute one request body `{query, variables?, operationName?}`.

    Args:
        shared: it comes from one of several processes that write to one run.
    """
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
            may = access.of(connection, user)
            context = Context(
                connection=connection, blobs=blobs, signer=signer, user=user, access=may, base_url=base_url, shared=shared
            )
            result = execute_sync(
                schema(),
                document,
                context_value=context,
                variable_values=known,
                operation_name=name,
                max_coercion_errors=_MOST_ERRORS,
                executor_class=BoundedExecutor,
            )
            if result.errors:
                # Leaving by the exception rolls the transaction back, and shows it to the database, which knows a full disk.
                raise result.errors[0].original_error or result.errors[0]
    except GraphQLError as error:
        return _errors(400, (error,))
    except TooMuch as error:
        return _refusal(400, error.message)
    return Answer(status=200, body={"data": result.data})


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
        if isinstance(value, list) and len(value) > limits.LIST_ITEMS:
            raise BadData(f"a list of the variables has {len(value):,} items, this server takes {limits.LIST_ITEMS:,}")
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
    encoder = json.JSONEncoder(allow_nan=False, check_circular=False, separators=(",", ":"))
    try:
        return encoder.encode(body).encode()
    except ValueError:
        return encoder.encode(_finite(body)).encode()
