"""One suite for every adapter, against the real framework with a model that is scripted."""
