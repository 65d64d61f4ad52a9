"""Homomorphic rounds in both custodies as state machines, on the arithmetic of `secagg.lattice`.

`dealt_key` and `joint_key` are the custodies `participants` and `threshold`, with one file for each phase. What both
have in common stands beside them.
"""
