-- Notices: what happened to an account, told to its owner by text or by e-mail. They share the table with codes, and wait
-- behind them.

ALTER TABLE delivery
    ADD COLUMN channel text NOT NULL DEFAULT 'sms' CHECK (channel IN ('sms', 'email')),
    ADD COLUMN is_notice boolean NOT NULL DEFAULT false,
    ADD CHECK (is_notice OR channel = 'sms'); -- a code never goes by e-mail

-- Codes and notices are looked for apart: however many notices wait, a code is found at once.
DROP INDEX delivery_due;
CREATE INDEX delivery_due ON delivery (is_notice, next_at) WHERE state = 'queued';
CREATE INDEX delivery_notices_on_their_way ON delivery (published_at)
    WHERE is_notice AND published_at IS NOT NULL AND state IN ('queued', 'sending');
