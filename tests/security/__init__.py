"""Attacks on the whole installation, or on what belongs to no room alone."""
