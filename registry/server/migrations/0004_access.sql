-- Ships with 0003: no home was ever left between the two.
ALTER TABLE users ADD COLUMN deleted_at TEXT;

ALTER TABLE users ADD COLUMN service BOOLEAN NOT NULL DEFAULT 0;

ALTER TABLE api_keys ADD COLUMN of_home BOOLEAN NOT NULL DEFAULT 0;

UPDATE api_keys SET of_home = 1 WHERE description = 'this home';

CREATE TABLE organization_members (
    organization_id INTEGER NOT NULL,
    user_id INTEGER NOT NULL,
    role TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (organization_id, user_id),
    FOREIGN KEY(organization_id) REFERENCES organizations (id) ON DELETE CASCADE,
    FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);

CREATE INDEX organization_members_by_user ON organization_members (user_id);

CREATE TABLE team_members (
    team_id INTEGER NOT NULL,
    user_id INTEGER NOT NULL,
    role TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (team_id, user_id),
    FOREIGN KEY(team_id) REFERENCES entities (id) ON DELETE CASCADE,
    FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);

CREATE INDEX team_members_by_user ON team_members (user_id);

CREATE TABLE project_users (
    project_id INTEGER NOT NULL,
    user_id INTEGER NOT NULL,
    role TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (project_id, user_id),
    FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE,
    FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);

CREATE INDEX project_users_by_user ON project_users (user_id);

CREATE TABLE project_teams (
    project_id INTEGER NOT NULL,
    team_id INTEGER NOT NULL,
    role TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (project_id, team_id),
    FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE,
    FOREIGN KEY(team_id) REFERENCES entities (id) ON DELETE CASCADE
);

CREATE INDEX project_teams_by_team ON project_teams (team_id);

CREATE TABLE protected_aliases (
    project_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (project_id, name),
    FOREIGN KEY(project_id) REFERENCES projects (id) ON DELETE CASCADE
);

INSERT INTO organization_members (organization_id, user_id, role, created_at)
SELECT organizations.id, users.id, 'admin', users.created_at FROM organizations, users;

INSERT INTO project_users (project_id, user_id, role, created_at)
SELECT projects.id, users.id, 'admin', projects.created_at
FROM projects JOIN entities ON entities.id = projects.entity_id JOIN users ON users.id = projects.user_id
WHERE entities.kind = 'organization' AND projects.name LIKE 'wandb-registry-%';

INSERT INTO team_members (team_id, user_id, role, created_at)
SELECT entities.id, users.id, 'admin', users.created_at FROM entities, users WHERE entities.kind = 'team';

CREATE TABLE contested (
    artifact_id INTEGER NOT NULL,
    md5 TEXT NOT NULL,
    PRIMARY KEY (artifact_id, md5),
    FOREIGN KEY(artifact_id) REFERENCES artifacts (id) ON DELETE CASCADE
);
