-- In which session an attempt was made: a code that one session was accepted with and another sends is in two hands.
ALTER TABLE verdict ADD COLUMN session_id text;
