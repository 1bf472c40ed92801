"""What a scope is made of: its life, its tasks, its handlers, its state, and when it has ended."""
