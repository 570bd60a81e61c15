"""What an administrator sees and changes of one person, and the list of all."""
