-- Set where a bypass was granted to the session's owner while it lived: whoever proves a factor in it has got in another
-- way, and the bypass ends. No other sign-in has to ask.
ALTER TABLE session ADD COLUMN ends_bypass boolean NOT NULL DEFAULT false;
