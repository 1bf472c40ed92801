"""Kinds: how values are checked, one class for each sort of annotation."""
