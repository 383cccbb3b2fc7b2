"""The provable record: what was decided, by which rule, before it happened. Everybody above writes here."""
