"""Agents that nobody registered, or that nobody looks after: found in files, in exports and in what runs.

What always holds: nothing that is looked at is executed or followed; a secret that is found is told by its kind and a
salted digest, never itself; what cannot be read is said and counts as found; and a finding goes away by an answer of
somebody's or by not being so any more, never by silence. `detectors` is the one table of what is recognised in files,
`reconciling` the one of what is not right about agents that are registered.
"""
