-- An undoing puts the number on file back (`phone`, 0006) as it was when the bypass was used, or as an administrator gave
-- it since.
ALTER TABLE bypass_use
    ADD COLUMN phone_proven boolean; -- whether that number was proven; NULL: used before this was kept
