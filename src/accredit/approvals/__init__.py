"""Sign-off by people: requests with their gates and votes, and holds, that is runtime calls that wait for a person.

Decides who may vote or answer (`duties.py`, the one place), which votes count at a moment (`counting.py`) and what a
client that comes back to a hold is told. What always holds:

- nobody on the asking side votes, by any path; one person fills one role; the same is judged again at every use
- a vote binds to the digests of what its role judges and to the text its voter was shown, which is on record
- only `signoff.py` makes clearances that rest on approvals; what cannot be shown to hold now clears nothing
- nothing is approved by silence, by old votes alone, by a tampered row or under a clock in doubt
- a hold's grant is for exactly one request and one policy and is used at most once, also across restarts
- approval executes nothing

What a request rests on is plugged in (`ports.py`).
"""
