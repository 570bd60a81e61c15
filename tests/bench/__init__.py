"""Measurements of a running stack; not tests, and never collected as such."""
