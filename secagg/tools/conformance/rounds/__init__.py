"""Vectors of whole rounds: inputs, every message, every value in between, and the sum."""
