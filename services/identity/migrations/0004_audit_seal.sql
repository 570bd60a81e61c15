-- Seals over the audit trail: a hash chain, written by a role of its own a moment after each event. How it is made and
-- what it shows: services/common/audit_chain.py. Nobody may change an event or a seal, nor take one away.

-- Which role wrote an event; of those that were here before, it is believed. PostgreSQL fills it in.
ALTER TABLE audit_event ADD COLUMN written_by text NOT NULL DEFAULT 'identity';
ALTER TABLE audit_event ALTER COLUMN written_by SET DEFAULT session_user;

CREATE TABLE audit_seal (
    position bigint PRIMARY KEY CHECK (position > 0), -- without gaps
    event_seq bigint NOT NULL UNIQUE,
    event_id uuid NOT NULL,
    digest bytea NOT NULL CHECK (octet_length(digest) = 32), -- of the event as it was sealed
    hash bytea NOT NULL CHECK (octet_length(hash) = 32), -- of the hash before and the digest
    sealed_at timestamptz NOT NULL
);

-- As the trail is read: one clinic's, newest first.
CREATE INDEX audit_event_by_time ON audit_event (clinic_id, at DESC, seq DESC);
DROP INDEX audit_event_of_clinic;

GRANT USAGE ON SCHEMA public TO identity_sealer;
GRANT SELECT ON audit_event TO identity, identity_sealer;
GRANT SELECT ON audit_seal TO identity;
GRANT SELECT, INSERT ON audit_seal TO identity_sealer;
-- The owner, too: a migration that wants more must say so.
REVOKE UPDATE, DELETE, TRUNCATE ON audit_event, audit_seal FROM identity_owner;
