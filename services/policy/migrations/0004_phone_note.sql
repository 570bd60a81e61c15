-- A lifted number has a note of its own: who lifted it, when and why is not who set the requirement, when and why.

ALTER TABLE user_setting
    ADD COLUMN phone_reason text,
    ADD COLUMN phone_set_by_kind text,
    ADD COLUMN phone_set_by_id text,
    ADD COLUMN phone_set_by_address text,
    ADD COLUMN phone_set_at timestamptz; -- NULL: the number is not lifted

UPDATE user_setting SET phone_reason = reason, phone_set_by_kind = set_by_kind, phone_set_by_id = set_by_id,
    phone_set_by_address = set_by_address, phone_set_at = set_at WHERE is_phone_lifted;
UPDATE user_setting SET reason = '' WHERE is_phone_lifted AND requirement = 'clinic_default';

ALTER TABLE user_setting
    DROP COLUMN is_phone_lifted, -- and the check that named it
    -- Whatever is less than the clinic asks for has a reason.
    ADD CONSTRAINT user_setting_exempt_reason CHECK (reason <> '' OR requirement <> 'exempt'),
    ADD CONSTRAINT user_setting_phone_note CHECK (
        (phone_set_at IS NULL AND phone_reason IS NULL AND phone_set_by_kind IS NULL)
        OR (phone_set_at IS NOT NULL AND phone_reason <> '' AND phone_set_by_kind IS NOT NULL)
    );
