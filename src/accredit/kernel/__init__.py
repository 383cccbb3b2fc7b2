"""The vocabulary every room shares: ids, time, canonical bytes, money, hours, errors, clearances.

What always holds: nothing here reads a database, a socket or a setting; `clock` and `ids` are the only modules
of the package that may ask the machine for time or randomness, and both are ports that callers are given.
"""
