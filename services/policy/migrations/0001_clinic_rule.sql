-- A clinic's rule, and the trail of its changes.

CREATE TABLE clinic_rule (
    clinic_id text PRIMARY KEY CHECK (clinic_id <> ''),
    require_two_factor boolean NOT NULL,
    required_since timestamptz,
    methods text[] NOT NULL CHECK (cardinality(methods) > 0 AND methods <@ ARRAY['totp', 'sms']),
    phone_required boolean NOT NULL,
    remember_device_days integer NOT NULL CHECK (remember_device_days >= 0),
    idle_minutes integer NOT NULL CHECK (idle_minutes BETWEEN 5 AND 60),
    sms_countries text[] NOT NULL CHECK (cardinality(sms_countries) > 0),
    sms_daily_cap integer NOT NULL CHECK (sms_daily_cap >= 0),
    -- Counts changes of this row that a clinic's administrator made or could have made.
    version bigint NOT NULL CHECK (version > 0),
    -- Counts whatever could change a decision in the clinic, so it never falls behind the version.
    epoch bigint NOT NULL CHECK (epoch >= version),
    CHECK (NOT require_two_factor OR required_since IS NOT NULL)
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

GRANT SELECT, INSERT, UPDATE ON clinic_rule TO policy;
GRANT INSERT ON audit_event TO policy;
