-- Clinics, their people, and the sessions of these. Tokens are stored as SHA-256 only, passwords as peppered Argon2id.

CREATE TABLE clinic (
    id         text PRIMARY KEY,
    slug       text NOT NULL UNIQUE,
    name       text NOT NULL,
    timezone   text NOT NULL,
    country    text NOT NULL,
    locale     text NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE app_user (
    id                  text PRIMARY KEY,
    clinic_id           text NOT NULL REFERENCES clinic,
    email               text NOT NULL,
    email_key           text NOT NULL, -- as compared: trimmed, lower case
    name                text NOT NULL,
    role                text NOT NULL CHECK (role IN ('admin', 'practitioner', 'receptionist')),
    phone               bytea,         -- E.164, sealed
    phone_proven        boolean NOT NULL DEFAULT false,
    locale              text,
    password_hash       text,          -- NULL until the invitation is used
    password_changed_at timestamptz,
    disabled_at         timestamptz,
    created_at          timestamptz NOT NULL,
    UNIQUE (clinic_id, email_key)
);
CREATE INDEX app_user_in_order ON app_user (clinic_id, created_at, id);

-- What a session has proven. Its state is never stored: it is computed at every request.
CREATE TABLE session (
    id                text PRIMARY KEY,
    user_id           text NOT NULL REFERENCES app_user,
    clinic_id         text NOT NULL REFERENCES clinic,
    token_digest      bytea NOT NULL UNIQUE,
    generation        integer NOT NULL DEFAULT 1,       -- counts the tokens
    opened_by         text NOT NULL DEFAULT 'password',
    authenticated_at  timestamptz NOT NULL,
    verified_at       timestamptz,                      -- when a second factor was last proven
    proven_by         text CHECK (proven_by IN ('totp', 'sms', 'backup_code')),
    enrol_after_proof boolean NOT NULL DEFAULT false,   -- at sign-in all the user's factors were disallowed
    waiting_until     timestamptz,                      -- set while the session has never been active
    last_seen_at      timestamptz NOT NULL,
    idle_minutes      integer NOT NULL,
    expires_at        timestamptz NOT NULL,             -- the absolute end
    shared_device     boolean NOT NULL DEFAULT false,
    address           text,
    user_agent        text,
    ended_at          timestamptz,
    end_cause         text CHECK (end_cause IN ('ended', 'password_changed', 'too_many')),
    CHECK ((ended_at IS NULL) = (end_cause IS NULL)),
    CHECK ((verified_at IS NULL) = (proven_by IS NULL))
) WITH (fillfactor = 70);
CREATE INDEX session_of_user ON session (user_id) WHERE ended_at IS NULL;
CREATE INDEX session_by_end ON session (expires_at);

-- Digests of tokens that a rotation replaced, so that their bearer can be told why.
CREATE TABLE replaced_token (
    digest      bytea PRIMARY KEY,
    session_id  text NOT NULL REFERENCES session ON DELETE CASCADE,
    cause       text NOT NULL CHECK (cause IN ('replaced', 'password_changed')),
    replaced_at timestamptz NOT NULL
);
CREATE INDEX replaced_token_of_session ON replaced_token (session_id);

-- An invitation or a password reset. Of a user's activations only the newest unused, unexpired one works.
CREATE TABLE activation (
    id           text PRIMARY KEY,
    user_id      text NOT NULL REFERENCES app_user,
    kind         text NOT NULL CHECK (kind IN ('invitation', 'reset')),
    token_digest bytea NOT NULL UNIQUE,
    created_by   text,                 -- the administrator's user id; NULL: the operator
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    used_at      timestamptz,
    superseded   boolean NOT NULL DEFAULT false
);
CREATE INDEX activation_of_user ON activation (user_id) WHERE used_at IS NULL AND NOT superseded;

CREATE TABLE audit_event (
    seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id         uuid NOT NULL UNIQUE,
    at         timestamptz NOT NULL,
    clinic_id  text,
    actor_kind text NOT NULL,
    actor_id   text,
    subject_id text,
    kind       text NOT NULL,
    address    text,
    request_id text,
    detail     jsonb NOT NULL
);
CREATE INDEX audit_event_of_clinic ON audit_event (clinic_id, seq);

GRANT USAGE ON SCHEMA public TO identity;
GRANT SELECT, INSERT, UPDATE ON clinic, app_user, activation TO identity;
GRANT SELECT, INSERT, UPDATE, DELETE ON session, replaced_token TO identity;
GRANT SELECT, INSERT ON audit_event TO identity;
