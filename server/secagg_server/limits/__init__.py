"""What keeps the process within its means: calls and bytes of each participant, open files, freed memory.

An operator's limits are in `secagg_server.settings`. How long a request may be is in `secagg.wire.limits`, and how many
connections a participant may have is enforced in `secagg_server.network`.
"""
