"""The control plane over HTTP: `/api/v1` for operators, the OAuth endpoints for agents, the log's tiles for anybody.

What always holds: every route of `/api/v1` but `login` needs an operator's own token; nothing here decides, it calls
the rooms' services; errors are RFC 9457 problem documents with a stable `code` and no internals.
"""
