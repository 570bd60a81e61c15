-- Keys by which machines of a clinic call the API. The key itself is shown once; only its digest is stored.

CREATE TABLE app_key (
    id         text PRIMARY KEY,
    clinic_id  text NOT NULL REFERENCES clinic,
    name       text NOT NULL CHECK (name <> ''),
    digest     bytea NOT NULL UNIQUE CHECK (length(digest) = 32),
    scopes     text[] NOT NULL CHECK (scopes <> '{}'
                   AND scopes <@ ARRAY['sessions.read', 'users.write', 'integrations.write']),
    created_at timestamptz NOT NULL,
    revoked_at timestamptz
);
-- A name is free again when its key is revoked, so that a key can be replaced under the same name.
CREATE UNIQUE INDEX app_key_by_name ON app_key (clinic_id, name) WHERE revoked_at IS NULL;

GRANT SELECT, INSERT, UPDATE ON app_key TO identity;
