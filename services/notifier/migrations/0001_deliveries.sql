-- Deliveries. The row is the truth: what a queue or a provider says only moves it along.

CREATE TABLE delivery (
    id text PRIMARY KEY,
    request_key text NOT NULL UNIQUE, -- the same key is the same delivery
    kind text NOT NULL,
    locale text NOT NULL,
    clinic_id text NOT NULL,
    user_id text NOT NULL,
    to_hint text NOT NULL, -- masked; the whole number stands in `sealed` alone
    sealed bytea, -- number and code; gone when the delivery has ended
    state text NOT NULL
        CHECK (state IN ('queued', 'sending', 'sent', 'delivered', 'failed', 'unknown', 'expired')),
    reason text, -- why it failed, waits or is unknown
    provider text,
    provider_sid text UNIQUE,
    provider_code integer,
    provider_statuses text[] NOT NULL DEFAULT '{}', -- every status the provider has called back with
    attempt integer NOT NULL DEFAULT 0, -- how often it was claimed
    request_id text NOT NULL,
    created_at timestamptz NOT NULL,
    not_after timestamptz NOT NULL, -- never sent after this
    next_at timestamptz NOT NULL, -- not sent before this
    published_at timestamptz, -- when its id was last put in the queue
    sending_at timestamptz,
    updated_at timestamptz NOT NULL,
    CHECK ((sealed IS NOT NULL) = (state IN ('queued', 'sending')))
) WITH (fillfactor = 70);

CREATE INDEX delivery_due ON delivery (next_at) WHERE state = 'queued';
CREATE INDEX delivery_ending ON delivery (not_after) WHERE state = 'queued';
CREATE INDEX delivery_under_way ON delivery (sending_at) WHERE state = 'sending';

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

GRANT SELECT, INSERT, UPDATE ON delivery TO notifier;
GRANT SELECT, INSERT ON audit_event TO notifier;
