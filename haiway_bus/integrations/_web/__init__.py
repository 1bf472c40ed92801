"""What the web integrations share: not public."""
