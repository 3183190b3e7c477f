-- Ships with 0005: no home was ever left between the two.
-- The team in which a user's runs begin that name no entity, where it is not their own.

ALTER TABLE users ADD COLUMN default_team_id INTEGER REFERENCES entities (id) ON DELETE SET NULL;
