-- Counts whatever changes the factors of anybody in a clinic, so that one cheap read says whether factors that are
-- remembered elsewhere still hold. It is counted here and not by the service: whoever changes a factor, also a service
-- of the version before, counts it in the same transaction; and at its very end, so that the clinic's row is locked for
-- the commit alone. What every code moves (guesses, last steps, last uses) counts nothing.
CREATE TABLE factors_epoch (
    clinic_id text PRIMARY KEY,
    epoch bigint NOT NULL CHECK (epoch > 0)
) WITH (fillfactor = 50);

CREATE FUNCTION count_factors() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO factors_epoch (clinic_id, epoch) VALUES (coalesce(NEW.clinic_id, OLD.clinic_id), 1)
        ON CONFLICT (clinic_id) DO UPDATE SET epoch = factors_epoch.epoch + 1;
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER factors_changed AFTER UPDATE ON account DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN ((OLD.totp_id, OLD.totp_enrolled_at, OLD.sms_id, OLD.sms_phone_hint, OLD.sms_enrolled_at,
           OLD.backup_codes_left, OLD.backup_codes_generated_at, OLD.suspended_at)
        IS DISTINCT FROM
          (NEW.totp_id, NEW.totp_enrolled_at, NEW.sms_id, NEW.sms_phone_hint, NEW.sms_enrolled_at,
           NEW.backup_codes_left, NEW.backup_codes_generated_at, NEW.suspended_at))
    EXECUTE FUNCTION count_factors();

-- The service makes an account before it has any factor, and deletes none; whoever does otherwise counts, too.
CREATE CONSTRAINT TRIGGER factors_came AFTER INSERT ON account DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.totp_id IS NOT NULL OR NEW.sms_id IS NOT NULL) EXECUTE FUNCTION count_factors();
CREATE CONSTRAINT TRIGGER factors_went AFTER DELETE ON account DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.totp_id IS NOT NULL OR OLD.sms_id IS NOT NULL) EXECUTE FUNCTION count_factors();

-- Only the function above writes it, as the table's owner.
GRANT SELECT ON factors_epoch TO otp;
