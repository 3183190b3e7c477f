"""The embedded W&B-compatible server: one machine, one SQLite file, one blob folder.

The contract is what the unmodified `wandb` SDK sends and reads. Layers, imports going down:

    serving                      the process: socket, signals, end of standard input
    app, auth, streams, transfers, refusals    HTTP: routes, keys, file streams, uploads and downloads, errors
    graphql, schema/*.graphql    the schema, SDL first
    resolvers/                   wire → store: translate names and shapes, nothing else
    store/                       every query, one noun a file; the only users of SQLAlchemy beside the next line
    database, tables, migrations
    blobs, packs, ids, signing, filters
    sharing, batches             a process of its own: the files of a command on the same disk, past HTTP

Everything is synchronous behind the ASGI edge (Starlette runs it in threads). Errors are `registry.errors` inside and one
JSON shape at the edge; nothing answers 5xx on purpose, because the SDK retries a 5xx for sixteen minutes.
"""
