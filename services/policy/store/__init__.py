"""The policy service's own database: clinics under the lock of their rule's row, and what is read beside them."""
