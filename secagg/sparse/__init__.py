"""The parameters of a sparse graph, on which a participant shares masks and secrets with some of the others only.

Which participants are neighbours follows from the list of members, in `secagg.rounds.graph`.
"""
