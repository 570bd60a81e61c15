-- How many text messages were taken on to be sent, for each clinic and UTC day, and for the whole deployment (the row
-- whose clinic is ''). Counted in the transaction that takes one on, so that no cap is passed, whoever forgets what.
CREATE TABLE sms_spending (
    day date NOT NULL,
    clinic_id text NOT NULL,
    texts integer NOT NULL CHECK (texts > 0),
    PRIMARY KEY (day, clinic_id)
) WITH (fillfactor = 50);

-- How text messages fared in the last few minutes.
CREATE INDEX delivery_of_late ON delivery (updated_at) WHERE channel = 'sms';

GRANT SELECT, INSERT, UPDATE ON sms_spending TO notifier;
