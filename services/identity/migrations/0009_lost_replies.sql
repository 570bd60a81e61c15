-- What a new token leaves on its session so that a reply that was lost can be given again: for a minute at most, and
-- only until the token is first used.
ALTER TABLE session
    ADD COLUMN reply_until       timestamptz, -- set: the new token has not been seen in use
    ADD COLUMN reply_key_digest  bytea,       -- of the key that the request came with
    ADD COLUMN reply_old_digest  bytea,       -- of the token that it came with
    ADD COLUMN reply_body_digest bytea,       -- keyed, of what it asked for
    ADD COLUMN reply_device      text,        -- the browser that it had remembered
    ADD COLUMN confirming_since  timestamptz, -- a confirmation under a key is under way, which may show backup codes
    ADD CHECK ((reply_until IS NULL) = (reply_key_digest IS NULL)),
    ADD CHECK ((reply_until IS NULL) = (reply_old_digest IS NULL)),
    ADD CHECK ((reply_until IS NULL) = (reply_body_digest IS NULL));
