-- A rotation forgets the known text of a key that it retires (services/common/key_rotation.py).
GRANT DELETE ON sealing_check TO otp;
