"""What other libraries look for on a State class. A bridge gets the class as an argument, and imports the library."""
