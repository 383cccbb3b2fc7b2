"""Stores of memory and knowledge, each behind the port `lifecycle.ports.StoreAdapter`.

An adapter says what is in a store and deletes what it is told to; what belongs to whom and what is held is decided
above it. A new one is a module here, a line in `opening.py`, and a case of `tests/stores/test_conformance.py`. Client
libraries are extras, and imported only by the adapter that needs them.
"""
