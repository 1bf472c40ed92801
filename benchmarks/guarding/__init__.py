"""What the guard is made of: the hot paths, and two ways of weighing them."""
