-- A lifted number has a note of its own: who lifted it, when and why is not who set the requirement, when and why.
-- Where there is none, a process of before this change has lifted it, and the requirement's note is the number's too.

ALTER TABLE user_setting
    ADD COLUMN phone_reason text,
    ADD COLUMN phone_set_by_kind text,
    ADD COLUMN phone_set_by_id text,
    ADD COLUMN phone_set_by_address text,
    ADD COLUMN phone_set_at timestamptz;

UPDATE user_setting SET phone_reason = reason, phone_set_by_kind = set_by_kind, phone_set_by_id = set_by_id,
    phone_set_by_address = set_by_address, phone_set_at = set_at WHERE is_phone_lifted;

-- Whatever is less than the clinic asks for has a reason.
DO $$
DECLARE named text;
BEGIN
    SELECT conname INTO STRICT named FROM pg_constraint
    WHERE conrelid = 'user_setting'::regclass AND contype = 'c' AND pg_get_constraintdef(oid) LIKE '%is_phone_lifted%';
    EXECUTE format('ALTER TABLE user_setting DROP CONSTRAINT %I', named);
END $$;
ALTER TABLE user_setting
    ADD CONSTRAINT user_setting_exempt_reason CHECK (reason <> '' OR requirement <> 'exempt'),
    ADD CONSTRAINT user_setting_lift_reason CHECK (reason <> '' OR phone_reason <> '' OR NOT is_phone_lifted),
    ADD CONSTRAINT user_setting_phone_note CHECK (
        (phone_set_at IS NULL AND phone_reason IS NULL AND phone_set_by_kind IS NULL)
        OR (phone_set_at IS NOT NULL AND phone_reason <> '' AND phone_set_by_kind IS NOT NULL)
    );
