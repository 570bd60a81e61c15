-- What otp and policy have done (their outboxes) and was followed up here, each once: the row is written in the transaction
-- of what follows, so whoever comes second finds it. Kept for as long as a repeated request may ask for it, and longer than
-- any outbox holds what was settled.
CREATE TABLE settled_event (
    id         text PRIMARY KEY, -- as the outbox has it
    at         timestamptz NOT NULL,
    user_id    text NOT NULL,
    session_id text,
    kind       text NOT NULL,
    detail     jsonb NOT NULL
);
CREATE INDEX settled_event_of_user ON settled_event (user_id, at);
CREATE INDEX settled_event_by_age ON settled_event (at);

GRANT SELECT, INSERT, DELETE ON settled_event TO identity;
