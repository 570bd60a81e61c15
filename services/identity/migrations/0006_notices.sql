-- What people are told of what happened to their account, and the browsers that they were seen in.

-- Written in the transaction of the change; what is to be sent waits here until the notifier has taken it.
CREATE TABLE notice (
    seq          bigint GENERATED ALWAYS AS IDENTITY, -- the order of what happened in the same moment
    id           text PRIMARY KEY,   -- also the key under which the notifier takes it once
    clinic_id    text NOT NULL REFERENCES clinic,
    user_id      text NOT NULL REFERENCES app_user, -- who is told
    kind         text NOT NULL,
    at           timestamptz NOT NULL,
    detail       jsonb NOT NULL,     -- what, where from, by whom, about whom: never a code, a link or a number
    is_shown     boolean NOT NULL DEFAULT true,  -- false: only sent
    is_sent      boolean NOT NULL,   -- there was a channel for it
    phone        bytea,              -- E.164, sealed like the number on file of `user_id`; gone once told
    email        text,               -- gone once told
    next_tell_at timestamptz,        -- NULL: nothing more to do
    tries        integer NOT NULL DEFAULT 0,
    told_at      timestamptz,        -- when the notifier took it
    dismissed_at timestamptz,
    CHECK (next_tell_at IS NOT NULL OR (phone IS NULL AND email IS NULL))
);
CREATE INDEX notice_due ON notice (next_tell_at) WHERE next_tell_at IS NOT NULL;
CREATE INDEX notice_of_user ON notice (user_id, at DESC);
CREATE INDEX notice_by_age ON notice (at);

-- Browsers that someone was seen in: a keyed digest of a cookie, or of what an API client calls itself.
CREATE TABLE seen_browser (
    user_id text NOT NULL REFERENCES app_user,
    digest  bytea NOT NULL CHECK (octet_length(digest) = 16),
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, digest)
);

ALTER TABLE bypass_use
    ADD COLUMN granted_by text,      -- the administrator; NULL: the operator
    ADD COLUMN phone      bytea;     -- the number on file as it was before, sealed

GRANT SELECT, INSERT, UPDATE, DELETE ON notice, seen_browser TO identity;
