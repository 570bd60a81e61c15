-- The date of a rule, what integrations demand, what is set for one person, and leave to sign in once without a code.

-- With a date, the rule is in force from then on; without one, `require_two_factor` says whether it is.
ALTER TABLE clinic_rule ADD COLUMN enforce_from timestamptz;

CREATE TABLE hold (
    clinic_id text NOT NULL REFERENCES clinic_rule,
    name text NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    requires_two_factor boolean NOT NULL,
    max_device_trust_hours integer CHECK (max_device_trust_hours BETWEEN 0 AND 2160),
    set_by_kind text NOT NULL,
    set_by_id text,
    set_by_address text,
    set_at timestamptz NOT NULL,
    PRIMARY KEY (clinic_id, name)
);

CREATE TABLE user_setting (
    clinic_id text NOT NULL REFERENCES clinic_rule,
    user_id text NOT NULL CHECK (user_id <> ''),
    requirement text NOT NULL CHECK (requirement IN ('clinic_default', 'required', 'exempt')),
    reason text NOT NULL,
    expires_at timestamptz CHECK (expires_at IS NULL OR requirement = 'exempt'),
    is_phone_lifted boolean NOT NULL,
    set_by_kind text NOT NULL,
    set_by_id text,
    set_by_address text,
    set_at timestamptz NOT NULL,
    PRIMARY KEY (clinic_id, user_id),
    -- Whatever is less than the clinic asks for has a reason.
    CHECK (reason <> '' OR (requirement <> 'exempt' AND NOT is_phone_lifted))
);

CREATE TABLE bypass (
    id text PRIMARY KEY,
    clinic_id text NOT NULL REFERENCES clinic_rule,
    user_id text NOT NULL CHECK (user_id <> ''),
    -- One that was not used in time stays 'unused': the time says that it is too late.
    state text NOT NULL CHECK (state IN ('unused', 'used', 'revoked', 'ended', 'undone')),
    reason text NOT NULL CHECK (reason <> ''),
    suspend_factors boolean NOT NULL,
    granted_by_kind text NOT NULL,
    granted_by_id text,
    granted_by_address text,
    granted_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL CHECK (expires_at > granted_at AND expires_at <= granted_at + interval '24 hours'),
    used_at timestamptz,
    used_session_id text,
    CHECK ((state IN ('used', 'undone')) = (used_at IS NOT NULL)),
    CHECK ((used_at IS NULL) = (used_session_id IS NULL)),
    -- P5: never in the first moment after its time.
    CHECK (used_at < expires_at)
);
CREATE UNIQUE INDEX bypass_unused ON bypass (clinic_id, user_id) WHERE state = 'unused';
CREATE INDEX bypass_by_user ON bypass (clinic_id, user_id, granted_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON hold TO policy;
GRANT SELECT, INSERT, UPDATE ON user_setting, bypass TO policy;
