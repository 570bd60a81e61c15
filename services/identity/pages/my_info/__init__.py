"""What everybody sees and changes of their own account."""
