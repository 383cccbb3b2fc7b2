"""What each framework contributes: an agent with one tool, and a model that calls it once and reads the answer."""
