-- How far the metric of each trial has come: early termination is decided from this, not from whole histories.

CREATE TABLE curves (
    run_id INTEGER NOT NULL,
    step INTEGER NOT NULL,
    logged INTEGER NOT NULL,
    best FLOAT,
    reached TEXT NOT NULL,
    PRIMARY KEY (run_id),
    FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
)
 WITHOUT ROWID;
