"""Masked aggregation (Bonawitz et al. 2017) as state machines without input or output.

One file for each phase, in this order: advertise_keys, share_keys, masked_input, consistency_check, unmask. Each has
the participant's side, one frozen class per state, and the coordinator's. `scheme` puts them together.
"""
