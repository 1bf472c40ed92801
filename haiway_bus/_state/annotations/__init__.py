"""How annotations are read: the names in them, defaults and aliases, and the Kind that each becomes."""
