"""The sample fleet: a CRM as a real MCP server, the issuers of users and tickets, and agents using the MCP SDK.

Nothing here is imported by the product itself.
"""
