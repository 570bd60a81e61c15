-- Remembered browsers, and the sessions that a bypass or a remembered browser opened.

-- A browser that need not give a code at every sign-in. Its token changes with every use; only the digest is stored.
CREATE TABLE device (
    id            text PRIMARY KEY,
    user_id       text NOT NULL REFERENCES app_user,
    clinic_id     text NOT NULL REFERENCES clinic,
    token_digest  bytea NOT NULL UNIQUE,
    remembered_at timestamptz NOT NULL, -- when a second factor was proven in it: its days count from here
    last_used_at  timestamptz NOT NULL,
    address       text,
    user_agent    text,
    ended_at      timestamptz,
    end_cause     text,                 -- why, for the audit trail and for people
    CHECK ((ended_at IS NULL) = (end_cause IS NULL))
);
CREATE INDEX device_of_user ON device (user_id) WHERE ended_at IS NULL;
CREATE INDEX device_by_age ON device (remembered_at);

-- Tokens that a use replaced: each works for a minute more (a lost answer, two tabs); after that it ends its device.
CREATE TABLE replaced_device_token (
    digest      bytea PRIMARY KEY,
    device_id   text NOT NULL REFERENCES device ON DELETE CASCADE,
    replaced_at timestamptz NOT NULL
);
CREATE INDEX replaced_device_token_of_device ON replaced_device_token (device_id);

ALTER TABLE session
    ADD COLUMN bypass_id     text,        -- the bypass that opened it: enrolment only, until a factor is proven
    ADD COLUMN device_id     text,        -- the remembered browser that opened it
    ADD COLUMN remembered_at timestamptz; -- that browser's; unset again when its remembering ends
CREATE INDEX session_of_device ON session (device_id) WHERE device_id IS NOT NULL;

-- Kept when the session is long gone: what an undoing has to undo.
CREATE TABLE bypass_use (
    bypass_id   text PRIMARY KEY,
    user_id     text NOT NULL REFERENCES app_user,
    session_id  text NOT NULL,
    used_at     timestamptz NOT NULL,
    enrolled_at timestamptz               -- when a factor was set up in that session
);
CREATE INDEX bypass_use_of_user ON bypass_use (user_id);

GRANT SELECT, INSERT, UPDATE, DELETE ON device, replaced_device_token TO identity;
GRANT SELECT, INSERT, UPDATE ON bypass_use TO identity;
