-- Which role wrote an event is PostgreSQL's to say, whoever inserts it and whatever it claims. What this cannot keep from:
-- deploy/audit-events.md, "What it cannot show".
CREATE FUNCTION audit_event_names_its_writer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.written_by := session_user;
    RETURN NEW;
END
$$;

CREATE TRIGGER audit_event_names_its_writer BEFORE INSERT ON audit_event
    FOR EACH ROW EXECUTE FUNCTION audit_event_names_its_writer();
-- In a session that leaves triggers out (session_replication_role), too.
ALTER TABLE audit_event ENABLE ALWAYS TRIGGER audit_event_names_its_writer;

-- A migration that wants to add events or seals must say so.
REVOKE INSERT ON audit_event, audit_seal FROM policy_owner;
