CREATE TABLE organizations (
    id INTEGER NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (name)
);

CREATE TABLE entities (
    id INTEGER NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    organization_id INTEGER,
    created_at TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (name),
    FOREIGN KEY(organization_id) REFERENCES organizations (id) ON DELETE CASCADE
);

CREATE TABLE users (
    id INTEGER NOT NULL,
    username TEXT NOT NULL,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    admin BOOLEAN NOT NULL,
    entity_id INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (username),
    FOREIGN KEY(entity_id) REFERENCES entities (id) ON DELETE CASCADE
);

CREATE TABLE api_keys (
    id INTEGER NOT NULL,
    user_id INTEGER NOT NULL,
    description TEXT,
    prefix TEXT NOT NULL,
    hash TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    UNIQUE (hash)
);

CREATE TABLE projects (
    id INTEGER NOT NULL,
    entity_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    access TEXT NOT NULL,
    all_types BOOLEAN NOT NULL,
    user_id INTEGER,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (entity_id, name),
    FOREIGN KEY(entity_id) REFERENCES entities (id) ON DELETE CASCADE,
    FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE SET NULL
);

CREATE TABLE artifact_types (
    id INTEGER NOT NULL,
    project_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    created_at TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (project_id, name),
    FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE
);

CREATE TABLE runs (
    id INTEGER NOT NULL,
    project_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    display_name TEXT,
    state TEXT NOT NULL,
    config TEXT NOT NULL,
    summary TEXT NOT NULL,
    notes TEXT,
    description TEXT,
    tags TEXT NOT NULL,
    "group" TEXT,
    job_type TEXT,
    sweep TEXT,
    host TEXT,
    program TEXT,
    repo TEXT,
    "commit" TEXT,
    user_id INTEGER,
    created_at TEXT NOT NULL,
    heartbeat_at TEXT NOT NULL,
    exitcode INTEGER,
    stop_requested BOOLEAN NOT NULL,
    history_lines INTEGER NOT NULL,
    event_lines INTEGER NOT NULL,
    console_lines INTEGER NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (project_id, name),
    FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE,
    FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE SET NULL
);

CREATE INDEX runs_by_sweep ON runs (project_id, sweep);

CREATE TABLE sweeps (
    id INTEGER NOT NULL,
    project_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    display_name TEXT,
    description TEXT,
    method TEXT NOT NULL,
    state TEXT NOT NULL,
    config TEXT NOT NULL,
    controller TEXT NOT NULL,
    scheduler TEXT NOT NULL,
    controller_run_name TEXT,
    user_id INTEGER,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    heartbeat_at TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (project_id, name),
    FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE,
    FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE SET NULL
);

CREATE TABLE agents (
    id INTEGER NOT NULL,
    sweep_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    host TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at TEXT NOT NULL,
    heartbeat_at TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (sweep_id, name),
    FOREIGN KEY(sweep_id) REFERENCES sweeps (id) ON DELETE CASCADE
);

CREATE TABLE alerts (
    id INTEGER NOT NULL,
    run_id INTEGER NOT NULL,
    title TEXT NOT NULL,
    text TEXT NOT NULL,
    severity TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);

CREATE TABLE collections (
    id INTEGER NOT NULL,
    project_id INTEGER NOT NULL,
    type_id INTEGER NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    next_index INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (project_id, name),
    FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE,
    FOREIGN KEY(type_id) REFERENCES artifact_types (id) ON DELETE CASCADE
);

CREATE TABLE console (
    run_id INTEGER NOT NULL,
    line INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (run_id, line),
    FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
)
 WITHOUT ROWID;

CREATE TABLE events (
    run_id INTEGER NOT NULL,
    line INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (run_id, line),
    FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
)
 WITHOUT ROWID;

CREATE TABLE history (
    run_id INTEGER NOT NULL,
    line INTEGER NOT NULL,
    step INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (run_id, line),
    FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
)
 WITHOUT ROWID;

CREATE INDEX history_by_step ON history (run_id, step);

CREATE TABLE history_keys (
    run_id INTEGER NOT NULL,
    "key" TEXT NOT NULL,
    type TEXT NOT NULL,
    count INTEGER NOT NULL,
    monotonic BOOLEAN NOT NULL,
    previous FLOAT,
    PRIMARY KEY (run_id, "key", type),
    FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
)
 WITHOUT ROWID;

CREATE TABLE run_files (
    id INTEGER NOT NULL,
    run_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    md5 TEXT,
    size INTEGER NOT NULL,
    mimetype TEXT,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (run_id, name),
    FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);

CREATE TABLE artifacts (
    id INTEGER NOT NULL,
    sequence_id INTEGER NOT NULL,
    state TEXT NOT NULL,
    version_index INTEGER,
    digest TEXT NOT NULL,
    digest_algorithm TEXT NOT NULL,
    distributed_id TEXT,
    manifest_md5 TEXT,
    merged_into INTEGER,
    description TEXT,
    metadata TEXT,
    ttl_seconds INTEGER,
    history_step INTEGER,
    pending_aliases TEXT NOT NULL,
    size INTEGER NOT NULL,
    file_count INTEGER NOT NULL,
    run_id INTEGER,
    user_id INTEGER,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (sequence_id, version_index),
    FOREIGN KEY(sequence_id) REFERENCES collections (id) ON DELETE CASCADE,
    FOREIGN KEY(merged_into) REFERENCES artifacts (id) ON DELETE SET NULL,
    FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE SET NULL,
    FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE SET NULL
);

CREATE INDEX artifacts_by_digest ON artifacts (sequence_id, digest);

CREATE INDEX artifacts_by_run ON artifacts (run_id);

CREATE TABLE collection_tags (
    id INTEGER NOT NULL,
    collection_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (collection_id, name),
    FOREIGN KEY(collection_id) REFERENCES collections (id) ON DELETE CASCADE
);

CREATE TABLE trials (
    id INTEGER NOT NULL,
    sweep_id INTEGER NOT NULL,
    run_id INTEGER NOT NULL,
    agent_id INTEGER,
    number INTEGER NOT NULL,
    point INTEGER,
    arguments TEXT NOT NULL,
    offers INTEGER NOT NULL,
    seen BOOLEAN NOT NULL,
    over BOOLEAN NOT NULL,
    stopped BOOLEAN NOT NULL,
    lost BOOLEAN NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (run_id),
    UNIQUE (sweep_id, number),
    FOREIGN KEY(sweep_id) REFERENCES sweeps (id) ON DELETE CASCADE,
    FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE,
    FOREIGN KEY(agent_id) REFERENCES agents (id) ON DELETE SET NULL
);

CREATE INDEX trials_by_agent ON trials (agent_id);

CREATE UNIQUE INDEX trials_by_point ON trials (sweep_id, point) WHERE lost IS 0;

CREATE TABLE alias_moves (
    id INTEGER NOT NULL,
    collection_id INTEGER NOT NULL,
    alias TEXT NOT NULL,
    version_index INTEGER,
    artifact_id INTEGER,
    user_id INTEGER,
    moved_at TEXT NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(collection_id) REFERENCES collections (id) ON DELETE CASCADE,
    FOREIGN KEY(artifact_id) REFERENCES artifacts (id) ON DELETE SET NULL,
    FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE SET NULL
);

CREATE INDEX alias_moves_by_alias ON alias_moves (collection_id, alias);

CREATE TABLE artifact_tags (
    id INTEGER NOT NULL,
    artifact_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (artifact_id, name),
    FOREIGN KEY(artifact_id) REFERENCES artifacts (id) ON DELETE CASCADE
);

CREATE TABLE client_ids (
    client_id TEXT NOT NULL,
    artifact_id INTEGER NOT NULL,
    PRIMARY KEY (client_id),
    FOREIGN KEY(artifact_id) REFERENCES artifacts (id) ON DELETE CASCADE
);

CREATE INDEX client_ids_by_artifact ON client_ids (artifact_id);

CREATE TABLE entries (
    artifact_id INTEGER NOT NULL,
    path TEXT NOT NULL,
    digest TEXT NOT NULL,
    size INTEGER,
    md5 TEXT,
    ref TEXT,
    PRIMARY KEY (artifact_id, path),
    FOREIGN KEY(artifact_id) REFERENCES artifacts (id) ON DELETE CASCADE
)
 WITHOUT ROWID;

CREATE INDEX entries_by_md5 ON entries (md5);

CREATE TABLE loggings (
    id INTEGER NOT NULL,
    artifact_id INTEGER NOT NULL,
    run_id INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (artifact_id, run_id),
    FOREIGN KEY(artifact_id) REFERENCES artifacts (id) ON DELETE CASCADE,
    FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);

CREATE INDEX loggings_by_run ON loggings (run_id);

CREATE TABLE manifests (
    id INTEGER NOT NULL,
    artifact_id INTEGER NOT NULL,
    base_id INTEGER,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    md5 TEXT,
    created_at TEXT NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(artifact_id) REFERENCES artifacts (id) ON DELETE CASCADE,
    FOREIGN KEY(base_id) REFERENCES artifacts (id) ON DELETE SET NULL
);

CREATE INDEX manifests_by_artifact ON manifests (artifact_id);

CREATE TABLE memberships (
    id INTEGER NOT NULL,
    collection_id INTEGER NOT NULL,
    artifact_id INTEGER NOT NULL,
    version_index INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (collection_id, version_index),
    UNIQUE (collection_id, artifact_id),
    FOREIGN KEY(collection_id) REFERENCES collections (id) ON DELETE CASCADE,
    FOREIGN KEY(artifact_id) REFERENCES artifacts (id) ON DELETE CASCADE
);

CREATE INDEX memberships_by_artifact ON memberships (artifact_id);

CREATE TABLE uploads (
    id INTEGER NOT NULL,
    artifact_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    md5 TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (artifact_id, name),
    FOREIGN KEY(artifact_id) REFERENCES artifacts (id) ON DELETE CASCADE
);

CREATE TABLE usages (
    id INTEGER NOT NULL,
    artifact_id INTEGER NOT NULL,
    run_id INTEGER NOT NULL,
    used_as TEXT,
    created_at TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (artifact_id, run_id),
    FOREIGN KEY(artifact_id) REFERENCES artifacts (id) ON DELETE CASCADE,
    FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
);

CREATE INDEX usages_by_run ON usages (run_id);

CREATE TABLE aliases (
    id INTEGER NOT NULL,
    collection_id INTEGER NOT NULL,
    membership_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (collection_id, name),
    FOREIGN KEY(collection_id) REFERENCES collections (id) ON DELETE CASCADE,
    FOREIGN KEY(membership_id) REFERENCES memberships (id) ON DELETE CASCADE
);

CREATE INDEX aliases_by_membership ON aliases (membership_id);
