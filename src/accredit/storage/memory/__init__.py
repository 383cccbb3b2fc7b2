"""Implementations that keep everything in the process: for tests, benches and examples."""
