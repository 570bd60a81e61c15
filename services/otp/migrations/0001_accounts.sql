-- One row a user: everything a verification reads and changes stands in it, under one lock. A row read beside it would
-- still be the old one after waiting for that lock (READ COMMITTED re-reads the locked row only).
CREATE TABLE account (
    user_id text PRIMARY KEY,
    clinic_id text NOT NULL,
    -- Wrong guesses of the last 30 days: [[unix time, login id, forgiven], ...]; see services/otp/guess_budget.py.
    guesses jsonb NOT NULL DEFAULT '[]',
    locked_at timestamptz,
    totp_id text,
    totp_secret bytea, -- sealed
    totp_enrolled_at timestamptz,
    totp_last_used_at timestamptz,
    totp_last_step bigint NOT NULL DEFAULT 0, -- no step up to this one is ever accepted again
    sms_id text,
    sms_phone bytea, -- sealed
    sms_phone_hint text,
    sms_enrolled_at timestamptz,
    sms_last_used_at timestamptz,
    backup_codes_left integer NOT NULL DEFAULT 0,
    backup_codes_generated_at timestamptz,
    CHECK ((totp_id IS NULL) = (totp_secret IS NULL)),
    CHECK ((sms_id IS NULL) = (sms_phone IS NULL)),
    CHECK (backup_codes_left BETWEEN 0 AND 10)
) WITH (fillfactor = 70);

CREATE TABLE backup_code (
    user_id text NOT NULL REFERENCES account,
    slot char(1) NOT NULL, -- the code's first character
    set_id text NOT NULL,
    hash text, -- Argon2id of the peppered code; gone once spent
    spent_mark bytea, -- keyed HMAC of the spent code
    spent_login_id text,
    spent_at timestamptz,
    PRIMARY KEY (user_id, slot),
    CHECK ((hash IS NULL) = (spent_at IS NOT NULL)),
    CHECK ((spent_mark IS NULL) = (spent_at IS NULL))
);

-- What an attempt was told, so that repeating it tells the same; accepted codes, so that the login that spent one may
-- finish. Kept for ten minutes.
CREATE TABLE verdict (
    user_id text NOT NULL,
    attempt_id text NOT NULL,
    login_id text NOT NULL,
    mark bytea NOT NULL, -- keyed HMAC of method and code
    result text NOT NULL,
    attempts_left integer NOT NULL,
    retry_after integer NOT NULL,
    is_locked boolean NOT NULL,
    is_budget_newly_spent boolean NOT NULL,
    is_again boolean NOT NULL, -- accepted before under the same login; does not prolong its memory
    at timestamptz NOT NULL,
    PRIMARY KEY (user_id, attempt_id)
);
CREATE INDEX verdict_accepted ON verdict (user_id, mark) WHERE result = 'accepted' AND NOT is_again;

CREATE TABLE enrolment (
    id text PRIMARY KEY,
    seq bigint GENERATED ALWAYS AS IDENTITY, -- which is newer, whatever the clock did
    user_id text NOT NULL REFERENCES account,
    session_id text NOT NULL,
    request_id text,
    kind text NOT NULL CHECK (kind IN ('totp', 'sms', 'phone_proof')),
    secret bytea, -- sealed; gone once confirmed, superseded or expired
    phone_hint text,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    ended_at timestamptz, -- superseded
    confirmed_at timestamptz,
    confirmed_login_id text,
    confirmed_mark bytea,
    has_made_backup_codes boolean NOT NULL DEFAULT false
);
CREATE UNIQUE INDEX enrolment_open ON enrolment (user_id, kind) WHERE ended_at IS NULL AND confirmed_at IS NULL;
CREATE UNIQUE INDEX enrolment_request ON enrolment (user_id, request_id);

CREATE TABLE challenge (
    id text PRIMARY KEY,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    user_id text NOT NULL REFERENCES account,
    login_id text NOT NULL, -- for an enrolment: its own id
    request_id text NOT NULL,
    code_mark bytea NOT NULL, -- keyed HMAC over the challenge's id and the code
    code_sealed bytea, -- only until the notifier has taken it
    phone_hint text NOT NULL,
    wrong_guesses integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    delivery_id text, -- unset: not handed over, so not a code anybody can have
    delivery_status text NOT NULL DEFAULT 'queued',
    ended_at timestamptz,
    spent_at timestamptz
);
CREATE UNIQUE INDEX challenge_living ON challenge (user_id, login_id) WHERE ended_at IS NULL;
CREATE UNIQUE INDEX challenge_request ON challenge (user_id, request_id);
CREATE INDEX challenge_of_login ON challenge (user_id, login_id, seq);

-- A known text under each key of the keyring: another keyring than the one that sealed these records shows at once.
CREATE TABLE sealing_check (
    key_id bigint PRIMARY KEY,
    sealed bytea NOT NULL
);

CREATE TABLE audit_event (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id uuid NOT NULL UNIQUE,
    at timestamptz NOT NULL,
    clinic_id text,
    actor_kind text NOT NULL,
    actor_id text,
    subject_id text,
    kind text NOT NULL,
    address text,
    request_id text,
    detail jsonb NOT NULL
);

GRANT SELECT, INSERT, UPDATE, DELETE ON account, backup_code, verdict, enrolment, challenge TO otp;
GRANT SELECT, INSERT ON sealing_check, audit_event TO otp;
