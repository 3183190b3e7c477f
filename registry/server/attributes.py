"""How a field is answered that no resolver of ours answers: by the attribute of the same name, in snake case.

A page of a hundred versions reads three thousand of them, and the resolvers of the libraries, which look for mappings of any
kind first, take a tenth of the time that the page takes. What is asked here are dataclasses and, seldom, dictionaries.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import getclosurevars
from typing import Any

from ariadne.resolvers import is_default_resolver
from graphql import GraphQLObjectType, GraphQLSchema


def bind(schema: GraphQLSchema) -> GraphQLSchema:
    """The same schema, its fields without a resolver reading attributes."""
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLObjectType) and not kind.name.startswith("__"):
            for name, field in kind.fields.items():
                if field.resolve is None:
                    field.resolve = _attribute(name)
                elif is_default_resolver(field.resolve):
                    # An alias, or a name in snake case, which the library keeps only here.
                    field.resolve = _attribute(getclosurevars(field.resolve).nonlocals["attr_name"])
    return schema


def _attribute(name: str) -> Callable[..., Any]:
    def read(source: Any, info: Any, **arguments: Any) -> Any:
        value = source.get(name) if type(source) is dict else getattr(source, name, None)
        return value(info, **arguments) if callable(value) else value

    return read
