-- Ships with 0002: no home was ever left between the two.
-- Files that come in parts, and what is known of stored bytes besides their md5.

CREATE TABLE digests (
    xxh128 TEXT NOT NULL,
    md5 TEXT NOT NULL,
    PRIMARY KEY (xxh128, md5)
) WITHOUT ROWID;

CREATE TABLE multiparts (
    id INTEGER NOT NULL,
    artifact_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    token TEXT NOT NULL,
    md5 TEXT,
    xxh128 TEXT,
    blob_md5 TEXT,
    created_at TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (artifact_id, name),
    UNIQUE (token),
    FOREIGN KEY(artifact_id) REFERENCES artifacts (id) ON DELETE CASCADE
);

CREATE TABLE parts (
    multipart_id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    md5 TEXT NOT NULL,
    size INTEGER,
    PRIMARY KEY (multipart_id, number),
    FOREIGN KEY(multipart_id) REFERENCES multiparts (id) ON DELETE CASCADE
) WITHOUT ROWID;

-- Finds what expires without looking at every version.
CREATE INDEX artifacts_by_ttl ON artifacts (ttl_seconds) WHERE ttl_seconds > 0;
