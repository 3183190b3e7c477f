-- An incremental version stores what is its own: entries belong to layers, and a version is a stack of layers. What earlier code
-- wrote becomes one layer for each version, under the version's number.

CREATE TABLE layers (
    id INTEGER NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE stacks (
    artifact_id INTEGER NOT NULL,
    layer_id INTEGER NOT NULL,
    PRIMARY KEY (artifact_id, layer_id),
    FOREIGN KEY(artifact_id) REFERENCES artifacts (id) ON DELETE CASCADE,
    FOREIGN KEY(layer_id) REFERENCES layers (id) ON DELETE CASCADE
)
 WITHOUT ROWID;

CREATE INDEX stacks_by_layer ON stacks (layer_id);

INSERT INTO layers (id) SELECT DISTINCT artifact_id FROM entries;

INSERT INTO stacks (artifact_id, layer_id) SELECT id, id FROM layers;

CREATE TABLE entries_in_layers (
    layer_id INTEGER NOT NULL,
    path TEXT NOT NULL,
    digest TEXT NOT NULL,
    size INTEGER,
    md5 TEXT,
    ref TEXT,
    PRIMARY KEY (layer_id, path),
    FOREIGN KEY(layer_id) REFERENCES layers (id) ON DELETE CASCADE
)
 WITHOUT ROWID;

INSERT INTO entries_in_layers (layer_id, path, digest, size, md5, ref)
    SELECT artifact_id, path, digest, size, md5, ref FROM entries ORDER BY artifact_id, path;

DROP TABLE entries;

ALTER TABLE entries_in_layers RENAME TO entries;

CREATE INDEX entries_by_md5 ON entries (md5);
