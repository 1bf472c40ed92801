"""From a class statement to a State class, and how its instances are made."""
