"""The path of one call: gather, decide, reserve, record, forward, settle."""
