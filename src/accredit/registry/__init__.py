"""Agents, their versions and owners, teams, people, tool servers: who and what exists, as approved."""
