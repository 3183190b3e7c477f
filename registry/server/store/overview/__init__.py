"""What the pages for people list: rows narrow enough to show fifty at a time, each list in a fixed number of queries.

The wire's objects are whole (a run with its config, a version with all its collections); a page wants names, counts and times
of many. These reads take from several nouns at once, which is why they stand apart from them, and they change nothing.
Who holds an alias, and on what evidence, stands in `holders`.
"""

from registry.server.store.overview.collections import CollectionRow, MemberRow, collection, collection_page, member_page
from registry.server.store.overview.projects import ProjectRow, project_page
from registry.server.store.overview.runs import RunRow, Way, job_types, run_page, run_rows, runs_of_version, username
from registry.server.store.overview.sweeps import SweepRow, sweep_page
from registry.server.store.overview.versions import (
    VERDICT_TYPE,
    VersionRow,
    entry_page,
    members,
    memberships_of,
    version_rows,
    versions_of_run,
    versions_of_runs,
)

__all__ = [
    "VERDICT_TYPE",
    "CollectionRow",
    "MemberRow",
    "ProjectRow",
    "RunRow",
    "SweepRow",
    "VersionRow",
    "Way",
    "collection",
    "collection_page",
    "entry_page",
    "job_types",
    "member_page",
    "members",
    "memberships_of",
    "project_page",
    "run_page",
    "run_rows",
    "runs_of_version",
    "sweep_page",
    "username",
    "version_rows",
    "versions_of_run",
    "versions_of_runs",
]
