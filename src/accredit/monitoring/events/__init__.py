"""What is told at once, from single records of the log: rules with a number each, and state that is bounded.

Each rule is a pure module; `watching.py` holds what they remember and turns what they find into deviations.
"""
