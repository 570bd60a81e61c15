"""What an administrator sees and changes of the clinic: its rule, holds, adoption and audit trail."""
