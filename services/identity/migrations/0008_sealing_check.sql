-- A known text under each key of the keyring: another keyring than the one that sealed these records shows at once.
CREATE TABLE sealing_check (
    key_id bigint PRIMARY KEY,
    sealed bytea NOT NULL
);

GRANT SELECT, INSERT, DELETE ON sealing_check TO identity;
