"""Implementations of the engine port, one module each; nothing else names an engine's library."""
