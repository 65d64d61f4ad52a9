"""`secagg doctor`: what is wrong with a deployment, seen from one of its machines, and the command that mends it.

Each side is a module that yields findings: `coordinator`, `participant` and `control`. What the coordinator's side
checks is what `secagg-server serve` checks when it starts, by the same functions. `command` puts the findings together.
"""
