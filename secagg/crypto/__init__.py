"""Primitives, as thin labelled wrappers over `cryptography`, and Shamir sharing."""
