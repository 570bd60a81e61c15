-- A code that a newer one has replaced. While it waits it ends; while it is being sent this says that it must not be
-- sent another time.
ALTER TABLE delivery ADD COLUMN replaced_at timestamptz;
