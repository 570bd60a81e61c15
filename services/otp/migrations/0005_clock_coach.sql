-- What the clock coach remembers of wrong codes (services/otp/clock_coach.py): where in time each would have been right,
-- never the code; and the steps it has named in a hint, which are refused when their time comes. It belongs to the
-- secret: an enrolment has its own, whose burned steps go with it when it becomes the factor.
-- {"sightings": [[unix time, step, offset], ...], "burned": [step, ...]}; empty while nothing is remembered.
ALTER TABLE account ADD COLUMN totp_clock jsonb NOT NULL DEFAULT '{}';
ALTER TABLE enrolment ADD COLUMN totp_clock jsonb NOT NULL DEFAULT '{}';
-- A repeated attempt is told the same hint.
ALTER TABLE verdict ADD COLUMN clock_skew_seconds integer;
