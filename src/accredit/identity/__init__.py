"""Who is calling: agents by their own keys, people by their own credentials, upstreams by brokered secrets.

What it decides: whether a token, a key or a link proves somebody, and for which address, user and task.

What always holds: only public keys of agents and hashes of secrets are stored; a token is checked against epoch,
credential and issuer on every call, cached or not; a person's credential counts only while the person is there; a
production key enrols under a clearance and counts once the agent's owner vouched for it; whatever cannot be proven is
refused with a reason of its own in the record and one constant text to the caller; a brokered secret travels only to
the origin it was stored for.

Where to plug in: `ports.py`. Kinds of stored rows stand in `rows.py`.
"""
