"""What an instance is outside of Python: mappings, JSON, JSON schema."""
