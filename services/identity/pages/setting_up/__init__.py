"""Setting a second factor up, step by step, to the backup codes."""
