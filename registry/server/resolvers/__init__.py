"""Wire to store: one file per noun, each with its `bindables`; names and shapes are translated here, nothing else."""

from graphql import GraphQLResolveInfo

from registry.server.context import Context

Info = GraphQLResolveInfo[Context]
