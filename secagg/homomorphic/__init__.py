"""Homomorphic rounds in both custodies as state machines, on the arithmetic of `secagg.lattice`."""
