"""The otp service's own database: accounts under their lock, and what is read beside them."""
