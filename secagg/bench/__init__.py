"""Measurements of the real code on real sizes; every function returns plain JSON-able dictionaries."""
