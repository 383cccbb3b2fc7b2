"""accredit: lifecycle control for AI agents in production.

The rooms, in the order of an agent's life, are listed in ARCHITECTURE.md; each room's own docstring says what
it decides and what always holds there.
"""

__version__ = "0.1.0"
