"""What can be said of an object without running its code: what refusals and tables are made of."""
