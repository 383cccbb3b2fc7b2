"""What a finished session was like: the unit that baselines and detectors are made of (DESIGN §7)."""
