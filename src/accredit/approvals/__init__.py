"""Sign-off by people. So far: holds, that is runtime calls that wait for a person.

Decides who may answer a hold and what a client that comes back is told. What always holds: a grant is for exactly one
request and one policy and is used at most once, also across restarts; an approver sees the raw values and the grant
names the digest of what was shown; nobody answers for the call that serves them; approval executes nothing.
"""
