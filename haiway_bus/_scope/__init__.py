"""The parts of a scope: its life, its tasks, its handlers, its state, and its end."""
