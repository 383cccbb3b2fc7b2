"""Whether one call may happen: `decide(request, snapshot)`, a pure function of a request and an immutable snapshot.

What always holds: default deny; forbids win; permits come only from manifests or as an explicit list of the
organisation, so no lower layer can widen; an error in a forbid denies and an error in a permit does not permit; what
policies read is typed exactly or refused; a slice decides as the flat set would, reasons and errors included.

Where to plug in: the `Engine` port (`ports.py`), with Cedar in `engines/cedar.py`. Policies enter through `publish`
(`publish.py`), manifests through `GrantBook` (`grants.py`); `PolicySnapshot` (`snapshot.py`) binds a release and a
catalogue; `listed` says what an agent is shown.
"""
