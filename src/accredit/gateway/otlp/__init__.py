"""What telemetry says of agents: OpenTelemetry spans as facts about tools and models that were used. Pure.

`names.py` has the names of the semantic conventions, `decoding.py` reads a request in either encoding within bounds,
`reading.py` says which spans tell of a use, of what and by whom. Nothing in here is believed: a span is what its sender
says, and `enforcement/reports.py` decides for whom a sender may speak.
"""
