-- Which accounts have a telephone number: as their SMS factor, or proven. A keyed hash stands for the number, so that the
-- accounts of one number can be counted though every number is sealed. A factor's row counts only while that factor is
-- the account's: whoever removes or replaces it need not know of this table.
CREATE TABLE number_mark (
    user_id text NOT NULL REFERENCES account,
    kind text NOT NULL CHECK (kind IN ('factor', 'proof')),
    mark bytea NOT NULL,
    factor_id text,
    PRIMARY KEY (user_id, kind),
    CHECK ((factor_id IS NOT NULL) = (kind = 'factor'))
);
CREATE INDEX number_mark_of ON number_mark (mark);

GRANT SELECT, INSERT, UPDATE, DELETE ON number_mark TO otp;
