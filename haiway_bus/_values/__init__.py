"""Questions about an object that run none of its code: its name and text, its type, how it can be called."""
