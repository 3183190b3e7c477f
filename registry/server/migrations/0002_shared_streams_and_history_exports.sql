ALTER TABLE runs ADD COLUMN inherited_summary TEXT;

CREATE TABLE shared_lines (
    run_id INTEGER NOT NULL,
    stream TEXT NOT NULL,
    client TEXT NOT NULL,
    number INTEGER NOT NULL,
    line INTEGER NOT NULL,
    PRIMARY KEY (run_id, stream, client, number),
    FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
) WITHOUT ROWID;

CREATE TABLE history_exports (
    id INTEGER NOT NULL,
    project_id INTEGER NOT NULL,
    run TEXT NOT NULL,
    part INTEGER NOT NULL,
    start INTEGER NOT NULL,
    stop INTEGER NOT NULL,
    valid BOOLEAN NOT NULL,
    md5 TEXT,
    PRIMARY KEY (id),
    UNIQUE (project_id, run, part),
    FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE
);
