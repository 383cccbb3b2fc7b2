"""Implementations of the rooms' ports. Only `bootstrap` names what stands here."""
