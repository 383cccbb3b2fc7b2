"""SCIM 2.0 (RFC 7643, RFC 7644) as pure functions: what a client sent in, the resource it means out.

Only the attributes that `attributes.py` names are kept. What else a directory sends is left out, passwords first of
all: nothing here ever holds one. Nothing that is read here grants anything; what a group gives is said by a mapping
that two persons signed off (`registry/directories.py`).
"""
