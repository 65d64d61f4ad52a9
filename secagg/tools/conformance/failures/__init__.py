"""Vectors of what must be refused, and of how a round ends."""
