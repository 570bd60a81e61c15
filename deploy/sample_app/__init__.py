"""A small clinic app behind the sign-in: the example that client developers copy."""
