"""Vectors of the cryptography that the protocol stands on, and of what it derives with it."""
