"""The identity database, a file for each subject. Only these files speak SQL; times come in as arguments."""
