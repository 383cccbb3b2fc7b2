"""What an agent's own program uses: a key of its own, enrolment, and access tokens, for itself or for a user.

What always holds: the private key stays in this process, or in one file that only its owner can read; nothing here
decides anything. `requests` builds and reads what goes over the wire without sending it; `identity` sends it.
"""
