"""How much of anything a client may send or ask for at once: every number of the server's edge, each with its reason.

Whoever sends bytes here, even with a key, is not trusted to be honest or finite. A limit lies well above what the SDK or a
page ever needs, so that no honest user meets it, and low enough that one request cannot take the server's memory, its threads
or its disk from everybody else. A transfer has a least rate rather than a longest time: gibibytes over a slow line are honest.
"""

from __future__ import annotations

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

# -- Bodies that are held in memory

# The SDK splits what it sends at 10 MB, `wandb verify` sends a little more at once.
BODY = 64 * MIB
# All bodies of one process together: sixteen of the largest, or thousands of ordinary ones. Beyond it, 429: try again.
BODIES = GIB
# One JSON list or object costs Python at least 56 bytes where the text spends two or three.
JSON_CONTAINERS = 1_000_000
# Configurations and rows are nested a few levels; Python's own parsers and writers give up near 1,000.
JSON_DEPTH = 100
# The SDK drops longer lines of a file stream itself.
LINE = 10 * MIB

# -- GraphQL

# The longest document of the SDK has 2,173 characters, the usual introspection query 1,479; values belong into variables.
DOCUMENT = 128 * KIB
# The SDK's deepest document has 10 levels.
DOCUMENT_DEPTH = 32
DOCUMENT_TOKENS = 20_000
# Operations and fragments; the SDK sends one operation with up to a dozen fragments.
DOCUMENT_DEFINITIONS = 100
# Fields once fragments are spread: what aliases and nested fragments multiply.
DOCUMENT_FIELDS = 2_000
# Fields that answer under one name at one place: validation compares each pair of them.
DOCUMENT_SAME_NAME = 100
# Items of one list in the variables; the SDK sends at most 2,000 files at once.
LIST_ITEMS = 10_000
# All parsed documents that are remembered; the SDK's have 76,000 characters together, and a syntax tree is 200 times its text.
REMEMBERED_DOCUMENTS = 512 * KIB
# Objects in one answer. The SDK's largest request, 10,000 files with their artifact, makes 30,000.
ANSWER_OBJECTS = 500_000
# Characters of text in one answer; a page of rows or configurations ends before it gets there.
ANSWER_TEXT = 256 * MIB
# The SDK has hung up and asks again after 30 s, so nobody would read the answer.
QUESTION_SECONDS = 60.0
# Text of the rows of one page, as they come from the database; the page ends early, and its cursor goes on from there.
PAGE_TEXT = 128 * MIB

# -- Filters

FILTER_DEPTH = 16
# SQLite refuses expressions deeper than 1,000, and a chain of conditions is as deep as it is long.
FILTER_TERMS = 400
# SQLite takes 32,766 bound values in its oldest builds.
FILTER_VALUES = 20_000
PATTERN = 1_000
PATTERN_MEMORY = MIB

# -- Names, paths, small documents

# What file systems allow for a path and for one part of it.
PATH_BYTES, PATH_PART_BYTES = 4_096, 255
REFERENCE = 8 * KIB
# A sweep's YAML: reading it takes a second per MiB, while everybody else's writes wait.
SWEEP_CONFIGURATION = 128 * KIB
# What its anchors and aliases may make of it.
YAML_VALUES = 100_000
# A message repeats what the client sent only as far as this.
MESSAGE = 2_000

# -- Manifests

# A million files with their entries of some 150 bytes; W&B's own ceiling is far below.
MANIFEST = 256 * MIB
MANIFEST_ENTRIES = 1_000_000

# -- Uploads

# The largest object of S3, and so of W&B.
UPLOAD = 5 << 40
# What an upload leaves free on the disk, so that the database can still say that the disk is full.
DISK_RESERVE = 64 * MIB
# How often an upload looks at how much room is left.
DISK_LOOK = 64 * MIB

# -- Connections

# Request line and headers together; the SDK's largest have some KiB, an artifact's path fully percent-encoded 12 KiB.
HEADERS = 64 * KIB
HEADER_COUNT = 100
# The first request of a connection, or the rest of one whose beginning is here.
HEADER_SECONDS = 20.0
# A transfer, in either direction, that moves less than this within this time is dead or pretends: 256 B/s.
PATIENCE_SECONDS = 60.0
LEAST_BYTES = 16 * KIB
# Open connections of one process: thirty SDKs that upload at full width. One more closes the longest idle.
CONNECTIONS = 2_000
# File descriptors that connections leave for the database, blobs and logs.
SPARE_DESCRIPTORS = 256

# -- Silence

# A run's process sends something every 30 s while it lives; after this it counts as crashed.
CRASHED_AFTER_SECONDS = 180.0
