"""A busy real-time service twice, on the bus and by hand, under one load."""
