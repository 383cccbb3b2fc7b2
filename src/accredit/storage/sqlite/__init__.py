"""Implementations on SQLite: the default."""
