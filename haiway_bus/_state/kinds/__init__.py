"""Kinds: a Kind checks the values of an annotation, dumps and loads them."""
