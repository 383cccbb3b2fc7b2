"""Reviews (recertification): whether each agent is still needed, and whether what it may do is still right.

What always holds: nobody's silence keeps a permission, and no word of anybody's adds one; what can do harm, was not
used, or is new is decided on by itself, never in a bundle; what is taken away is out of reach before a review is over,
which is looked up where calls are decided. `cards` says what is asked about one agent, `deciding` what counts as an
answer, `silence` what becomes of an agent for which nobody answers, `population` who should be on the list.
"""
