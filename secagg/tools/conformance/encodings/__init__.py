"""Vectors of the way from arrays to integers and bytes, and back."""
